//! Logs where crashed workers were. Backtraces are looked up one after the other, off the event loop: the debug
//! information of one library can take a hundred MiB of memory.

use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use log::Level;

use crate::system::crash;
use crate::system::log as logging;
use crate::system::panic;
use crate::system::scoreboard::Crash;

/// Bound on waiting backtraces: workers can crash faster than debug information can be read.
const WAITING_MAX: usize = 8;

static WAITING: Mutex<Waiting> = Mutex::new(Waiting { crashes: VecDeque::new(), is_looking_up: false });

struct Waiting {
    /// With the worker's index.
    crashes: VecDeque<(usize, Crash)>,
    /// Whether a thread looks them up.
    is_looking_up: bool,
}

/// Logs soon where the worker was.
pub fn log(worker: usize, crash: Crash) {
    let mut waiting = waiting();
    if waiting.crashes.len() >= WAITING_MAX {
        return log::error!("worker {worker} has left a backtrace, but too many are being looked up already");
    }
    waiting.crashes.push_back((worker, crash));
    if !waiting.is_looking_up {
        waiting.is_looking_up = true;
        if let Err(error) = thread::Builder::new().name("backtrace".to_owned()).spawn(look_up_all) {
            waiting.crashes.clear();
            waiting.is_looking_up = false;
            log::error!(
                "worker {worker} has left a backtrace, but no thread can be created to look it up: {error}"
            );
        }
    }
}

fn look_up_all() {
    while let Some((worker, crash)) = next() {
        match catch_unwind(|| crash::describe(&crash)) {
            Ok(lines) if lines.is_empty() => {}
            Ok(stack) => {
                logging::lines(
                    Level::Error,
                    &format!("worker {worker} was here when it ended:\n{}", stack.join("\n")),
                );
            }
            Err(payload) => log::error!(
                "bug in callsign: the lookup of worker {worker}'s backtrace panicked: {}",
                panic::message(&*payload)
            ),
        }
    }
}

fn next() -> Option<(usize, Crash)> {
    let mut waiting = waiting();
    let next = waiting.crashes.pop_front();
    waiting.is_looking_up = next.is_some();
    next
}

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}
