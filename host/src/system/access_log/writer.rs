//! The parent's end: one thread takes lines from the pipes of all workers and writes them to the file, or to stdout. It alone
//! may block.
//!
//! Invariant: what is written is whole lines of printable text, whatever a worker sends.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionbio;
use rustix::pipe::fcntl_setpipe_size;

use super::sink::Sink;
use crate::config::access_log::AccessLogTarget;
use crate::system::sanitize::is_unsafe;

/// Bytes that a pipe holds: a second of a busy worker.
const PIPE: usize = 256 * 1024;
/// Times that the last lines may take what one step may.
pub(super) const PATIENT_TIMES: u32 = 5;
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Bytes of a line; a worker's are shorter.
const LINE_MAX: usize = 256 * 1024;
/// Time between two log lines about a target that cannot be written.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The thread that writes the access log.
#[derive(Debug)]
pub struct Writer {
    commands: mpsc::Sender<Command>,
    /// Interrupts the thread's wait, for a command.
    wake: PipeWriter,
    /// Bytes that were written.
    written: Arc<AtomicU64>,
}

enum Command {
    /// The pipe of another worker.
    Source(PipeReader),
    Reopen,
    /// Writes what is in the pipes, and has later lines in another place.
    Use(Option<Sink>),
    /// Writes what is in the pipes, and tells.
    Finish(mpsc::Sender<()>),
}

impl Writer {
    /// Opens the target. While there is none, lines are dropped.
    ///
    /// # Errors
    /// The file cannot be opened, or is none.
    pub fn open(target: &AccessLogTarget) -> Result<Self> {
        let sink = Sink::open(target)?;
        let ((woken, wake), (commands, received)) = (io::pipe()?, mpsc::channel());
        ioctl_fionbio(&woken, true)?;
        ioctl_fionbio(&wake, true)?;
        let written = Arc::<AtomicU64>::default();
        let thread = Thread {
            sink,
            sources: Vec::new(),
            is_torn: false,
            dropped: 0,
            reported: None,
            written: written.clone(),
        };
        let run = move || thread.run(woken, &received);
        thread::Builder::new()
            .name("access log".to_owned())
            .spawn(run)
            .context("no thread for the access log")?;
        Ok(Self { commands, wake, written })
    }

    /// A pipe for the lines of one worker, which ends with its last descriptor. Writing to it does not block.
    pub fn source(&self) -> io::Result<OwnedFd> {
        let (reader, writer) = io::pipe()?;
        ioctl_fionbio(&reader, true)?;
        ioctl_fionbio(&writer, true)?;
        // A smaller pipe holds less.
        let _ = fcntl_setpipe_size(&writer, PIPE);
        self.command(Command::Source(reader));
        Ok(writer.into())
    }

    /// Opens the path of the file again. If that fails, the open file stays.
    pub fn reopen(&self) {
        self.command(Command::Reopen);
    }

    /// Has the lines that workers send from now on in another place; None: nowhere.
    pub fn switch_to(&self, sink: Option<Sink>) {
        self.command(Command::Use(sink));
    }

    /// Writes what workers have sent, as long as the target takes some within `patience`, and no
    /// longer than a few times that.
    pub fn finish(&self, patience: Duration) {
        let (done, finished) = mpsc::channel();
        self.command(Command::Finish(done));
        let (mut before, end) = (None, Instant::now() + patience * PATIENT_TIMES);
        while finished.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            let written = Some(self.written.load(Relaxed));
            if before == written || Instant::now() >= end {
                return log::warn!(
                    "the last lines of the access log were dropped, because they were not written in time"
                );
            }
            before = written;
        }
    }

    fn command(&self, command: Command) {
        // Fails only if the thread has panicked.
        let _ = self.commands.send(command);
        // Fails only if it is full, and then wakes, too.
        let _ = (&self.wake).write(&[0]);
    }
}

struct Thread {
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
    /// Until the [`Writer`] is dropped.
    fn run(mut self, woken: PipeReader, commands: &mpsc::Receiver<Command>) {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::super::sink::{MODE, check};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn start(path: &Path) -> Writer {
        let target = AccessLogTarget::File(path.to_owned());
        check(&target).expect("the folder is there");
        Writer::open(&target).expect("the folder is there")
    }

    fn source(writer: &Writer) -> PipeWriter {
        writer.source().expect("a pipe").into()
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).expect("it is text")
    }

    #[test]
    fn a_file_has_the_whole_lines_of_all_workers() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("access.log");
        fs::write(&path, "before\n").expect("it can be written");
        let writer = start(&path);
        let mut sources = [source(&writer), source(&writer)];
        for n in 0..1000 {
            for (index, source) in sources.iter_mut().enumerate() {
                source.write_all(format!("{index} {n}\n").as_bytes()).expect("it is read");
            }
        }
        // A worker that dies in the middle of a line.
        sources[1].write_all(b"incomplete").expect("it is read");
        let [first, _] = sources;
        writer.finish(PATIENCE);
        drop(first);
        writer.finish(PATIENCE);
        let text = read(&path);
        for index in 0..2 {
            let start = format!("{index} ");
            let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(&start)).collect();
            assert_eq!(lines, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
        }
        assert!(text.starts_with("before\n") && !text.contains("incomplete"));
    }

    #[test]
    fn a_worker_forges_nothing_that_controls_a_terminal() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("access.log");
        let writer = start(&path);
        let mut source = source(&writer);
        source.write_all(b"good\n\x1b[2J\nbroken \xff\n\xc3\xa4\n").expect("it is read");
        writer.finish(PATIENCE);
        assert_eq!(read(&path), "good\nä\n");
        source.write_all(&vec![b'x'; LINE_MAX / 2]).expect("it is read");
        writer.finish(PATIENCE);
        source.write_all(&vec![b'x'; LINE_MAX / 2 + 1]).expect("it is read");
        writer.finish(PATIENCE);
        source.write_all(b"end of it\nnext\n").expect("it is read");
        writer.finish(PATIENCE);
        assert_eq!(read(&path), "good\nä\nend of it\nnext\n");
    }

    #[test]
    fn a_renamed_file_gets_no_more_lines_after_it_was_opened_again() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let writer = start(&path);
        let mode = fs::metadata(&path).expect("it was created").permissions().mode();
        assert_eq!(mode & 0o777 & !MODE, 0, "{mode:o}");
        let mut source = source(&writer);
        source.write_all(b"one\n").expect("it is read");
        writer.finish(PATIENCE);
        fs::rename(&path, &old).expect("it can be renamed");
        source.write_all(b"two\n").expect("it is read");
        writer.finish(PATIENCE);
        writer.reopen();
        source.write_all(b"three\n").expect("it is read");
        writer.finish(PATIENCE);
        assert_eq!(read(&old), "one\ntwo\n");
        assert_eq!(read(&path), "three\n");
        // Its folder is gone: the open file stays.
        drop(fs::rename(folder.path().join("access.log"), &old));
        fs::create_dir(&path).expect("the name is free");
        writer.reopen();
        source.write_all(b"four\n").expect("it is read");
        writer.finish(PATIENCE);
        assert_eq!(read(&old), "three\nfour\n");
    }
}
