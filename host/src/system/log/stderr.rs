//! Writes to stderr that never block. A pipe that nobody reads is full after 64 KiB; a blocking write would then stop
//! the event loop for ever. Lines that cannot be written wait in a bounded buffer; beyond it they are dropped, and
//! counted in a line of its own as soon as there is room.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// Bytes of lines that wait: about what a pipe holds.
const WAITING_MAX: usize = 64 * 1024;
/// Bytes that a pipe accepts at once if it is writable (PIPE_BUF).
const ATOMIC: usize = 4096;

/// The stderr of this process.
pub struct Stderr {
    queue: LineQueue,
    kind: Kind,
}

/// What stderr is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pipe,
    Socket,
    /// A file, which does not block, or a terminal, which blocks only while it is stopped.
    Other,
}

impl Stderr {
    pub fn new() -> Self {
        let kind = match fstat(rustix::stdio::stderr()).map(|about| FileType::from_raw_mode(about.st_mode)) {
            Ok(FileType::Fifo) => Kind::Pipe,
            Ok(FileType::Socket) => Kind::Socket,
            _ => Kind::Other,
        };
        Self { queue: LineQueue::default(), kind }
    }
}

impl Write for Stderr {
    /// Takes one record, and never fails.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let (stderr, kind) = (rustix::stdio::stderr(), self.kind);
        self.queue.push(record, |bytes| write_now(stderr, kind, bytes));
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what stderr takes at once.
fn write_now(stderr: BorrowedFd<'_>, kind: Kind, bytes: &[u8]) -> io::Result<usize> {
    match kind {
        Kind::Socket => {
            return Ok(rustix::net::send(stderr, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?);
        }
        #[cfg(target_os = "linux")]
        Kind::Pipe => {
            use rustix::io::ReadWriteFlags;
            match rustix::io::pwritev2(stderr, &[IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT) {
                // A kernel that cannot do that for pipes.
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {}
                result => return Ok(result?),
            }
        }
        #[cfg(not(target_os = "linux"))]
        Kind::Pipe => {}
        Kind::Other => {}
    }
    let mut fds = [PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
    match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(rustix::io::write(stderr, &bytes[..bytes.len().min(ATOMIC)])?),
    }
}

/// Lines that wait, and how many were dropped.
#[derive(Default)]
struct LineQueue {
    waiting: VecDeque<u8>,
    dropped: usize,
}

impl LineQueue {
    /// Writes what waits, then the record; keeps or drops what `write` does not take.
    fn push(&mut self, record: &[u8], mut write: impl FnMut(&[u8]) -> io::Result<usize>) {
        self.drain(&mut write);
        if self.dropped > 0 && self.waiting.is_empty() {
            let note = format!("{} log lines were dropped, because nobody reads stderr\n", self.dropped);
            self.dropped = 0;
            self.waiting.extend(note.as_bytes());
            self.drain(&mut write);
        }
        if self.dropped > 0 || self.waiting.len() + record.len() > WAITING_MAX {
            self.dropped += 1;
            return;
        }
        self.waiting.extend(record);
        self.drain(&mut write);
    }

    fn drain(&mut self, write: &mut impl FnMut(&[u8]) -> io::Result<usize>) {
        while !self.waiting.is_empty() {
            match write(self.waiting.make_contiguous()) {
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody will ever read it.
                Err(_) => self.waiting.clear(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stderr that takes so many bytes.
    fn pipe(room: &mut usize, out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(*room);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *room -= n;
        out.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    #[test]
    fn lines_that_find_no_room_wait_in_order() {
        let (mut queue, mut out) = (LineQueue::default(), Vec::new());
        let mut room = 4;
        for line in [&b"one\n"[..], b"two\n", b"three\n"] {
            queue.push(line, |bytes| pipe(&mut room, &mut out, bytes));
        }
        room = 100;
        queue.push(b"four\n", |bytes| pipe(&mut room, &mut out, bytes));
        assert_eq!(out, b"one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_once_there_is_room() {
        let (mut queue, mut out) = (LineQueue::default(), Vec::new());
        let line = [b'x'; 1024];
        for _ in 0..100 {
            queue.push(&line, |_| Err(io::ErrorKind::WouldBlock.into()));
        }
        assert_eq!((queue.waiting.len(), queue.dropped), (WAITING_MAX, 36));
        let mut room = usize::MAX;
        queue.push(b"last\n", |bytes| pipe(&mut room, &mut out, bytes));
        let end = b"36 log lines were dropped, because nobody reads stderr\nlast\n";
        assert!(out.len() == WAITING_MAX + end.len() && out.ends_with(end));
    }

    #[test]
    fn a_broken_stderr_loses_lines_and_nothing_else() {
        let mut queue = LineQueue::default();
        queue.push(b"lost\n", |_| Err(io::ErrorKind::BrokenPipe.into()));
        assert!(queue.waiting.is_empty());
    }
}
