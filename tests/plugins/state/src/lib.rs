//! Test plugin: a state of each connection and a shared state, in the variants of `variant.rs`. Commands:
//!
//! - `set FIELD=VALUE` changes a field; `get` shows generation, variant and state
//! - `count` counts messages of this kind in the state
//! - `shared` counts in the shared state; `carried` returns the state that the load hook received
//! - `late MS`: a timer of the connection sends `GENERATION late`
//! - `every MS`: a timer of the plugin sends `GENERATION tick`
//! - `work NAME FIFO` reads one byte in the background, then sends `GENERATION worked NAME`
//! - `borrow` borrows the state twice, which panics; `print TEXT` prints it after "printed "
//! - everything else is echoed after the generation

mod variant;

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use callsign_plugin::prelude::*;
use serde::{Deserialize, Serialize};

thread_local! {
    static GENERATION: Cell<u32> = const { Cell::new(0) };
    static CARRIED: Cell<Option<usize>> = const { Cell::new(None) };
}

#[cfg(not(feature = "shared_retyped"))]
type Count = u32;
#[cfg(feature = "shared_retyped")]
type Count = String;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Room {
    count: Count,
}

#[onload]
fn load(load: &Load) {
    GENERATION.set(load.generation());
    CARRIED.set(load.carried().map(<[u8]>::len));
    let probe = if load.is_probe() { ", a probe" } else { "" };
    log(Level::Info, format!("load {}{probe}", load.generation()));
}

#[onunload]
fn unload() {
    log(Level::Info, format!("unload {}, {} shared", GENERATION.get(), shared::<Room>().count));
}

#[onconnect]
fn onconnect(c: &Connection) {
    variant::connect(c);
    c.send(&format!("{} hello #{}", GENERATION.get(), c.id()));
}

#[ondisconnect]
fn ondisconnect(c: &Connection) {
    log(Level::Info, format!("#{} bye from {}", c.id(), GENERATION.get()));
}

#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) -> Result<(), String> {
    let text = message.as_text().ok_or("not a text")?;
    let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
    let generation = GENERATION.get();
    let answer = match command {
        "set" => {
            let (field, value) = rest.split_once('=').ok_or("no value")?;
            variant::set(c, field, value)?;
            "set".to_owned()
        }
        "get" => format!("{generation} {}", variant::get(c)),
        "count" => variant::count(c).to_string(),
        "shared" => shared_count(),
        "carried" => (if CARRIED.get().is_some() { "something" } else { "nothing" }).to_owned(),
        "late" => {
            c.after(milliseconds(rest)?, move |c| _ = c.send(&format!("{generation} late")));
            "waiting".to_owned()
        }
        "every" => {
            every(milliseconds(rest)?, move || _ = broadcast(&format!("{generation} tick"), Scope::Local));
            "ticking".to_owned()
        }
        "work" => {
            let (name, fifo) = rest.split_once(' ').ok_or("no FIFO")?;
            work(c, Work(name.to_owned()), fifo.to_owned());
            "working".to_owned()
        }
        "borrow" => variant::borrow(c),
        "print" => {
            println!("printed {rest}");
            text.to_owned()
        }
        _ => format!("{generation} {text}"),
    };
    c.send(&answer);
    Ok(())
}

/// Fails with an error that has a cause, which `{:#}` shows, like an error of the crate `anyhow`.
#[onmessage]
fn chained(_: &Connection, _: Message<'_>) -> Result<(), Chain> {
    Err(Chain)
}

struct Chain;

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if f.alternate() { "no room: no such file" } else { "no room" })
    }
}

/// Logs when it is dropped.
struct Work(String);

impl Drop for Work {
    fn drop(&mut self) {
        log(Level::Info, format!("dropped {}", self.0));
    }
}

fn work(c: &Connection, work: Work, fifo: String) {
    let (name, generation) = (work.0.clone(), GENERATION.get());
    let read = move || {
        log(Level::Info, format!("begun {name}"));
        let read = File::open(fifo).and_then(|mut file| file.read_exact(&mut [0]));
        log(Level::Info, format!("finished {name}: {read:?}"));
    };
    c.background(read, move |c, ()| _ = c.send(&format!("{generation} worked {}", work.0)));
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|error| format!("{text}: {error}"))
}

#[cfg(not(feature = "shared_retyped"))]
fn shared_count() -> String {
    let mut room = shared::<Room>();
    room.count += 1;
    room.count.to_string()
}

#[cfg(feature = "shared_retyped")]
fn shared_count() -> String {
    shared::<Room>().count.clone()
}
