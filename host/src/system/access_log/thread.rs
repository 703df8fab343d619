//! The thread that takes lines from the pipes of all workers and writes them to the target. It alone may block.
//!
//! Invariant: what is written is whole lines of printable text, whatever a worker sends.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::sink::Sink;
use crate::system::sanitize::is_unsafe;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Bytes of a line; a worker's are shorter.
pub const LINE_MAX: usize = 256 * 1024;
/// Time between two log lines about a target that cannot be written.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// What the thread has to do.
pub enum Command {
    /// The pipe of another worker.
    Source(PipeReader),
    Reopen,
    /// Writes what is in the pipes, and has later lines in another place.
    Use(Option<Sink>),
    /// Writes what is in the pipes, and tells.
    Finish(mpsc::Sender<()>),
}

/// The thread with its target and its sources.
pub struct Thread {
    /// None: the access log is off.
    sink: Option<Sink>,
    sources: Vec<Source>,
    /// The last line in the file has no end.
    is_torn: bool,
    /// Lines since the last report.
    dropped: u64,
    reported: Option<Instant>,
    written: Arc<AtomicU64>,
}

/// What comes from one worker.
struct Source {
    pipe: PipeReader,
    /// What has no end of line yet.
    rest: Vec<u8>,
}

impl Thread {
    /// Without a target and workers. `written` counts bytes.
    pub fn new(written: Arc<AtomicU64>) -> Self {
        Self { sink: None, sources: Vec::new(), is_torn: false, dropped: 0, reported: None, written }
    }

    /// Until the [writer](super::Writer) is dropped.
    pub fn run(mut self, woken: PipeReader, commands: &mpsc::Receiver<Command>) {
        loop {
            let sources = self.sources.iter().map(|source| source.pipe.as_fd());
            let mut ready: Vec<_> = [woken.as_fd()]
                .into_iter()
                .chain(sources)
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            if poll(&mut ready, None).is_err() {
                // Interrupted.
                continue;
            }
            let ready: Vec<_> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut is_ready = ready[1..].iter();
            // A command comes first: what a worker sends after the file was opened again goes to the new one.
            if !ready[0] {
                self.take(|_| *is_ready.next().unwrap_or(&false), false);
                continue;
            }
            // 0: the writer is gone.
            if matches!((&woken).read(&mut [0; 64]), Ok(0)) {
                return;
            }
            while let Ok(command) = commands.try_recv() {
                match command {
                    Command::Source(pipe) => self.sources.push(Source { pipe, rest: Vec::new() }),
                    Command::Reopen => self.reopen(),
                    Command::Use(sink) => {
                        self.take(|_| true, true);
                        (self.sink, self.is_torn) = (sink, false);
                    }
                    Command::Finish(done) => {
                        self.take(|_| true, true);
                        self.report();
                        let _ = done.send(());
                    }
                }
            }
        }
    }

    /// Takes a chunk, or all, from each of these sources, and writes it.
    fn take(&mut self, mut is_ready: impl FnMut(&Source) -> bool, all: bool) {
        let mut sources = std::mem::take(&mut self.sources);
        sources.retain_mut(|source| {
            if !is_ready(source) {
                return true;
            }
            loop {
                match source.read() {
                    Ok(0) => return false,
                    Ok(_) => self.write(source.lines()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                    Err(_) => return false,
                }
                if !all {
                    return true;
                }
            }
        });
        self.sources = sources;
    }

    fn reopen(&mut self) {
        match self.sink.as_mut().map(Sink::reopen).transpose() {
            Ok(_) => self.is_torn = false,
            Err(error) => log::error!("{error:#}; the file that is open stays in use"),
        }
    }

    fn write(&mut self, lines: Vec<u8>) {
        let Some(sink) = &mut self.sink else { return };
        let (printable, damaged) = printable_lines(lines);
        self.dropped += damaged;
        let mut rest = &printable[..];
        if self.is_torn && !rest.is_empty() && sink.write_some(b"\n").is_ok() {
            self.is_torn = false;
        }
        while !rest.is_empty() {
            match sink.write_some(rest) {
                Ok(n) => {
                    self.written.fetch_add(n as u64, Relaxed);
                    self.is_torn = rest[..n].last().is_some_and(|&byte| byte != b'\n');
                    rest = &rest[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.dropped += rest.iter().filter(|&&byte| byte == b'\n').count() as u64;
                    let name = sink.name();
                    return self.fail(&name, &error);
                }
            }
        }
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            self.report();
        }
    }

    fn fail(&mut self, name: &str, error: &io::Error) {
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            log::error!(
                "the access log cannot be written to {name}: {error}; lines that were dropped: {}",
                self.dropped
            );
            (self.dropped, self.reported) = (0, Some(Instant::now()));
        }
    }

    fn report(&mut self) {
        if self.dropped > 0 {
            log::warn!("lines that were dropped from the access log: {}", self.dropped);
            (self.dropped, self.reported) = (0, Some(Instant::now()));
        }
    }
}

impl Source {
    fn read(&mut self) -> io::Result<usize> {
        let before = self.rest.len();
        self.rest.resize(before + CHUNK, 0);
        let result = self.pipe.read(&mut self.rest[before..]);
        self.rest.truncate(before + result.as_ref().map_or(0, |n| *n));
        result
    }

    /// Takes the complete lines out. A line that is too long is cut there.
    fn lines(&mut self) -> Vec<u8> {
        let end = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let rest = self.rest.split_off(end);
        let lines = std::mem::replace(&mut self.rest, rest);
        if self.rest.len() > LINE_MAX {
            self.rest.clear();
        }
        lines
    }
}

/// The lines that are printable text, and how many are not.
fn printable_lines(lines: Vec<u8>) -> (Vec<u8>, u64) {
    let is_printable = |text: &str| !text.chars().any(|c| c != '\n' && is_unsafe(c));
    if str::from_utf8(&lines).is_ok_and(is_printable) {
        return (lines, 0);
    }
    let mut damaged = 0;
    let keep = |line: &&[u8]| {
        let is_kept = str::from_utf8(line).is_ok_and(is_printable);
        damaged += u64::from(!is_kept);
        is_kept
    };
    let kept: Vec<_> = lines.split_inclusive(|&byte| byte == b'\n').filter(keep).collect();
    (kept.concat(), damaged)
}
