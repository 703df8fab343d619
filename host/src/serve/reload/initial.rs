//! The plugins that a process starts with. A plan enters, a registry and its routes leave. There is no old generation,
//! so nothing is carried over and nothing can be rolled back: after an error the process exits.

use anyhow::{Context, Result};

use crate::bridge::{host_api, identity};
use crate::config::plan::{Plan, PlannedPlugin};
use crate::plugin::dispatch::Dispatch;
use crate::plugin::generation::LoadSite;
use crate::plugin::registry::Registry;

/// Loads the plugins of a plan, runs their load hooks and resolves the routes.
pub fn load_initial(plan: &Plan) -> Result<(Registry, Dispatch)> {
    let site = LoadSite { is_probe: false, worker: identity::get().0, replaces: None };
    let registry = load_initial_plugins(&plan.plugins, |_| site)?;
    let dispatch = Dispatch::resolve(&registry, &plan.routes, &plan.handshake)?;
    Ok((registry, dispatch))
}

/// Loads the plugins and runs their load hooks. `site` is what the hook of a plugin is told about the process.
pub fn load_initial_plugins(plan: &[PlannedPlugin], site: impl Fn(&str) -> LoadSite) -> Result<Registry> {
    let candidate = Registry::default().load_candidate(plan, host_api::table())?;
    for (plugin, planned) in candidate.new_generations().zip(plan) {
        plugin.start(None, site(&plugin.name)).with_context(|| planned.source.label())?;
        plugin.label_release_hook();
    }
    Ok(candidate.registry)
}
