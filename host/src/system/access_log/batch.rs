//! A worker's end: records become lines, which wait in a bounded batch and go to the parent through a pipe. Neither blocks.

use std::cell::{Cell, RefCell};
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;

use super::record::Record;
use super::text;
use super::writer::PATIENT_TIMES;
use crate::config::access_log::AccessLogFormat;

/// Time for which lines wait for others that leave with them. A worker that crashes loses the lines of this time.
const INTERVAL: Duration = Duration::from_millis(200);
/// Bytes that do not wait for others.
const BATCH: usize = 16 * 1024;
/// Bytes that wait for a parent that does not read. Further lines are dropped.
const WAITING_MAX: usize = 256 * 1024;
/// Time between two log lines about dropped lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Where a worker records.
#[derive(Debug)]
pub struct AccessLog {
    /// None: nothing is recorded.
    format: Cell<Option<AccessLogFormat>>,
    pipe: RefCell<PipeWriter>,
    batch: RefCell<Batch>,
    /// The parent does not read; the next try is at the end of the interval.
    is_blocked: Cell<bool>,
    /// Told when lines wait.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Batch {
    lines: Vec<u8>,
    /// Bytes at the start that are written.
    written: usize,
    /// Lines since the last report.
    dropped: u64,
    reported: Option<Instant>,
}

impl AccessLog {
    /// Records to a pipe that does not block.
    pub fn new(format: Option<AccessLogFormat>, pipe: OwnedFd) -> Self {
        let (pipe, batch, is_blocked) = (RefCell::new(pipe.into()), RefCell::default(), Cell::new(false));
        Self { format: Cell::new(format), pipe, batch, is_blocked, filled: Notify::new() }
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.format.get().is_some()
    }

    /// Records in this format from now on; None: nothing.
    pub fn set_format(&self, format: Option<AccessLogFormat>) {
        self.format.set(format);
    }

    /// Records; never blocks and never fails.
    pub fn record(&self, record: &Record<'_>) {
        let Some(format) = self.format.get() else { return };
        let waiting = {
            let mut batch = self.batch.borrow_mut();
            if batch.waiting() >= WAITING_MAX {
                batch.dropped += 1;
                return;
            }
            batch.lines.extend_from_slice(text::line(format, record).as_bytes());
            batch.waiting()
        };
        if waiting >= BATCH && !self.is_blocked.get() {
            self.flush();
        }
        self.filled.notify_one();
    }

    /// Writes batches for as long as the worker runs.
    pub async fn run(&self) {
        loop {
            self.filled.notified().await;
            while !self.is_done() {
                tokio::time::sleep(INTERVAL).await;
                self.flush();
            }
        }
    }

    /// Writes what waits, as long as the parent takes some within `patience`, and no longer than
    /// a few times that.
    pub fn finish(&self, patience: Duration) {
        let last = Instant::now() + patience * PATIENT_TIMES;
        let mut end = Instant::now() + patience;
        self.flush();
        while self.is_blocked.get() && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
            let _ = poll(&mut [PollFd::new(&*self.pipe.borrow(), PollFlags::OUT)], Some(&left));
            let before = self.batch.borrow().waiting();
            self.flush();
            if self.batch.borrow().waiting() < before {
                end = last.min(Instant::now() + patience);
            }
        }
        let mut batch = self.batch.borrow_mut();
        let unwritten = batch.lines[batch.written..].iter().filter(|&&byte| byte == b'\n').count();
        batch.dropped += unwritten as u64;
        batch.lines.clear();
        batch.written = 0;
        batch.report();
    }

    fn is_done(&self) -> bool {
        let batch = self.batch.borrow();
        batch.waiting() == 0 && batch.dropped == 0
    }

    /// Writes what waits, as much as the pipe takes.
    pub fn flush(&self) {
        let (mut batch, mut pipe) = (self.batch.borrow_mut(), self.pipe.borrow_mut());
        self.is_blocked.set(!batch.write_to(&mut *pipe));
        if !self.is_blocked.get() && batch.reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            batch.report();
        }
    }
}

impl Batch {
    fn waiting(&self) -> usize {
        self.lines.len() - self.written
    }

    /// False: the pipe is full.
    fn write_to(&mut self, pipe: &mut impl Write) -> bool {
        while self.waiting() > 0 {
            match pipe.write(&self.lines[self.written..]) {
                Ok(n) if n > 0 => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Each byte is moved at most once or twice.
                    if self.written > self.lines.len() / 2 {
                        self.lines.drain(..self.written);
                        self.written = 0;
                    }
                    return false;
                }
                // The parent is gone.
                _ => {
                    let lost = self.lines[self.written..].iter().filter(|&&byte| byte == b'\n').count();
                    self.dropped += lost as u64;
                    break;
                }
            }
        }
        self.written = 0;
        self.lines.clear();
        self.lines.shrink_to(2 * BATCH);
        true
    }

    /// Logs how many lines were dropped.
    fn report(&mut self) {
        if self.dropped == 0 {
            return;
        }
        let (n, were) = (self.dropped, if self.dropped == 1 { "line was" } else { "lines were" });
        log::warn!(
            "{n} {were} dropped from the access log, because they were not written in time; is its disk, or the reader \
             of stdout, too slow?"
        );
        self.dropped = 0;
        self.reported = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::SystemTime;

    use rustix::io::ioctl_fionbio;

    use super::super::record::RequestNote;
    use super::*;

    fn log() -> (io::PipeReader, AccessLog) {
        let (reader, writer) = io::pipe().expect("a pipe");
        ioctl_fionbio(&reader, true).expect("it is open");
        ioctl_fionbio(&writer, true).expect("it is open");
        (reader, AccessLog::new(Some(AccessLogFormat::Json), writer.into()))
    }

    fn record(log: &AccessLog, n: u64) {
        let request = RequestNote::new([b"", b"GET", b"/", b"", b"", b"", b""], Instant::now());
        log.record(&Record {
            ended: SystemTime::now(),
            request: &request,
            status: 200,
            bytes: n,
            duration: Duration::ZERO,
            is_aborted: false,
            connection: None,
        });
    }

    fn read(mut pipe: &io::PipeReader) -> String {
        let mut bytes = Vec::new();
        // It would block when all is read.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8(bytes).expect("it is text")
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn lines_leave_together_after_a_moment() {
        let (pipe, log) = log();
        let log: &'static AccessLog = Box::leak(Box::new(log));
        tokio::task::spawn_local(log.run());
        (0..3).for_each(|n| record(log, n));
        tokio::time::sleep(INTERVAL / 2).await;
        assert_eq!(read(&pipe), "");
        tokio::time::sleep(INTERVAL).await;
        let lines = read(&pipe);
        assert_eq!(lines.lines().count(), 3, "{lines}");
        record(log, 3);
        tokio::time::sleep(2 * INTERVAL).await;
        assert!(read(&pipe).contains("\"bytes\":3"));
    }

    #[test]
    fn many_lines_leave_at_once() {
        let (pipe, log) = log();
        let mut n = 0;
        while n == 0 || log.batch.borrow().waiting() > 0 {
            record(&log, n);
            n += 1;
        }
        let lines = read(&pipe);
        assert!(lines.len() >= BATCH && lines.ends_with('\n'), "{}", lines.len());
    }

    #[test]
    fn lines_that_a_parent_does_not_read_are_bounded_and_counted() {
        let (pipe, log) = log();
        let mut n = 0;
        while log.batch.borrow().dropped < 5 {
            record(&log, n);
            n += 1;
        }
        assert!(log.batch.borrow().lines.len() < WAITING_MAX + 4096 + BATCH);
        let mut text = String::new();
        while !log.is_done() {
            text += &read(&pipe);
            log.flush();
        }
        text += &read(&pipe);
        assert_eq!(text.lines().count() as u64, n - 5);
        for (index, line) in text.lines().enumerate() {
            assert!(line.contains(&format!("\"bytes\":{index},")), "{index}: {line}");
        }
    }

    #[test]
    fn the_end_does_not_wait_for_a_parent_that_is_stuck_or_gone() {
        let (pipe, log) = log();
        while log.batch.borrow().dropped == 0 {
            record(&log, 1);
        }
        let begun = Instant::now();
        log.finish(Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50) && log.is_done());
        drop(pipe);
        record(&log, 1);
        log.finish(Duration::from_secs(60));
        assert!(log.is_done() && begun.elapsed() < Duration::from_secs(60));
    }
}
