//! Finds the handler that keeps clients waiting for their turn although none of its calls is slow. The worker notes on its
//! slot how long a client has had to wait; samples of the slot show what ran meanwhile. The time goes in as an argument.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::{CodeLabel, Slot};

/// Samples that are kept; those before are forgotten, also if the wait was longer.
const SAMPLES_MAX: usize = 1024;
/// Fewest samples that show what ran during a wait.
const SAMPLES_MIN: usize = 3;
/// Time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Between the end of a wait and the sample that shows it.
const MARGIN: Duration = Duration::from_millis(50);

/// Clients had to wait for their turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// How long one of them waited.
    pub waited_for: Duration,
    /// The code that ran most of that time.
    pub label: CodeLabel,
    /// Callbacks in that time.
    pub callbacks: u64,
}

/// Measures what one worker does while clients wait.
#[derive(Debug, Default)]
pub struct LagTimer {
    samples: VecDeque<Sample>,
    /// What the slot showed last.
    noted: u64,
    slow_at: Option<Instant>,
    reported_at: Option<Instant>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    callbacks: u64,
    /// Index of the running code. None: no callback ran, or it waited for other workers.
    running: Option<u64>,
}

impl LagTimer {
    /// Samples a slot. The waits that a slow callback causes, and those in which mostly no callback ran, because the
    /// machine is busy or the process was stopped, are none of plugins' many small callbacks and not reported. Reports
    /// are at least 10 seconds apart.
    pub fn sample(&mut self, now: Instant, slot: &Slot) -> Option<Lag> {
        let running = slot.now().filter(|(.., waits)| !waits).map(|(_, index, _)| index);
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at: now, callbacks: slot.counters().callbacks, running });
        let (noted, waited_for) = slot.lag();
        if std::mem::replace(&mut self.noted, noted) == noted || noted == 0 {
            return None;
        }
        let is_within = |at: Instant, time: Duration| now.saturating_duration_since(at) <= time;
        if self.slow_at.is_some_and(|at| is_within(at, waited_for + MARGIN))
            || self.reported_at.is_some_and(|at| is_within(at, REPORT_INTERVAL))
        {
            return None;
        }
        let samples = || self.samples.iter().filter(|sample| is_within(sample.at, waited_for + MARGIN));
        let mut counts = HashMap::new();
        samples()
            .filter_map(|sample| sample.running)
            .for_each(|index| *counts.entry(index).or_insert(0) += 1);
        let busy: usize = counts.values().sum();
        if busy < SAMPLES_MIN || 2 * busy < samples().count() {
            return None;
        }
        let (&most, _) = counts.iter().max_by_key(|(_, count)| **count)?;
        let callbacks = samples().next_back()?.callbacks.saturating_sub(samples().next()?.callbacks);
        self.reported_at = Some(now);
        Some(Lag { waited_for, label: slot.label(most), callbacks })
    }

    /// A single callback is reported as slow.
    pub fn note_slow(&mut self, now: Instant) {
        self.slow_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scoreboard::Scoreboard;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Samples every 10 ms, in each of which `run` says what runs.
    fn lag(
        timer: &mut LagTimer,
        start: Instant,
        slot: &Slot,
        ms: u64,
        run: impl Fn(u64) -> Option<u32>,
    ) -> Option<Lag> {
        let mut lag = None;
        for at in (0..=ms).step_by(10) {
            slot.leave();
            if let Some(index) = run(at) {
                slot.enter(index);
            }
            if at == ms {
                slot.note_lag(MS(ms));
            }
            lag = lag.or(timer.sample(start + MS(at), slot));
        }
        slot.leave();
        lag
    }

    fn slot() -> &'static Slot {
        let scoreboard: &'static Scoreboard =
            Box::leak(Box::new(Scoreboard::private().expect("shared memory")));
        let slot = scoreboard.slot(0);
        for (index, name) in [(1, "join"), (2, "message")] {
            let (plugin, kind) = ("chat".to_owned(), "handler".to_owned());
            slot.define(index, &CodeLabel { plugin, kind, name: name.to_owned(), generation: 1 });
        }
        slot
    }

    #[test]
    fn the_handler_that_runs_most_of_the_time_is_named_at_most_every_ten_seconds() {
        let (slot, mut timer, start) = (slot(), LagTimer::default(), Instant::now());
        let run = |at: u64| [Some(1), Some(2), Some(2), None][(at / 10 % 4) as usize];
        let found = lag(&mut timer, start, slot, 400, run).expect("they waited");
        assert_eq!((found.waited_for, found.label.name.as_str(), found.callbacks), (MS(400), "message", 30));
        assert_eq!(timer.sample(start + MS(410), slot), None);
        assert_eq!(lag(&mut timer, start + MS(500), slot, 400, run), None);
        assert!(lag(&mut timer, start + MS(11_000), slot, 400, run).is_some());
    }

    #[test]
    fn a_wait_without_callbacks_or_because_of_a_slow_one_is_not_reported() {
        let (slot, mut timer, start) = (slot(), LagTimer::default(), Instant::now());
        assert_eq!(lag(&mut timer, start, slot, 400, |_| None), None);
        assert_eq!(lag(&mut timer, start + MS(1000), slot, 400, |at| (at % 30 == 0).then_some(1)), None);
        timer.note_slow(start + MS(2100));
        assert_eq!(lag(&mut timer, start + MS(2000), slot, 400, |_| Some(1)), None);
        assert!(lag(&mut timer, start + MS(3000), slot, 400, |_| Some(1)).is_some());
    }
}
