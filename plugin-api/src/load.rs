//! The argument of an onload hook, and the server's log.
#![forbid(unsafe_code)]

use std::fmt::Display;

use crate::abi;
use crate::boundary::{self, RawLoad};

/// The argument of an `#[onload]` hook.
#[repr(transparent)]
pub struct Load {
    pub(crate) raw: RawLoad,
}

impl Load {
    /// The plugin's name, as used in routes and handshakes.
    pub fn plugin(&self) -> &str {
        self.raw.plugin()
    }

    /// The plugin's `config` table from the server's configuration as a JSON object; "{}" without one.
    pub fn config(&self) -> &str {
        self.raw.config()
    }

    /// 1 for the generation that the server started with; each successful reload of the plugin adds 1.
    pub fn generation(&self) -> u32 {
        self.raw.generation()
    }

    /// Whether this process is the probe, which loads a new generation before any worker does. The probe
    /// exits right after this hook, serves no clients, and carries no state over. Reject in the probe what
    /// the hook would reject in a worker, and do not change anything outside the process.
    pub fn is_probe(&self) -> bool {
        self.raw.is_probe()
    }

    /// The index of this worker, from 0, like [`worker::index`](crate::worker::index()); 0 in the probe.
    pub fn worker(&self) -> u32 {
        self.raw.worker()
    }

    /// The generation of the plugin that still serves while this hook runs, and that this one replaces if the
    /// reload is accepted. It holds its resources until its onunload hook has run, and keeps them if the
    /// reload is rejected. None: no other copy serves on this worker, because the worker starts. In the probe
    /// of a reload, it is the generation that serves on the workers.
    ///
    /// An exclusive resource, such as a port or a lock file, needs both: one worker holds it, and a new
    /// generation opens it when the old one has closed it.
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use std::net::TcpListener;
    /// use std::time::Duration;
    ///
    /// use callsign_plugin::prelude::*;
    ///
    /// thread_local! { static METRICS: RefCell<Option<TcpListener>> = const { RefCell::new(None) }; }
    ///
    /// fn open() -> Result<(), String> {
    ///     let listener = TcpListener::bind("127.0.0.1:9100").map_err(|error| format!("port 9100: {error}"))?;
    ///     METRICS.set(Some(listener));
    ///     Ok(())
    /// }
    ///
    /// #[onload]
    /// fn load(load: &Load) -> Result<(), String> {
    ///     if load.is_probe() || load.worker() != 0 {
    ///         return Ok(());
    ///     }
    ///     if load.replaces().is_none() {
    ///         return open();
    ///     }
    ///     // Runs after `unload` of the old generation, and never if the reload is rejected.
    ///     after(Duration::ZERO, || {
    ///         if let Err(error) = open() {
    ///             log(Level::Error, error);
    ///         }
    ///     });
    ///     Ok(())
    /// }
    ///
    /// #[onunload]
    /// fn unload() {
    ///     METRICS.take();
    /// }
    /// # fn main() {}
    /// ```
    pub fn replaces(&self) -> Option<u32> {
        self.raw.replaces()
    }

    /// The bytes that the previous generation saved for this worker, outside of connections. None if it saved
    /// nothing, and when the server starts. The state of `plugin!(shared = Room)` is already restored, see
    /// [`shared`](crate::shared()). Use the bytes to detect whether state was carried over, or to read what a
    /// generation written in C saved.
    pub fn carried(&self) -> Option<&[u8]> {
        self.raw.carried()
    }

    /// The `state_version` of the generation that saved [`carried`](Self::carried). 0 for plugins that use
    /// this crate, which restores fields by name.
    pub fn carried_version(&self) -> u32 {
        self.raw.carried_version()
    }
}

/// Level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An operation failed.
    Error,
    /// A problem that does not stop the operation.
    Warn,
    /// Information for the operator.
    Info,
    /// Information for the developer.
    Debug,
}

/// Writes a line to the server's log, with this plugin's name; to stderr if no host has loaded the library.
/// May be called from any thread.
pub fn log(level: Level, message: impl Display) {
    let code = match level {
        Level::Error => abi::level::ERROR,
        Level::Warn => abi::level::WARN,
        Level::Info => abi::level::INFO,
        Level::Debug => abi::level::DEBUG,
    };
    boundary::log(code, &message.to_string());
}
