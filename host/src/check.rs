//! `callsign check`: whether this host would load these plugins, tried in a process that is thrown away.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow};
use tokio::runtime::{Builder, LocalOptions};

use crate::cli::{CheckOptions, ServeOptions};
use crate::config::{self, Config};
use crate::plan::PlannedPlugin;
use crate::plugin::image::Image;
use crate::probe::{Trial, probe};
use crate::readable::readable;
use crate::settings::{PluginSource, Settings};

/// Prints what is in them. Err: why they would not be loaded.
pub fn run(options: CheckOptions) -> Result<()> {
    let time_limit = options.timeout();
    let trial = trial(options)?;
    let count = trial.plugins.len();
    let begun = Instant::now();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let loaded = runtime.block_on(probe(trial, None, time_limit)).map_err(|why| anyhow!(why))?;
    let plural = if count == 1 { "plugin" } else { "plugins" };
    let text = readable(&loaded.to_string());
    let text = format!("{text}good: {count} {plural}, loaded within {} ms\n", begun.elapsed().as_millis());
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn trial(options: CheckOptions) -> Result<Trial> {
    let CheckOptions { libraries, config, route, timeout: _ } = options;
    let mut file = config.as_deref().map(config::read).transpose()?;
    let says_routes = file.is_some() || !route.is_empty();
    let libraries = match &mut file {
        Some(file) => libraries.into_iter().filter(|library| !take_place(file, library)).collect(),
        None => libraries,
    };
    let serve = ServeOptions { config, route, ..ServeOptions::default() };
    let Settings { plugins, routes, .. } = Settings::merge(file, serve, libraries, 1)?;
    let plugins = plugins.into_iter().map(PlannedPlugin::in_place).collect();
    Ok(Trial { plugins, routes: says_routes.then_some(routes) })
}

/// Whether the library is one that the file names already, under its own name or by its path. It is then loaded in
/// that one's place.
fn take_place(file: &mut Config, library: &Path) -> bool {
    let same_file =
        |other: &PathBuf| other.canonicalize().is_ok_and(|other| library.canonicalize().ok() == Some(other));
    // What is wrong with the library is said when it is tried.
    let name = Image::read(library).map(|image| image.name).ok();
    let is_it = |plugin: &&mut PluginSource| same_file(&plugin.path) || name.is_some() && plugin.name == name;
    let place = file.plugins.iter_mut().find(is_it);
    place.map(|plugin| plugin.path = library.to_path_buf()).is_some()
}
