//! What a server prints when it has started.

use crate::config::listen_address::UNIX_PREFIX;
use crate::config::plan::PlannedListener;
use crate::link::inventory::Inventory;

/// Plugins, routes, the number of workers (0: everything runs in this process) and the listening sockets.
pub fn startup_summary(inventory: &Inventory, workers: usize, listeners: &[PlannedListener]) -> String {
    let mut text = format!("callsign {}\n{inventory}", env!("CARGO_PKG_VERSION"));
    match workers {
        0 => text += "everything in this process\n",
        1 => text += "1 worker\n",
        _ => text += &format!("{workers} workers\n"),
    }
    listeners.iter().for_each(|listener| text += &format!("{}\n", listening_on(listener)));
    text
}

/// `listening on http://127.0.0.1:8080/`
pub fn listening_on(PlannedListener { settings, tls, .. }: &PlannedListener) -> String {
    let redirect = if settings.redirect.is_some() { ", which redirects to https" } else { "" };
    format!("listening on {}{redirect}", url(&settings.address, tls.is_some()))
}

/// Where a client connects: `http://127.0.0.1:8080/`, `https://127.0.0.1:8443/`, or `unix:/run/chat.sock`.
pub fn url(address: &str, has_tls: bool) -> String {
    match has_tls {
        _ if address.starts_with(UNIX_PREFIX) => address.to_owned(),
        true => format!("https://{address}/"),
        false => format!("http://{address}/"),
    }
}
