//! What a plugin is told at load, and its way to the server's log.
#![forbid(unsafe_code)]

use std::fmt::Display;

use crate::abi;
use crate::boundary::{self, RawLoad};

/// What an `#[onload]` function is told.
#[repr(transparent)]
pub struct Load {
    pub(crate) raw: RawLoad,
}

impl Load {
    /// The name under which this plugin's handlers are called.
    pub fn plugin(&self) -> &str {
        self.raw.plugin()
    }

    /// The plugin's `config` table from the server's configuration as a JSON object; "{}" without one.
    pub fn config(&self) -> &str {
        self.raw.config()
    }

    /// 1 for the first copy of the plugin that a worker loads; each reload counts one up.
    pub fn generation(&self) -> u32 {
        self.raw.generation()
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is wrong and goes on.
    Warn,
    /// What an operator wants to see.
    Info,
    /// What a developer wants to see.
    Debug,
}

/// Writes a line to the server's log, with this plugin's name. Works from any thread.
pub fn log(level: Level, message: impl Display) {
    let code = match level {
        Level::Error => abi::level::ERROR,
        Level::Warn => abi::level::WARN,
        Level::Info => abi::level::INFO,
        Level::Debug => abi::level::DEBUG,
    };
    boundary::log(code, &message.to_string());
}
