//! What `reload`, `status` and `check` take, and the examples of these and of `inspect`.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::control::Control;
use crate::probe;
use crate::route::Route;
use crate::units::parse_duration;

/// Which server is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct ControlOptions {
    /// Control socket of the server
    ///
    /// As the server has it: from its --control, its config file, or the default. Without XDG_RUNTIME_DIR the default
    /// is in /tmp/callsign-UID.
    #[arg(long, value_name = "PATH", env = "CALLSIGN_CONTROL", value_parser = Control::parse)]
    pub control: Option<Control>,
}

/// What is to be tried.
#[derive(Debug, Clone, Args)]
pub struct CheckOptions {
    /// Plugins: shared libraries
    ///
    /// One that has the name of a plugin of the config file takes its place there, and is given its settings; others
    /// are loaded after those.
    #[arg(value_name = "LIBRARY", required_unless_present = "config")]
    pub libraries: Vec<PathBuf>,

    /// Config file, in TOML
    ///
    /// Its plugins are loaded too, each with its settings, and its routes are looked up.
    #[arg(long, value_name = "FILE", env = "CALLSIGN_CONFIG")]
    pub config: Option<PathBuf>,

    /// Handlers for a path, as for `serve`; may be repeated
    #[arg(long, value_name = "PATH=HANDLERS", value_parser = Route::from_flag)]
    pub route: Vec<Route>,

    /// Time for loading them, hooks included
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    pub timeout: Option<Duration>,
}

impl CheckOptions {
    /// The time-out, or its default.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(probe::TIME_LIMIT)
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("expected more than 0, such as 10s".to_owned()),
        time => Ok(time),
    }
}

pub(super) const RELOAD_EXAMPLES: &str = "\
Examples:
  callsign reload
          Load all plugins anew
  callsign reload chat web
          Load these two anew, or neither
  callsign reload --control /run/chat.sock && echo live
          Ask the server that was started with --control /run/chat.sock";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  callsign status
          Tables for people
  callsign status --json
          The same for programs";

pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  callsign check target/release/libchat.so
          Would it be loaded, and what is in it
  callsign check target/release/libchat.so --config callsign.toml
          And with the settings, the other plugins and the routes of this file
  callsign check --config callsign.toml
          Would a server start with this file
  callsign check libchat.so --route '/chat=join,message,leave'
          Are these handlers in it";

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  callsign inspect target/release/libchat.so
          What is in it
  callsign inspect target/release/libchat.so --json
          The same for programs";
