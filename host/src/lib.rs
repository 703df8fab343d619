//! The server behind the `callsign` program. The library has one function for others: [`main`]. Plugins are built with
//! the crate `callsign-plugin`.
//!
//! The folders are layers: each uses only those before it.

mod config; // command line, environment, config file

mod system; // processes, signals, shared memory, crash reports

mod link; // messages between parent and workers

mod plugin; // libraries, handlers by name, calls

mod client; // one client: transport, protocol, write queue

mod worker; // the clients of one thread

mod bridge; // the functions that plugins call

mod http; // requests, responses, the upgrade

mod serve; // a worker process from start to end

mod parent; // starts and supervises workers

mod commands; // one module for each command

#[doc(hidden)]
pub mod testing; // for tests, fuzz targets and the benchmark

use std::process::ExitCode;

use anyhow::Result;

use commands::cli::{Cli, Command};
use commands::{assets, check, control, dev, headers, inspect, manual, new, serve as serve_command, usage};
use system::log as logging;
use system::sanitize::sanitize;
use system::service_manager;

/// Runs the program. Exit status: 0 success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    let command = std::env::args_os().nth(1).unwrap_or_default();
    // Not in the help: the parent starts workers and probes with these two.
    let result = match command.to_str() {
        Some("worker") => serve::run_worker(),
        Some("probe") => serve::probe::run_probe(),
        _ => {
            service_manager::adopt();
            run(usage::parse())
        }
    };
    let status = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = format!("{error:#}");
            service_manager::show_status(&error);
            // File names and texts of plugins are untrusted.
            logging::print_error(&format!("callsign: {}\n", sanitize(&error)));
            ExitCode::FAILURE
        }
    };
    logging::finish();
    status
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Serve { plugins, watch, options } => serve_command::run(options, plugins, watch),
        Command::Dev(options) => dev::run(options),
        Command::New(options) => new::run(&options),
        Command::Headers(options) => headers::run(&options),
        Command::Assets(options) => assets::run(&options),
        Command::Reload(options) => control::reload(options),
        Command::Status { json, server } => control::status(server, json),
        Command::Check(options) => check::run(options),
        Command::Inspect { library, json } => inspect::run(&library, json),
        Command::Completions(options) => manual::completions(&options),
        Command::Man(options) => manual::man(&options),
    }
}
