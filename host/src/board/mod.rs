//! The scoreboard: memory that the parent shares with its workers, one slot for each. A worker writes there
//! which handler it is in and what it has counted, and, as its last deed, how it crashed; the parent reads it
//! without asking. What a slot holds is the worker's word: everything read from it is checked, and nothing
//! that a worker writes there can harm the parent.
//!
//! It knows nothing of processes, plugins and logs.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

mod slot; // what one worker says of itself

mod text; // strings in shared memory

mod watch; // callbacks that are slow or never end

#[allow(unsafe_code)]
mod map; // the shared memory as slots

pub(crate) use slot::Fault;
pub use slot::{Counters, Crash, FRAMES, HANDLERS, Label, Module, Running, Slot};
pub use watch::{Finding, Watch, tick};

thread_local! {
    static SLOT: Cell<&'static Slot> = const { Cell::new(&NOBODY) };
    /// The first index that no handler has had.
    static FREE: Cell<u32> = const { Cell::new(1) };
    /// Indexes before it that have become free again.
    static FREED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Where a thread writes that has adopted no slot.
static NOBODY: Slot = Slot::new();

/// Makes `slot` the slot of this thread. Once, before it loads plugins.
pub fn adopt(slot: &'static Slot) {
    SLOT.set(slot);
    FREE.set(1);
    FREED.take();
}

/// The slot of this thread; one that nobody reads where none was adopted.
#[inline]
pub fn current() -> &'static Slot {
    SLOT.get()
}

/// Gives a handler of this thread an index, for [`Slot::enter`]. 0, that is "another handler", when there are
/// [`HANDLERS`] already. A later generation of it keeps the index and calls [`Slot::define`].
pub fn define(label: &Label) -> u32 {
    let index = FREED.with_borrow_mut(Vec::pop).unwrap_or(FREE.get());
    if index as usize >= HANDLERS {
        return 0;
    }
    FREE.set(FREE.get().max(index + 1));
    current().define(index, label);
    index
}

/// Gives an index back that [`define`] has given. Its handler is not entered any more.
pub fn undefine(index: u32) {
    if index != 0 {
        FREED.with_borrow_mut(|freed| freed.push(index));
    }
}

/// The slots of all workers. Leak it where a `&'static Slot` is wanted.
#[derive(Debug)]
pub struct Board {
    map: map::Map,
}

impl Board {
    /// A board for that many workers, and what a worker opens it by. No process can change its size.
    pub fn create(workers: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = memory(workers * size_of::<Slot>())?;
        Ok((Self::open(fd.as_fd())?, fd))
    }

    /// The board behind a file that [`Board::create`] has made.
    pub fn open(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let size = usize::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0);
        if size == 0 || size % size_of::<Slot>() != 0 {
            return Err(io::Error::other(format!("{size} bytes are no scoreboard")));
        }
        Ok(Self { map: map::Map::new(fd, size / size_of::<Slot>())? })
    }

    /// A board of one slot that is shared with nobody.
    pub fn private() -> io::Result<Self> {
        Ok(Self::create(1)?.0)
    }

    /// How many slots there are.
    #[allow(clippy::len_without_is_empty)] // there is always one
    pub fn len(&self) -> usize {
        self.map.slots().len()
    }

    /// The slot of that worker, counted from 0.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn slot(&self, worker: usize) -> &Slot {
        &self.map.slots()[worker]
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn memory(size: usize) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let fd = memfd_create("callsign-board", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, size as u64)?;
    // A worker that made it shorter would have the parent die of SIGBUS.
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn memory(size: usize) -> io::Result<OwnedFd> {
    let path = std::env::temp_dir().join(format!("callsign-board-{}", std::process::id()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.set_len(size as u64)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests;
