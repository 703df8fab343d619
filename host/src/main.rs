//! `callsign`: parses, starts the log, runs, and tells by its exit status how it went: 0 stopped on request,
//! 1 failed, 2 wrong usage.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use callsign::cli::{Cli, Command, ServeOptions};
use callsign::settings::Settings;
use callsign::{config, dev, server};
use clap::Parser;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("callsign: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let settings = match cli.command {
        Command::Serve { plugins, options } => settings(options, plugins)?,
        Command::Dev { folder, release, options } => {
            let library = dev::build(&folder, release)?;
            settings(options, vec![library])?
        }
    };
    env_logger::Builder::new().filter_level(settings.log.into()).format_target(false).init();
    server::run(&settings)
}

fn settings(options: ServeOptions, libraries: Vec<std::path::PathBuf>) -> Result<Settings> {
    let config = options.config.as_deref().map(config::read).transpose()?;
    Settings::merge(config, options, libraries)
}
