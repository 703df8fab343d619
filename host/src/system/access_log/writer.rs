//! The parent's end: pipes for the workers, and the thread that writes what comes through them.

use std::cell::RefCell;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::pipe::fcntl_setpipe_size;

use super::sink::Sink;
use super::thread::{Command, Thread};
use crate::config::access_log::AccessLogTarget;

/// Bytes that a pipe holds: a second of a busy worker.
const PIPE: usize = 256 * 1024;
/// Times that the last lines may take what one step may.
pub(super) const PATIENT_TIMES: u32 = 5;

/// What writes the access log: a thread, which begins when there is a target for the first time. Until then the pipes of
/// workers wait for it.
#[derive(Debug)]
pub struct Writer(RefCell<State>);

#[derive(Debug)]
enum State {
    Waiting(Vec<PipeReader>),
    Running(Running),
}

#[derive(Debug)]
struct Running {
    commands: mpsc::Sender<Command>,
    /// Interrupts the thread's wait, for a command.
    wake: PipeWriter,
    /// Bytes that were written.
    written: Arc<AtomicU64>,
}

impl Writer {
    /// Opens the target. While there is none, lines are dropped.
    ///
    /// # Errors
    /// The file cannot be opened, or is none.
    pub fn open(target: &AccessLogTarget) -> Result<Self> {
        let writer = Self(RefCell::new(State::Waiting(Vec::new())));
        if let Some(sink) = Sink::open(target)? {
            writer.prepare()?;
            writer.switch_to(Some(sink));
        }
        Ok(writer)
    }

    /// Begins the thread, for the target that follows.
    pub fn prepare(&self) -> Result<()> {
        let mut state = self.0.borrow_mut();
        if let State::Waiting(pipes) = &mut *state {
            let running = Running::begin()?;
            std::mem::take(pipes).into_iter().for_each(|pipe| running.command(Command::Source(pipe)));
            *state = State::Running(running);
        }
        Ok(())
    }

    /// A pipe for the lines of one worker, which ends with its last descriptor. Writing to it does not block.
    pub fn source(&self) -> io::Result<OwnedFd> {
        let (reader, writer) = io::pipe()?;
        ioctl_fionbio(&reader, true)?;
        ioctl_fionbio(&writer, true)?;
        // A smaller pipe holds less.
        let _ = fcntl_setpipe_size(&writer, PIPE);
        match &mut *self.0.borrow_mut() {
            State::Running(running) => running.command(Command::Source(reader)),
            State::Waiting(pipes) => {
                pipes.retain(has_writer);
                pipes.push(reader);
            }
        }
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
        if let State::Running(running) = &*self.0.borrow() {
            running.finish(patience);
        }
    }

    /// Without a thread there is nothing to do.
    fn command(&self, command: Command) {
        if let State::Running(running) = &*self.0.borrow() {
            running.command(command);
        }
    }
}

/// Whether a worker can write to the pipe.
fn has_writer(pipe: &PipeReader) -> bool {
    let mut ready = [PollFd::new(pipe, PollFlags::IN)];
    poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_err()
        || !ready[0].revents().contains(PollFlags::HUP)
}

impl Running {
    fn begin() -> Result<Self> {
        let ((woken, wake), (commands, received)) = (io::pipe()?, mpsc::channel());
        ioctl_fionbio(&woken, true)?;
        ioctl_fionbio(&wake, true)?;
        let written = Arc::<AtomicU64>::default();
        let thread = Thread::new(written.clone());
        let run = move || thread.run(woken, &received);
        thread::Builder::new()
            .name("access log".to_owned())
            .spawn(run)
            .context("no thread for the access log")?;
        Ok(Self { commands, wake, written })
    }

    fn finish(&self, patience: Duration) {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::super::sink::{MODE, check};
    use super::super::thread::LINE_MAX;
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
