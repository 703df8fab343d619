//! Messages, broadcast scopes, and the status values of host calls. Independent of connections.
#![forbid(unsafe_code)]

use crate::abi;

/// One complete WebSocket message, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A TEXT message, which is UTF-8.
    Text(&'a str),
    /// A BINARY message.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload of either kind.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text of a TEXT message; None for a BINARY message.
    pub fn as_text(&self) -> Option<&'a str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    pub(crate) fn op(&self) -> u8 {
        match self {
            Message::Text(_) => abi::op::TEXT,
            Message::Binary(_) => abi::op::BINARY,
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Message::Binary(bytes)
    }
}

/// Which clients a broadcast reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The clients of this worker.
    Local,
    /// The clients of all workers.
    Global,
}

impl Scope {
    pub(crate) fn code(self) -> u32 {
        match self {
            Scope::Local => abi::scope::LOCAL,
            Scope::Global => abi::scope::GLOBAL,
        }
    }
}

/// Result of a call to the host. It may be ignored: sending to a client that has just disconnected is not an
/// error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Success. For a message to one client: it is queued, and the host begins to write it to the socket no
    /// later than when the callbacks of this turn of the event loop have run; at once if more than the host's
    /// `high_water` waits. A callback that sends and sleeps in turns therefore sends everything at its end.
    Sent,
    /// Success, but the client's write queue exceeds the host's `high_water`: the client reads more slowly
    /// than the plugin sends. An `#[ondrain]` handler of the connection is called when nothing waits any more.
    Queued,
    /// Nothing done: the connection is closing or closed.
    Closed,
    /// Nothing done: the message exceeds the host's `max_message`, or a control message exceeds 125 bytes.
    TooLarge,
    /// Nothing done: the opcode cannot be sent.
    BadOp,
    /// Nothing done: the text is not UTF-8.
    BadUtf8,
    /// Nothing done: an argument is invalid, such as a close code that RFC 6455 §7.4 reserves.
    BadArgument,
    /// Nothing done: no worker has that number, or the worker is the sender.
    NotFound,
    /// Nothing done: called outside the worker thread, or no host has loaded the library (as in a unit test).
    NoHost,
    /// Nothing done: the queue of the background pool is full.
    Busy,
    /// Nothing done: a load, save or restore hook is running and cannot send.
    NotNow,
    /// Nothing done: the message was dropped, because the client's write queue exceeds the host's `high_water` and its
    /// route has `on_full = "drop"`.
    Dropped,
    /// A status that this version of the SDK does not know. Negative: nothing was done.
    Other(i32),
}

impl Status {
    /// Whether the call succeeded.
    pub fn is_ok(self) -> bool {
        matches!(self, Status::Sent | Status::Queued | Status::Other(0..))
    }

    pub(crate) fn from_code(code: i32) -> Self {
        match code {
            abi::status::SENT => Status::Sent,
            abi::status::QUEUED => Status::Queued,
            abi::status::CLOSED => Status::Closed,
            abi::status::TOO_LARGE => Status::TooLarge,
            abi::status::BAD_OP => Status::BadOp,
            abi::status::BAD_UTF8 => Status::BadUtf8,
            abi::status::BAD_ARGUMENT => Status::BadArgument,
            abi::status::NOT_FOUND => Status::NotFound,
            abi::status::WRONG_THREAD => Status::NoHost,
            abi::status::BUSY => Status::Busy,
            abi::status::NOT_NOW => Status::NotNow,
            abi::status::DROPPED => Status::Dropped,
            other => Status::Other(other),
        }
    }
}
