//! How much is logged: `--log`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Each level includes those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum LogLevel {
    /// Failures
    Error,
    /// Likely problems, such as a client that reads too slowly or a callback that blocks
    Warn,
    /// What is started, loaded, reloaded and stopped
    #[default]
    Info,
    /// Each connection
    Debug,
}

impl LogLevel {
    /// Parses the name of a level. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let level = <Self as ValueEnum>::from_str(text, false);
        level.map_err(|_| "expected \"error\", \"warn\", \"info\" or \"debug\"".to_owned())
    }
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
        }
    }
}
