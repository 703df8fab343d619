//! One WebSocket connection. Its methods call the host through `boundary`.
#![forbid(unsafe_code)]

use std::any::Any;

use crate::abi;
use crate::boundary::{self, Held, RawConnection};
use crate::message::{Message, Scope, Status};

/// One WebSocket connection. It cannot leave the worker thread. To refer to it from another thread, or after
/// the callback has returned, keep its [`id`](Self::id).
///
/// ```compile_fail
/// fn elsewhere<T: Send>(_: T) {}
/// fn onmessage(c: &'static callsign_plugin::Connection) { elsewhere(c) }
/// ```
#[repr(transparent)]
pub struct Connection {
    pub(crate) raw: RawConnection,
}

/// Which side closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client closed the connection with a Close frame, or disconnected without one.
    Client,
    /// The server closed the connection: a plugin did, or the host did because of a protocol violation, a
    /// limit, a failed callback or a shutdown.
    Server,
}

impl Connection {
    /// Sends one message to this client.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) -> Status {
        let message = message.into();
        self.raw.send(message.op(), message.as_bytes())
    }

    /// Sends a Ping (RFC 6455 §5.5.2) of at most 125 bytes, for example to measure latency. The host sends
    /// its own pings to detect dead connections.
    pub fn ping(&self, data: &[u8]) -> Status {
        self.raw.send(abi::op::PING, data)
    }

    /// Sends an unsolicited Pong (RFC 6455 §5.5.3) of at most 125 bytes. The host itself replies to pings.
    pub fn pong(&self, data: &[u8]) -> Status {
        self.raw.send(abi::op::PONG, data)
    }

    /// Sends one message to every client of the scope except this one. If several plugins are loaded, it reaches
    /// the connections that have a handler of this plugin, unless the host's configuration says
    /// `broadcast = "all"` for it.
    pub fn broadcast<'m>(&self, message: impl Into<Message<'m>>, scope: Scope) -> Status {
        let message = message.into();
        self.raw.broadcast(message.op(), message.as_bytes(), scope.code())
    }

    /// Number of bytes in the write queue, frame headers included: what was sent to the client and the system has not
    /// accepted yet. What a callback sends waits at least until it returns, unless it exceeds the host's `high_water`.
    ///
    /// To send much data without filling the queue, stop when this exceeds a number of your own, and go on in an
    /// `#[ondrain]` handler. The host calls it once when nothing waits any more, if this was not 0 or
    /// [`send`](Self::send) returned [`Status::Queued`] or [`Status::Dropped`]:
    ///
    /// ```
    /// # use std::cell::Cell;
    /// # use callsign_plugin::prelude::*;
    /// #[ondrain]
    /// fn go_on(c: &Connection) {
    ///     let sent = c.data::<Cell<u32>>().expect("onconnect has set it");
    ///     while sent.get() < 1_000_000 && c.queued() < 32 * 1024 {
    ///         c.send(&format!("line {}", sent.get()));
    ///         sent.set(sent.get() + 1);
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    ///
    /// The handler is bound by [`Response::ondrain`](crate::Response::ondrain), or by `ondrain` of a route.
    pub fn queued(&self) -> usize {
        self.raw.queued()
    }

    /// Starts the closing handshake (RFC 6455 §7.1.2). The client still receives messages that were sent
    /// before; the plugin receives no more messages. Applications may use code 1000 (normal closure) and 3000
    /// to 4999 (RFC 6455 §7.4). The reason is truncated to 123 bytes.
    pub fn close(&self, code: u16, reason: &str) -> Status {
        self.raw.close(code, reason)
    }

    /// The id of this connection. It is unchanged by a reload and never reused while the server runs.
    pub fn id(&self) -> u64 {
        self.raw.id()
    }

    /// Calls `f` with the open connection of this worker that has the id. Returns None if there is no such
    /// connection.
    pub fn with<R>(id: u64, f: impl FnOnce(&Connection) -> R) -> Option<R> {
        boundary::with_connection(id, f)
    }

    /// Address and port of the client: "192.0.2.7:51314", "\[2001:db8::7\]:51314", or "unix:" for a client of a Unix
    /// socket. Behind a reverse proxy that the operator trusts, it is what the proxy says, with port 0 if it says none.
    pub fn peer(&self) -> &str {
        self.raw.peer()
    }

    /// Whether what the client sends is encrypted on its way, to the host or to a reverse proxy that the operator trusts.
    /// Such a proxy says so, by `proto=` in Forwarded, by X-Forwarded-Proto, or in its PROXY header, and it has to replace
    /// these headers where clients send them. False if the proxy names a client and no scheme, or if its headers contradict
    /// each other, and with a host that does not know.
    pub fn is_secure(&self) -> bool {
        self.raw.is_secure()
    }

    /// Path of the upgrade request, without the query and the `strip_prefix` of its route. Percent-encoding is kept.
    pub fn path(&self) -> &str {
        self.raw.path()
    }

    /// Query of the upgrade request: the part after the `?`, or "".
    pub fn query(&self) -> &str {
        self.raw.query()
    }

    /// Value of a parameter in the path of the route, as [`Request::param`](crate::Request::param) describes.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.raw.param(name)
    }

    /// The subprotocol that the 101 selected (RFC 6455 §1.9), or "". A handler selects it with
    /// [`Response::protocol`](crate::Response::protocol), otherwise `protocols` of the route in the host's
    /// configuration.
    pub fn protocol(&self) -> &str {
        self.raw.protocol()
    }

    /// Value of the upgrade request's first header of that name, which is case-insensitive. None also if the
    /// value is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.raw.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers of the upgrade request, with names in lower case and values as sent. Several Cookie lines are
    /// one header, joined by `; `.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        (0..).map_while(|index| self.raw.header_at(index))
    }

    /// Code of the first Close frame, sent or received. 1005 if that frame had no code; 1006 if the
    /// connection ended without a Close frame (RFC 6455 §7.1.5); 0 while the connection is open.
    pub fn close_code(&self) -> u16 {
        self.raw.close_code()
    }

    /// The reason that came with the close code, or "".
    pub fn close_reason(&self) -> &str {
        self.raw.close_reason()
    }

    /// Which side closed the connection; None while it is open.
    pub fn closed_by(&self) -> Option<ClosedBy> {
        match self.raw.closed_by() {
            abi::closed_by::CLIENT => Some(ClosedBy::Client),
            abi::closed_by::SERVER => Some(ClosedBy::Server),
            _ => None,
        }
    }

    /// Sets the data of the connection, and returns a reference to it. The data is dropped after
    /// `ondisconnect`. Data can be set only once per connection, so that references to it stay valid; use a
    /// `Cell` or `RefCell` for data that changes. Only a plugin with a handler bound to the connection may set
    /// data, because only then it is dropped.
    ///
    /// A reload does not carry data over: the host calls `ondisconnect` of the old generation and `onconnect`
    /// of the new one, which can set the data again. Use a [`state`](Self::state) for data that a reload must
    /// carry over.
    ///
    /// # Panics
    /// If the connection already has data or a state.
    #[track_caller]
    pub fn set_data<T: Any>(&self, data: T) -> &T {
        match self.raw.held() {
            Held::Nothing => {}
            Held::State(state) => panic!(
                "connection {} has a state already, a `{state}`: a connection has either data or a state; make the \
                 data a part of the state",
                self.id()
            ),
            Held::Data(_) | Held::Foreign => {
                panic!("connection {} has data already: it is set once, put a Cell or RefCell in", self.id())
            }
        }
        self.raw.set_data(data)
    }

    /// The data, if this generation of the plugin set it and it is a `T`.
    pub fn data<T: Any>(&self) -> Option<&T> {
        self.raw.data()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).field("peer", &self.peer()).finish()
    }
}

/// Sends one message to every client of the scope. If several plugins are loaded:
/// [`Connection::broadcast`].
pub fn broadcast<'m>(message: impl Into<Message<'m>>, scope: Scope) -> Status {
    let message = message.into();
    boundary::broadcast_to_all(message.op(), message.as_bytes(), scope.code())
}
