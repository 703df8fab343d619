//! The inventory: what a worker has loaded, as it reports to the parent. It is untrusted; the parent only shows it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Most plain functions in an inventory: a library may export thousands that are not handlers.
pub const FUNCTIONS_MAX: usize = 100;
/// Bytes of all names of handlers and functions in an inventory. As JSON they fit into one message
/// ([`super::TEXT_MAX`]).
pub const NAMES_MAX: usize = 4 << 20;
/// Most hosts of a route in an inventory.
pub const HOSTS_MAX: usize = 20;
/// Most routes in an inventory.
pub const ROUTES_MAX: usize = 1000;

/// Plugins and routes of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// In load order.
    pub plugins: Vec<InventoryPlugin>,
    /// In order, the first [`ROUTES_MAX`].
    pub routes: Vec<InventoryRoute>,
    /// Routes that are not listed.
    pub routes_more: usize,
}

/// One plugin in its current generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryPlugin {
    pub name: String,
    /// As the plugin declares it; may be empty.
    pub version: String,
    /// From 1.
    pub generation: u32,
    /// Other generations that are still in this worker's memory, rejected ones included: libraries are never unloaded.
    pub retained: u32,
    /// The library, as the operator names it, not its copy.
    pub path: PathBuf,
    /// Kind and name.
    pub handlers: Vec<(String, String)>,
    /// Handlers that are not listed.
    pub handlers_more: usize,
    /// Plain functions, the first [`FUNCTIONS_MAX`].
    pub functions: Vec<String>,
    /// Plain functions that are not listed.
    pub functions_more: usize,
    /// An onrequest handler, if several plugins are loaded and no route reaches one of this plugin.
    pub unreached: Option<String>,
}

/// One route and its handlers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryRoute {
    /// As the operator writes it.
    pub path: String,
    /// Empty: all that no other route of the path lists.
    pub methods: Vec<String>,
    /// The first [`HOSTS_MAX`]. Empty: all.
    pub hosts: Vec<String>,
    /// Hosts that are not listed.
    pub hosts_more: usize,
    /// Whether the route answers HTTP requests. If not, it is for WebSockets.
    pub requests: bool,
    /// Such as `onmessage chat:message`.
    pub handlers: Vec<String>,
    /// The folder with its static files.
    pub files: Option<PathBuf>,
}

/// Which requests a route takes, for people: `/room/{room}`, `GET, PUT /room/{room}`, `/ on a.example, b.example and 3 more`.
pub fn requests(path: &str, methods: &[String], hosts: &[String], hosts_more: usize) -> String {
    const HOSTS_SHOWN: usize = 2;
    let mut text = methods.join(", ");
    if !text.is_empty() {
        text.push(' ');
    }
    text += path;
    let shown = &hosts[..hosts.len().min(HOSTS_SHOWN)];
    if !shown.is_empty() {
        text += &format!(" on {}", shown.join(", "));
    }
    match hosts.len() - shown.len() + hosts_more {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

impl Inventory {
    /// What the operator has probably not intended, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let warning = |plugin: &InventoryPlugin| {
            let (name, handler) = (&plugin.name, plugin.unreached.as_ref()?);
            Some(format!(
                "plugin `{name}`: no route reaches its onrequest handler `{handler}`; name it in a route, such as \
                 --route '/{name}/*={name}:{handler}'"
            ))
        };
        self.plugins.iter().filter_map(warning).collect()
    }
}

/// One line for each plugin, handler, function and route.
impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for InventoryPlugin {
            name,
            version,
            generation,
            path,
            handlers,
            handlers_more,
            functions,
            functions_more,
            ..
        } in &self.plugins
        {
            let space = if version.is_empty() { "" } else { " " };
            writeln!(f, "plugin {name}{space}{version}, generation {generation} ({})", path.display())?;
            for (kind, name) in handlers {
                writeln!(f, "  {kind:<12}  {name}")?;
            }
            if *handlers_more > 0 {
                writeln!(f, "  {:<12}  and {handlers_more} more", "handler")?;
            }
            for name in functions {
                writeln!(f, "  {:<12}  {name}", "function")?;
            }
            if *functions_more > 0 {
                writeln!(f, "  {:<12}  and {functions_more} more", "function")?;
            }
        }
        for route in &self.routes {
            let what = if route.requests { "" } else { "WebSocket: " };
            let InventoryRoute { path, methods, hosts, hosts_more, handlers, files, .. } = route;
            let requests = requests(path, methods, hosts, *hosts_more);
            match files {
                Some(folder) => writeln!(f, "route {requests}  files in {}", folder.display())?,
                None => writeln!(f, "route {requests}  {what}{}", handlers.join(", "))?,
            }
        }
        if self.routes_more > 0 {
            writeln!(f, "and {} more routes", self.routes_more)?;
        }
        Ok(())
    }
}
