//! `callsign serve`: merges the settings, then starts the parent with its workers, or one process for `--workers 0`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use super::watch::auto_reload;
use crate::config::defaults::default_serve_workers;
use crate::config::file;
use crate::config::options::ServeOptions;
use crate::config::settings::Settings;
use crate::parent::{self, control::ControlChannel};
use crate::serve;
use crate::system::log as logging;

/// Serves the plugins of the config file and these libraries until a signal stops the server.
pub fn run(options: ServeOptions, libraries: Vec<PathBuf>, watch: bool) -> Result<()> {
    let read_settings = move || read_settings(options.clone(), libraries.clone(), default_serve_workers());
    let settings = read_settings()?;
    logging::start(settings.log.into(), None);
    let channel = ControlChannel::new(Arc::new(read_settings));
    if watch && settings.workers == 0 {
        log::warn!("--watch is ignored: {}", serve::NO_RELOAD);
    } else if watch {
        auto_reload::start(&settings.plugins, channel.sender.clone())?;
    }
    serve_with(settings, channel)
}

/// Serves until a signal stops the server. The error says why it could not start, or how many connections it aborted
/// at the end.
pub fn serve_with(settings: Settings, channel: ControlChannel) -> Result<()> {
    if settings.workers != 0 {
        return parent::run(settings, channel);
    }
    // No parent answers requests. Without a receiver, sending one fails at once.
    drop(channel);
    serve::run_alone(&settings)
}

fn read_settings(options: ServeOptions, libraries: Vec<PathBuf>, default_workers: usize) -> Result<Settings> {
    let config = options.config.as_deref().map(file::read).transpose()?;
    Settings::merge(config, options, libraries, default_workers)
}
