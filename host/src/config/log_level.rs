//! How much is logged: `--log`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum LogLevel {
    /// Failures
    Error,
    /// Likely problems, such as a client that reads too slowly or a callback that blocks
    Warn,
    /// What is started, loaded, reloaded and stopped
    Info,
    /// Each connection
    Debug,
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
