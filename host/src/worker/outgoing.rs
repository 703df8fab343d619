//! Memory of the write queues of a worker's clients, and its bound.
//!
//! Only the queues of clients whose socket is full count, and frames that queues share, each once: what others have
//! queued leaves with this turn of the loop. So nothing is counted for a client that reads. At the bound those clients
//! are closed that hold most; their queues are dropped, because their memory is needed now. Windows of compression count,
//! too, and are dropped first.

use std::cell::Cell;
use std::rc::Rc;

use log::Level;

use super::hub::Hub;
use super::schedule::now;
use crate::client::Client;
use crate::client::outbox::{Outbox, Pool};
use crate::config::units::Size;
use crate::system::scoreboard::Slot;

/// RFC 6455 and IANA's registry: try again later.
pub const TRY_AGAIN_LATER: u16 = 1013;
/// When the bound is reached, this part of it is freed, so that the search for the largest queues is rare.
pub const FREED_PART: usize = 8;
/// A frame that is begun has to be completed before a Close, and sealed records have to be written. A longer rest is
/// dropped, together with the socket; so is one that is most of the queue.
const REST_MAX: usize = 64 * 1024;

/// Memory of the write queues of a worker's clients.
pub struct Outgoing {
    /// What the queues of blocked clients do not share, in bytes.
    own: Cell<usize>,
    /// Windows of compression, in bytes.
    windows: Cell<usize>,
    /// Windows were dropped, and new ones are not kept until [`FREED_PART`] of the bound is free.
    windows_paused: Cell<bool>,
    pub(super) score: &'static Slot,
}

impl Outgoing {
    /// Nothing is queued. The scoreboard shows the memory.
    pub fn new(score: &'static Slot) -> Self {
        Self { own: Cell::new(0), windows: Cell::new(0), windows_paused: Cell::new(false), score }
    }

    /// Bytes of memory.
    pub fn memory(&self, pool: &Pool) -> usize {
        self.own.get() + self.windows.get() + pool.shared_memory()
    }

    /// The memory of a client's window has changed.
    pub(super) fn change_windows(&self, before: usize, after: usize, pool: &Pool) {
        self.windows.set(self.windows.get() + after - before);
        self.score.set_send_memory(self.memory(pool));
    }

    /// All windows were dropped, because the memory was above the bound.
    pub(super) fn pause_windows(&self) {
        self.windows_paused.set(true);
    }

    /// The part of a client that is not shared has changed.
    fn change(&self, before: usize, after: usize) {
        self.own.set(self.own.get() + after - before);
    }
}

/// `client` or `3 clients`, for the log, behind an article.
pub fn clients(count: usize) -> String {
    match count {
        1 => "client".to_owned(),
        n => format!("{n} clients"),
    }
}

impl Hub {
    /// Adds to a client's queue; returns how many bytes then wait. None: the client was closed for it.
    #[inline]
    pub(super) fn push(&self, c: &Client, push: impl FnOnce(&mut Outbox)) -> Option<usize> {
        // Called in one place, `push` is compiled into this function.
        let counted = c.turn.blocked.get().then(|| (c.own_queue_memory(), c.is_open()));
        let waiting = c.queue(push);
        if let Some((before, was_open)) = counted {
            self.count_queue(c, before);
            return (c.is_open() == was_open).then_some(waiting);
        }
        Some(waiting)
    }

    /// What is counted for a client.
    #[inline]
    pub(super) fn counted(&self, c: &Client) -> usize {
        if c.turn.blocked.get() { c.own_queue_memory() } else { 0 }
    }

    /// The queue of a client has changed that is blocked or was; `before` was counted for it. May close any client.
    pub(super) fn count_queue(&self, c: &Client, before: usize) {
        self.outgoing.change(before, self.counted(c));
        self.outgoing.score.set_send_memory(self.outgoing.memory(&self.pool));
        self.bound_senders();
    }

    /// Frees memory if it is above the bound: first that of windows, which costs no client.
    pub(super) fn bound_senders(&self) {
        let is_above = || self.outgoing.memory(&self.pool) > self.limits.get().send_memory;
        if is_above() && (!self.drop_sent_windows() || is_above()) {
            self.shed_senders();
        }
    }

    /// Whether windows of compression may grow. Without a pause, each recipient of a broadcast could be the
    /// one whose window exceeds the bound, and have the windows of all dropped again.
    pub(super) fn keeps_windows(&self) -> bool {
        let (outgoing, max) = (&self.outgoing, self.limits.get().send_memory);
        if outgoing.windows_paused.get() && outgoing.memory(&self.pool) <= max - max / FREED_PART {
            outgoing.windows_paused.set(false);
        }
        !outgoing.windows_paused.get()
    }

    /// The client's queue is about to be dropped with it.
    pub(super) fn uncount_queue(&self, c: &Client) {
        self.outgoing.change(self.counted(c), 0);
        self.outgoing.score.set_send_memory(self.outgoing.memory(&self.pool));
    }

    /// Closes the clients with the largest queues.
    #[cold]
    fn shed_senders(&self) {
        let max = self.limits.get().send_memory;
        let before = self.outgoing.memory(&self.pool);
        let blocked = self.all().into_iter().filter(|c| c.turn.blocked.get());
        let mut by_memory: Vec<(usize, Rc<Client>)> = blocked.map(|c| (c.queue_memory(), c)).collect();
        by_memory.sort_unstable_by_key(|(memory, c)| std::cmp::Reverse((*memory, c.backlog())));
        let mut closed = 0;
        for (_, c) in by_memory {
            if self.outgoing.memory(&self.pool) <= max - max / FREED_PART {
                break;
            }
            self.drop_queue(&c);
            closed += 1;
        }
        self.outgoing.score.count_shed(closed);
        self.outgoing.score.set_send_memory(self.outgoing.memory(&self.pool));
        let clients = clients(closed);
        self.repeats.log(
            Level::Warn,
            "send_memory",
            format_args!(
                "clients read slower than they are sent to: {before} bytes wait for them, more than --send-memory ({}); \
                 closed the {clients} for which most waited with {TRY_AGAIN_LATER}",
                Size(max)
            ),
        );
    }

    /// Closes a client and frees its queue, up to the frame that is begun.
    fn drop_queue(&self, c: &Client) {
        let Ok(Some(close)) = c.endpoint.close(TRY_AGAIN_LATER, "too slow to receive", now()) else {
            // It is closing already and does not read what waits.
            return self.abort(c);
        };
        let (before, waiting) = (self.counted(c), c.backlog_and_sealed());
        let rest = c.drop_unbegun();
        c.queue(|outbox| outbox.push_framed(&close, &self.pool));
        self.outgoing.change(before, self.counted(c));
        // If little were freed, all clients would be closed for the memory of a few.
        if rest > REST_MAX.min(waiting / 2) {
            return self.abort(c);
        }
        self.closing(c);
    }
}
