//! Logs where crashed workers were. Backtraces are looked up one after the other, off the event loop: the debug
//! information of one library can take a hundred MiB of memory.

use std::panic::catch_unwind;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::Level;

use crate::system::crash;
use crate::system::log as logging;
use crate::system::panic;
use crate::system::pool::Pool;
use crate::system::scoreboard::Crash;

/// Bound on waiting backtraces: workers can crash faster than debug information can be read.
const WAITING_MAX: usize = 8;

/// One thread for all backtraces: the memory that one lookup has freed serves the next.
static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new("backtrace", 1));
/// Backtraces that are not looked up yet. Nothing else depends on the order.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Logs soon where the worker was. `worker`: its index and process.
pub fn log(worker: String, crash: Crash) {
    if WAITING.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return log::error!("{worker} has left a backtrace, but too many are being looked up already");
    }
    let of = worker.clone();
    let look_up = Box::new(move || {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        look_up(&of, &crash);
    });
    if let Err((_, error)) = POOL.run(look_up) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        log::error!("{worker} has left a backtrace, but no thread can be created to look it up: {error}");
    }
}

/// Waits for the backtraces that are being looked up, but no longer than `patience`. Blocks this thread.
pub fn wait(patience: Duration) {
    POOL.wait(patience);
}

fn look_up(worker: &str, crash: &Crash) {
    match catch_unwind(|| crash::describe(crash)) {
        Ok(lines) if lines.is_empty() => {}
        Ok(stack) => {
            let report = format!("{worker} was here when it ended:\n{}", stack.join("\n"));
            logging::lines(Level::Error, &report);
        }
        Err(payload) => log::error!(
            "bug in callsign: the lookup of the backtrace of {worker} panicked: {}",
            panic::message(&*payload)
        ),
    }
}
