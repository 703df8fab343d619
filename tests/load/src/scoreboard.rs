//! Cost of the scoreboard per callback: times the same call with and without the host's bookkeeping, in this
//! process, on a private scoreboard. Returns nanoseconds. Knows nothing about servers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use callsign::testing::scoreboard::{self, Scoreboard};

use crate::measure::median;

/// Calls per timed batch: long enough for the clock, short enough to fit between two interruptions.
const BATCH: u32 = 10_000;

/// Alternates batches with and without the scoreboard for `duration`. Returns the median of the differences,
/// in nanoseconds per call.
///
/// # Errors
/// The system cannot provide shared memory.
pub fn measure(duration: Duration) -> Result<f64> {
    let scoreboard: &'static Scoreboard =
        Box::leak(Box::new(Scoreboard::private().context("no scoreboard")?));
    scoreboard::adopt(scoreboard.slot(0));
    let (function, index) = (black_box(callback as extern "C" fn(u32)), black_box(1));
    let mut costs = Vec::new();
    let started = Instant::now();
    while costs.is_empty() || started.elapsed() < duration {
        let bare = batch_ns(|number| {
            function(number);
            finish();
        });
        let watched = batch_ns(|number| {
            let slot = scoreboard::current();
            slot.enter(index);
            function(number);
            slot.leave();
            finish();
        });
        costs.push(watched - bare);
    }
    median(costs).context("no batch was timed")
}

/// Stands for the plugin: called through a pointer that the optimizer cannot see through, as in the host.
extern "C" fn callback(number: u32) {
    black_box(number);
}

/// Reads the clock, which waits for earlier instructions. Otherwise the processor would overlap consecutive
/// calls and hide the whole cost.
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
    fn every_second_batch_is_counted_on_the_scoreboard() {
        measure(Duration::ZERO).unwrap();
        assert_eq!(scoreboard::current().counters().callbacks, u64::from(BATCH));
        assert_eq!(scoreboard::current().running(), None);
    }
}
