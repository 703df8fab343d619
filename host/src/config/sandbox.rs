//! What the code of plugins may do on the machine: `[sandbox]`.

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Whether workers are confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxLevel {
    /// Plugins may do what the user of the workers may
    #[default]
    Off,
    /// As strict, as far as the kernel supports it
    BestEffort,
    /// Only what [sandbox] in the config file allows
    Strict,
}

impl SandboxLevel {
    /// Reads a value of the config file. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::from_str(text, false).map_err(|_| r#"expected "off", "best-effort" or "strict""#.to_owned())
    }
}

impl fmt::Display for SandboxLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::BestEffort => "best-effort",
            Self::Strict => "strict",
        })
    }
}

/// What confined workers may do in addition to what any process needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSettings {
    pub level: SandboxLevel,
    /// Files and folders that they may read.
    pub read: Vec<PathBuf>,
    /// Files and folders that they may also write.
    pub write: Vec<PathBuf>,
    /// Programs that they may start, or folders with such programs.
    pub execute: Vec<PathBuf>,
    /// Whether they may open IP sockets.
    pub network: bool,
    /// System calls that they may make although the sandbox forbids them, by name.
    pub system_calls: Vec<String>,
}

impl SandboxSettings {
    /// Whether workers are confined at all.
    pub fn is_on(&self) -> bool {
        self.level != SandboxLevel::Off
    }

    /// A key that has no effect, because nothing is confined.
    pub fn unused(&self) -> Option<&'static str> {
        let lists = self.paths().into_iter().find(|(_, paths)| !paths.is_empty()).map(|(key, _)| key);
        let others = [("network", self.network), ("system_calls", !self.system_calls.is_empty())];
        let others = others.into_iter().find(|(_, is_set)| *is_set).map(|(key, _)| key);
        lists.or(others).filter(|_| !self.is_on())
    }

    /// The keys with paths, and the paths.
    pub fn paths(&self) -> [(&'static str, &[PathBuf]); 3] {
        [("read", &self.read), ("write", &self.write), ("execute", &self.execute)]
    }
}
