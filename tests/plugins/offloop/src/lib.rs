//! Test plugin: timers and background work that wait, end and fail on command. A message is a command. Drops,
//! and results that have no connection, are logged.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use callsign_plugin::prelude::*;

callsign_plugin::plugin!();

/// Each permit lets one waiting job go on. No permits remain at the end of a test.
static PERMITS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

const SOON: Duration = Duration::from_millis(1);
/// Longer than any test runs.
const NEVER: Duration = Duration::from_secs(3600);

fn permit(jobs: usize) {
    *PERMITS.0.lock().expect("nobody panics with it") += jobs;
    PERMITS.1.notify_all();
}

fn wait_for_permit() {
    let permits = PERMITS.0.lock().expect("nobody panics with it");
    let mut permits = PERMITS.1.wait_while(permits, |permits| *permits == 0).expect("nobody panics with it");
    *permits -= 1;
}

/// Logs its name, and whether it is dropped on the worker's thread. The Rc makes it `!Send`, so safe code
/// cannot move it to another thread.
struct Dropped(Rc<String>);

fn dropped(name: impl Into<String>) -> Dropped {
    Dropped(Rc::new(name.into()))
}

impl Drop for Dropped {
    fn drop(&mut self) {
        // A timer can be set and cancelled on the worker's thread only.
        let place = if after(NEVER, || ()).cancel() { "on the worker's thread" } else { "elsewhere" };
        log(Level::Info, format!("dropped {} {place}", self.0));
    }
}

#[onload]
fn onload(_: &Load) {
    after(SOON, || log(Level::Info, "a timer from onload"));
    background(|| 42, |result| log(Level::Info, format!("work from onload: {result}")));
}

#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) {
    let text = message.as_text().unwrap_or_default();
    let (command, argument) = text.split_once(' ').unwrap_or((text, ""));
    let name = argument.to_owned();
    match command {
        // Work.
        "wait" => wait(c, name),
        "wait-panics" => {
            log(Level::Info, "taken");
            let work = || {
                wait_for_permit();
                panic!("lost alone");
            };
            c.background(work, |_, ()| unreachable!("it has no result"));
        }
        "save" => _ = c.set_data(Saves),
        "permit" => permit(argument.parse().expect("a number")),
        "flood" => flood(c, argument.parse().expect("a number")),
        "work-panics" => {
            _ = c.background(|| panic!("lost at work"), |_, ()| unreachable!("it has no result"))
        }
        "done-panics" => _ = c.background(|| (), |_, ()| panic!("lost at the end")),
        "work-and-drop-panic" => {
            let bomb = Bomb;
            c.background(|| panic!("lost at work"), move |_, ()| drop(bomb));
        }
        "free-work-panics" => _ = background(|| (), |()| panic!("nobody's work")),
        // Timers.
        "after" => {
            let kept = dropped(argument);
            c.after(SOON, move |c| _ = c.send(kept.0.as_str()));
        }
        "never" => {
            let kept = dropped(argument);
            c.after(NEVER, move |c| _ = c.send(kept.0.as_str()));
        }
        "twice" => twice(c, dropped(argument)),
        "cancel" => {
            let (kept, first) = (dropped("cancelled"), dropped("first"));
            let timer = c.every(SOON, move |c| _ = c.send(kept.0.as_str()));
            c.send(&format!("{} {}", timer.cancel(), timer.cancel()));
            c.after(SOON, move |c| _ = c.send(first.0.as_str()));
        }
        "many" => many(c, argument.parse().expect("a number")),
        "burst" => _ = c.after(SOON, |c| ["a", "b", "c"].into_iter().for_each(|text| _ = c.send(text))),
        "timer-panics" => _ = c.every(SOON, |_| panic!("lost in time")),
        "free-timer-panics" => _ = after(SOON, || panic!("nobody's time")),
        "timer-closes" => _ = c.after(SOON, |c| _ = c.close(4001, "time is up")),
        "drop-panics" => {
            let bomb = Bomb;
            c.after(NEVER, move |_| drop(bomb)).cancel();
        }
        "keep" => {
            let kept = dropped(argument);
            after(NEVER, move || drop(kept));
        }
        // On another thread none of these calls has an effect.
        "elsewhere" => _ = c.background(elsewhere, |c, told| _ = c.send(&told)),
        _ => _ = c.send(message),
    }
}

#[ondisconnect]
fn ondisconnect(c: &Connection) {
    let timer = c.after(SOON, |_| log(Level::Error, "a timer of a connection that has ended"));
    let status = c.background(|| (), |_, ()| log(Level::Error, "work of a connection that has ended"));
    log(Level::Info, format!("left; timer {}, work {status:?}", timer.cancel()));
    if c.data::<Saves>().is_some() {
        background(|| (), |()| log(Level::Info, "saved"));
    }
}

fn wait(c: &Connection, name: String) {
    let kept = dropped(name.clone());
    log(Level::Info, format!("taken {name}"));
    let work = move || {
        log(Level::Info, format!("begun {name}"));
        wait_for_permit();
        name
    };
    c.background(work, move |c, name| {
        let _kept = kept;
        c.send(&name);
    });
}

/// Starts this many jobs that wait for permits; answers how many were accepted and rejected.
fn flood(c: &Connection, jobs: usize) {
    let statuses: Vec<_> =
        (0..jobs).map(|i| c.background(wait_for_permit, move |c, ()| _ = c.send(&i.to_string()))).collect();
    let taken = statuses.iter().filter(|status| status.is_ok()).count();
    let busy = statuses.iter().filter(|status| **status == Status::Busy).count();
    c.send(&format!("{taken} taken, {busy} refused"));
}

/// Cancels itself the second time.
fn twice(c: &Connection, kept: Dropped) {
    let (count, own) = (Cell::new(0), Rc::new(Cell::new(None::<Timer>)));
    let timer = own.clone();
    own.set(Some(c.every(SOON, move |c| {
        count.set(count.get() + 1);
        c.send(&format!("{} {}", kept.0, count.get()));
        if count.get() == 2 {
            c.send(&format!("cancelled {}", timer.get().is_some_and(|timer| timer.cancel())));
        }
    })));
}

/// Sets this many timers with the same period; reports when all have fired three times.
fn many(c: &Connection, timers: usize) {
    let fired = Rc::new(Cell::new(0));
    for _ in 0..timers {
        let (fired, mut mine) = (fired.clone(), 0);
        c.every(SOON, move |c| {
            mine += 1;
            fired.set(fired.get() + usize::from(mine == 3));
            if mine == 3 && fired.get() == timers {
                c.send("all three times");
            }
        });
    }
}

fn elsewhere() -> String {
    let timer = after(SOON, || log(Level::Error, "a timer from elsewhere"));
    let status = background(|| (), |()| log(Level::Error, "work from elsewhere"));
    format!("{} {status:?}", timer.cancel())
}

/// The connection starts background work when it ends.
struct Saves;

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("lost in a drop");
    }
}
