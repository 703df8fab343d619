//! `callsign check`: loads plugins in a probe process, as a server would, and prints what it found.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;
use tokio::runtime::{Builder, LocalOptions};

use super::output::print;
use crate::config::defaults::DEFAULT_CHECK_TIMEOUT;
use crate::config::file::{self, Config};
use crate::config::options::ServeOptions;
use crate::config::plan::PlannedPlugin;
use crate::config::plugin_source::PluginSource;
use crate::config::route::Route;
use crate::config::settings::Settings;
use crate::config::units::parse_duration;
use crate::parent::preflight;
use crate::plugin::advice;
use crate::plugin::image::Image;
use crate::serve::confinement;
use crate::serve::probe::{TimeLimit, Trial, probe};
use crate::system::sanitize::{sanitize, sanitize_line};

/// Options of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckOptions {
    /// Plugins: shared libraries
    ///
    /// All are loaded together, as in a server. A library with the name of a plugin of the config file replaces that
    /// plugin and gets its settings. The others are loaded after the plugins of the file.
    #[arg(value_name = "LIBRARY", required_unless_present = "config")]
    libraries: Vec<PathBuf>,

    /// Config file, in TOML
    ///
    /// Its plugins are loaded with their settings, and the handlers of its routes are looked up. Its addresses, its user
    /// and its folders are checked on this machine.
    #[arg(long, value_name = "FILE", env = "CALLSIGN_CONFIG")]
    config: Option<PathBuf>,

    /// Handlers of a path, as in `serve`; may be repeated
    #[arg(long, value_name = "PATH=HANDLERS", value_parser = Route::from_flag)]
    route: Vec<Route>,

    /// Time to load the plugins, with their hooks
    ///
    /// A number of seconds (10), or 250ms, 10s, 1.5m. After this time, a plugin counts as hung.
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    timeout: Option<Duration>,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("expected more than 0, such as 10s".to_owned()),
        timeout => Ok(timeout),
    }
}

/// Prints plugins, handlers and routes. The error says why the plugins cannot be loaded.
pub fn run(options: CheckOptions) -> Result<()> {
    let timeout = options.timeout.unwrap_or(DEFAULT_CHECK_TIMEOUT);
    let has_config = options.config.is_some();
    let (trial, settings) = trial(options)?;
    if has_config {
        let warnings = preflight::check(&settings)?;
        warn(&preflight::warnings(&settings));
        warn(&warnings);
    }
    let (count, advice) = (trial.plugins.len(), advice(&trial));
    let started = Instant::now();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let limit = TimeLimit { left: timeout, within: format!("within {timeout:?}") };
    let loaded = runtime.block_on(probe(trial, None, limit)).map_err(|why| anyhow!(why))?;
    let plural = if count == 1 { "plugin" } else { "plugins" };
    warn(&loaded.warnings());
    let loaded = sanitize(&loaded.to_string());
    print(&format!(
        "{loaded}{advice}good: {count} {plural}, loaded within {} ms\n",
        started.elapsed().as_millis()
    ))
}

fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("callsign: warning: {}", sanitize(warning)));
}

/// What to know about the plugins although they load, one line for each fact.
fn advice(trial: &Trial) -> String {
    let of = |plugin: &PlannedPlugin| {
        let image = Image::read(&plugin.file).ok()?;
        let name = plugin.source.name.as_ref().unwrap_or(&image.name);
        let (path, advice) = (&plugin.source.path, advice::advice(&image, &plugin.source.path));
        let lines =
            advice.iter().map(|advice| format!("note: plugin `{name}` ({}): {advice}", path.display()));
        Some(lines.map(|line| sanitize_line(&line) + "\n").collect::<String>())
    };
    trial.plugins.iter().filter_map(of).collect()
}

fn trial(options: CheckOptions) -> Result<(Trial, Settings)> {
    let CheckOptions { libraries, config, route, timeout: _ } = options;
    let mut file = config.as_deref().map(file::read).transpose()?;
    // Without any, a plugin needs no handlers of certain names.
    let has_routes = file.is_some() || !route.is_empty();
    let libraries = match &mut file {
        Some(file) => libraries.into_iter().filter(|library| !replace_in_config(file, library)).collect(),
        None => libraries,
    };
    let serve = ServeOptions { config, route, ..ServeOptions::default() };
    let settings = Settings::merge(file, serve, libraries, 1)?;
    let plugins = settings.plugins.iter().cloned().map(PlannedPlugin::in_place).collect();
    let routes = has_routes.then(|| settings.routes.clone());
    let confinement = confinement::of(&settings);
    Ok((Trial { plugins, serving: Vec::new(), routes, confinement }, settings))
}

/// Replaces the file of the config's plugin that has the library's name or path. Returns false if there is none.
fn replace_in_config(config: &mut Config, library: &Path) -> bool {
    let same_file =
        |other: &PathBuf| other.canonicalize().is_ok_and(|other| library.canonicalize().ok() == Some(other));
    // The probe reports what is wrong with the library.
    let name = Image::read(library).map(|image| image.name).ok();
    let same_plugin =
        |plugin: &&mut PluginSource| same_file(&plugin.path) || name.is_some() && plugin.name == name;
    let replaced = config.plugins.iter_mut().find(same_plugin);
    replaced.map(|plugin| plugin.path = library.to_path_buf()).is_some()
}
