//! A running build, or the question whether one is needed. It has a process group of its own, so that Ctrl-C reaches
//! only the server, and so that a signal reaches all its processes.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::events::{DevEvent, EventSender};
use crate::system::process::orphans::Pause;

/// Time for a cancelled build to end before it is killed.
pub const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a question to be answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Build {
    child: Child,
    pub started: Instant,
    /// When to kill the build. Set while it is cancelled, and for a question.
    pub kill_at: Option<Instant>,
    pub is_cancelled: bool,
    /// Whether the command builds nothing, and succeeds if there is nothing to build.
    pub is_question: bool,
    /// The build's exit status is for [`Build::wait`].
    _reaper_paused: Pause,
}

impl Build {
    /// Starts a build. Its end is the event [`DevEvent::BuildEnded`]. Its output goes to stderr; with `read_stdout`,
    /// the event has its standard output instead.
    pub fn start(mut command: Command, read_stdout: bool, events: &EventSender) -> Result<Self> {
        let stdout =
            if read_stdout { Stdio::piped() } else { io::stderr().as_fd().try_clone_to_owned()?.into() };
        command.stdout(stdout);
        Self::spawn(command, events)
    }

    /// Starts a command that says whether there is something to build, without output.
    pub fn ask(mut command: Command, events: &EventSender) -> Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let kill_at = Some(Instant::now() + ANSWER_TIMEOUT);
        Ok(Self { is_question: true, kill_at, ..Self::spawn(command, events)? })
    }

    fn spawn(mut command: Command, events: &EventSender) -> Result<Self> {
        command.stdin(Stdio::null()).process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let started = Instant::now();
        let _reaper_paused = Pause::begin();
        let mut child =
            command.spawn().with_context(|| format!("cannot run {program}, which `dev` needs to build"))?;
        let (stdout, pid, events) = (child.stdout.take(), Pid::from_child(&child), events.clone());
        let thread = thread::Builder::new().name("build".to_owned());
        let spawned = thread.spawn(move || {
            let lines = stdout.map(|stdout| BufReader::new(stdout).lines().map_while(Result::ok).collect());
            // Leaves a zombie, so that no other process gets its pid before `Build::wait`.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = events.send(DevEvent::BuildEnded(lines.unwrap_or_default()));
        });
        if let Err(error) = spawned {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            return Err(error).context("no thread can be created to wait for the build");
        }
        Ok(Self { child, started, kill_at: None, is_cancelled: false, is_question: false, _reaper_paused })
    }

    /// Interrupts the build, as Ctrl-C would.
    pub fn cancel(&mut self) {
        if !mem::replace(&mut self.is_cancelled, true) {
            self.kill_at = Some(Instant::now() + CANCEL_TIMEOUT);
            self.signal(Signal::INT);
        }
    }

    pub fn kill(&mut self) {
        self.kill_at = None;
        self.signal(Signal::KILL);
    }

    /// Returns the exit status. To be called after [`DevEvent::BuildEnded`]. Kills what is left of a cancelled build.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        if self.is_cancelled {
            self.signal(Signal::KILL);
        }
        self.child.wait()
    }

    fn signal(&self, signal: Signal) {
        // Fails if all processes have ended.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}
