//! What a server prints when it has started.

use crate::config::listen_address::UNIX_PREFIX;
use crate::link::inventory::Inventory;

/// Plugins, routes, the number of workers (0: everything runs in this process) and the addresses.
pub fn startup_summary(inventory: &Inventory, workers: usize, addresses: &[String]) -> String {
    let mut text = format!("callsign {}\n{inventory}", env!("CARGO_PKG_VERSION"));
    match workers {
        0 => text += "everything in this process\n",
        1 => text += "1 worker\n",
        _ => text += &format!("{workers} workers\n"),
    }
    for address in addresses {
        text += &format!("listening on {}\n", url(address));
    }
    text
}

/// Where a client connects: `http://127.0.0.1:8080/`, or `unix:/run/chat.sock`.
pub fn url(address: &str) -> String {
    if address.starts_with(UNIX_PREFIX) { address.to_owned() } else { format!("http://{address}/") }
}
