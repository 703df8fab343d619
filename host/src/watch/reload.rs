//! `serve --watch`: a library whose file has changed is loaded anew.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use super::libraries::{self, News};
use crate::control::{Ask, Asker, Which};
use crate::plugin::image::Image;
use crate::settings::PluginSource;

/// Watches the plugins' files from now on, and asks for a reload of those that have changed.
pub fn start(plugins: &[PluginSource], asker: Asker) -> Result<()> {
    // By the name that the server knows it under, whatever a later copy calls itself.
    let names = plugins.iter().map(|plugin| match &plugin.name {
        Some(name) => Ok(name.clone()),
        None => Image::read(&plugin.path)
            .map(|image| image.name)
            .with_context(|| format!("plugin {}", plugin.path.display())),
    });
    let names: Vec<String> = names.collect::<Result<_>>()?;
    let files: Vec<_> = plugins.iter().map(|plugin| plugin.path.clone()).collect();
    libraries::watch(files.clone(), move |news| match news {
        News::Broken(index, reason) => {
            log::warn!(
                "plugin `{}` ({}) has changed, and cannot be loaded: {reason}; the old code serves on",
                names[index],
                files[index].display()
            );
            true
        }
        News::Changed(which) => {
            let changed: Vec<_> = which.into_iter().map(|index| names[index].clone()).collect();
            reload(&asker, changed)
        }
    })
}

/// Answers whether there is a server yet.
fn reload(asker: &Asker, names: Vec<String>) -> bool {
    let what = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let (answer, answered) = oneshot::channel();
    let ask = Ask::Reload { which: Which::Named(names), reason: None, answer };
    if asker.send(ask).is_err() {
        return false;
    }
    match answered.blocking_recv() {
        Ok(Ok(done)) => log::info!("plugin {what} has changed, and was reloaded: {done}"),
        Ok(Err(reason)) => {
            log::error!("plugin {what} has changed, and is refused: {reason}; the old code serves on");
        }
        Err(_) => return false,
    }
    true
}
