//! Slow work, done wrong and done right. All callbacks of a worker run on one thread, so a callback that
//! blocks delays every client of the worker. Blocking work belongs on the background pool; delayed work
//! belongs in a timer.
//!
//! The protocol is text; times are in milliseconds. `/block 300` sleeps in the callback and blocks all
//! clients of the worker. `/work 300` sleeps on the background pool; the worker keeps serving all clients and
//! sends the result later. `/tick 300` starts a timer that sends its count each time, `/stop` cancels the
//! timer. Any other message is sent back immediately, which shows whether the worker is blocked.

use std::cell::Cell;
use std::thread::sleep;
use std::time::Duration;

use callsign_plugin::prelude::*;

callsign_plugin::plugin!();

/// Upper limit for the times in commands.
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

/// Parses a command such as `/work 300`.
fn command(text: &str) -> Option<(&str, Duration)> {
    let (name, time) = text.split_once(' ')?;
    Some((name, Duration::from_millis(time.parse().ok()?).min(LONGEST)))
}

fn work(c: &Connection, time: Duration) {
    // The first closure runs on a pool thread, the second on the worker thread with the result of the first.
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
    // The timer ends with the connection; it is stored for `/stop`.
    if let Some(ticking) = c.data::<Ticking>() {
        ticking.0.set(Some(timer));
    }
}

fn stop(c: &Connection) {
    if let Some(timer) = c.data::<Ticking>().and_then(|ticking| ticking.0.take()) {
        timer.cancel();
    }
}
