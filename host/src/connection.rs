//! One upgraded client: what a plugin can do with it, its write queue, and how it ended. Reading from it, and
//! its life from onconnect to ondisconnect, is `session`.

use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::ffi::CString;
use std::ptr;
use std::rc::{Rc, Weak};
use std::task::Waker;

use bytes::Bytes;
use callsign_plugin::abi::{self, closed_by, status};
use tokio::net::TcpStream;

use crate::clients::Seat;
use crate::http::exchange::Owner;
use crate::http::head::Head;
use crate::outbox::Outbox;
use crate::plugin::handler::Callbacks;
use crate::websocket::{close_code_allowed, cut_reason, write_close};
use crate::worker::Worker;

/// One upgraded client; what `struct connection` points to.
#[repr(C)]
pub struct Connection {
    /// What the plugin sees. First, so that its address is the connection's.
    shared: UnsafeCell<abi::Connection>,
    /// Stable, unique.
    pub id: u64,
    /// The worker it belongs to.
    pub worker: &'static Worker,
    /// The handlers that the handshake has bound.
    pub callbacks: Callbacks,
    /// The request that was upgraded.
    pub head: Head,
    /// Read by the session, written by `flush`.
    pub stream: RefCell<TcpStream>,
    /// How far the closing has come.
    pub phase: Cell<Phase>,
    /// Whether its plugin has been told that it left, though it stayed: a reload could not carry its data over.
    pub left: Cell<bool>,
    /// Whether anything has come from the client since the last look.
    pub heard: Cell<bool>,
    /// Whether the client has taken bytes since the session last looked.
    pub progressed: Cell<bool>,
    /// Whether a flush is sure to come: at the end of this read, or of this turn.
    pub flush_due: Cell<bool>,
    /// Whether the socket has refused bytes: the session then waits until it takes some.
    pub blocked: Cell<bool>,
    /// The session's, to be woken by what others do to the connection.
    pub waker: RefCell<Option<Waker>>,
    outbox: RefCell<Outbox>,
    ending: OnceCell<Box<Ending>>,
    _seat: Rc<Seat>,
    me: Weak<Connection>,
}

/// How far the closing of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Messages go both ways.
    Open,
    /// Our Close is queued; the client's has not come yet.
    Closing,
    /// Both Closes are exchanged, or ours was an error: only the queue has to be written.
    Closed,
    /// The socket is of no more use.
    Gone,
}

/// How a connection ended.
#[derive(Debug)]
pub struct Ending {
    /// RFC 6455 §7.1.5.
    pub code: u16,
    /// RFC 6455 §7.1.6.
    pub reason: CString,
    /// One of [`closed_by`].
    pub by: u32,
}

/// Codes that no Close frame carries (RFC 6455 §7.4.1): there was none in the frame, there was no frame.
pub const NO_CODE: u16 = 1005;
/// See [`NO_CODE`].
pub const NO_CLOSE: u16 = 1006;

impl Connection {
    /// A client that has its 101.
    pub fn new(
        worker: &'static Worker,
        id: u64,
        stream: TcpStream,
        owner: Owner,
        callbacks: Callbacks,
        seat: Rc<Seat>,
    ) -> Rc<Self> {
        let (head, shared) = owner.into_connection(id);
        Rc::new_cyclic(|me| Self {
            shared: UnsafeCell::new(shared),
            id,
            worker,
            callbacks,
            head,
            stream: RefCell::new(stream),
            phase: Cell::new(Phase::Open),
            left: Cell::new(false),
            heard: Cell::new(true),
            progressed: Cell::new(false),
            flush_due: Cell::new(false),
            blocked: Cell::new(false),
            waker: RefCell::new(None),
            outbox: RefCell::default(),
            ending: OnceCell::new(),
            _seat: seat,
            me: me.clone(),
        })
    }

    /// The pointer that is handed to plugins, good for the whole connection.
    pub fn as_ptr(&self) -> *mut abi::Connection {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Queues one message; a [`status`].
    #[inline]
    pub fn send(&self, op: u8, data: &[u8]) -> i32 {
        match self.worker.sendable(op, data) {
            Ok(()) => self.queue(|outbox| outbox.push(op, data, &self.worker.pool)),
            Err(status) => status,
        }
    }

    /// Queues a frame that was made for many; a [`status`].
    pub fn send_framed(&self, frame: &[u8]) -> i32 {
        self.queue(|outbox| outbox.push_framed(frame, &self.worker.pool))
    }

    /// Queues a large frame that was made for many, without copying it; a [`status`].
    pub fn send_shared(&self, frame: &Bytes) -> i32 {
        self.queue(|outbox| outbox.push_shared(frame.clone()))
    }

    /// The bound on the queue: a message is taken when what already waits is within it, so that a client
    /// that reads can be sent a message larger than the bound.
    #[inline]
    fn queue(&self, push: impl FnOnce(&mut Outbox)) -> i32 {
        if self.phase.get() != Phase::Open {
            return status::CLOSED;
        }
        let mut outbox = self.outbox.borrow_mut();
        if outbox.len() > self.worker.limits.max_backlog {
            drop(outbox);
            return self.overflow();
        }
        push(&mut outbox);
        let high_water = self.worker.limits.high_water;
        if outbox.len() <= high_water {
            drop(outbox);
            self.flush_later();
            return status::SENT;
        }
        drop(outbox);
        if !self.blocked.get() {
            self.flush();
        }
        if self.outbox.borrow().len() > high_water { status::QUEUED } else { status::SENT }
    }

    #[cold]
    fn overflow(&self) -> i32 {
        let waiting = self.outbox.borrow().len();
        log::warn!(
            "connection {} ({}) reads slower than it is sent to: {waiting} bytes wait for it, more than --max-backlog; closing it with 1013",
            self.id,
            self.peer()
        );
        self.close(1013, "too slow to receive");
        status::CLOSED
    }

    /// Sees to it that the queue is written before this turn of the loop is over.
    #[inline]
    fn flush_later(&self) {
        if !self.flush_due.replace(true) {
            self.worker.flush_later(self.me.clone());
        }
    }

    /// Writes what the socket takes.
    pub fn flush(&self) {
        if self.is_flushed() {
            return;
        }
        let result = {
            let stream = self.stream.borrow();
            let mut outbox = self.outbox.borrow_mut();
            let before = outbox.len();
            let result = outbox.write_to(&self.worker.pool, |slices| match slices {
                [one] => stream.try_write(one),
                many => stream.try_write_vectored(many),
            });
            if outbox.len() < before {
                self.progressed.set(true);
            }
            result
        };
        match result {
            Ok(drained) => {
                let changed = self.blocked.replace(!drained) == drained;
                if changed || self.phase.get() != Phase::Open {
                    self.wake();
                }
            }
            Err(_) => self.lost(),
        }
    }

    /// Whether everything is written.
    pub fn is_flushed(&self) -> bool {
        self.outbox.borrow().is_empty()
    }

    /// Whether so much waits for a client that does not take it now that it should be heard no further.
    pub fn is_behind(&self) -> bool {
        self.blocked.get() && self.outbox.borrow().len() > self.worker.limits.high_water
    }

    /// Has the session look at the connection again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// A plugin, or the host in its own name, starts the closing handshake; a [`status`].
    pub fn close(&self, code: u16, reason: &str) -> i32 {
        if self.phase.get() != Phase::Open {
            return status::CLOSED;
        }
        if code != 0 && !close_code_allowed(code) {
            return status::BAD_ARGUMENT;
        }
        let (sent, reason) = if code == 0 { (None, "") } else { (Some(code), reason) };
        self.end(sent.unwrap_or(NO_CODE), reason, closed_by::SERVER);
        self.push_close(sent, reason);
        self.enter(Phase::Closing);
        status::SENT
    }

    /// Fails the connection (RFC 6455 §7.1.7): tells the client why and waits for nothing.
    pub fn fail(&self, code: u16, reason: &str) {
        if self.phase.get() == Phase::Open {
            self.end(code, reason, closed_by::SERVER);
            self.push_close(Some(code), reason);
        }
        self.enter(Phase::Closed);
    }

    /// The client's Close came: answers it with its own code and reason (RFC 6455 §5.5.1), if it was the first.
    pub fn closed_by_client(&self, code: Option<u16>, reason: &str) {
        if self.phase.get() == Phase::Open {
            self.end(code.unwrap_or(NO_CODE), reason, closed_by::CLIENT);
            self.push_close(code, reason);
        }
        self.enter(Phase::Closed);
    }

    /// The client has left, or its socket has failed.
    pub fn lost(&self) {
        self.end(NO_CLOSE, "", closed_by::CLIENT);
        self.blocked.set(false);
        self.enter(Phase::Gone);
    }

    fn push_close(&self, code: Option<u16>, reason: &str) {
        let mut frame = Vec::new();
        write_close(&mut frame, code, reason);
        self.outbox.borrow_mut().push_framed(&frame, &self.worker.pool);
        self.flush_later();
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.wake();
    }

    /// The first ending counts.
    fn end(&self, code: u16, reason: &str, by: u32) {
        let reason = cut_reason(reason).split('\0').next().unwrap_or_default();
        let _ =
            self.ending.set(Box::new(Ending { code, reason: CString::new(reason).unwrap_or_default(), by }));
    }

    /// How it ended; None while it is open.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get().map(|ending| &**ending)
    }

    /// Address and port of the client, for messages.
    pub fn peer(&self) -> &str {
        self.head.peer().to_str().unwrap_or_default()
    }
}
