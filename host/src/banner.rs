//! What a server says when it has started: what it loaded, what answers where, and its address.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::dispatch::Answerer;
use crate::plugin::handler::HandlerRef;
use crate::worker::Worker;

/// What a worker has loaded, line by line.
pub fn loaded(worker: &Worker) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_loaded(&mut text, worker);
    text
}

/// That, with what the parent knows: how many workers there are (0: none but itself), and where they listen.
pub fn complete(loaded: &str, workers: usize, addresses: &[SocketAddr]) -> String {
    let mut text = loaded.to_owned();
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

fn write_loaded(text: &mut String, worker: &Worker) -> std::fmt::Result {
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
    Ok(())
}

fn label(handler: HandlerRef) -> String {
    format!("{} {}:{}", handler.kind, handler.plugin_name, handler.name)
}
