//! Tests that call modules of the host crate directly. No other area of the suite uses `callsign::`.

mod compression; // its key `compression`

mod config; // callsign.toml

mod crash; // the crash handler and the scoreboard

mod watch; // files that change
