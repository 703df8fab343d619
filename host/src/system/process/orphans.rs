//! Reaps orphans. The kernel makes processes that lost their parent children of process 1, which the server is in a
//! container; a program that becomes the server by exec leaves its children to it, too. Processes that the server
//! started itself are not touched: somebody waits for their exit status.
//!
//! Invariant: a process that the server started is registered here before [`Reaper`] can look for orphans.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Time until the next look, where orphans may be left and no signal will tell.
const RETRY: Duration = Duration::from_millis(100);

static OWN: Mutex<Own> = Mutex::new(Own { registered: Vec::new(), paused: 0 });

/// The processes that the server started and has not reaped.
struct Own {
    registered: Vec<i32>,
    /// Live [`Pause`] values.
    paused: usize,
}

fn own() -> MutexGuard<'static, Own> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers a process that the server started. To be called on the thread that runs the [`Reaper`], so that it cannot
/// look between the start and this call.
pub fn register(process: i32) {
    own().registered.push(process);
}

/// Takes that back, when the process was reaped or nobody waits for it any more.
pub fn deregister(process: i32) {
    own().registered.retain(|registered| *registered != process);
}

/// Nothing is reaped while one exists: for processes that other threads start and wait for.
pub struct Pause(());

impl Pause {
    pub fn begin() -> Self {
        own().paused += 1;
        Self(())
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        own().paused -= 1;
    }
}

/// Reaps orphans.
pub struct Reaper {
    child_ended: Signal,
}

impl Reaper {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self { child_ended: signal(SignalKind::child())? })
    }

    /// Reaps orphans for as long as the process runs.
    pub async fn run(mut self) {
        loop {
            if reap() {
                self.child_ended.recv().await;
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Reaps orphans that have ended. False: an ended process of the server's own is before them in the kernel's list, or
/// there is a [`Pause`].
#[cfg(target_os = "linux")]
fn reap() -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let own = own();
    if own.paused > 0 {
        return false;
    }
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    // WNOWAIT leaves the process a zombie, so the second call finds the same process. An error means that there is no
    // child at all.
    while let Ok(status) = waitid(Id::All, ended | WaitPidFlag::WNOWAIT) {
        let Some(process) = status.pid() else { return true };
        if own.registered.contains(&process.as_raw()) {
            return false;
        }
        let _ = waitid(Id::Pid(process), ended);
        log::debug!("reaped orphan {process}");
    }
    true
}

/// Elsewhere no server is process 1.
#[cfg(not(target_os = "linux"))]
fn reap() -> bool {
    true
}
