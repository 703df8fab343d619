//! Requests to a running server: from the control socket, SIGHUP, a watched file, or `dev`. All of them arrive on one
//! channel; the parent answers each without knowing its source.

mod location; // the path of the control socket

mod socket; // the server's end

mod hangup; // SIGHUP

mod status; // the state of a server, as JSON and as tables

mod table; // tables for people

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::config::settings::Settings;

pub use hangup::reload_on;
pub use location::{check, find, open};
pub use socket::{WireRequest, WireResponse, serve};
pub use status::{
    CertificateStatus, ListenerStatus, PluginStatus, RouteHandler, RouteStatus, RunningStatus, SandboxStatus,
    Status, WorkerPlugin, WorkerStatus,
};

/// Sends requests to the server, from any thread.
pub type RequestSender = mpsc::UnboundedSender<ControlRequest>;

/// Receives the requests, in the server.
pub type RequestReceiver = mpsc::UnboundedReceiver<ControlRequest>;

/// Reads the settings again, from the same options and the same config file as at the start.
pub type ReadSettings = Arc<dyn Fn() -> Result<Settings> + Send + Sync>;

/// A request, with the channel for its answer.
#[derive(Debug)]
pub enum ControlRequest {
    /// Reload plugins, in one transaction: all of them or none.
    Reload {
        which: Which,
        /// Whether plugins that have not changed are loaded again too.
        is_forced: bool,
        /// Who asks, for the log: `` `callsign reload` ``, `SIGHUP`. None: the sender of the request logs the outcome,
        /// and the server does not.
        reason: Option<String>,
        /// Err: the reload is rejected and nothing has changed, and why.
        answer: oneshot::Sender<Result<Reloaded, String>>,
    },
    /// The state of the server.
    Status(oneshot::Sender<Status>),
}

/// Which plugins to reload.
#[derive(Debug)]
pub enum Which {
    /// All plugins, and the certificates.
    All,
    /// By name; no certificates.
    Named(Vec<String>),
    /// All that can change while the server runs: plugins, new ones included, with their files and their `config`, routes,
    /// listeners, certificates, limits, the log and the access log.
    Settings(Box<Settings>),
    /// The same with the settings that the server reads again.
    ReadAgain {
        /// Whether a server without a config file rejects the reload.
        needs_file: bool,
    },
}

/// The outcome of a reload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Name and new generation of each plugin that was reloaded.
    pub plugins: Vec<(String, u32)>,
    /// Name and generation of each plugin that was not: neither its library nor its settings have changed.
    pub kept: Vec<(String, u32)>,
    /// Name of each plugin that is not served any more, because the settings do not have it.
    pub removed: Vec<String>,
    /// The new certificate of each listener whose certificates have changed: `example.com until 2027-02-28`.
    pub certificates: Vec<String>,
    /// Addresses that the server listens on from now on.
    pub listening: Vec<String>,
    /// Addresses that it does not listen on any more.
    pub closed: Vec<String>,
    /// Workers that use the new generations.
    pub workers: usize,
    /// Connections that stayed open.
    pub connections: usize,
    /// From the request to the answer.
    pub took: Duration,
    /// The longest time for which a worker served no client.
    pub paused: Duration,
    /// Settings that have changed and are in effect, besides routes and plugins.
    pub settings: Vec<String>,
    /// Settings that have changed and need a restart to take effect.
    pub unchanged: Vec<String>,
    /// What the operator should know about the settings that were read: durations that are hardly meant, and that the
    /// server could not start with them.
    pub warnings: Vec<String>,
}

/// The channel of requests to a server, and how the server reads its settings again.
pub struct ControlChannel {
    /// Cloned for every source of requests.
    pub sender: RequestSender,
    pub receiver: RequestReceiver,
    pub read_settings: ReadSettings,
}

impl ControlChannel {
    pub fn new(read_settings: ReadSettings) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver, read_settings }
    }
}

impl Reloaded {
    /// `listening on 127.0.0.1:81, no longer on 127.0.0.1:80; `, empty if the sockets have stayed.
    fn listeners(&self) -> String {
        let on = |what, addresses: &[String]| match addresses {
            [] => None,
            addresses => Some(format!("{what} {}", addresses.join(", "))),
        };
        let changes = [on("listening on", &self.listening), on("no longer on", &self.closed)];
        let text = changes.into_iter().flatten().collect::<Vec<_>>().join(", ");
        if text.is_empty() { text } else { text + "; " }
    }

    /// Whether no worker had to do anything. Settings may have changed that need a restart.
    pub fn is_nothing(&self) -> bool {
        self.plugins.is_empty() && self.workers == 0
    }
}

/// `chat: generation 4; 2 workers, 500 connections kept; paused 3.7 ms`
impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugins, kept, removed, certificates, workers, connections, paused, .. } = self;
        let Self { settings, unchanged, .. } = self;
        let restart = format!("needs a restart to take effect: {}", unchanged.join(", "));
        if self.is_nothing() && !unchanged.is_empty() {
            return write!(f, "changed, but {restart}");
        }
        let plugin = |(name, generation): &(String, u32)| format!("{name}: generation {generation}");
        let kept = kept.iter().map(|kept| plugin(kept) + " (unchanged)");
        let gone = removed.iter().map(|name| format!("{name}: removed"));
        let all = plugins.iter().map(plugin).chain(gone).chain(kept).collect::<Vec<_>>().join(", ");
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        if self.is_nothing() {
            write!(f, "nothing has changed; {all}; `callsign reload --force` loads a plugin again")?;
        } else {
            let listeners = self.listeners();
            let what = match certificates.join(", ") {
                none if none.is_empty() && !listeners.is_empty() => listeners,
                none if none.is_empty() && plugins.is_empty() && removed.is_empty() => {
                    "the settings; ".to_owned()
                }
                none if none.is_empty() => none,
                certificates => format!("{listeners}certificate of {certificates}; "),
            };
            write!(
                f,
                "{what}{all}; {workers} worker{}, {connections} connection{} kept; paused {:.1} ms",
                plural(*workers),
                plural(*connections),
                paused.as_secs_f64() * 1000.0
            )?;
        }
        if !settings.is_empty() {
            write!(f, "; now in effect: {}", settings.join(", "))?;
        }
        if !unchanged.is_empty() {
            write!(f, "; {restart}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_reported_in_one_line() {
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

    #[test]
    fn plugins_that_have_not_changed_are_listed_as_such() {
        let plugin = |name: &str, generation| (name.to_owned(), generation);
        let mut reloaded = Reloaded { kept: vec![plugin("chat", 3)], workers: 2, ..Reloaded::default() };
        let expected =
            "the settings; chat: generation 3 (unchanged); 2 workers, 0 connections kept; paused 0.0 ms";
        assert_eq!(reloaded.to_string(), expected);
        reloaded.plugins.push(plugin("web", 2));
        let expected =
            "web: generation 2, chat: generation 3 (unchanged); 2 workers, 0 connections kept; paused 0.0 ms";
        assert_eq!(reloaded.to_string(), expected);
        (reloaded.plugins, reloaded.workers) = (Vec::new(), 0);
        let expected = "nothing has changed; chat: generation 3 (unchanged); `callsign reload --force` loads a plugin \
                        again";
        assert_eq!(reloaded.to_string(), expected);
        reloaded.unchanged = vec!["workers".to_owned()];
        let expected = "changed, but needs a restart to take effect: workers";
        assert_eq!(reloaded.to_string(), expected);
    }

    #[test]
    fn certificates_that_have_changed_are_named() {
        let certificates = vec!["a.example until 2027-02-28".to_owned()];
        let kept = vec![("chat".to_owned(), 3)];
        let mut reloaded = Reloaded { kept, certificates, workers: 1, ..Reloaded::default() };
        let expected = "certificate of a.example until 2027-02-28; chat: generation 3 (unchanged); 1 worker, 0 connections \
                        kept; paused 0.0 ms";
        assert_eq!(reloaded.to_string(), expected);
        (reloaded.plugins, reloaded.kept) = (vec![("chat".to_owned(), 4)], Vec::new());
        let expected = "certificate of a.example until 2027-02-28; chat: generation 4; 1 worker, 0 connections kept; paused 0.0 ms";
        assert_eq!(reloaded.to_string(), expected);
    }

    #[test]
    fn listeners_that_were_added_and_removed_are_named() {
        let kept = vec![("chat".to_owned(), 3)];
        let mut reloaded = Reloaded { kept, workers: 1, ..Reloaded::default() };
        let rest = "chat: generation 3 (unchanged); 1 worker, 0 connections kept; paused 0.0 ms";
        reloaded.closed = vec!["unix:/run/a.sock".to_owned()];
        assert_eq!(reloaded.to_string(), format!("no longer on unix:/run/a.sock; {rest}"));
        reloaded.listening = vec!["127.0.0.1:81".to_owned(), "[::1]:81".to_owned()];
        let listeners = "listening on 127.0.0.1:81, [::1]:81, no longer on unix:/run/a.sock; ";
        assert_eq!(reloaded.to_string(), format!("{listeners}{rest}"));
        reloaded.certificates = vec!["a.example until 2027-02-28".to_owned()];
        let certificate = "certificate of a.example until 2027-02-28; ";
        assert_eq!(reloaded.to_string(), format!("{listeners}{certificate}{rest}"));
    }

    #[test]
    fn plugins_that_are_not_served_any_more_are_named() {
        let removed = vec!["echo".to_owned()];
        let kept = vec![("chat".to_owned(), 3)];
        let reloaded = Reloaded { kept, removed, workers: 1, ..Reloaded::default() };
        let expected =
            "echo: removed, chat: generation 3 (unchanged); 1 worker, 0 connections kept; paused 0.0 ms";
        assert_eq!(reloaded.to_string(), expected);
    }
}
