//! A file mapped into this process as slots.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Slot;

/// Unmapped when dropped.
#[derive(Debug)]
pub struct Map {
    start: NonNull<Slot>,
    count: usize,
}

// SAFETY: a slot is made of atomics, and the memory belongs to no thread.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `count` slots of the file, which the caller knows to be long enough (a shorter one means
    /// SIGBUS on access, not wrong memory).
    pub fn new(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let size = count * size_of::<Slot>();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let start = unsafe { mmap(ptr::null_mut(), size, access, MapFlags::SHARED, fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, count })
    }

    /// The slots.
    pub fn slots(&self) -> &[Slot] {
        // SAFETY: `count` slots are mapped there until `self` is dropped, aligned to a page and so to `Slot`,
        // and every pattern of bits is a `Slot`. Other processes write there as this one does: it is all atomics.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; the slots were borrowed from `self`, so nobody has one now.
        // It cannot fail for a mapping that is there.
        _ = unsafe { munmap(self.start.as_ptr().cast(), self.count * size_of::<Slot>()) };
    }
}
