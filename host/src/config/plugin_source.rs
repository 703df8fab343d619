//! One plugin to load, as the operator configures it: by a path on the command line, or by `[plugin.NAME]`.

use std::path::PathBuf;

use callsign_plugin::abi::NAME_SIZE;
use serde::{Deserialize, Serialize};

use crate::config::secret::PluginSecret;

/// One plugin to load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PluginSource {
    /// NAME of `[plugin.NAME]`. None: the name in the library's descriptor.
    pub name: Option<String>,
    /// The library's file.
    pub path: PathBuf,
    /// The function to call as onload hook. None: the library's onload handler, if it has one.
    pub onload: Option<String>,
    /// Which connections its broadcasts reach.
    pub broadcast: BroadcastTo,
    /// The plugin's own settings. The server passes them on without reading them.
    #[serde(with = "toml_text")]
    pub config: toml::Table,
    /// Settings that are not in the config file.
    pub secrets: Vec<PluginSecret>,
    /// Where these settings are: `file:line:column`. None: there are none.
    pub config_position: Option<String>,
    /// Where its path is: `file:line:column`. None: on the command line.
    pub position: Option<String>,
}

/// The same settings, wherever they are.
impl PartialEq for PluginSource {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, path, onload, broadcast, config, secrets, config_position: _, position: _ } = self;
        (name, path, onload) == (&other.name, &other.path, &other.onload)
            && (broadcast, config, secrets) == (&other.broadcast, &other.config, &other.secrets)
    }
}

/// Which connections the broadcasts of a plugin reach if several plugins are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BroadcastTo {
    /// Those with a handler of the plugin.
    #[default]
    Plugin,
    /// Those of all plugins.
    All,
}

impl BroadcastTo {
    /// Parses `plugin` or `all`. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "plugin" => Ok(Self::Plugin),
            "all" => Ok(Self::All),
            _ => {
                Err("expected \"plugin\" (connections of this plugin) or \"all\" (of all plugins)".to_owned())
            }
        }
    }
}

impl PluginSource {
    /// A library without a given name, hook or settings.
    pub fn library(path: PathBuf) -> Self {
        let (onload, broadcast, config) = (None, BroadcastTo::default(), toml::Table::new());
        let (secrets, config_position, position) = (Vec::new(), None, None);
        Self { name: None, path, onload, broadcast, config, secrets, config_position, position }
    }

    /// The plugin's own settings with the secrets among them.
    pub fn complete_config(&self) -> toml::Table {
        let mut config = self.config.clone();
        self.secrets.iter().for_each(|secret| secret.add_to(&mut config));
        config
    }

    /// The label behind its place in the config file: ``callsign.toml:2:8: plugin `chat` (libchat.so)``.
    pub fn located_label(&self) -> String {
        let label = self.label();
        self.position.as_ref().map_or_else(|| label.clone(), |position| format!("{position}: {label}"))
    }

    /// ``plugin `chat` (libchat.so)``, or `plugin libchat.so` if only the library knows its name.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("plugin `{name}` ({})", self.path.display()),
            None => format!("plugin {}", self.path.display()),
        }
    }
}

/// Whether routes, logs and the scoreboard can hold this plugin name.
pub fn is_plugin_name(name: &str) -> bool {
    let size = 1..NAME_SIZE;
    size.contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Serializes a plugin's settings as TOML text, because JSON cannot represent TOML's dates, `inf` and `nan`.
mod toml_text {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    pub fn serialize<S: Serializer>(table: &toml::Table, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&toml::to_string(table).map_err(ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<toml::Table, D::Error> {
        toml::from_str(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}
