//! What a callback pays for being on the scoreboard: the same call with and without what the host does around
//! each callback for it, in this process, on a board of its own. Nanoseconds leave. It knows nothing about
//! servers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use callsign::board::{self, Board};

use crate::measure::median;

/// Calls that are timed together: long enough for the clock, short enough to fit between two interruptions.
const BATCH: u32 = 10_000;

/// For `duration`, batches with the scoreboard and without it take turns. Returns the median of the
/// differences, and the median of the bare call, in nanoseconds per call.
///
/// # Errors
/// The system has no memory to share.
pub fn measure(duration: Duration) -> Result<[f64; 2]> {
    let board: &'static Board = Box::leak(Box::new(Board::private().context("no scoreboard")?));
    board::adopt(board.slot(0));
    let (function, index) = (black_box(callback as extern "C" fn(u32)), black_box(1));
    let (mut costs, mut calls) = (Vec::new(), Vec::new());
    let started = Instant::now();
    while costs.is_empty() || started.elapsed() < duration {
        let call = batch_ns(|number| {
            function(number);
            finish();
        });
        let watched = batch_ns(|number| {
            let slot = board::current();
            slot.enter(index);
            function(number);
            slot.leave();
            finish();
        });
        costs.push(watched - call);
        calls.push(call);
    }
    Ok([costs, calls].map(|batches| median(batches).unwrap_or(f64::NAN)))
}

/// The plugin's side: reached through a pointer that the optimiser cannot see through, as in the host.
extern "C" fn callback(number: u32) {
    black_box(number);
}

/// Waits until all before it is done. Calls in a row would hide the whole cost: a processor runs them at once.
fn finish() {
    #[cfg(target_arch = "x86_64")]
    std::arch::x86_64::_mm_lfence();
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

fn batch_ns(f: impl Fn(u32)) -> f64 {
    let started = Instant::now();
    (0..BATCH).for_each(f);
    started.elapsed().as_nanos() as f64 / f64::from(BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_every_second_batch_is_on_the_board() {
        let [_, call] = measure(Duration::ZERO).unwrap();
        assert!(call > 0.0);
        let callbacks = board::current().counters().callbacks;
        assert_eq!(callbacks, u64::from(BATCH));
    }
}
