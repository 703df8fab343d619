//! Describes what is loaded: registry and routes enter, the inventory that a worker reports to the parent leaves.

use super::dispatch::{Answerer, Dispatch};
use super::handler::HandlerRef;
use super::registry::Registry;
use crate::link::inventory::{FUNCTIONS_MAX, Inventory, InventoryPlugin, InventoryRoute, ROUTES_MAX};

/// The inventory of these plugins and routes.
pub fn inventory(registry: &Registry, dispatch: &Dispatch) -> Inventory {
    let plugins = registry.plugins().map(|plugin| InventoryPlugin {
        name: plugin.name.clone(),
        version: plugin.image.version.clone(),
        generation: plugin.generation,
        retained: plugin.retained.get(),
        path: plugin.path.clone(),
        handlers: plugin.image.handlers.iter().map(|(name, kind)| (kind.to_string(), name.clone())).collect(),
        functions: plugin.image.functions.iter().take(FUNCTIONS_MAX).cloned().collect(),
        functions_more: plugin.image.functions.len().saturating_sub(FUNCTIONS_MAX),
    });
    let routes = dispatch.iter().take(ROUTES_MAX).map(|route| InventoryRoute {
        path: route.path.clone(),
        requests: matches!(route.answerer, Answerer::Handler(_)),
        handlers: match route.answerer {
            Answerer::Handler(handler) => vec![label(handler)],
            Answerer::Callbacks(callbacks) => callbacks.iter().map(label).collect(),
        },
    });
    let routes_more = dispatch.iter().count().saturating_sub(ROUTES_MAX);
    Inventory { plugins: plugins.collect(), routes: routes.collect(), routes_more }
}

fn label(handler: HandlerRef) -> String {
    format!("{} {}:{}", handler.kind, handler.plugin_name, handler.name)
}
