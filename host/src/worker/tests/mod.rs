//! A worker with clients in memory, on a paused clock: no sockets, no plugins, no processes.

mod address_limits; // addresses of many clients

mod closing; // the closing handshake and its deadline

mod compression; // windows of what is sent, and their memory

mod memory; // what all clients together hold

mod pace; // slow clients, stalls, floods

mod parts; // hub, admission, parent link by themselves

mod route_limits; // limits of a route, and ondrain

mod pings; // silent clients

mod sending; // audiences, queues, one write per turn

mod tls; // ends and records of TLS

mod turns; // more than one turn can handle

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;
use std::time::Duration;

use callsign_plugin::abi;
use callsign_websocket::{frame_header, op};
use tokio::task::LocalSet;

use super::*;
use crate::bridge::host_api;
use crate::client::head::Head;
use crate::client::memory::{Peer, pipe};
use crate::config::limit_options::LimitOptions;
use crate::config::settings::Settings;
use crate::plugin::call::Function;
use crate::plugin::handler::{HandlerRef, Kind};
use crate::system::scoreboard::Scoreboard;

/// Long enough for every task that is ready to run; far below every limit.
const MOMENT: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The defaults, changed by a test.
fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let options =
        crate::config::options::ServeOptions { limits: LimitOptions::default(), ..Default::default() };
    let mut limits = Settings::merge(None, options, vec!["a.so".into()], 1).expect("the defaults fit").limits;
    limits.ping_interval = None;
    change(&mut limits);
    limits
}

fn info(workers: usize) -> WorkerInfo {
    let (scoreboard, _) = Scoreboard::create(workers).expect("shared memory");
    let scoreboard = Box::leak(Box::new(scoreboard));
    WorkerInfo { scoreboard, index: 0, workers, first_connection: 0, addresses: None }
}

/// Runs a test beside a worker's tasks.
async fn with_worker(limits: Limits, test: impl AsyncFnOnce(&'static Worker)) {
    LocalSet::new()
        .run_until(async {
            let serving = (Registry::default(), Dispatch::nothing());
            let worker = Worker::new(&limits, info(1), 2000, serving).expect("a worker");
            let listeners = Listeners { on_leave: Box::new(|_| ()), on_worker_message: Box::new(|_| ()) };
            worker.start(listeners);
            test(worker).await;
        })
        .await;
}

/// Lets every task run that is ready.
async fn settle() {
    tokio::time::sleep(MOMENT).await;
}

/// A client and the test's end of its transport.
struct TestClient {
    worker: &'static Worker,
    client: Rc<Client>,
    peer: Peer,
}

impl TestClient {
    /// An open connection with these handlers; `capacity` is what its socket's buffer holds.
    async fn open(worker: &'static Worker, capacity: usize, handlers: Callbacks) -> Self {
        let (server, peer) = pipe(capacity);
        let client = open(worker, Transport::Memory(server), handlers).await;
        Self { worker, client, peer }
    }

    /// So many of them, equal.
    async fn open_many<const N: usize>(
        worker: &'static Worker,
        capacity: usize,
        handlers: impl Fn() -> Callbacks,
    ) -> [Self; N] {
        let mut clients = Vec::new();
        for _ in 0..N {
            clients.push(Self::open(worker, capacity, handlers()).await);
        }
        clients.try_into().unwrap_or_else(|_| unreachable!("there are N"))
    }

    /// Sends bytes, as an event of the reactor would report them.
    fn send(&self, bytes: &[u8]) {
        self.peer.send(bytes);
        self.touch();
    }

    fn message(&self, payload: &[u8]) {
        self.send(&frame(0x80 | op::BINARY, payload));
    }

    /// Takes at most so many bytes from the server.
    fn take(&self, max: usize) -> Vec<u8> {
        let taken = self.peer.take(max);
        self.client.turn.writable.set(true);
        self.worker.hub.schedule.push(&self.client);
        taken
    }

    fn take_all(&self) -> Vec<u8> {
        self.take(usize::MAX)
    }

    /// Closes the client's side.
    fn end(&self) {
        self.peer.end();
        self.client.turn.read_closed.set(true);
        self.touch();
    }

    /// The code with which the connection ends or has ended.
    fn code(&self) -> Option<u16> {
        self.client.endpoint.ending().map(|ending| ending.code)
    }

    fn touch(&self) {
        self.client.turn.readable.set(true);
        self.worker.hub.schedule.push(&self.client);
    }

    /// Whether the server has dropped it.
    fn is_dropped(&self) -> bool {
        Rc::strong_count(&self.client) == 1
    }
}

/// An open connection over a transport.
async fn open(worker: &'static Worker, transport: Transport, handlers: Callbacks) -> Rc<Client> {
    let request = hyper::Request::get("/chat?room=7").header("host", "a").body(()).expect("a request");
    let client = Rc::new(Client::requested(Head::new(&request.into_parts().0, "/chat", "127.0.0.1:9")));
    let permit = worker.admission.admit().await;
    worker.open(client.clone(), transport, handlers, permit, Vec::new());
    client
}

/// A client's frame; the mask of zeros leaves the payload as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let (mut header, size) = frame_header(first & 0x0F, payload.len());
    header[0] = first;
    header[1] |= 0x80;
    [&header[..size], &[0; 4], payload].concat()
}

/// A server's frame.
fn server_frame(op: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    callsign_websocket::write_frame(&mut frame, op, payload);
    frame
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    callsign_websocket::write_close(&mut frame, Some(code), reason);
    frame
}

thread_local! {
    /// The connections whose onconnect and ondisconnect have run, in order.
    static CONNECTED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static DISCONNECTED: RefCell<Vec<(u64, u16)>> = const { RefCell::new(Vec::new()) };
    /// Messages that the recording handler has received.
    static MESSAGES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static FAILS: Cell<bool> = const { Cell::new(false) };
}

fn handler(name: &str, kind: Kind, function: Function) -> Option<HandlerRef> {
    let handler = Handler {
        // No plugin has that index: nothing is released.
        plugin: usize::MAX,
        plugin_name: "test".to_owned(),
        name: name.to_owned(),
        kind,
        function: Cell::new(function),
        guard: Cell::new(None),
        index: Cell::new(0),
    };
    Some(Box::leak(Box::new(handler)))
}

/// Handlers that record, and echo every message. They require the NUL behind a message, and overwrite both, as C code
/// may.
fn echo() -> Callbacks {
    unsafe extern "C" fn onmessage(c: *mut abi::Connection, op: u8, data: *const c_void, length: usize) {
        // SAFETY: the host's own pointers, as a plugin gets them.
        unsafe {
            let bytes = std::slice::from_raw_parts(data.cast::<u8>(), length);
            MESSAGES.with_borrow_mut(|messages| messages.push(bytes.to_vec()));
            (host_api::table().send)(c, op, data, length);
            let data = data.cast_mut().cast::<u8>();
            assert_eq!(*data.add(length), 0, "a NUL follows a message of {length} bytes");
            data.write_bytes(0xEE, length + 1);
        }
    }
    Callbacks { onmessage: handler("echo", Kind::OnMessage, Function::OnMessage(onmessage)), ..recording() }
}

/// Handlers that record connections only.
fn recording() -> Callbacks {
    unsafe extern "C" fn onconnect(c: *mut abi::Connection) {
        // SAFETY: the host's own pointer.
        CONNECTED.with_borrow_mut(|connected| connected.push(unsafe { (*c).id }));
    }
    unsafe extern "C" fn ondisconnect(c: *mut abi::Connection) {
        // SAFETY: the host's own pointer.
        let ending = unsafe { ((*c).id, (host_api::table().close_code)(c)) };
        DISCONNECTED.with_borrow_mut(|disconnected| disconnected.push(ending));
    }
    Callbacks {
        onconnect: handler("join", Kind::OnConnect, Function::OnConnection(onconnect)),
        onmessage: None,
        ondisconnect: handler("leave", Kind::OnDisconnect, Function::OnConnection(ondisconnect)),
        ondrain: None,
    }
}

fn disconnected() -> Vec<(u64, u16)> {
    DISCONNECTED.take()
}
