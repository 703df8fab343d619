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

    /// 1 for the copy of the plugin that the server has started with; each reload counts one up.
    pub fn generation(&self) -> u32 {
        self.raw.generation()
    }

    /// Whether this is the process that tries a new copy out before any worker loads it. It ends right after
    /// this hook, serves nobody, and has nothing carried over. Refuse here what you would refuse there, and leave
    /// the rest of the world as it is.
    pub fn is_probe(&self) -> bool {
        self.raw.is_probe()
    }

    /// What the copy before has saved of the plugin as a whole on this worker; None if there is nothing, as at
    /// the server's start. What `plugin!(shared = Room)` has saved is restored already, see
    /// [`shared`](crate::shared()); this tells whether there was anything, and hands bytes of a copy that was
    /// written in C to one that is not.
    pub fn carried(&self) -> Option<&[u8]> {
        self.raw.carried()
    }

    /// The `state_version` of the copy that has saved [`carried`](Self::carried). Of those written with this
    /// crate it is 0: they find fields by their names.
    pub fn carried_version(&self) -> u32 {
        self.raw.carried_version()
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
