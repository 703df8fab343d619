//! What a worker has loaded, as it tells the parent, and what a server says when it has started.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dispatch::{Answerer, Dispatch};
use crate::plugin::handler::HandlerRef;
use crate::plugin::registry::Registry;
use crate::worker::Worker;

/// Plain functions that are told: a library may export thousands that are no handlers.
const FUNCTIONS_MAX: usize = 100;
/// Routes that are told: far more than anybody reads.
const ROUTES_MAX: usize = 1000;

/// What a worker has loaded. From a worker's word, so only to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// In load order.
    pub plugins: Vec<LoadedPlugin>,
    /// In their order, the first [`ROUTES_MAX`].
    pub routes: Vec<LoadedRoute>,
    /// How many more of them there are.
    pub routes_more: usize,
}

/// One plugin in its current generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedPlugin {
    /// Under which its handlers are called.
    pub name: String,
    /// Its own; may be empty.
    pub version: String,
    /// Counted from 1.
    pub generation: u32,
    /// Earlier generations that are still in this worker's memory: libraries are never unloaded.
    pub retained: u32,
    /// The library, as the operator named it.
    pub path: PathBuf,
    /// Kind and name.
    pub handlers: Vec<(String, String)>,
    /// Plain functions, the first [`FUNCTIONS_MAX`].
    pub functions: Vec<String>,
    /// How many more of them there are.
    pub functions_more: usize,
}

/// One route, and the code that it is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedRoute {
    /// As it was written.
    pub path: String,
    /// Whether it answers requests; else it is for WebSockets.
    pub requests: bool,
    /// `onmessage chat:message`, one for each handler.
    pub handlers: Vec<String>,
}

impl Loaded {
    /// What this worker has loaded.
    pub fn of(worker: &Worker) -> Self {
        Self::of_parts(&worker.registry(), &worker.dispatch())
    }

    /// What these are: they need not be a worker's.
    pub fn of_parts(registry: &Registry, dispatch: &Dispatch) -> Self {
        let plugins = registry.plugins().map(|plugin| LoadedPlugin {
            name: plugin.name.clone(),
            version: plugin.image.version.clone(),
            generation: plugin.generation,
            retained: plugin.retained,
            path: plugin.path.clone(),
            handlers: plugin
                .image
                .handlers
                .iter()
                .map(|(name, kind)| (kind.to_string(), name.clone()))
                .collect(),
            functions: plugin.image.functions.iter().take(FUNCTIONS_MAX).cloned().collect(),
            functions_more: plugin.image.functions.len().saturating_sub(FUNCTIONS_MAX),
        });
        let routes = dispatch.iter().take(ROUTES_MAX).map(|route| LoadedRoute {
            path: route.path.clone(),
            requests: matches!(route.answerer, Answerer::Handler(_)),
            handlers: match route.answerer {
                Answerer::Handler(handler) => vec![label(handler)],
                Answerer::Callbacks(callbacks) => callbacks.iter().map(label).collect(),
            },
        });
        let routes_more = dispatch.iter().count().saturating_sub(ROUTES_MAX);
        Self { plugins: plugins.collect(), routes: routes.collect(), routes_more }
    }
}

/// Line by line.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for LoadedPlugin { name, version, generation, path, handlers, functions, functions_more, .. } in
            &self.plugins
        {
            let space = if version.is_empty() { "" } else { " " };
            writeln!(f, "plugin {name}{space}{version}, generation {generation} ({})", path.display())?;
            for (kind, name) in handlers {
                writeln!(f, "  {kind:<12}  {name}")?;
            }
            for name in functions {
                writeln!(f, "  {:<12}  {name}", "function")?;
            }
            if *functions_more > 0 {
                writeln!(f, "  {:<12}  and {functions_more} more", "function")?;
            }
        }
        for LoadedRoute { path, requests, handlers } in &self.routes {
            let what = if *requests { "" } else { "WebSocket: " };
            writeln!(f, "route {path}  {what}{}", handlers.join(", "))?;
        }
        if self.routes_more > 0 {
            writeln!(f, "and {} more routes", self.routes_more)?;
        }
        Ok(())
    }
}

/// All that a server says when it serves: how many workers there are (0: none but itself), and where they listen.
pub fn complete(loaded: &Loaded, workers: usize, addresses: &[SocketAddr]) -> String {
    let mut text = format!("callsign {}\n{loaded}", env!("CARGO_PKG_VERSION"));
    match workers {
        0 => text += "everything in this process\n",
        1 => text += "1 worker\n",
        _ => text += &format!("{workers} workers\n"),
    }
    for address in addresses {
        text += &format!("listening on http://{address}/\n");
    }
    text
}

fn label(handler: HandlerRef) -> String {
    format!("{} {}:{}", handler.kind, handler.plugin_name, handler.name)
}
