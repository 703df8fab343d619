//! `callsign-load`: a benchmark for everyone, `cargo run --release -p callsign-load`.
//!
//! Owns the command line and the order of the measurements. Prints tables on stdout and progress on stderr;
//! exits with 1 if an answer was wrong or a server died. Knows nothing about sockets.
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("callsign-load reads /proc and uses epoll: it runs on Linux only");

mod rows; // what is measured, and how

mod columns; // of the tables

mod steps; // of one measurement

mod scoreboard; // the cost of the scoreboard, without a server

mod reload; // gaps that clients observe around a reload

mod edit; // time from an edit to the new code's answer

mod servers; // starts and stops the contenders

mod contenders; // the servers of this binary

mod floor; // the contender that does the minimum

mod tls; // certificates, and the contender with tokio-rustls

mod client; // the load: connections, frames, checks

mod measure; // CPU, memory, processors, medians

mod report; // tables and JSON

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::measure::Processors;
use crate::report::{Report, Sample};
use crate::rows::RowName;
use crate::servers::Server;

/// Compare Callsign with other WebSocket servers and with a minimal loop (the floor).
///
/// Measures the server's CPU time per message, messages per second, latency, and memory per connection. For
/// Callsign also broadcasts with one and several workers, the gaps that clients observe during a reload, and
/// the time from an edit to an answer of the new code.
///
/// Each measurement starts a new server process. Every server has one working thread; callsign has one per
/// worker, and one worker unless the table says otherwise. The servers take turns, in reverse order in every
/// second round. Figures are medians over the rounds; a ratio is the median of the ratios of the rounds.
/// Every answer is checked byte by byte.
#[derive(Parser)]
#[command(
    name = "callsign-load",
    version,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
struct Options {
    /// Measure each server this many times
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Duration of one measurement in seconds
    #[arg(long = "seconds", value_name = "S", default_value = "2", value_parser = seconds)]
    duration: Duration,
    /// Measure only these rows (separated by commas)
    #[arg(long, value_name = "ROW", value_delimiter = ',', default_values = RowName::NAMES)]
    only: Vec<RowName>,
    /// Number of connections in the rows `idle` and `reload`
    #[arg(long, value_name = "N", default_value_t = rows::MANY_CONNECTIONS, value_parser = connections)]
    connections: usize,
    /// Measure only these servers (separated by commas)
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values = Server::NAMES)]
    servers: Vec<Server>,
    /// Also write every sample and the summary to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Run one of the servers (the program starts itself with this)
    #[command(hide = true)]
    Server {
        server: Server,
        port: u16,
        /// The folder of its certificate, for TLS
        folder: Option<PathBuf>,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_string())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?;
    if duration.is_zero() { Err("expected more than 0 seconds".into()) } else { Ok(duration) }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected more than 0 connections".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("expected a number of connections".into()),
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.role {
        Some(Role::Server { server, port, folder }) => contenders::serve(server, port, folder.as_deref()),
        None => run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("callsign-load: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("note: this is a debug build; use `cargo run --release` for meaningful figures");
    }
    if options.servers.contains(&Server::Callsign) {
        servers::build_callsign()?;
    }
    let processors = Processors::choose()?;
    let rows = rows::rows(&options.only, &options.servers, options.connections, measure::raise_open_files());
    if rows.iter().flat_map(|row| &row.lanes).any(|lane| lane.server == Server::Yawc) {
        servers::build_yawc()?;
    }
    let mut report = Report::new(rows, &options.servers, options.rounds, options.duration, processors);
    let lanes = || report.rows.iter().flat_map(|row| &row.lanes);
    let count = options.rounds * lanes().count() as u32;
    let minutes = (options.rounds * lanes().map(|lane| lane.takes(options.duration)).sum::<Duration>())
        .as_secs_f64()
        / 60.0;
    eprintln!("{count} measurements, about {minutes:.0} min; {}", report.conditions);

    for round in 1..=options.rounds {
        for row in 0..report.rows.len() {
            let mut lanes: Vec<usize> = (0..report.rows[row].lanes.len()).collect();
            if round % 2 == 0 {
                lanes.reverse();
            }
            for lane in lanes {
                let (name, label) = (report.rows[row].name.text(), &report.rows[row].lanes[lane].label);
                let outcome = report.rows[row].lanes[lane].measure(options.duration, processors);
                eprint!("round {round}/{}  {name:<20} {label:<16} ", options.rounds);
                match outcome {
                    Ok(figures) => {
                        eprintln!("{:.3} {}", figures[0], report.rows[row].columns[0].title);
                        report.samples.push(Sample { row, lane, round, figures });
                    }
                    Err(e) => {
                        eprintln!("FAILED: {e:#}");
                        let failure = format!("{label}, row {name}, round {round}: {e:#}");
                        report.failures.push(failure);
                    }
                }
            }
        }
    }
    print!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report.json()))
            .with_context(|| format!("{}", path.display()))?;
    }
    ensure!(report.failures.is_empty(), "{} of the measurements failed, see above", report.failures.len());
    Ok(())
}
