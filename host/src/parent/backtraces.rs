//! Where dead workers were when they ended: looked up one after the other, off the event loop. The debug information
//! of one library can take a hundred MiB of memory, and which of it goes back to the system is up to the allocator.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::board::Crash;
use crate::crash;

/// Backtraces that may wait: workers can crash faster than debug information can be read.
const MAX: usize = 8;

/// By worker.
static WAITING: Mutex<Waiting> = Mutex::new(Waiting { crashes: VecDeque::new(), is_looked_at: false });

struct Waiting {
    crashes: VecDeque<(usize, Crash)>,
    /// Somebody takes them out, until there are none.
    is_looked_at: bool,
}

/// Logs soon where the worker was. Needs a tokio runtime.
pub fn log(worker: usize, crash: Crash) {
    let mut waiting = waiting();
    if waiting.crashes.len() >= MAX {
        return log::error!("worker {worker} has left a backtrace, but too many are being looked up already");
    }
    waiting.crashes.push_back((worker, crash));
    if !waiting.is_looked_at {
        waiting.is_looked_at = true;
        tokio::task::spawn_blocking(|| {
            while let Some((worker, crash)) = next() {
                let lines = crash::describe(&crash);
                if !lines.is_empty() {
                    log::error!("worker {worker} was here when it ended:\n{}", lines.join("\n"));
                }
            }
        });
    }
}

fn next() -> Option<(usize, Crash)> {
    let mut waiting = waiting();
    let next = waiting.crashes.pop_front();
    waiting.is_looked_at = next.is_some();
    next
}

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}
