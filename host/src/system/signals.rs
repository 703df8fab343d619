//! Signals to a server: SIGINT and SIGTERM stop it, SIGHUP reloads.

use std::io::{self, IsTerminal};

use rustix::process::{Signal as Name, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM, which this process catches from the creation of this value on.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next of them.
    pub async fn requested(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {} _ = self.terminate.recv() => {} }
    }
}

/// SIGHUP, which this process catches from the creation of this value on. A terminal that closes sends it too: a server
/// that was started in that terminal then stops, as with Ctrl-C.
pub struct Hangup {
    signal: Signal,
    started_in_terminal: bool,
}

impl Hangup {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self { signal: signal(SignalKind::hangup())?, started_in_terminal: io::stdin().is_terminal() })
    }

    /// Logs, at each signal, why it has no effect.
    pub async fn ignore(mut self, why: &str) {
        while self.requested().await {
            log::warn!("SIGHUP is ignored: {why}");
        }
    }

    /// Waits for the next request to reload. False: the signal cannot be received any more.
    pub async fn requested(&mut self) -> bool {
        while self.signal.recv().await.is_some() {
            if !self.started_in_terminal || io::stdin().is_terminal() {
                return true;
            }
            log::info!("the terminal is gone");
            let _ = kill_process(getpid(), Name::TERM);
        }
        false
    }
}
