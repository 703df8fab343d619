//! Signals to a server: SIGINT, SIGTERM and SIGQUIT stop it, SIGHUP reloads. Of the others that would end a process,
//! SIGUSR1, SIGUSR2 and SIGALRM are ignored and logged. Workers leave SIGHUP to their parent.

use std::io::{self, IsTerminal};

use rustix::process::{Signal as Name, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop a server, reload it, or are ignored and logged.
pub const HANDLED: [Name; 7] =
    [Name::INT, Name::TERM, Name::QUIT, Name::HUP, Name::USR1, Name::USR2, Name::ALARM];

/// SIGINT, SIGTERM and SIGQUIT, which this process catches from the creation of this value on.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

impl Stop {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the next of them.
    pub async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// Signals that have no meaning here, and whose default would end the process without a Close to anybody.
pub struct Ignored {
    user1: Signal,
    user2: Signal,
    alarm: Signal,
    /// In a worker, which has a parent that reloads.
    hangup: Option<Signal>,
    /// A file has reached the limit on its size, most likely the log: the write fails, which is enough. Not logged,
    /// because that would be the next write.
    _file_size: Signal,
}

impl Ignored {
    /// Ignores them from now on. Needs a tokio runtime. A worker does so before it loads plugins, which may have handlers
    /// of their own.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            alarm: signal(SignalKind::alarm())?,
            hangup: None,
            _file_size: signal(SignalKind::from_raw(libc::SIGXFSZ))?,
        })
    }

    /// Ignores SIGHUP, too: `pkill -HUP callsign` reaches the workers.
    pub fn in_worker() -> io::Result<Self> {
        Ok(Self { hangup: Some(signal(SignalKind::hangup())?), ..Self::new()? })
    }

    /// Logs each of them.
    pub async fn log(mut self) {
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let name = tokio::select! {
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
                _ = self.alarm.recv() => "SIGALRM",
                _ = hangup => {
                    log::debug!("a worker ignores SIGHUP; the parent reloads the plugins");
                    continue;
                }
            };
            log::warn!("{name} is ignored; SIGHUP reloads the plugins, SIGTERM stops the server");
        }
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
