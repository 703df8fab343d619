//! What a child process does before it executes its program as another user: it gives up capabilities, groups, group and
//! user, in this order.
//!
//! Invariant: the steps run in a fork of a process that may have threads. They make system calls and nothing else: no
//! allocation, no lock.

use tokio::process::Command;

use crate::system::privileges::Identity;

/// Has the command run with this identity.
#[cfg(target_os = "linux")]
pub fn run_as(command: &mut Command, identity: Identity) {
    // SAFETY: the closure is async-signal-safe, because rustix makes the system calls without the C library, and nothing
    // in it allocates or locks.
    unsafe { command.pre_exec(move || linux::take_on(identity).map_err(Into::into)) };
}

/// Has the command run with this identity.
#[cfg(not(target_os = "linux"))]
pub fn run_as(command: &mut Command, identity: Identity) {
    command.uid(identity.user).gid(identity.group);
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::io::Result;
    use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

    use super::Identity;
    use crate::system::capabilities;

    /// Gives up what root has and this identity does not. The process has a single thread.
    pub fn take_on(identity: Identity) -> Result<()> {
        if identity.drops_capabilities {
            // While the process may still change the bounding set.
            capabilities::forbid_all()?;
        }
        set_thread_groups(&[])?;
        set_thread_gid(rustix::fs::Gid::from_raw(identity.group))?;
        set_thread_uid(rustix::fs::Uid::from_raw(identity.user))
        // The kernel clears the permitted and the effective set when root becomes another user, and otherwise when the
        // program is executed, because no capability is in the bounding set.
    }
}
