//! What the tests of the whole program share: plugins built from source, the real `callsign` program, and
//! clients that can keep the protocol or break it.
//!
//! Nothing here waits without an end: after [`DEADLINE`] whatever has not come fails the test. No fixed
//! ports, no sleeps.

use std::time::Duration;

mod host; // starts `callsign`, reads what it says, stops it

mod plugins; // Rust and C sources to libraries

mod raw; // a socket: HTTP by hand, frames by hand

mod websocket; // a WebSocket client, and frames that break the rules

mod peer; // a WebSocket client among many on one thread

mod load; // many of them: every echo checked and timed

mod reloading; // a server whose plugin is replaced

mod process; // what the system says of processes

mod checker; // a server under AddressSanitizer or valgrind

pub use checker::{Checked, Checker, SANITIZED};
pub use host::{Host, run};
pub use load::{End, Load, Plan, State};
pub use peer::Peer;
pub use plugins::{
    c_plugin, c_plugin_with, compile_c, crash_config, made_plugin, path, plugin, plugin_variant, replace,
    root, scratch,
};
pub use process::{Process, alone};
pub use raw::{Answer, Raw, frame};
pub use reloading::{ROUTE, Reloading, variant};
pub use websocket::WebSocket;

/// Far more than anything takes, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
