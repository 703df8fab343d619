//! What a server runs with, and the default of every setting.
//!
//! The config file and the command line enter, one [`Settings`] with nothing left open leaves; it can be
//! written as JSON for another process. Knows nothing about how either was read, nor whether a plugin's file
//! exists.

#![forbid(unsafe_code)]

mod limits; // what clients and callbacks can cost

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::cli::{LogLevel, ServeOptions};
use crate::config::Config;
use crate::control::Control;
use crate::route::Route;
pub use limits::*;

/// Address that is listened on: this machine only, until the operator says otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Most workers that can be asked for: far more than cores, for each takes its share of every broadcast.
pub const MAX_WORKERS: usize = 256;
/// Number of workers of `dev`: one process to look at, and one copy of every log line.
pub const DEFAULT_DEV_WORKERS: usize = 1;
/// What is logged: enough to see what was loaded and why something failed, nothing per message.
pub const DEFAULT_LOG: LogLevel = LogLevel::Info;

/// Everything that a server is told before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Addresses to listen on, `HOST:PORT` each; at least one.
    pub listen: Vec<String>,
    /// Number of worker processes, at most [`MAX_WORKERS`]; 0: everything runs in one process.
    pub workers: usize,
    /// Account that workers run as, by name or number; only root can change it.
    pub user: Option<String>,
    /// Group that workers run as, by name or number; None with a `user`: that user's own.
    pub group: Option<String>,
    /// Libraries to load, in this order; at least one.
    pub plugins: Vec<PluginSource>,
    /// Routes, each with a path of its own. None means the convention: handlers named after their kind.
    pub routes: Vec<Route>,
    /// Bounds on what clients and callbacks can cost.
    pub limits: Limits,
    /// Where it can be asked how it goes, and told to reload.
    pub control: Control,
    /// The config file, to be shown.
    pub config: Option<PathBuf>,
    /// What is worth a log line.
    pub log: LogLevel,
}

/// One plugin to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginSource {
    /// The name that `[plugin.NAME]` gives it; without one, it goes by the name it gives itself.
    pub name: Option<String>,
    /// The library's file.
    pub path: PathBuf,
    /// The function that `[plugin.NAME]` names as its load hook, or for its load hook.
    pub onload: Option<String>,
    /// The plugin's own settings, passed to it as they are.
    #[serde(with = "toml_text")]
    pub config: toml::Table,
}

impl PluginSource {
    /// ``plugin `chat` (libchat.so)``, as far as its name is known without the library.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("plugin `{name}` ({})", self.path.display()),
            None => format!("plugin {}", self.path.display()),
        }
    }

    /// A library with neither a given name nor settings of its own.
    pub fn library(path: PathBuf) -> Self {
        Self { name: None, path, onload: None, config: toml::Table::new() }
    }
}

impl Settings {
    /// Settings in which `other` differs and which only a start can change, by the names of their keys.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("listen", self.listen != other.listen),
            ("workers", self.workers != other.workers),
            ("user", self.user != other.user),
            ("group", self.group != other.group),
            ("control", self.control != other.control),
            ("log", self.log != other.log),
            ("limits", self.limits != other.limits),
        ];
        pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
    }

    /// One server's settings: `options` from the command line win over the `config` file, which wins over the
    /// defaults. Addresses replace those of the file; a route replaces the file's route of the same path, or
    /// is added; `libraries` named on the command line are loaded after the file's plugins. The number of
    /// workers is `default_workers` if neither sets it.
    ///
    /// # Errors
    /// Two routes of one path on the command line, no plugin at all, more than [`MAX_WORKERS`], or limits that
    /// contradict each other.
    pub fn merge(
        config: Option<Config>,
        options: ServeOptions,
        libraries: Vec<PathBuf>,
        default_workers: usize,
    ) -> anyhow::Result<Self> {
        let config = config.unwrap_or_default();
        let listen = if options.listen.is_empty() { config.listen } else { Some(options.listen) };
        let mut plugins = config.plugins;
        plugins.extend(libraries.into_iter().map(PluginSource::library));
        if plugins.is_empty() {
            bail!("no plugin to serve: name a library's file, or a [plugin.NAME] in the config file");
        }
        // It is told to workers as text.
        if let Some(plugin) = plugins.iter().find(|plugin| plugin.path.to_str().is_none()) {
            bail!("plugin {}: its path is not UTF-8; rename it", plugin.path.display());
        }
        let workers = options.workers.or(config.workers).unwrap_or(default_workers);
        if workers > MAX_WORKERS {
            bail!("workers is {workers}, expected at most {MAX_WORKERS}; one per core serves best");
        }
        Ok(Self {
            listen: listen.unwrap_or_else(|| vec![DEFAULT_LISTEN.to_owned()]),
            workers,
            user: options.user.or(config.user),
            group: options.group.or(config.group),
            plugins,
            routes: merge_routes(config.routes, options.route)?,
            limits: Limits::merge(config.limits, options.limits)?,
            control: options.control.or(config.control).unwrap_or_default(),
            config: options.config,
            log: options.log.unwrap_or(DEFAULT_LOG),
        })
    }
}

fn merge_routes(mut routes: Vec<Route>, flags: Vec<Route>) -> anyhow::Result<Vec<Route>> {
    for (index, flag) in flags.iter().enumerate() {
        if let Some(first) = flags[..index].iter().find(|first| first.path == flag.path) {
            bail!("two routes for `{}`: {} and {}; keep one", flag.path, first.origin, flag.origin);
        }
        match routes.iter_mut().find(|route| route.path == flag.path) {
            Some(route) => *route = flag.clone(),
            None => routes.push(flag.clone()),
        }
    }
    Ok(routes)
}

/// Number of workers of `serve`: one per core that this process may use, at most [`MAX_WORKERS`].
pub fn default_serve_workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS)
}

/// A user or a group, by name or number. Whether there is one is not looked up.
///
/// # Errors
/// Says what was expected.
pub fn parse_account(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err("expected a name or a number, such as `www-data` or 33".to_owned());
    }
    Ok(text.to_owned())
}

/// An address to listen on, as `HOST:PORT`. The host may be a name, an IPv4 address or an IPv6 address in
/// brackets; port 0 lets the system choose.
///
/// # Errors
/// Says what was expected.
pub fn parse_listen(text: &str) -> Result<String, String> {
    let text = text.trim();
    let well_formed = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host_fits =
            !host.is_empty() && !host.contains(char::is_whitespace) && (bracketed || !host.contains(':'));
        host_fits && port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    if well_formed {
        Ok(text.to_owned())
    } else {
        Err(format!("expected HOST:PORT, such as {DEFAULT_LISTEN}, 0.0.0.0:80 or [::1]:8080"))
    }
}

/// A plugin's settings as TOML text, because JSON has no word for TOML's dates, `inf` and `nan`.
mod toml_text {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    pub fn serialize<S: Serializer>(table: &toml::Table, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&toml::to_string(table).map_err(ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<toml::Table, D::Error> {
        toml::from_str(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
