//! A build that runs: a process group of its own, so that Ctrl-C reaches only the server, and so that the whole
//! of it can be ended.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::rounds::{Event, Sender};

/// What a build has said on its standard output, if that is read.
pub type Lines = Vec<String>;

/// Time in which a build that was interrupted has to end.
pub const INTERRUPTED: Duration = Duration::from_secs(2);

/// A build.
pub struct Build {
    child: Child,
    /// When it was started.
    pub started: Instant,
    /// When it will be killed, if it was interrupted.
    pub killed_at: Option<Instant>,
    /// Whether it was told to end.
    pub is_cancelled: bool,
}

impl Build {
    /// Starts it. Its end comes as [`Event::Ended`]; what it writes goes to stderr, its standard output too unless
    /// it `is_read`.
    pub fn start(mut command: Command, is_read: bool, events: &Sender) -> Result<Self> {
        let output = if is_read { Stdio::piped() } else { io::stderr().as_fd().try_clone_to_owned()?.into() };
        command.stdin(Stdio::null()).stdout(output).process_group(0);
        let what = command.get_program().to_string_lossy().into_owned();
        let started = Instant::now();
        let mut child =
            command.spawn().with_context(|| format!("cannot run {what}; `dev` builds with it"))?;
        let (output, pid, events) = (child.stdout.take(), Pid::from_child(&child), events.clone());
        thread::Builder::new().name("build".to_owned()).spawn(move || {
            let lines = output.map(|output| BufReader::new(output).lines().map_while(Result::ok).collect());
            // It stays a zombie, so that nobody else gets its number before it is waited for.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = events.send(Event::Ended(lines.unwrap_or_default()));
        })?;
        Ok(Self { child, started, killed_at: None, is_cancelled: false })
    }

    /// Tells it to end, as Ctrl-C would.
    pub fn cancel(&mut self) {
        if !mem::replace(&mut self.is_cancelled, true) {
            self.killed_at = Some(Instant::now() + INTERRUPTED);
            self.signal(Signal::INT);
        }
    }

    /// Ends it by force.
    pub fn kill(&mut self) {
        self.killed_at = None;
        self.signal(Signal::KILL);
    }

    /// How it has ended; to be called after [`Event::Ended`]. Nothing that was cancelled is left behind.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        if self.is_cancelled {
            self.signal(Signal::KILL);
        }
        self.child.wait()
    }

    fn signal(&self, signal: Signal) {
        // It may have ended.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}
