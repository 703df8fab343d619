//! What confined workers need because of what they serve: the folders of plugins' libraries, and folders of static files.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::config::plugin_source::PluginSource;
use crate::config::route::{Route, Target};
use crate::config::settings::Settings;
use crate::system::sandbox::{self, Confinement};

/// Makes the confinement of all workers and probes of a server. None: the settings do not confine.
pub fn of(settings: &Settings) -> Option<Confinement> {
    settings.sandbox.is_on().then(|| {
        let served = needed(&settings.plugins, &settings.routes).into_iter().map(|(_, path)| path);
        Confinement::new(&settings.sandbox, unique(served))
    })
}

/// Whether a server can confine its workers here as the settings say.
pub fn check(settings: &Settings) -> Result<()> {
    sandbox::check(&settings.sandbox).map_err(|(key, error)| settings.located(key, error))
}

/// Whether workers that are confined in this way can serve these plugins and routes.
pub fn check_change(confinement: &Confinement, plugins: &[PluginSource], routes: &[Route]) -> Result<()> {
    let new = needed(plugins, routes).into_iter().find(|(_, path)| !confinement.covers(path));
    let Some((what, path)) = new else { return Ok(()) };
    bail!(
        "{what} is in {}, which confined workers cannot read, and a confined worker cannot regain access; restart the \
         server, or list the folder in `read` of [sandbox] before its start",
        path.display()
    )
}

/// The folders, each with what it is needed for.
fn needed(plugins: &[PluginSource], routes: &[Route]) -> Vec<(String, PathBuf)> {
    let of_plugin = |plugin: &PluginSource| {
        // Not what the run path of the library names: the plugin could choose what it may read.
        (plugin.label(), absolute(plugin.path.parent().unwrap_or(Path::new(""))))
    };
    let of_route = |route: &Route| {
        let Target::Files(files) = &route.target else { return None };
        Some((format!("what route `{}` serves", route.path), absolute(&files.folder)))
    };
    let plugins = plugins.iter().map(of_plugin);
    plugins.chain(routes.iter().filter_map(of_route)).filter(|(_, path)| path.exists()).collect()
}

fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn unique(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut unique = Vec::new();
    paths.for_each(|path| {
        if !unique.contains(&path) {
            unique.push(path);
        }
    });
    unique
}
