//! The scoreboard: memory that the parent shares with its workers, with one slot for each worker. A worker writes the
//! callback that it runs, its counters, its heartbeat, and how it crashed. The parent reads a slot without the worker's help, so it
//! can report on a worker that hangs or is dead.
//!
//! Slots are untrusted: the reader validates every value, and nothing that a worker writes can harm the parent. Every
//! worker maps all slots and can write to each, so a faulty worker can falsify reports on the others.
//!
//! The scoreboard stores names of plugins and handlers as text ([`CodeLabel`]). It starts no process, calls no plugin
//! and writes no log.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::shared_memory::{self, Mapping};

mod label; // names of plugin code

mod module; // where code is

mod crash_record; // how a worker crashed

mod slot; // the share of one worker

mod text; // strings in shared memory

mod callback_timer; // slow and hung callbacks

mod stall_timer; // event loops that do not run

mod lag_timer; // many callbacks that keep clients waiting

mod limit_counts; // how often each limit was reached

pub use callback_timer::{CallbackEvent, CallbackTimer, sampling_interval};
pub(crate) use crash_record::Fault;
pub use crash_record::{Crash, FRAMES};
pub use label::CodeLabel;
pub use lag_timer::{Lag, LagTimer};
pub use limit_counts::{Limit, LimitCounts};
pub use module::Module;
pub use slot::{Counters, HANDLERS, RunningCallback, Slot};
pub use stall_timer::{HEARTBEAT_INTERVAL, STALL_MIN, StallEvent, StallTimer};

thread_local! {
    static SLOT: Cell<&'static Slot> = const { Cell::new(&UNREAD) };
    /// The lowest index that was never used.
    static UNUSED: Cell<u32> = const { Cell::new(1) };
    /// Lower indexes that are free again.
    static FREED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// The slot of threads that have adopted none. It is never read.
static UNREAD: Slot = Slot::new();

/// Makes `slot` the slot of this thread. Once, before it loads plugins.
pub fn adopt(slot: &'static Slot) {
    SLOT.set(slot);
    UNUSED.set(1);
    FREED.take();
}

/// The slot of this thread. A thread without one gets a slot that is never read.
#[inline]
pub fn current() -> &'static Slot {
    SLOT.get()
}

/// Gives code on this thread an index for [`Slot::enter`]. Returns 0, which is shown as "another handler", if all
/// [`HANDLERS`] indexes are in use. A later generation of a handler keeps its index and calls [`Slot::define`].
pub fn define(label: &CodeLabel) -> u32 {
    let index = FREED.with_borrow_mut(Vec::pop).unwrap_or(UNUSED.get());
    if index as usize >= HANDLERS {
        return 0;
    }
    UNUSED.set(UNUSED.get().max(index + 1));
    current().define(index, label);
    index
}

/// Frees an index of [`define`]. Its code is not entered any more.
pub fn undefine(index: u32) {
    if index != 0 {
        FREED.with_borrow_mut(|freed| freed.push(index));
    }
}

/// The slots of all workers. Leak it to get a `&'static Slot`.
#[derive(Debug)]
pub struct Scoreboard {
    map: Mapping<Slot>,
}

impl Scoreboard {
    /// Creates a scoreboard for that many workers, and the descriptor with which a worker opens it. On systems with
    /// sealed memory files, no process can change its size.
    pub fn create(workers: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = shared_memory::create("callsign-scoreboard", workers * size_of::<Slot>())?;
        Ok((Self::open(fd.as_fd())?, fd))
    }

    /// Maps the scoreboard behind a descriptor of [`Scoreboard::create`].
    pub fn open(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let size = usize::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0);
        if size == 0 || size % size_of::<Slot>() != 0 {
            return Err(io::Error::other(format!("{size} bytes are no scoreboard")));
        }
        Ok(Self { map: Mapping::new(fd, size / size_of::<Slot>())? })
    }

    /// A scoreboard of one slot that is not shared.
    pub fn private() -> io::Result<Self> {
        Ok(Self::create(1)?.0)
    }

    /// The number of slots.
    #[allow(clippy::len_without_is_empty)] // there is always a slot
    pub fn len(&self) -> usize {
        self.map.values().len()
    }

    /// The slot of the worker with that index.
    ///
    /// # Panics
    /// If the index is too large.
    pub fn slot(&self, worker: usize) -> &Slot {
        &self.map.values()[worker]
    }
}

#[cfg(test)]
mod tests;
