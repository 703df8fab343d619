//! `callsign`: parses, starts the log, runs, and tells by its exit status how it went: 0 stopped on request,
//! 1 failed, 2 wrong usage.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use callsign::cli::{Cli, Command, ServeOptions};
use callsign::settings::{Settings, default_serve_workers};
use callsign::{config, dev, new, server, watch};
use clap::Parser;

fn main() -> ExitCode {
    // Not for people, and so not in the help: how the parent starts its workers.
    let is_worker = std::env::args_os().nth(1).is_some_and(|command| command == "worker");
    let result = if is_worker {
        server::run_worker(|settings, index| start_log(settings, Some(index)))
    } else {
        run(Cli::parse())
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
    let (asker, asks) = tokio::sync::mpsc::unbounded_channel();
    match cli.command {
        Command::Serve { plugins, watch, options } => {
            let settings = settings(options, plugins, default_serve_workers())?;
            start_log(&settings, None);
            if watch {
                watch::reload::start(&settings.plugins, asker)?;
            }
            server::run(settings, asks)
        }
        Command::Dev(options) => dev::run(options, asker, asks, |settings| {
            start_log(settings, None);
            Ok(())
        }),
        Command::New(options) => {
            // Whoever does not read it has the project all the same.
            let _ = std::io::stdout().write_all(new::make(&options)?.as_bytes());
            Ok(())
        }
    }
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
