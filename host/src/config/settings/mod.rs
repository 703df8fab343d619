//! The complete settings of a server.
//!
//! Config file and command line enter, [`Settings`] with a value for everything leave. The parent sends them to its
//! workers as JSON. Whether a plugin's file exists is checked when it is loaded.

mod listeners; // addresses, and which of them have TLS

mod limits; // what clients and callbacks may cost

mod implausible; // durations that are too short

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::config::access_log::AccessLogSettings;
use crate::config::compression::Compression;
use crate::config::control_address::ControlAddress;
use crate::config::defaults::{DEFAULT_LOG, MAX_WORKERS};
use crate::config::file::Config;
use crate::config::handshake::HandshakePolicy;
use crate::config::listen::Listen;
use crate::config::log_level::LogLevel;
use crate::config::options::ServeOptions;
use crate::config::route::{Route, RoutePath};
use crate::config::sandbox::SandboxSettings;

pub use crate::config::plugin_source::PluginSource;
pub use limits::Limits;

const SANDBOX_OFF: &str =
    "[sandbox] has settings, but its level is \"off\", and nothing is confined; set level = \"strict\"";

/// The complete settings of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// At least one.
    pub listen: Vec<Listen>,
    /// Number of worker processes, at most [`MAX_WORKERS`]. 0: everything runs in one process.
    pub workers: usize,
    /// User of the workers, by name or number.
    pub user: Option<String>,
    /// Group of the workers, by name or number. None: the primary group of `user`.
    pub group: Option<String>,
    /// In load order, at least one.
    pub plugins: Vec<PluginSource>,
    /// No two take the same requests. Empty: the handlers named after their kinds serve every path.
    pub routes: Vec<Route>,
    /// For the handshakes of all routes.
    pub handshake: HandshakePolicy,
    pub limits: Limits,
    /// What workers may do. A reload does not change it, because a confined worker cannot regain access.
    pub sandbox: SandboxSettings,
    pub control: ControlAddress,
    /// The config file, which `callsign status` shows.
    pub config: Option<PathBuf>,
    pub log: LogLevel,
    pub access_log: AccessLogSettings,
    /// Where the settings are that the config file or the environment decides, by key: `file:line:column`, or the
    /// variable's name.
    pub positions: BTreeMap<String, String>,
}

impl Settings {
    /// Returns the keys of the settings that differ in `other` and that a reload cannot change. Which listeners it cannot
    /// change is known when it binds them.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("workers", self.workers != other.workers),
            ("user", self.user != other.user),
            ("group", self.group != other.group),
            ("sandbox", self.sandbox != other.sandbox),
            ("control", self.control != other.control),
        ];
        let names = pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned());
        names.collect()
    }

    /// Adds to an error about the setting `key` where it is in the config file or the environment, if one of them decides
    /// it.
    pub fn located(&self, key: &str, error: anyhow::Error) -> anyhow::Error {
        locate(&self.positions, key, error)
    }

    /// What is allowed and hardly meant, for the log: a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let unused = self.sandbox.unused().map(|key| self.located(key, anyhow!(SANDBOX_OFF)).to_string());
        self.located_warnings(&[]).into_iter().chain(unused).collect()
    }

    /// The same without what was said of other limits.
    pub fn warnings_beside(&self, old: &Limits) -> Vec<String> {
        self.located_warnings(&old.implausible())
    }

    fn located_warnings(&self, known: &[(&str, String)]) -> Vec<String> {
        let implausible = self.limits.implausible().into_iter().filter(|warning| !known.contains(warning));
        implausible.map(|(key, why)| self.located(key, anyhow!(why)).to_string()).collect()
    }

    /// Merges the settings: `options` take precedence over the `config` file, and the file over the defaults.
    ///
    /// Addresses, origins, proxies and compression of `options` replace those of the file. A route replaces the file's routes
    /// with the same path, or is added. `libraries` from the command line are loaded after the file's plugins.
    ///
    /// # Errors
    /// Two routes for the same path on the command line, no plugin, proxy_protocol without trusted proxies, a plugin path
    /// that is not UTF-8, more than [`MAX_WORKERS`] workers, limits that contradict each other, or a certificate without
    /// an address or a key.
    pub fn merge(
        config: Option<Config>,
        options: ServeOptions,
        libraries: Vec<PathBuf>,
        default_workers: usize,
    ) -> anyhow::Result<Self> {
        let config = config.unwrap_or_default();
        let mut positions = config.positions;
        let mut options_set = options.limits.keys();
        options_set.extend(options.keys());
        positions.retain(|key, _| !options_set.contains(key));
        let listen = listeners::merge(config.listen, &options)?;
        positions.extend(options.variables);
        let mut plugins = config.plugins;
        plugins.extend(libraries.into_iter().map(PluginSource::library));
        if plugins.is_empty() {
            bail!("no plugin to serve: name a library's file, or a [plugin.NAME] in the config file");
        }
        // The parent sends the path to workers as JSON.
        if let Some(plugin) = plugins.iter().find(|plugin| plugin.path.to_str().is_none()) {
            bail!("{}: its path is not UTF-8; rename it", plugin.located_label());
        }
        let workers = options.workers.or(config.workers).unwrap_or(default_workers);
        if workers > MAX_WORKERS {
            let error =
                anyhow!("workers is {workers}, expected at most {MAX_WORKERS}; one per core serves best");
            return Err(locate(&positions, "workers", error));
        }
        let origins = match options.origin {
            none if none.is_empty() => config.origins,
            origins => Some(origins.into_iter().collect()),
        };
        let trusted_proxies = match options.trusted_proxy {
            none if none.is_empty() => config.trusted_proxies.unwrap_or_default(),
            proxies => proxies,
        };
        if let Some(entry) = listen.iter().find(|entry| entry.proxy_protocol && trusted_proxies.is_empty()) {
            let address = &entry.address;
            return Err(entry.located(anyhow!(
                "proxy_protocol of {address} needs trusted_proxies in [http], because only trusted proxies may name their \
                 clients; list the addresses of the proxies there"
            )));
        }
        let limits = Limits::merge(config.limits, options.limits).map_err(|error| {
            // The message names the keys, and the first one that the file decides is to be changed there.
            let text = error.to_string();
            let mut words = text.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
            let key = words.find(|word| positions.contains_key(*word)).unwrap_or_default();
            locate(&positions, key, error)
        })?;
        let mut sandbox = config.sandbox.unwrap_or_default();
        sandbox.level = options.sandbox.unwrap_or(sandbox.level);
        let routes = merge_routes(config.routes, options.route)?;
        routes.iter().try_for_each(|route| limits.check_route(route))?;
        Ok(Self {
            listen,
            workers,
            user: options.user.or(config.user),
            group: options.group.or(config.group),
            plugins,
            routes,
            handshake: HandshakePolicy {
                origins: origins.unwrap_or_default(),
                compression: options
                    .compression
                    .map(Compression::of)
                    .or(config.compression)
                    .unwrap_or_default(),
                trusted_proxies: trusted_proxies.into(),
            },
            limits,
            sandbox,
            control: options.control.or(config.control).unwrap_or_default(),
            config: options.config,
            log: options.log.or(config.log).unwrap_or(DEFAULT_LOG),
            access_log: AccessLogSettings {
                target: options.access_log.or(config.access_log).unwrap_or_default(),
                format: options.access_log_format.or(config.access_log_format).unwrap_or_default(),
            },
            positions,
        })
    }
}

/// Puts the position of the key's value in front of the error. The hint at the option then leads astray.
fn locate(positions: &BTreeMap<String, String>, key: &str, error: anyhow::Error) -> anyhow::Error {
    match positions.get(key) {
        Some(position) => anyhow!("{position}: {}", format!("{error:#}").replace(&format!(" (--{key})"), "")),
        None => error,
    }
}

/// A route of the command line takes the place of all routes of the file with the same path, or is added.
fn merge_routes(routes: Vec<Route>, flags: Vec<Route>) -> anyhow::Result<Vec<Route>> {
    let mut by_path: HashMap<RoutePath, &Route> = HashMap::new();
    for flag in &flags {
        if let Some(first) = by_path.insert(flag.path.clone(), flag) {
            bail!("two routes for `{}`: {} and {}; keep one", flag.path, first.origin, flag.origin);
        }
    }
    let mut placed = HashSet::new();
    let place = |route: Route| match by_path.get(&route.path) {
        None => Some(route),
        Some(&flag) => placed.insert(route.path).then(|| flag.clone()),
    };
    let mut merged: Vec<_> = routes.into_iter().filter_map(place).collect();
    drop(by_path);
    merged.extend(flags.into_iter().filter(|flag| !placed.contains(&flag.path)));
    Ok(merged)
}

#[cfg(test)]
mod tests;
