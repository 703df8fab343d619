//! What takes time, done the wrong way and the right way. All callbacks of a worker run on one thread, so one
//! that blocks has everybody wait; work that blocks belongs on the background pool, and what is to happen
//! later is a timer.
//!
//! The protocol is text, times are milliseconds: `/block 300` sleeps in the callback, and nobody on this
//! worker is served meanwhile. `/work 300` sleeps on the pool: you and everybody else are served meanwhile,
//! and its answer comes later. `/tick 300` starts a timer that tells its count each time, `/stop` ends it.
//! Everything else comes straight back, which shows whether the worker is there for you.

use std::cell::Cell;
use std::thread::sleep;
use std::time::Duration;

use callsign_plugin::prelude::*;

callsign_plugin::plugin!();

/// Nobody needs more to see the difference.
const LONGEST: Duration = Duration::from_secs(10);

/// The connection's timer.
#[derive(Default)]
struct Ticking(Cell<Option<Timer>>);

#[onconnect]
fn onconnect(c: &Connection) {
    c.set_data(Ticking::default());
}

#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) {
    match message.as_text().and_then(command) {
        Some(("/block", time)) => {
            sleep(time);
            c.send(&format!("blocked {} ms", time.as_millis()));
        }
        Some(("/work", time)) => work(c, time),
        Some(("/tick", time)) => tick(c, time),
        _ if message.as_text() == Some("/stop") => stop(c),
        _ => _ = c.send(message),
    }
}

/// `/work 300`
fn command(text: &str) -> Option<(&str, Duration)> {
    let (name, time) = text.split_once(' ')?;
    Some((name, Duration::from_millis(time.parse().ok()?).min(LONGEST)))
}

fn work(c: &Connection, time: Duration) {
    // The first closure runs on a thread of the pool; the second here, with what the first returned.
    let status = c.background(
        move || {
            sleep(time);
            time.as_millis()
        },
        |c, worked| _ = c.send(&format!("worked {worked} ms")),
    );
    if status == Status::Busy {
        c.send("too busy");
    }
}

fn tick(c: &Connection, period: Duration) {
    stop(c);
    let mut count = 0;
    let timer = c.every(period, move |c| {
        count += 1;
        c.send(&format!("tick {count}"));
    });
    // It ends with the connection by itself.
    if let Some(ticking) = c.data::<Ticking>() {
        ticking.0.set(Some(timer));
    }
}

fn stop(c: &Connection) {
    if let Some(timer) = c.data::<Ticking>().and_then(|ticking| ticking.0.take()) {
        timer.cancel();
    }
}
