//! Child processes: the parent's steps to start and to end one, and the child's first steps.
//!
//! Invariant: a child leads a process group, and no process of that group outlives the child for long: whoever reaps
//! the child kills the group first.

#[cfg_attr(target_os = "linux", expect(unsafe_code, reason = "steps between fork and exec"))]
mod identity; // in a child: becomes another user

#[expect(unsafe_code, reason = "a handler for fork")]
pub mod fork; // in a worker: children that plugins fork

pub mod orphans; // in the parent: children that it has not started

pub mod init; // process 1 of a server without worker processes

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{Child, ChildStdout, Command};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};

use super::addresses::Addresses;
use super::privileges::Identity;
use super::scoreboard::Scoreboard;
use super::static_tls;

/// Time for a child to read its first message, if the message is longer than a socket's buffer.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// A child process, the leader of a process group.
#[derive(Debug)]
pub struct Leader {
    child: Child,
    pid: Option<Pid>,
}

/// Starts this program with `argument`, shown as `name` in lists of processes. The child's standard input is the other
/// end of the returned socket. The child gets a process group of its own, so that Ctrl-C reaches only the parent.
pub fn start(
    argument: &str,
    name: &str,
    identity: Option<Identity>,
    prepare: impl FnOnce(&mut Command),
) -> Result<(Leader, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    // This is the running program even if its file was replaced.
    let program: PathBuf = if cfg!(target_os = "linux") { OWN_FILE.into() } else { std::env::current_exe()? };
    // The child needs it, and its own error would not reach the parent.
    open_nothing()?;
    let mut command = Command::new(&program);
    command.arg0(name).arg(argument).stdin(Stdio::from(OwnedFd::from(theirs))).process_group(0);
    let (variable, tunables) = static_tls::environment();
    command.env(variable, tunables);
    if let Some(identity) = identity {
        identity::run_as(&mut command, identity);
    }
    prepare(&mut command);
    let child = Leader::new(command.spawn().map_err(|error| cannot_run(&program, error))?);
    // Closes the child's end in this process, so that the socket ends with the child.
    drop(command);
    ours.set_write_timeout(Some(FIRST_MESSAGE_TIMEOUT))?;
    Ok((child, ours))
}

/// The running program.
const OWN_FILE: &str = "/proc/self/exe";
/// What a child reads instead of the socket.
const NOTHING: &str = "/dev/null";

fn cannot_run(program: &Path, error: io::Error) -> Error {
    let is_missing = program.symlink_metadata().is_err();
    let hint = if is_missing && program == Path::new(OWN_FILE) { "; mount /proc" } else { "" };
    let program = program.display();
    anyhow!(
        "cannot run {program}, from which the server starts its worker and probe processes: {error}{hint}"
    )
}

fn open_nothing() -> Result<File> {
    File::open(NOTHING).with_context(|| {
        format!("cannot open {NOTHING}, which is the standard input of worker and probe processes")
    })
}

impl Leader {
    fn new(child: Child) -> Self {
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        pid.into_iter().for_each(|pid| orphans::register(pid.as_raw_nonzero().get()));
        Self { child, pid }
    }

    /// The process id, until the process is reaped. Until then, no other process gets the id.
    pub fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// The other end of its stdout, if that is a pipe.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Kills the process, without waiting for its end.
    pub fn start_kill(&mut self) {
        // Fails if the process was reaped.
        let _ = self.child.start_kill();
    }

    /// Waits for the end of the process, kills what is left of its group, and reaps the process. May be cancelled.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(pid) = self.pid
            && has_ended(pid).await.is_ok()
        {
            // The process is a zombie until it is reaped below. So its id, which is the group's too, cannot belong to
            // another process or group. A process that forks meanwhile escapes neither: the kernel adds a new process to
            // the group before the signal is sent, or fails the fork. What has left the group by `setsid` lives on.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let status = self.child.wait().await;
        self.forget();
        status
    }

    /// Kills the group, and reaps the process.
    pub async fn kill(&mut self) {
        if let Some(pid) = self.pid {
            // The process is not reaped yet: see `wait`.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.wait().await;
    }

    fn forget(&mut self) {
        if let Some(pid) = self.pid.take() {
            orphans::deregister(pid.as_raw_nonzero().get());
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // Nobody waits for the process any more. The runtime reaps it, or `orphans` does.
        if let Some(pid) = self.pid {
            // The process is not reaped yet: see `wait`.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        self.forget();
    }
}

/// Waits for the end of a child, and does not reap it.
async fn has_ended(pid: Pid) -> io::Result<()> {
    let mut child_ended = signal(SignalKind::child())?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(pid), options)?.is_none() {
        child_ended.recv().await;
    }
    Ok(())
}

/// Takes the socket to the parent, which is standard input, and replaces it, so that no plugin reads from the socket.
/// `misuse` is the error of a process that was started by hand.
pub fn take_link(misuse: &'static str) -> Result<UnixStream> {
    let link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().context(misuse)?);
    link.peer_addr().context("standard input is no socket").context(misuse)?;
    rustix::stdio::dup2_stdin(&open_nothing()?)?;
    Ok(link)
}

/// Names this process for tools that show the name of its program, which would be `exe`. The kernel cuts a name to 15
/// bytes.
pub fn set_name(name: &str) {
    #[cfg(target_os = "linux")]
    if let Ok(name) = std::ffi::CString::new(name) {
        // The name is for people only.
        let _ = rustix::thread::set_name(&name);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

/// Lets this process write to a terminal, although it is not in the terminal's foreground group: with `stty tostop` the
/// first log line would stop it. Before other threads start, which inherit that.
pub fn write_in_background() {
    use nix::sys::signal::{SigSet, Signal};
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTTOU);
    // Fails only for signals that do not exist.
    let _ = stops.thread_block();
}

/// Makes the kernel kill this process when its parent ends, even if this process hangs: a worker without a parent would
/// keep the port. From here on, the process cannot gain privileges.
pub fn end_with_parent(parent: u32) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::thread::set_no_new_privs(true)?;
    }
    // The parent may have ended before the call above.
    if std::os::unix::process::parent_id() != parent {
        bail!("the parent is gone");
    }
    Ok(())
}

/// Maps the scoreboard behind a descriptor from the parent.
pub fn open_scoreboard(descriptor: Option<OwnedFd>) -> Result<&'static Scoreboard> {
    let Some(descriptor) = descriptor else { bail!("the parent has sent no scoreboard") };
    let scoreboard = Scoreboard::open(descriptor.as_fd()).context("the scoreboard cannot be mapped")?;
    Ok(Box::leak(Box::new(scoreboard)))
}

/// Maps the table of addresses behind a descriptor of the parent, for as long as the process lives.
pub fn open_addresses(descriptor: Option<OwnedFd>, workers: usize) -> Result<&'static Addresses> {
    let Some(descriptor) = descriptor else { bail!("the parent has sent no table of addresses") };
    let addresses =
        Addresses::open(descriptor.as_fd(), workers).context("the table of addresses cannot be mapped")?;
    Ok(Box::leak(Box::new(addresses)))
}

/// Runs a future, and the tasks that it spawns, on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let result = runtime.block_on(future);
    // Does not wait for background work that still runs.
    runtime.shutdown_background();
    result
}
