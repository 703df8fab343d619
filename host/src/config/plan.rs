//! What the workers serve: the file and generation of each plugin, the routes, the listening sockets with their
//! certificates, limits and logs. The parent makes a plan from the settings; a reload replaces one plan with the next.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::access_log::AccessLogSettings;
use crate::config::handshake::HandshakePolicy;
use crate::config::listen::ListenerSettings;
use crate::config::log_level::LogLevel;
use crate::config::plugin_source::PluginSource;
use crate::config::route::Route;
use crate::config::settings::{Limits, Settings};
use crate::config::tls::Tls;

pub use crate::config::plugin_source::is_plugin_name;

/// What the workers serve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In load order; names are unique.
    pub plugins: Vec<PlannedPlugin>,
    /// No two take the same requests. Empty: the handlers named after their kinds serve every path.
    pub routes: Vec<Route>,
    /// For the handshakes of all routes.
    pub handshake: HandshakePolicy,
    /// What clients and callbacks may cost.
    pub limits: Limits,
    /// How much is logged.
    pub log: LogLevel,
    /// Where requests are recorded.
    pub access_log: AccessLogSettings,
    /// The sockets that clients connect to. An entry of `listen` may stand for several of them, as `localhost` does.
    pub listeners: Vec<PlannedListener>,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedListener {
    /// Number of the socket. It stays when the settings change, and no later socket of the server has it.
    pub id: u32,
    pub settings: ListenerSettings,
    /// None: without TLS.
    pub tls: Option<Arc<Tls>>,
}

/// One plugin in one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedPlugin {
    /// The plugin's name; empty if only the library knows it.
    pub name: String,
    /// How the operator configured the plugin.
    pub source: PluginSource,
    /// The file to load: the parent's private copy, or the operator's file if there is no parent.
    pub file: PathBuf,
    /// 1 for the version that the server started with; each reload adds 1.
    pub generation: u32,
}

impl Plan {
    /// Loads the operator's files themselves, for a server without a parent that could copy them. Has no listeners.
    pub fn in_place(settings: &Settings) -> Self {
        let plugins = settings.plugins.iter().cloned().map(PlannedPlugin::in_place);
        Self { plugins: plugins.collect(), ..Self::of_settings(settings) }
    }

    /// What the settings say themselves: without plugins and certificates.
    pub fn of_settings(settings: &Settings) -> Self {
        let (routes, handshake) = (settings.routes.clone(), settings.handshake.clone());
        let (limits, log, access_log) = (settings.limits, settings.log, settings.access_log.clone());
        Self { routes, handshake, limits, log, access_log, ..Self::default() }
    }

    /// The keys of the settings that differ in `other`, besides routes and plugins.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let log = (self.log != other.log).then(|| "log".to_owned());
        let access_log = self.access_log.differences(&other.access_log);
        log.into_iter().chain(access_log).chain(self.limits.differences(&other.limits)).collect()
    }

    /// The plan without its listeners, and so without keys.
    pub fn without_listeners(&self) -> Self {
        Self { listeners: Vec::new(), ..self.clone() }
    }

    /// The certificates of the listeners with TLS.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Tls>> {
        self.listeners.iter().filter_map(|listener| listener.tls.as_ref())
    }

    /// The address of each listener.
    pub fn addresses(&self) -> Vec<&str> {
        self.listeners.iter().map(|listener| listener.settings.address.as_str()).collect()
    }

    /// How the operator configured each plugin, in load order.
    pub fn sources(&self) -> Vec<PluginSource> {
        self.plugins.iter().map(|planned| planned.source.clone()).collect()
    }
}

impl PlannedPlugin {
    /// The operator's file itself, in generation 1.
    pub fn in_place(source: PluginSource) -> Self {
        let (name, file) = (source.name.clone().unwrap_or_default(), source.path.clone());
        Self { name, source, file, generation: 1 }
    }
}
