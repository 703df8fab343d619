//! Writes to a descriptor that never block, although its file description is shared with other programs, so that it cannot
//! be made non-blocking itself.

use std::io::{self, IoSlice, IsTerminal};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// Bytes that a pipe takes all or not at all (PIPE_BUF).
pub const ATOMIC: usize = 4096;

/// How a descriptor is written to without blocking.
pub enum Output {
    Pipe,
    Socket,
    /// The terminal, opened a second time: the descriptor's own description is shared with other programs.
    Terminal(OwnedFd),
    /// A file, which does not block.
    File,
    /// Something that is asked first whether it takes bytes.
    Other,
}

impl Output {
    /// Finds out what the descriptor is.
    pub fn of(fd: BorrowedFd<'_>) -> Self {
        let terminal = if fd.is_terminal() { open_again(fd) } else { None };
        match (terminal, fstat(fd).map(|about| FileType::from_raw_mode(about.st_mode))) {
            (Some(terminal), _) => Self::Terminal(terminal),
            (None, Ok(FileType::Fifo)) => Self::Pipe,
            (None, Ok(FileType::Socket)) => Self::Socket,
            (None, Ok(FileType::RegularFile)) => Self::File,
            (None, _) => Self::Other,
        }
    }

    /// Writes what the descriptor takes at once.
    pub fn write_now(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Terminal(terminal) => return Ok(rustix::io::write(terminal, bytes)?),
            Self::Socket => {
                return Ok(rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?);
            }
            Self::Pipe => match write_to_pipe(fd, bytes) {
                // A kernel that cannot do that for pipes.
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {}
                result => return Ok(result?),
            },
            Self::File => return Ok(rustix::io::write(fd, bytes)?),
            Self::Other => {}
        }
        write_while_ready(fd, bytes)
    }
}

/// Writes pieces for which there is room, because the descriptor is ready.
fn write_while_ready(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    /// A terminal that is ready has room for that much.
    const TERMINAL: usize = 256;
    let piece = if fd.is_terminal() { TERMINAL } else { ATOMIC };
    let mut written = 0;
    while written < bytes.len() {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0) {
            break;
        }
        let end = bytes.len().min(written + piece);
        match rustix::io::write(fd, &bytes[written..end]) {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(error) if written == 0 => return Err(error.into()),
            Err(_) => break,
        }
    }
    if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
}

#[cfg(target_os = "linux")]
fn write_to_pipe(fd: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    use rustix::io::ReadWriteFlags;
    rustix::io::pwritev2(fd, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT)
}

#[cfg(not(target_os = "linux"))]
fn write_to_pipe(_: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    let _ = IoSlice::new(bytes);
    Err(Errno::OPNOTSUPP)
}

/// The file behind a descriptor, non-blocking. None: this user may not open it, such as a worker of `--user`.
fn open_again(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags, open};

    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(format!("/dev/fd/{}", fd.as_raw_fd()), flags, Mode::empty()).ok()
}
