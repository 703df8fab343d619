//! What the tests of the whole program share: plugins built from source, the real `callsign` program, and
//! clients that can keep the protocol or break it.
//!
//! Nothing here waits without an end: after [`DEADLINE`] whatever has not come fails the test. No fixed
//! ports, no sleeps.
//!
//! All tests run in one process, in parallel. None of them may change what belongs to the process: its environment,
//! current folder, umask, signal handlers. What a server needs is set for the child alone, see [`Host::start_through`].
//! A test that measures time takes the machine with [`alone`]; one that compiles or floods says [`busy`].

use std::time::Duration;

mod host; // starts `callsign`, reads what it says, stops it

mod plugins; // Rust and C sources to libraries

mod raw; // a socket: HTTP by hand, frames by hand

mod websocket; // a WebSocket client, and frames that break the rules

mod peer; // a WebSocket client among many on one thread

mod load; // many of them: every echo checked and timed

mod reloading; // a server whose plugin is replaced

mod process; // what the system says of processes; locks between tests

mod checker; // a server under AddressSanitizer or valgrind

pub use checker::{Checked, Checker, SANITIZED};
pub use host::{Host, isolate, run, serve_crash, worker_of};
pub use load::{End, Load, Plan, State};
pub use peer::Peer;
pub use plugins::{
    c_plugin, c_plugin_with, compile_c, crash_config, empty_folder, faulty, good, made_plugin, path, plugin,
    plugin_variant, replace, root, scratch,
};
pub use process::{Process, alone, busy, eventually, free_port};
pub use raw::{
    Answer, BINARY, BINARY_BEGINS, CLOSE, ENDS, GOES_ON, PING, PONG, Raw, TEXT, TEXT_BEGINS, UPGRADE, frame,
};
pub use reloading::{ROUTE, Reloading, variant};
pub use websocket::WebSocket;

/// Far more than anything takes, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
