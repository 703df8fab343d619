//! Test plugin: logs the callbacks of each connection as `#ID EVENT`, and does what a message says.

use std::fmt::Display;
use std::thread;

use callsign_plugin::prelude::*;

callsign_plugin::plugin!(name = "probe");

fn say(c: &Connection, event: impl Display) {
    log(Level::Info, format!("#{} {event}", c.id()));
}

/// A connection's data.
struct Tracked {
    id: u64,
    fatal: bool,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        log(Level::Info, format!("#{} drop", self.id));
        assert!(!self.fatal, "drop panics");
    }
}

#[onload]
fn load(load: &Load) -> Result<(), String> {
    let (plugin, config) = (load.plugin(), load.config());
    assert!(!config.contains("panic"), "load panics");
    if config.contains("refuse") {
        return Err(format!("refusing {config}"));
    }
    log(Level::Info, format!("loaded as {plugin}, generation {}, config {config}", load.generation()));
    Ok(())
}

/// Binds the names in the query: `?connect=NAME&message=NAME&disconnect=NAME`.
#[onrequest]
fn bind(request: &mut Request) -> Response {
    let query = request.query();
    let name = |key| query.split('&').find_map(|pair: &str| pair.strip_prefix(key)?.strip_prefix('='));
    request.handshake(name("connect"), name("message"), name("disconnect"))
}

#[onrequest]
fn page(request: &mut Request) -> Result<Response, String> {
    match request.path() {
        "/panic" => panic!("request panics"),
        "/fail" => Err("request fails".to_owned()),
        path => Ok(Response::text(path)),
    }
}

#[onconnect]
fn join(c: &Connection) {
    c.set_data(Tracked { id: c.id(), fatal: c.query() == "fatal" });
    say(c, "connect");
    c.send(&format!("id {}", c.id()));
}

#[onconnect]
fn join_panics(_: &Connection) {
    panic!("connect panics")
}

#[onconnect]
fn join_fails(_: &Connection) -> Result<(), &'static str> {
    Err("connect fails")
}

#[onconnect]
fn join_closes(c: &Connection) {
    say(c, "connect");
    c.close(4000, "not you");
}

#[ondisconnect]
fn leave(c: &Connection) {
    let by = c.closed_by().map_or("nobody".to_owned(), |by| format!("{by:?}"));
    let data = if c.data::<Tracked>().is_some_and(|data| data.id == c.id()) { "" } else { ", no data" };
    say(c, format_args!("disconnect {} {:?} by {by}{data}", c.close_code(), c.close_reason()));
}

#[ondisconnect]
fn leave_panics(_: &Connection) {
    panic!("disconnect panics")
}

#[ondisconnect]
fn leave_fails(_: &Connection) -> Result<(), &'static str> {
    Err("disconnect fails")
}

/// Logs what a closed connection still answers, and what it rejects.
#[ondisconnect]
fn leave_tries(c: &Connection) {
    let statuses = (c.send("late"), c.close(1000, ""), Connection::with(c.id(), |_| ()));
    say(c, format_args!("disconnect {statuses:?} {} {}", c.path(), c.peer() != ""));
}

#[onmessage]
fn message(c: &Connection, message: Message<'_>) -> Result<(), String> {
    say(c, format_args!("message {message:?}"));
    let Message::Text(text) = message else {
        c.send(message);
        return Ok(());
    };
    let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
    match command {
        "panic" => panic!("message panics"),
        "fail" => return Err("message fails".to_owned()),
        "describe" => describe(c),
        "data" => data(c),
        "again" => _ = c.set_data("again"),
        "close" => close(c, rest),
        "ping" => _ = c.ping(rest.as_bytes()),
        "pong" => _ = c.pong(rest.as_bytes()),
        "others" => _ = c.broadcast(rest, Scope::Local),
        "others-global" => _ = c.broadcast(rest, Scope::Global),
        "all" => _ = broadcast(rest, Scope::Local),
        "all-global" => _ = broadcast(rest, Scope::Global),
        "statuses" => statuses(c),
        "fill" => fill(c),
        "flood" => flood(c, rest),
        "to" => to(c, rest),
        "thread" => other_thread(c),
        _ => _ = c.send(text),
    }
    Ok(())
}

fn describe(c: &Connection) {
    let mut text = format!("peer {}\npath {}\nquery {}\n", c.peer(), c.path(), c.query());
    text += &format!("code {} {:?} by {:?}\n", c.close_code(), c.close_reason(), c.closed_by());
    text += &format!("X-TAG {:?}\nx-none {:?}\n", c.header("X-TAG"), c.header("x-none"));
    let odd = c.headers().filter(|(name, _)| name.starts_with("x-"));
    odd.for_each(|(name, value)| text += &format!("{name}: {}\n", value.escape_ascii()));
    c.send(&text);
}

fn data(c: &Connection) {
    let id = c.data::<Tracked>().map(|data| data.id);
    c.send(&format!("{id:?}, as another type {:?}", c.data::<String>()));
}

/// `CODE REASON`: closes the connection, then tries to send.
fn close(c: &Connection, arguments: &str) {
    let (code, reason) = arguments.split_once(' ').unwrap_or((arguments, ""));
    let first = c.close(code.parse().unwrap_or_default(), reason);
    let (second, sent) = (c.close(1000, "again"), c.send("after"));
    say(c, format_args!("closing {first:?} {second:?} {sent:?}"));
}

fn statuses(c: &Connection) {
    let reserved = [999, 1004, 1005, 1006, 1015, 2999, 5000].map(|code| c.close(code, ""));
    let text = format!(
        "{:?} {:?} {:?} {:?} {reserved:?}",
        c.send("x"),
        c.send(&[0; 4097]),
        c.broadcast(&[0; 4097], Scope::Local),
        c.ping(&[0; 126]),
    );
    c.send(&text);
}

const PIECE: [u8; 16384] = [7; 16384];

/// Sends until the queue is longer than one write.
fn fill(c: &Connection) {
    while c.send(&PIECE) == Status::Sent {}
    say(c, format_args!("filled {:?}", c.send(&PIECE)));
}

/// Broadcasts to the others until the connection with this id is gone.
fn flood(c: &Connection, id: &str) {
    let id = id.parse().unwrap_or_default();
    while Connection::with(id, |_| ()).is_some() {
        c.broadcast(&PIECE, Scope::Local);
    }
    c.send("flooded");
}

/// `ID TEXT`: sends the text to this connection.
fn to(c: &Connection, arguments: &str) {
    let (id, text) = arguments.split_once(' ').unwrap_or_default();
    let status = Connection::with(id.parse().unwrap_or_default(), |other| (other.id(), other.send(text)));
    c.send(&format!("{status:?}"));
}

/// On another thread a plugin can log and nothing else.
fn other_thread(c: &Connection) {
    let id = c.id();
    let done = thread::spawn(move || {
        log(Level::Info, format!("#{id} from a thread"));
        (Connection::with(id, |_| ()), broadcast("from a thread", Scope::Local))
    });
    c.send(&format!("{:?}", done.join().expect("the thread does not panic")));
}
