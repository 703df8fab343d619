//! Process 1 of a server without worker processes. Process 1 inherits the orphans of its container and has to reap them,
//! but a server that runs plugins cannot tell an orphan from a child that a plugin waits for. So the server runs in a
//! child, and process 1 only passes signals on and reaps.

use std::env;
use std::os::unix::process::{CommandExt, ExitStatusExt};

use anyhow::{Context, Error, Result, bail};
use rustix::process::kill_process;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::orphans::Reaper;
use super::{Leader, OWN_FILE, block_on};
use crate::system::service_manager;
use crate::system::signals::HANDLED;

/// Whether this process is process 1.
pub fn is_needed() -> bool {
    cfg!(target_os = "linux") && std::process::id() == 1
}

/// Runs this program again, with the same arguments, as a child, and ends with the child's exit status.
pub fn run() -> Result<()> {
    // They are for process 1 by its id. Nobody accepts that id for a child, and nobody would serve them.
    if !service_manager::take_sockets().map_err(Error::msg)?.is_empty() {
        bail!("with --workers 0, process 1 cannot use the sockets of LISTEN_FDS; serve with --workers 1");
    }
    let status = block_on(async {
        let mut signals = Vec::new();
        // For process 1, the kernel ignores all others.
        for name in HANDLED {
            signals.push((name, signal(SignalKind::from_raw(name.as_raw()))?));
        }
        let mut arguments = env::args_os();
        let mut command = std::process::Command::new(OWN_FILE);
        command.arg0(arguments.next().unwrap_or_default()).args(arguments);
        // Ctrl-C reaches only this process, and so the child only once.
        command.process_group(0);
        command.envs(service_manager::notify_variable());
        let child =
            Command::from(command).spawn().context("cannot run the server in a child of process 1")?;
        let mut child = Leader::new(child);
        let pid = child.pid();
        for (name, mut signal) in signals {
            tokio::task::spawn_local(async move {
                while signal.recv().await.is_some() {
                    // The process is not reaped yet: this process ends when it is.
                    pid.into_iter().for_each(|pid| _ = kill_process(pid, name));
                }
            });
        }
        tokio::task::spawn_local(Reaper::new()?.run());
        Ok(child.wait().await?)
    })?;
    std::process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
