//! Writes to stderr and stdout that never block for long. A pipe that nobody reads is full after 64 KiB, and a terminal
//! may be stopped; a blocking write would then stop the event loop for ever.

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::queue::RecordQueue;
use crate::system::output::Output;

/// The log's queue, and what stderr is.
static LOG: Mutex<Log> = Mutex::new(Log { queue: RecordQueue::new(), stderr: None });
/// Whether something waits in the queue.
static PENDING: AtomicBool = AtomicBool::new(false);

struct Log {
    queue: RecordQueue,
    /// Found out by the first write.
    stderr: Option<Output>,
}

/// The stderr of this process, for the logger.
pub struct Stderr;

impl Write for Stderr {
    /// Takes one record, and never fails.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        with_log(|queue, write| queue.push(record, write));
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what the log is written to, if it has to be opened: a confined process cannot do so later.
pub fn open() {
    with_log(|_, _| ());
}

/// Writes records that wait. Call it regularly: a record that found no room may be the last one for a long time.
pub fn flush() {
    if PENDING.load(Relaxed) {
        with_log(|queue, write| queue.flush(write));
    }
}

/// Writes records that wait, as long as stderr takes some within `patience`.
pub fn flush_within(patience: Duration) {
    let end = Instant::now() + patience;
    while PENDING.load(Relaxed) {
        let mut is_blocked = false;
        with_log(|queue, write| {
            queue.flush(write);
            is_blocked = queue.is_blocked();
        });
        if !is_blocked || Instant::now() >= end {
            return;
        }
        wait_for_room(rustix::stdio::stderr(), end);
    }
}

fn with_log(f: impl FnOnce(&mut RecordQueue, &mut dyn FnMut(&[u8]) -> io::Result<usize>)) {
    let (mut log, fd) = (LOG.lock().unwrap_or_else(PoisonError::into_inner), rustix::stdio::stderr());
    let Log { queue, stderr } = &mut *log;
    let stderr = stderr.get_or_insert_with(|| Output::of(fd));
    f(queue, &mut |bytes| stderr.write_now(fd, bytes));
    PENDING.store(queue.has_pending(), Relaxed);
}

/// Writes text without the log. Gives up if the descriptor takes nothing for `patience`.
pub fn write_within(fd: BorrowedFd<'_>, text: &str, patience: Duration) {
    let (output, mut rest) = (Output::of(fd), text.as_bytes());
    let mut end = Instant::now() + patience;
    while !rest.is_empty() {
        match output.write_now(fd, rest) {
            Ok(n) if n > 0 => {
                rest = &rest[n..];
                end = Instant::now() + patience;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ if Instant::now() >= end => return,
            _ => wait_for_room(fd, end),
        }
    }
}

/// Returns when the descriptor accepts bytes, or shortly after.
fn wait_for_room(fd: BorrowedFd<'_>, end: Instant) {
    // A pipe that has room for less than a record is ready, too.
    const PAUSE: Duration = Duration::from_millis(5);
    let left = end.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
    if poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&timeout)).is_ok_and(|ready| ready > 0)
    {
        std::thread::sleep(PAUSE.min(left));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_is_given_up() {
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let text = "x".repeat(1 << 20);
        let begun = Instant::now();
        write_within(writer.as_fd(), &text, Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }
}
