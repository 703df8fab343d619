//! Maps a file into this process as slots.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Slot;

/// A mapping, which ends when this is dropped.
#[derive(Debug)]
pub struct Map {
    start: NonNull<Slot>,
    count: usize,
}

// SAFETY: a slot consists of atomics, and the mapping belongs to the process, not to a thread.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `count` slots of the file. The caller has checked that it is long enough; access to a shorter one
    /// raises SIGBUS and reaches no other memory.
    pub fn new(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let size = count * size_of::<Slot>();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses replaces no other mapping.
        let start = unsafe { mmap(ptr::null_mut(), size, access, MapFlags::SHARED, fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, count })
    }

    pub fn slots(&self) -> &[Slot] {
        // SAFETY: `new` mapped `count` slots, which stay mapped until `self` is dropped. Pages are aligned to 4096
        // bytes, as `Slot` is. Every bit pattern is a valid `Slot`, because it consists of atomics; other processes
        // access it with atomics too.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: `new` mapped this address with this size. All references to slots borrow `self`, so none is left.
        // `munmap` does not fail for an existing mapping.
        _ = unsafe { munmap(self.start.as_ptr().cast(), self.count * size_of::<Slot>()) };
    }
}
