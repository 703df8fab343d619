//! `serve --watch`: reloads a plugin when its file has changed.

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use super::libraries::{self, LibraryChange};
use crate::config::plugin_source::PluginSource;
use crate::parent::control::{ControlRequest, RequestSender, Which};
use crate::plugin::image::Image;

/// Watches the plugins' files until the server ends, and sends a reload request for those that have changed.
pub fn start(plugins: &[PluginSource], sender: RequestSender) -> Result<()> {
    // The server knows a plugin by the name in its first file, even if a later file has another name.
    let names = plugins.iter().map(|plugin| match &plugin.name {
        Some(name) => Ok(name.clone()),
        None => Image::read(&plugin.path)
            .map(|image| image.name)
            .with_context(|| format!("plugin {}", plugin.path.display())),
    });
    let names: Vec<String> = names.collect::<Result<_>>()?;
    let files: Vec<_> = plugins.iter().map(|plugin| plugin.path.clone()).collect();
    libraries::watch(files.clone(), move |change| match change {
        LibraryChange::Broken(index, reason) => {
            log::warn!(
                "plugin `{}` ({}) has changed, and cannot be loaded: {reason}; the old code serves on",
                names[index],
                files[index].display()
            );
            true
        }
        LibraryChange::Changed(indexes) => {
            let changed: Vec<_> = indexes.into_iter().map(|index| names[index].clone()).collect();
            reload(&sender, changed)
        }
    })
}

/// Requests a reload, waits for it, and logs the result. Returns false if the server has ended.
fn reload(sender: &RequestSender, names: Vec<String>) -> bool {
    let plugins = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let (answer, answered) = oneshot::channel();
    let which = Which::Named(names);
    let request = ControlRequest::Reload { which, is_forced: false, reason: None, answer };
    if sender.send(request).is_err() {
        return false;
    }
    match answered.blocking_recv() {
        Ok(Ok(reloaded)) if reloaded.is_nothing() => {
            log::info!("plugin {plugins} has changed back to what the server runs");
        }
        Ok(Ok(reloaded)) => log::info!("plugin {plugins} has changed, and was reloaded: {reloaded}"),
        Ok(Err(reason)) => {
            log::error!("plugin {plugins} has changed, and is refused: {reason}; the old code serves on");
        }
        Err(_) => return false,
    }
    true
}
