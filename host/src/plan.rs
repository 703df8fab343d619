//! What the workers serve: which file stands for which plugin, and the routes. The parent makes a plan, and a
//! reload is the way from one to the next.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::route::Route;
use crate::settings::{PluginSource, Settings};

/// What the workers serve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In load order, each name once.
    pub plugins: Vec<PlannedPlugin>,
    /// Routes, each with a path of its own. None means the convention.
    pub routes: Vec<Route>,
}

/// One plugin in one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedPlugin {
    /// Under which it will be known; empty where only the library knows.
    pub name: String,
    /// What the operator has said.
    pub source: PluginSource,
    /// The file to load: a copy of the operator's that nobody writes to, or that itself.
    pub file: PathBuf,
    /// 1 for the one that the server has started with; each reload of it counts one up.
    pub generation: u32,
}

impl Plan {
    /// The libraries as they lie there: for a server that has no parent to copy them.
    pub fn in_place(settings: &Settings) -> Self {
        let plugins = settings.plugins.iter().cloned().map(PlannedPlugin::in_place);
        Self { plugins: plugins.collect(), routes: settings.routes.clone() }
    }

    /// What the operator has said of each plugin.
    pub fn sources(&self) -> Vec<PluginSource> {
        self.plugins.iter().map(|planned| planned.source.clone()).collect()
    }
}

impl PlannedPlugin {
    /// The library as it lies there, in its first generation.
    pub fn in_place(source: PluginSource) -> Self {
        let (name, file) = (source.name.clone().unwrap_or_default(), source.path.clone());
        Self { name, source, file, generation: 1 }
    }
}
