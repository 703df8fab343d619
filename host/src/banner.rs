//! What a server says when it has started: what it loaded, what answers where, and its address.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::dispatch::Answerer;
use crate::plugin::handler::HandlerRef;
use crate::worker::Worker;

/// The text, line by line.
pub fn started(worker: &Worker, addresses: &[SocketAddr]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, worker, addresses);
    text
}

fn write(text: &mut String, worker: &Worker, addresses: &[SocketAddr]) -> std::fmt::Result {
    writeln!(text, "callsign {}", env!("CARGO_PKG_VERSION"))?;
    for plugin in worker.registry.plugins() {
        let version = &plugin.image.version;
        let space = if version.is_empty() { "" } else { " " };
        writeln!(
            text,
            "plugin {}{space}{version}, generation {} ({})",
            plugin.name,
            plugin.generation,
            plugin.path.display()
        )?;
        for (name, kind) in &plugin.image.handlers {
            writeln!(text, "  {kind:<12}  {name}")?;
        }
        for name in &plugin.image.functions {
            writeln!(text, "  {:<12}  {name}", "function")?;
        }
    }
    for route in worker.dispatch.iter() {
        match route.answerer {
            Answerer::Handler(handler) => writeln!(text, "route {}  {}", route.path, label(handler))?,
            Answerer::Callbacks(callbacks) => {
                let names: Vec<String> = callbacks.iter().map(label).collect();
                writeln!(text, "route {}  WebSocket: {}", route.path, names.join(", "))?;
            }
        }
    }
    for address in addresses {
        writeln!(text, "listening on http://{address}/")?;
    }
    Ok(())
}

fn label(handler: HandlerRef) -> String {
    format!("{} {}:{}", handler.kind, handler.plugin_name, handler.name)
}
