//! One WebSocket client as handlers see it. What it does is done by the host, through `boundary`.
#![forbid(unsafe_code)]

use std::any::Any;

use crate::abi;
use crate::boundary::{self, Held, RawConnection};
use crate::message::{Message, Scope, Status};

/// One WebSocket client. It lives on its worker's thread; take its [`id`](Self::id) elsewhere.
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
    /// The client: by a Close frame, or by leaving without one.
    Client,
    /// The server: a plugin, or the host because of a violation, a limit, a failed callback, a shutdown.
    Server,
}

impl Connection {
    /// Sends one message to this client.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) -> Status {
        let message = message.into();
        self.raw.send(message.op(), message.as_bytes())
    }

    /// Sends a Ping (RFC 6455 §5.5.2) of at most 125 bytes. The host keeps connections alive by itself;
    /// this is for measuring.
    pub fn ping(&self, data: &[u8]) -> Status {
        self.raw.send(abi::op::PING, data)
    }

    /// Sends an unasked Pong (RFC 6455 §5.5.3) of at most 125 bytes. Pings are answered by the host.
    pub fn pong(&self, data: &[u8]) -> Status {
        self.raw.send(abi::op::PONG, data)
    }

    /// Sends one message to every other client of the scope.
    pub fn broadcast<'m>(&self, message: impl Into<Message<'m>>, scope: Scope) -> Status {
        let message = message.into();
        self.raw.broadcast(message.op(), message.as_bytes(), scope.code())
    }

    /// Starts the closing handshake. What was sent before still arrives; nothing is received after. Codes
    /// for applications are 3000 to 4999, and 1000 for "done" (RFC 6455 §7.4); the reason is cut to 123
    /// bytes.
    pub fn close(&self, code: u16, reason: &str) -> Status {
        self.raw.close(code, reason)
    }

    /// Stable, and never used twice while the server lives.
    pub fn id(&self) -> u64 {
        self.raw.id()
    }

    /// Runs `f` with the open connection of that id, if this worker has one.
    pub fn with<R>(id: u64, f: impl FnOnce(&Connection) -> R) -> Option<R> {
        boundary::with_connection(id, f)
    }

    /// Address and port of the client: "192.0.2.7:51314", "\[2001:db8::7\]:51314".
    pub fn peer(&self) -> &str {
        self.raw.peer()
    }

    /// Path of the request that was upgraded, without the query, percent-encoding kept.
    pub fn path(&self) -> &str {
        self.raw.path()
    }

    /// What followed the `?`, or "".
    pub fn query(&self) -> &str {
        self.raw.query()
    }

    /// The request's first header of that name, in any case; None also if it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.raw.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers of the request: names in lower case, values as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        (0..).map_while(|index| self.raw.header_at(index))
    }

    /// The code of the first Close frame, sent or received; 1005 if that had none, 1006 if the connection
    /// ended without one (RFC 6455 §7.1.5); 0 while it is open.
    pub fn close_code(&self) -> u16 {
        self.raw.close_code()
    }

    /// The reason that came with the code, or "".
    pub fn close_reason(&self) -> &str {
        self.raw.close_reason()
    }

    /// Which side closed; None while it is open.
    pub fn closed_by(&self) -> Option<ClosedBy> {
        match self.raw.closed_by() {
            abi::closed_by::CLIENT => Some(ClosedBy::Client),
            abi::closed_by::SERVER => Some(ClosedBy::Server),
            _ => None,
        }
    }

    /// Gives the connection its data, which is dropped after `ondisconnect`. There is one slot, and it is
    /// filled once, so that a reference to it stays good; for what changes, put a `Cell` or `RefCell` in. A
    /// plugin none of whose handlers are bound to the connection should not set it: its data is not dropped.
    ///
    /// It is not carried over a reload: the connection then sees `ondisconnect` by the old code and `onconnect`
    /// by the new, which can set it anew. What is to be carried over is a [`state`](Self::state).
    ///
    /// # Panics
    /// If the connection has data already, or a state.
    #[track_caller]
    pub fn set_data<T: Any>(&self, data: T) -> &T {
        match self.raw.held() {
            Held::Nothing => {}
            Held::State(state) => panic!(
                "connection {} has a state already, a `{state}`: it has either data or a state; make the data a \
                 part of that",
                self.id()
            ),
            Held::Data(_) | Held::Foreign => {
                panic!("connection {} has data already: it is set once, put a Cell or RefCell in", self.id())
            }
        }
        self.raw.set_data(data)
    }

    /// The data, if it was set by this plugin and is a `T`.
    pub fn data<T: Any>(&self) -> Option<&T> {
        self.raw.data()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).field("peer", &self.peer()).finish()
    }
}

/// Sends one message to every client of the scope.
pub fn broadcast<'m>(message: impl Into<Message<'m>>, scope: Scope) -> Status {
    let message = message.into();
    boundary::broadcast_to_all(message.op(), message.as_bytes(), scope.code())
}
