//! A client from its upgrade request to the end of its socket, as one value: transport, protocol state, write queue,
//! handlers by name, the data that plugins keep in it, and the request's head.
//!
//! A client has no reference to a worker: whoever drives it brings buffers, limits and the clock. It can be frozen to
//! bytes and a descriptor, and thawed in another process.

pub mod head; // peer, path, query and headers of the request

pub mod certificate; // the certificate of a client with TLS

pub mod limited; // what it has used of its route's limits

pub mod compression; // what compression keeps of it

pub mod recorded; // for the access log

pub mod extras; // where a client keeps what few clients have

mod rare; // and how it offers that

pub mod transport; // what carries its bytes

pub mod tls; // TLS between them and a socket

pub mod multiplexed; // a stream of HTTP/2 that carries them

pub mod outbox; // its write queue

pub mod turn_state; // notes between turns

pub mod frozen; // a client as bytes and a descriptor

#[cfg(test)]
pub mod memory; // a transport for tests

use std::cell::{Cell, RefCell, UnsafeCell};
use std::io;
use std::ptr;
use std::time::Instant;

use callsign_plugin::abi;
use callsign_websocket::{Endpoint, Extensions, Incomplete};

use crate::plugin::exposed::ExposedConnection;
use crate::plugin::handler::{Callbacks, HandlerRef};
use extras::Extras;
use head::Head;
use outbox::{Outbox, Pool};
use transport::Transport;
use turn_state::{Ondrain, TurnState};

pub use extras::Rest;

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its upgrade request is being answered; hyper owns the socket.
    Requested,
    /// It has received its 101. Messages go both ways.
    Open,
    /// The connection has ended: Closes are exchanged, or the socket failed. Its last callback has not run.
    Closing,
    /// Its last callback has run. The socket stays until the client closes its side, or the time to close is up.
    Closed,
}

/// One client; `struct connection` of the ABI points to it.
#[repr(C)]
pub struct Client {
    /// The part that plugins see. First, because its address is the client's.
    shared: UnsafeCell<abi::Connection>,
    /// Unique in the server; [`Client::NO_ID`] until it is open.
    id: Cell<u64>,
    phase: Cell<Phase>,
    /// ondisconnect has run although the connection stays open: a reload could not carry its data over.
    pub departed: Cell<bool>,
    /// What the client sends is encrypted on its way, to the server or to the first trusted proxy.
    pub is_secure: Cell<bool>,
    /// The socket is closed or broken.
    gone: Cell<bool>,
    /// When data arrived last, in ticks of the worker's keepalive.
    pub last_active: Cell<u32>,
    /// Peer, path, query and headers of the request.
    pub head: Head,
    /// The onconnect, onmessage and ondisconnect handler that the handshake has bound.
    handlers: Cell<[Option<HandlerRef>; 3]>,
    /// The protocol.
    pub endpoint: Endpoint,
    outbox: RefCell<Outbox>,
    transport: RefCell<Transport>,
    /// Bytes that were read and not handled, because the client's turn was over ([`TurnState::has_rest`]), the
    /// subprotocol that the 101 has selected, the certificate, the ondrain handler, what is used of the route's limits, and
    /// compression.
    extras: Extras,
    /// Notes of whoever drives the client.
    pub turn: TurnState,
}

// SAFETY: `shared` is in an `UnsafeCell` and lives as long as the client, which is not `Sync` and stays on its thread.
#[expect(unsafe_code, reason = "plugins hold pointers to clients")]
unsafe impl ExposedConnection for Client {
    fn as_ptr(&self) -> *mut abi::Connection {
        // Derived from the whole client, because the host gets it back as one.
        ptr::from_ref(self).cast_mut().cast()
    }
}

impl Client {
    /// The id of a client that is not open yet.
    pub const NO_ID: u64 = 0;

    /// A client whose upgrade request is being answered.
    pub fn requested(head: Head) -> Self {
        let shared = abi::Connection { data: ptr::null_mut(), id: Self::NO_ID, data_tag: 0 };
        Self {
            shared: UnsafeCell::new(shared),
            id: Cell::new(Self::NO_ID),
            phase: Cell::new(Phase::Requested),
            departed: Cell::new(false),
            is_secure: Cell::new(false),
            gone: Cell::new(false),
            last_active: Cell::new(0),
            head,
            handlers: Cell::default(),
            endpoint: Endpoint::new(Extensions::default()),
            outbox: RefCell::default(),
            transport: RefCell::new(Transport::None),
            extras: Extras::default(),
            turn: TurnState::default(),
        }
    }

    /// The 101 is written: the client has its socket, its id and its handlers.
    pub fn open(&self, id: u64, transport: Transport, handlers: Callbacks) {
        self.id.set(id);
        // SAFETY: no plugin code runs on this thread now, and only plugins hold pointers into `shared`.
        #[expect(unsafe_code, reason = "the ABI shows the id")]
        unsafe {
            (*self.shared.get()).id = id;
        }
        self.bind(handlers);
        self.transport.replace(transport);
        self.phase.set(Phase::Open);
    }

    fn bind(&self, handlers: Callbacks) {
        let Callbacks { onconnect, onmessage, ondisconnect, ondrain } = handlers;
        self.handlers.set([onconnect, onmessage, ondisconnect]);
        self.extras.set_ondrain(ondrain);
        match (ondrain, self.turn.ondrain.get()) {
            (None, _) => self.turn.ondrain.set(Ondrain::None),
            (Some(_), Ondrain::None) => self.turn.ondrain.set(Ondrain::Bound),
            (Some(_), Ondrain::Bound | Ondrain::Due) => {}
        }
    }

    /// The handlers that the handshake has bound.
    pub fn callbacks(&self) -> Callbacks {
        let [onconnect, onmessage, ondisconnect] = self.handlers.get();
        let ondrain = match self.turn.ondrain.get() {
            Ondrain::None => None,
            Ondrain::Bound | Ondrain::Due => self.extras.ondrain(),
        };
        Callbacks { onconnect, onmessage, ondisconnect, ondrain }
    }

    /// The onmessage handler.
    #[inline]
    pub fn onmessage(&self) -> Option<HandlerRef> {
        self.handlers.get()[1]
    }

    /// Unique in the server, never reused.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id.get()
    }

    /// How far the client has come.
    #[inline]
    pub fn phase(&self) -> Phase {
        match self.phase.get() {
            Phase::Open if !self.endpoint.is_open() => Phase::Closing,
            phase => phase,
        }
    }

    /// Whether the client's upgrade request is not answered yet.
    #[inline]
    pub fn is_requested(&self) -> bool {
        self.phase.get() == Phase::Requested
    }

    /// The last callback runs now.
    pub fn set_closed(&self) {
        self.phase.set(Phase::Closed);
    }

    /// Whether messages go both ways.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open && self.endpoint.is_open()
    }

    /// Whether a plugin keeps something in the client that has to be released.
    pub fn has_data_or_tag(&self) -> bool {
        // SAFETY: no plugin code runs on this thread now, and only plugins hold pointers into `shared`.
        #[expect(unsafe_code, reason = "the ABI shares the data")]
        let shared = unsafe { &*self.shared.get() };
        !shared.data.is_null() || shared.data_tag != 0
    }

    /// Forgets what a plugin keeps in the client.
    pub fn clear_data(&self) {
        let shared = self.shared.get();
        // SAFETY: as above; written through the pointer, because plugins hold pointers of the same kind.
        #[expect(unsafe_code, reason = "the ABI shares the data")]
        unsafe {
            (*shared).data = ptr::null_mut();
            (*shared).data_tag = 0;
        }
    }

    /// Address and port of the client, for messages.
    pub fn peer(&self) -> &str {
        self.head.peer().to_str().unwrap_or_default()
    }

    /// Bytes that wait to be written.
    #[inline]
    pub fn backlog(&self) -> usize {
        self.outbox.borrow().len()
    }

    /// Adds to the write queue, and returns how many bytes then wait.
    #[inline]
    pub fn queue(&self, push: impl FnOnce(&mut Outbox)) -> usize {
        let mut outbox = self.outbox.borrow_mut();
        push(&mut outbox);
        outbox.len()
    }

    /// Adds a message to the write queue, see [`Outbox::push_within`].
    #[inline]
    pub fn queue_within(&self, op: u8, data: &[u8], most: usize) -> bool {
        self.outbox.borrow_mut().push_within(op, data, most)
    }

    /// Memory that the queue has and does not share, in bytes.
    #[inline]
    pub fn own_queue_memory(&self) -> usize {
        self.outbox.borrow().own_memory() + self.transport.borrow().sealed_memory()
    }

    /// Memory of the queue with its part of what it shares, in bytes.
    pub fn queue_memory(&self) -> usize {
        self.outbox.borrow().memory() + self.transport.borrow().sealed_memory()
    }

    /// Bytes that the socket is to accept for what waits. More than wait, if TLS seals them.
    pub fn backlog_on_wire(&self) -> usize {
        self.transport.borrow().length_on_wire(self.backlog())
    }

    /// Bytes that wait; those that are sealed wait twice.
    pub fn backlog_and_sealed(&self) -> usize {
        self.backlog() + self.transport.borrow().sealed_memory()
    }

    /// Drops every frame of which nothing is written. Returns how many bytes remain; those that are sealed count twice.
    pub fn drop_unbegun(&self) -> usize {
        self.outbox.borrow_mut().drop_unbegun(self.transport.borrow().sealed_data());
        self.backlog_and_sealed()
    }

    /// Memory of what was received and not handled, in bytes, and the message in it. Not while bytes of the client are
    /// handled.
    #[inline]
    pub fn held(&self) -> (usize, Option<Incomplete>) {
        let rest = if self.turn.has_rest.get() { self.extras.rest_memory() } else { 0 };
        let received = self.transport.borrow().received_memory();
        (self.endpoint.held_bytes() + rest + received, self.endpoint.incomplete())
    }

    /// Writes as much of the queue as the socket takes. True: everything.
    pub fn flush(&self, pool: &Pool) -> io::Result<bool> {
        let (transport, mut outbox) = (self.transport.borrow(), self.outbox.borrow_mut());
        let (before, recorded) = (outbox.len(), self.recorded());
        let result = outbox.write_to(pool, |slices| {
            let length = transport.write(slices)?;
            recorded.iter().for_each(|recorded| recorded.note_sent(slices, length));
            Ok(length)
        });
        if outbox.len() < before || transport.take_progressed() {
            self.turn.progressed.set(true);
        }
        result
    }

    /// Keeps bytes that were read and not handled.
    #[cold]
    pub fn keep_rest(&self, rest: Rest) {
        self.turn.has_rest.set(true);
        self.extras.keep_rest(rest);
    }

    /// Takes the bytes that were read and not handled.
    #[cold]
    pub fn take_rest(&self) -> Option<Rest> {
        self.turn.has_rest.set(false);
        self.extras.take_rest()
    }

    /// The transport, to read from.
    #[inline]
    pub fn transport(&self) -> std::cell::Ref<'_, Transport> {
        self.transport.borrow()
    }

    /// The socket is closed or broken: the connection ends, as lost if it was open. The descriptor stays until the
    /// client is dropped. Not while the queue is written.
    pub fn abort(&self, now: Instant) {
        self.endpoint.abort(now);
        self.outbox.take();
        self.turn.blocked.set(false);
        self.gone.set(true);
    }

    /// Whether the socket is of no more use.
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }
}
