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
/// differences, in nanoseconds per call.
///
/// # Errors
/// The system has no memory to share.
pub fn measure(duration: Duration) -> Result<f64> {
    let board: &'static Board = Box::leak(Box::new(Board::private().context("no scoreboard")?));
    board::adopt(board.slot(0));
    let (function, index) = (black_box(callback as extern "C" fn(u32)), black_box(1));
    let mut costs = Vec::new();
    let started = Instant::now();
    while costs.is_empty() || started.elapsed() < duration {
        let bare = batch_ns(|number| {
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
        costs.push(watched - bare);
    }
    median(costs).context("no batch was timed")
}

/// The plugin's side: reached through a pointer that the optimiser cannot see through, as in the host.
extern "C" fn callback(number: u32) {
    black_box(number);
}

/// Reads the clock, which waits for what was begun before. Without a wait the processor runs a call and its
/// neighbours at once, and hides the whole cost.
fn finish() {
    black_box(Instant::now());
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
        measure(Duration::ZERO).unwrap();
        assert_eq!(board::current().counters().callbacks, u64::from(BATCH));
        assert_eq!(board::current().running(), None);
    }
}
