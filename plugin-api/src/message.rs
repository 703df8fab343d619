//! What is sent and received, how far it goes, and what became of it. Knows nothing of connections.
#![forbid(unsafe_code)]

use crate::abi;

/// One whole WebSocket message, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A TEXT message: UTF-8.
    Text(&'a str),
    /// A BINARY message.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The payload, whatever its kind.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The text of a TEXT message.
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

/// How far a broadcast goes.
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

/// What became of a call to the host. It may be ignored: a message to a client that has just left is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Done; a message leaves with the next write of this turn.
    Sent,
    /// Done, but more than the high-water mark waits for this client: it reads slower than you send.
    Queued,
    /// Not done: the connection is closing or closed.
    Closed,
    /// Not done: longer than the host's `max_message`, or a control message longer than 125 bytes.
    TooLarge,
    /// Not done: an opcode that cannot be sent.
    BadOp,
    /// Not done: text that is not UTF-8.
    BadUtf8,
    /// Not done: an argument outside its range, such as a close code that RFC 6455 §7.4 reserves.
    BadArgument,
    /// Not done: there is no such worker.
    NotFound,
    /// Not done: not on a worker's thread, or not loaded by a host at all (a unit test).
    NoHost,
    /// Not done: too much work waits for the background pool.
    Busy,
    /// Not done: nobody can be reached while a plugin is loaded, or its state saved or restored.
    NotNow,
    /// A number that this version of the SDK does not know; negative means not done.
    Other(i32),
}

impl Status {
    /// Whether it was done.
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
            other => Status::Other(other),
        }
    }
}
