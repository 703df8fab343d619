//! `callsign`: parses, starts the log, runs, and tells by its exit status how it went: 0 stopped on request,
//! 1 failed, 2 wrong usage.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use callsign::cli::{Cli, Command, ServeOptions};
use callsign::control::Desk;
use callsign::plugin::inspect;
use callsign::readable::readable;
use callsign::settings::{Settings, default_serve_workers};
use callsign::{check, config, control, dev, new, probe, server, watch};
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
            // It names files, and what is in them.
            eprintln!("callsign: {}", readable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Serve { plugins, watch, options } => serve(options, plugins, watch),
        Command::Dev(options) => dev::run(options, |settings| start_log(settings, None)),
        Command::New(options) => {
            // Whoever does not read it has the project all the same.
            let _ = std::io::stdout().write_all(new::make(&options)?.as_bytes());
            Ok(())
        }
        Command::Reload { plugins, server } => control::reload(&server.control.unwrap_or_default(), plugins),
        Command::Status { json, server } => control::status(&server.control.unwrap_or_default(), json),
        Command::Check(options) => check::run(options),
        Command::Inspect { library, json } => inspect::run(&library, json),
    }
}

fn serve(options: ServeOptions, libraries: Vec<PathBuf>, watch: bool) -> Result<()> {
    let read = move || read_settings(options.clone(), libraries.clone(), default_serve_workers());
    let settings = read()?;
    start_log(&settings, None);
    let desk = Desk::new(Box::new(read));
    if watch && settings.workers == 0 {
        log::warn!("--watch is ignored: {}", server::NO_RELOAD);
    } else if watch {
        watch::reload::start(&settings.plugins, desk.asker.clone())?;
    }
    server::run(settings, desk)
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

fn read_settings(options: ServeOptions, libraries: Vec<PathBuf>, default_workers: usize) -> Result<Settings> {
    let config = options.config.as_deref().map(config::read).transpose()?;
    Settings::merge(config, options, libraries, default_workers)
}
