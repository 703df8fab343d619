//! What can be asked of a server while it runs, by whatever way: the control socket, a signal, a file that has
//! changed, `dev`. The parent answers; who asks, and how, is not its business.

#![forbid(unsafe_code)]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::settings::Settings;

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
        /// Why, for the log: ``callsign reload``, `SIGHUP`, `its file has changed`.
        reason: String,
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

/// How a server goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the parent.
    pub pid: u32,
}
