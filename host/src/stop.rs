//! SIGINT and SIGTERM: the wish to stop.

#![forbid(unsafe_code)]

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals, caught from the moment it is made.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one of them; may be called again.
    pub async fn requested(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {} _ = self.terminate.recv() => {} }
    }
}
