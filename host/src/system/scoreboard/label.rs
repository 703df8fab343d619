//! How reports name code of a plugin.

use std::fmt;

/// Names code of a plugin, for reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeLabel {
    /// Name of the plugin; empty if it is unknown.
    pub plugin: String,
    /// Such as `onmessage handler` or `release hook`.
    pub kind: String,
    /// Name of the handler; empty for code without a name.
    pub name: String,
    /// Generation of the plugin.
    pub generation: u32,
}

/// ``plugin `chat` (generation 3): onmessage handler `message` ``
impl fmt::Display for CodeLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, kind, name, generation } = self;
        match (plugin.as_str(), name.as_str()) {
            ("", _) => f.write_str("another handler"),
            (plugin, "") => write!(f, "plugin `{plugin}` (generation {generation}): {kind}"),
            (plugin, name) => write!(f, "plugin `{plugin}` (generation {generation}): {kind} `{name}`"),
        }
    }
}
