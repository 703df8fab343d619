//! Describes what is loaded: registry and routes enter, the inventory that a worker reports to the parent leaves.

use super::dispatch::{Answerer, Dispatch};
use super::handler::HandlerRef;
use super::registry::Registry;
use crate::link::inventory::{
    FUNCTIONS_MAX, HOSTS_MAX, Inventory, InventoryPlugin, InventoryRoute, NAMES_MAX, ROUTES_MAX,
};

/// The inventory of these plugins and routes.
pub fn inventory(registry: &Registry, dispatch: &Dispatch) -> Inventory {
    let mut room = NAMES_MAX;
    let mut has_room = |name: &str| {
        room = room.saturating_sub(name.len());
        room > 0
    };
    let plugins = registry.plugins().map(|plugin| {
        let image = &plugin.image;
        let unreached = if registry.has_several() { dispatch.unreached(plugin) } else { None };
        let handlers = image.handlers.iter().take_while(|(name, _)| has_room(name));
        let handlers: Vec<_> = handlers.map(|(name, kind)| (kind.to_string(), name.clone())).collect();
        let functions = image.functions.iter().take(FUNCTIONS_MAX).take_while(|name| has_room(name));
        let functions: Vec<_> = functions.cloned().collect();
        InventoryPlugin {
            name: plugin.name.clone(),
            version: image.version.clone(),
            generation: plugin.generation,
            retained: plugin.retained.get(),
            path: plugin.path.clone(),
            handlers_more: image.handlers.len() - handlers.len(),
            handlers,
            functions_more: image.functions.len() - functions.len(),
            functions,
            unreached: unreached.map(str::to_owned),
        }
    });
    let routes = dispatch.iter().take(ROUTES_MAX).map(|route| InventoryRoute {
        path: route.path.clone(),
        methods: route.methods.clone(),
        hosts: route.hosts.iter().take(HOSTS_MAX).map(ToString::to_string).collect(),
        hosts_more: route.hosts.len().saturating_sub(HOSTS_MAX),
        requests: !matches!(route.answerer, Answerer::Callbacks(_)),
        files: route.files.as_ref().map(|files| files.folder.clone()),
        handlers: match route.answerer {
            Answerer::Handler(handler) => vec![label(handler)],
            Answerer::Callbacks(callbacks) => callbacks.iter().map(label).collect(),
            Answerer::Files => Vec::new(),
        },
    });
    let routes_more = dispatch.iter().count().saturating_sub(ROUTES_MAX);
    Inventory { plugins: plugins.collect(), routes: routes.collect(), routes_more }
}

fn label(handler: HandlerRef) -> String {
    format!("{} {}:{}", handler.kind, handler.plugin_name, handler.name)
}
