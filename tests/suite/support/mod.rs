//! What the tests of the whole program share: plugins built from source, the real `callsign` program, and
//! clients that keep the protocol or break it.
//!
//! Every wait has a limit: what has not happened after [`DEADLINE`] fails the test. There are no fixed ports
//! and no sleeps.
//!
//! All tests run in parallel in one process. No test may change the environment, current folder, umask or
//! signal handlers of the process; [`Host::start_through`] sets them for a server only. A test that measures
//! time takes the machine with [`alone`]; a test that compiles or floods takes [`busy`].

use std::time::Duration;

mod host; // starts `callsign`, reads its output, stops it

mod bare; // starts it with output of a test's own

mod plugins; // builds Rust and C sources

mod raw; // a socket for handmade HTTP and frames

mod tls; // certificates and a TLS client

mod deflate; // a client that compresses

mod http2; // an HTTP/2 client

mod websocket; // a WebSocket client, also for invalid frames

mod peer; // a WebSocket client among many on one thread

mod load; // many of them, which check and time every echo

mod reloading; // a server whose plugin is replaced

mod process; // information about processes; locks between tests

mod checker; // a server under AddressSanitizer or valgrind

pub use bare::{Bare, exit_of};
pub use checker::{Checked, Checker, SANITIZED};
pub use deflate::{Deflating, RSV1};
pub use host::{Host, flood, isolate, run, serve_crash, status, worker_of};
pub use http2::{Http2, Tunnel};
pub use load::{End, Load, Plan, State};
pub use peer::Peer;
pub use plugins::{
    c_plugin, c_plugin_with, change, compile_c, compile_cpp, cpp_plugin_with, crash_config, empty_folder,
    faulty, good, made_plugin, path, plugin, plugin_variant, replace, root, scratch,
};
pub use process::{
    Process, alone, busy, eventually, free_port, is_root, may_run, may_unshare, needs_root, skip,
};
pub use raw::{
    Answer, BINARY, BINARY_BEGINS, CLOSE, ENDS, GOES_ON, PING, PONG, Raw, TEXT, TEXT_BEGINS, UPGRADE, frame,
};
pub use reloading::{ROUTE, Reloading, variant};
pub use tls::{Authority, Files, Issued, TlsStream, Trust};
pub use websocket::WebSocket;

/// Far more than any step takes, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
