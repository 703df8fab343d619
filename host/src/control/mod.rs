//! What can be asked of a server while it runs, by whatever way: the control socket, a signal, a file that has
//! changed, `dev`. The parent answers; who asks, and how, is not its business.

#![forbid(unsafe_code)]

mod place; // where the control socket is, and how it gets there

mod socket; // the server's end

mod client; // `callsign reload` and `callsign status`

mod hangup; // SIGHUP

mod status; // how a server goes, as tables

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::settings::Settings;

pub use client::{reload, status};
pub use hangup::{Hangup, Reread};
pub use place::{DEFAULT_NAMED, Place, open};
pub use socket::serve;
pub use status::{Bound, PluginStatus, RouteStatus, RunningStatus, Status, WorkerPlugin, WorkerStatus};

/// The way to the server, from any thread.
pub type Asker = mpsc::UnboundedSender<Ask>;

/// The server's end of it.
pub type Asks = mpsc::UnboundedReceiver<Ask>;

/// A question with the way for its answer.
#[derive(Debug)]
pub enum Ask {
    /// Load plugins anew, in one transaction: all of them or none.
    Reload {
        /// What to load.
        which: Which,
        /// Why, for the log: ``callsign reload``, `SIGHUP`. None: the log is silent, for who asks tells what came of
        /// it.
        reason: Option<String>,
        /// Err: nothing has changed, and why.
        answer: oneshot::Sender<Result<Reloaded, String>>,
    },
    /// How it goes.
    Status(oneshot::Sender<Status>),
}

/// Which plugins to load anew.
#[derive(Debug)]
pub enum Which {
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
    /// All, and those that are new here, with these settings: routes, and each plugin's file and `config`. The rest of
    /// the settings stays as it is.
    Settings(Box<Settings>),
}

/// What a reload has done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Name and new generation of each plugin that was loaded.
    pub plugins: Vec<(String, u32)>,
    /// Workers that have taken part.
    pub workers: usize,
    /// Connections that were kept.
    pub connections: usize,
    /// From the question to the answer.
    pub took: Duration,
    /// For how long no client was served, at most.
    pub paused: Duration,
    /// What has changed in the settings and needs a restart to take effect.
    pub unchanged: Vec<String>,
}

/// What a server is asked by, and what it needs for that.
pub struct Desk {
    /// For the control socket and SIGHUP.
    pub asker: Asker,
    /// The server's end.
    pub asks: Asks,
    /// Reads the settings again, as they were read at the start.
    pub reread: Reread,
}

impl Desk {
    /// With nobody else who asks yet.
    pub fn new(reread: Reread) -> Self {
        let (asker, asks) = mpsc::unbounded_channel();
        Self { asker, asks, reread }
    }
}

/// Where a server's control socket is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Where everybody looks first; it may belong to another server already.
    #[default]
    Default,
    /// There, or the server does not start.
    Path(PathBuf),
    /// Nowhere.
    Off,
}

impl Control {
    /// From the command line, the environment or the config file.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("expected the path of a socket, such as /run/callsign.sock, or `none`".to_owned()),
            "none" => Ok(Self::Off),
            path => Ok(Self::Path(path.into())),
        }
    }
}

/// `chat: generation 4; 2 workers, 500 connections kept; paused 3.7 ms`
impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugins, workers, connections, paused, unchanged, .. } = self;
        let plugins: Vec<String> =
            plugins.iter().map(|(name, generation)| format!("{name}: generation {generation}")).collect();
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        write!(
            f,
            "{}; {workers} worker{}, {connections} connection{} kept; paused {:.1} ms",
            plugins.join(", "),
            plural(*workers),
            plural(*connections),
            paused.as_secs_f64() * 1000.0
        )?;
        if !unchanged.is_empty() {
            write!(f, "; needs a restart to take effect: {}", unchanged.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_told_in_one_line() {
        let plugin = |name: &str, generation| (name.to_owned(), generation);
        let mut reloaded = Reloaded {
            plugins: vec![plugin("chat", 4)],
            workers: 2,
            connections: 500,
            paused: Duration::from_micros(3700),
            ..Reloaded::default()
        };
        let expected = "chat: generation 4; 2 workers, 500 connections kept; paused 3.7 ms";
        assert_eq!(reloaded.to_string(), expected);
        reloaded.plugins.push(plugin("web", 2));
        (reloaded.workers, reloaded.connections) = (1, 1);
        reloaded.unchanged = vec!["listen".to_owned(), "workers".to_owned()];
        let expected = "chat: generation 4, web: generation 2; 1 worker, 1 connection kept; paused 3.7 ms; needs a \
                        restart to take effect: listen, workers";
        assert_eq!(reloaded.to_string(), expected);
    }
}
