//! A chat room with its page. A text message is broadcast with the sender's name, a binary message unchanged.
//! The example shows a page and a handshake in one onrequest handler, connection state that a reload carries
//! over, configuration at load, and the close code and reason of a connection.
//!
//! The protocol is text: `/name NEW` changes the sender's name, `/quit REASON` makes the server close the
//! connection, and any other text is a message. Notices of the room begin with `* `.

use std::sync::OnceLock;

use callsign_plugin::prelude::*;
use serde::{Deserialize, Serialize};

callsign_plugin::plugin!(state = Guest);

const PAGE: &str = include_str!("../chat.html");

/// Normal closure, RFC 6455 §7.4.1.
const NORMAL_CLOSURE: u16 = 1000;

/// `[plugin.chat.config]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Sent to each client that joins.
    greeting: Option<String>,
}

static CONFIG: OnceLock<Config> = OnceLock::new();

/// State of one client. A new field needs `#[serde(default)]` to be added while clients are connected.
#[derive(Serialize, Deserialize)]
struct Guest {
    name: String,
}

fn name(c: &Connection) -> String {
    c.try_state::<Guest>().map_or_else(|| format!("guest-{}", c.id()), |guest| guest.name.clone())
}

#[onload]
fn configure(load: &Load) -> Result<(), String> {
    let config =
        serde_json::from_str(load.config()).map_err(|error| format!("[plugin.chat.config]: {error}"))?;
    CONFIG.get_or_init(|| config);
    Ok(())
}

#[onrequest]
fn onrequest(request: &mut Request) -> Response {
    match (request.is_upgrade(), request.method(), request.path()) {
        (true, ..) => request.handshake("join", "message", "leave"),
        (_, "GET" | "HEAD", "/") => Response::html(PAGE),
        (_, "GET" | "HEAD", _) => Response::text("nothing here; the chat is at /\n").status(404),
        _ => Response::text("only GET\n").status(405).header("allow", "GET, HEAD"),
    }
}

#[onconnect]
fn join(c: &Connection) {
    let name = format!("guest-{}", c.id());
    c.send(&format!("* you are {name}"));
    if let Some(greeting) = CONFIG.get().and_then(|config| config.greeting.as_ref()) {
        c.send(&format!("* {greeting}"));
    }
    c.broadcast(&format!("* {name} joined"), Scope::Global);
    c.set_state(Guest { name });
}

#[onmessage]
fn message(c: &Connection, message: Message<'_>) {
    let Message::Text(text) = message else {
        c.broadcast(message, Scope::Global);
        return;
    };
    match text.split_once(' ') {
        Some(("/name", new)) => rename(c, new.trim()),
        Some(("/quit", reason)) => _ = c.close(NORMAL_CLOSURE, reason),
        None if text == "/quit" => _ = c.close(NORMAL_CLOSURE, ""),
        _ => _ = c.broadcast(&format!("{}: {text}", name(c)), Scope::Global),
    }
}

fn rename(c: &Connection, new: &str) {
    const NAME_MAX: usize = 32;
    if new.is_empty() || new.chars().count() > NAME_MAX {
        c.send(&format!("* a name has 1 to {NAME_MAX} characters"));
        return;
    }
    let old = name(c);
    c.set_state(Guest { name: new.to_owned() });
    broadcast(&format!("* {old} is now {new}"), Scope::Global);
}

#[ondisconnect]
fn leave(c: &Connection) {
    let (code, reason) = (c.close_code(), c.close_reason());
    let space = if reason.is_empty() { "" } else { " " };
    c.broadcast(&format!("* {} left ({code}{space}{reason})", name(c)), Scope::Global);
}
