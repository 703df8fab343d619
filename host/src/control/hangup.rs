//! SIGHUP: reads the settings again and asks for a reload with them. A terminal that is gone sends it too; then the
//! server that was started there ends.

use std::io::{self, IsTerminal};

use anyhow::Result;
use rustix::process::{Signal as Name, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::{Ask, Asker, Which};
use crate::settings::Settings;

/// Reads the settings as they were read at the start.
pub type Reread = Box<dyn Fn() -> Result<Settings>>;

/// The signal, caught from the moment it is made.
pub struct Hangup {
    signal: Signal,
    had_terminal: bool,
}

impl Hangup {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self { signal: signal(SignalKind::hangup())?, had_terminal: io::stdin().is_terminal() })
    }

    /// Reloads with each signal, for as long as it is polled.
    pub async fn reload(mut self, reread: Reread, asker: Asker) {
        while self.received().await {
            // What comes of it is logged by who answers.
            match reread() {
                Ok(settings) => reload(settings, &asker).await,
                Err(error) => log::error!("SIGHUP: nothing was reloaded: {error:#}"),
            }
        }
    }

    /// Says with each signal why nothing comes of it.
    pub async fn ignore(mut self, why: &str) {
        while self.received().await {
            log::warn!("SIGHUP is ignored: {why}");
        }
    }

    /// Waits for the wish to reload.
    async fn received(&mut self) -> bool {
        while self.signal.recv().await.is_some() {
            if !self.had_terminal || io::stdin().is_terminal() {
                return true;
            }
            log::info!("the terminal is gone");
            // As Ctrl-C there would.
            let _ = kill_process(getpid(), Name::TERM);
        }
        false
    }
}

async fn reload(settings: Settings, asker: &Asker) {
    let (answer, answered) = oneshot::channel();
    let which = Which::Settings(Box::new(settings));
    let _ = asker.send(Ask::Reload { which, reason: Some("SIGHUP".to_owned()), answer });
    let _ = answered.await;
}
