//! Tests that call modules of the host crate instead of the program. The only users of `callsign::` in the suite.

mod config; // callsign.toml

mod crash; // the crash handler and the board

mod watch; // files that change
