//! Memory that the parent shares with its workers: a file without a name, which each process maps as an array of values.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::scoreboard::Slot;

/// A value in shared memory.
///
/// # Safety
/// It consists of atomics alone, every bit pattern is a valid value, and its alignment is at most 4096 bytes.
pub unsafe trait Shared {}

// SAFETY: each of its fields is an atomic, an array of atomics, or a struct of these.
unsafe impl Shared for Slot {}
// SAFETY: it is an atomic integer.
unsafe impl Shared for AtomicU64 {}

/// A mapping, which ends when this is dropped.
#[derive(Debug)]
pub struct Mapping<T: Shared> {
    start: NonNull<T>,
    count: usize,
}

// SAFETY: a shared value consists of atomics, and the mapping belongs to the process, not to a thread.
unsafe impl<T: Shared> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapping<T> {}

impl<T: Shared> Mapping<T> {
    /// Maps the first `count` values of the file. The caller has checked that it is long enough; access to a shorter one
    /// raises SIGBUS and reaches no other memory.
    pub fn new(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let size = count * size_of::<T>();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses replaces no other mapping.
        let start = unsafe { mmap(ptr::null_mut(), size, access, MapFlags::SHARED, fd, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, count })
    }

    pub fn values(&self) -> &[T] {
        // SAFETY: `new` mapped `count` values, which stay mapped until `self` is dropped. Pages are aligned to 4096
        // bytes, as `T` is at most. Every bit pattern is a valid `T`, because it consists of atomics; other processes
        // access it with atomics too.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl<T: Shared> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: `new` mapped this address with this size. All references to values borrow `self`, so none is left.
        // `munmap` does not fail for an existing mapping.
        _ = unsafe { munmap(self.start.as_ptr().cast(), self.count * size_of::<T>()) };
    }
}

/// A file for [`Mapping`], of zeros. On systems with sealed memory files, no process can change its size.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub fn create(name: &str, size: usize) -> io::Result<OwnedFd> {
    use rustix::process::{Resource, getrlimit};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    // The kernel would end the process with SIGXFSZ.
    if let Some(max) = getrlimit(Resource::Fsize).current
        && max < size as u64
    {
        return Err(io::Error::other(format!(
            "it takes {size} bytes, and counts as a file, which may have {max} (ulimit -f, LimitFSIZE=); raise the limit"
        )));
    }
    ftruncate(&fd, size as u64)?;
    // If a worker could truncate the file, the parent would die of SIGBUS.
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// A file for [`Mapping`], of zeros.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub fn create(name: &str, size: usize) -> io::Result<OwnedFd> {
    let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.set_len(size as u64)?;
    Ok(file.into())
}
