//! `callsign`: parses, starts the log, runs, and tells by its exit status how it went: 0 stopped on request,
//! 1 failed, 2 wrong usage.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use callsign::cli::{Cli, Command, ServeOptions};
use callsign::settings::{DEFAULT_DEV_WORKERS, Settings, default_serve_workers};
use callsign::{config, dev, probe, server};
use clap::Parser;

fn main() -> ExitCode {
    let command = std::env::args_os().nth(1).unwrap_or_default();
    // Two are not for people, and so not in the help: how the parent starts its workers and probes.
    let result = match command.to_str() {
        Some("worker") => server::run_worker(|settings, index| start_log(settings, Some(index))),
        Some("probe") => probe::run_probe(),
        _ => run(Cli::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("callsign: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let settings = match cli.command {
        Command::Serve { plugins, options } => settings(options, plugins, default_serve_workers())?,
        Command::Dev { folder, release, options } => {
            let library = dev::build(&folder, release)?;
            settings(options, vec![library], DEFAULT_DEV_WORKERS)?
        }
    };
    start_log(&settings, None);
    let (_asker, asks) = tokio::sync::mpsc::unbounded_channel();
    server::run(settings, asks)
}

/// Log lines go to stderr: time, level, and which worker says it.
fn start_log(settings: &Settings, worker: Option<usize>) {
    let mut log = env_logger::Builder::new();
    log.filter_level(settings.log.into());
    log.format(move |out, record| {
        let level_style = out.default_level_style(record.level());
        let (time, level) = (out.timestamp_millis(), record.level());
        let worker = worker.map(|index| format!(" worker {index}:")).unwrap_or_default();
        writeln!(out, "{time} {level_style}{level:<5}{level_style:#}{worker} {}", record.args())
    });
    log.init();
}

fn settings(options: ServeOptions, libraries: Vec<PathBuf>, default_workers: usize) -> Result<Settings> {
    let config = options.config.as_deref().map(config::read).transpose()?;
    Settings::merge(config, options, libraries, default_workers)
}
