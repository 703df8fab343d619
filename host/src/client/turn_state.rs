//! What the driver of a client notes between the client's turns. It belongs to the worker: a frozen client does not
//! contain it, and nothing in `client` but flushing changes it.

use std::cell::Cell;
use std::time::Instant;

/// The ondrain handler of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ondrain {
    /// There is none.
    #[default]
    None,
    /// It is called after a message had to wait.
    Bound,
    /// It is called when nothing waits any more.
    Due,
}

/// What reads and writes of a client look after. In one byte, because every client has it.
#[derive(Debug, Default)]
pub struct Watched(Cell<u8>);

impl Watched {
    const LIMITED: u8 = 1;
    const RECORDED: u8 = 2;

    /// The client's route has limits of its own.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.0.get() & Self::LIMITED != 0
    }

    /// The access log counts what is read and written.
    #[inline]
    pub fn is_recorded(&self) -> bool {
        self.0.get() & Self::RECORDED != 0
    }

    /// From now on [`Watched::is_limited`].
    pub fn limit(&self) {
        self.0.set(self.0.get() | Self::LIMITED);
    }

    /// From now on [`Watched::is_recorded`].
    pub fn record(&self) {
        self.0.set(self.0.get() | Self::RECORDED);
    }
}

/// Notes between two turns of a client.
#[derive(Debug, Default)]
pub struct TurnState {
    /// The client's index among the clients of its worker.
    pub slot: Cell<u32>,
    /// The client's number, from 1, among those that hold received bytes. 0: it holds none.
    pub holder: Cell<u32>,
    /// Bytes that may wait after a message that is queued by the short path. 0: none is, because messages may be
    /// compressed.
    pub short_path_max: Cell<u32>,
    /// The client waits for its turn.
    pub queued: Cell<bool>,
    /// A flush will follow: at the end of this read, or of this turn of the loop.
    pub flush_due: Cell<bool>,
    /// The socket may have bytes to read.
    pub readable: Cell<bool>,
    /// The socket may accept bytes again.
    pub writable: Cell<bool>,
    /// Bytes that were read wait to be handled.
    pub has_rest: Cell<bool>,
    /// The last read was not handled in one turn.
    pub is_heavy: Cell<bool>,
    /// The client has ended its side. Reading goes on to the end without further events.
    pub read_closed: Cell<bool>,
    /// The client has sent urgent data. A read may end before it although more bytes are there.
    pub urgent: Cell<bool>,
    /// The socket's buffer is full.
    pub blocked: Cell<bool>,
    /// What each read and write has to look after.
    pub watched: Watched,
    /// Whether the client has an ondrain handler, and whether that is to be called.
    pub ondrain: Cell<Ondrain>,
    /// Set when the socket accepts bytes; cleared when a stall is checked.
    pub progressed: Cell<bool>,
    /// Since when the socket accepts nothing of a long queue.
    pub stalled_since: Cell<Option<Instant>>,
}
