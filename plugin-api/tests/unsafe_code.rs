//! A plugin can forbid unsafe code in its own crate: the code that `plugin!` and the attributes generate does
//! not trigger the lint. The test is that this file compiles.
#![forbid(unsafe_code)]

use callsign_plugin::prelude::*;
use serde::{Deserialize, Serialize};

callsign_plugin::plugin!(name = "strict", state = Session, shared = Room);

#[derive(Default, Serialize, Deserialize)]
struct Session {
    messages: u32,
}

#[derive(Default, Serialize, Deserialize)]
struct Room {
    clients: u32,
}

#[onload]
fn load(load: &Load) -> Result<(), String> {
    if load.config() == "{}" { Ok(()) } else { Err("this plugin has no settings".to_owned()) }
}

#[onunload]
fn unload() {}

#[onrequest]
fn page(request: &mut Request) -> Response {
    request.handshake("join", "message", "leave")
}

#[onconnect]
fn join(_: &Connection) {
    shared::<Room>().clients += 1;
}

#[onmessage]
fn message(c: &Connection, message: Message<'_>) {
    c.state::<Session>().messages += 1;
    c.send(message);
}

#[ondisconnect]
fn leave(_: &Connection) {
    shared::<Room>().clients -= 1;
}

#[test]
fn a_crate_that_forbids_unsafe_code_can_be_a_plugin() {
    assert_eq!(shared::<Room>().clients, 0);
}
