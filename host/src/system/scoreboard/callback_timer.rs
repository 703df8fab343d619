//! Finds slow and hung callbacks by sampling a slot. The time goes in as an argument, events come out; what is done
//! about them is up to the caller.

use std::time::{Duration, Instant};

use super::{CodeLabel, Slot};

/// What a sample of a slot shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackEvent {
    /// A callback runs for longer than the slow limit. Once for each callback.
    BecameSlow {
        label: CodeLabel,
        /// To within one sampling interval.
        running_for: Duration,
    },
    /// A slow callback has returned.
    SlowReturned {
        label: CodeLabel,
        /// To within one sampling interval.
        ran_for: Duration,
    },
    /// A callback has run for as long as the hang limit. Once for each callback.
    Hung {
        label: CodeLabel,
        /// A lower bound.
        running_for: Duration,
    },
}

/// Measures the running callback of one worker.
#[derive(Debug, Default)]
pub struct CallbackTimer {
    seen: Option<Seen>,
    last_sample: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    sequence: u64,
    /// The first sample of this callback, moved forward by the time that does not count.
    since: Instant,
    /// How long it may have run before that sample.
    before: Duration,
    /// Set when it became slow.
    slow: Option<CodeLabel>,
    is_hung: bool,
    /// Running time that does not count for the hang limit.
    excused: Duration,
}

impl CallbackTimer {
    /// Samples a slot. A limit of None is off. Call it every [`sampling_interval`], and once more when the worker has
    /// died, before [`CallbackTimer::ran_for`].
    pub fn sample(
        &mut self,
        now: Instant,
        slot: &Slot,
        slow: Option<Duration>,
        hang: Option<Duration>,
    ) -> Option<CallbackEvent> {
        let running = slot.now();
        let elapsed = now.saturating_duration_since(self.last_sample.replace(now).unwrap_or(now));
        let counted = elapsed.min(MISSED_SAMPLES_MAX * sampling_interval(slow, hang));
        match (&mut self.seen, running) {
            (Some(seen), Some((sequence, handler, waits))) if seen.sequence == sequence => {
                seen.since += if waits { elapsed } else { elapsed - counted };
                let running_for = now.saturating_duration_since(seen.since);
                let counts = running_for.saturating_sub(seen.excused);
                if !seen.is_hung && hang.is_some_and(|hang| counts >= hang) {
                    seen.is_hung = true;
                    return Some(CallbackEvent::Hung { label: slot.label(handler), running_for });
                }
                // The upper bound, so that no slow callback goes unreported.
                let running_for = running_for + seen.before;
                if seen.slow.is_none() && slow.is_some_and(|slow| running_for >= slow) {
                    let label = seen.slow.insert(slot.label(handler)).clone();
                    return Some(CallbackEvent::BecameSlow { label, running_for });
                }
                None
            }
            _ => {
                let begun = running.map(|(sequence, ..)| Seen {
                    sequence,
                    since: now,
                    before: counted,
                    slow: None,
                    is_hung: false,
                    excused: Duration::ZERO,
                });
                let returned = std::mem::replace(&mut self.seen, begun)?;
                let ran_for = now.saturating_duration_since(returned.since);
                Some(CallbackEvent::SlowReturned { label: returned.slow?, ran_for })
            }
        }
    }

    /// The callback in the last sample counts as hung only after the hang limit has passed once more.
    pub fn excuse(&mut self, now: Instant) {
        if let Some(seen) = &mut self.seen {
            seen.is_hung = false;
            seen.excused = now.saturating_duration_since(seen.since);
        }
    }

    /// How long the callback with that number has run. None: the last sample did not show it.
    pub fn running_for(&self, now: Instant, sequence: u64) -> Option<Duration> {
        let seen = self.seen.as_ref().filter(|seen| seen.sequence == sequence)?;
        Some(now.saturating_duration_since(seen.since))
    }

    /// How long the callback in the last sample has run: a lower bound, to within one sampling interval. None: no
    /// callback was running.
    pub fn ran_for(&self, now: Instant) -> Option<Duration> {
        self.seen.as_ref().map(|seen| now.saturating_duration_since(seen.since))
    }
}

/// Missed samples whose time counts for the callback. If more are missed, the machine or a frozen container stood
/// still, not the callback.
const MISSED_SAMPLES_MAX: u32 = 4;

/// Time between two samples for these limits: a tenth of the smaller, within 5 to 250 ms.
pub fn sampling_interval(slow: Option<Duration>, hang: Option<Duration>) -> Duration {
    let (least, most) = (Duration::from_millis(5), Duration::from_millis(250));
    slow.into_iter().chain(hang).min().map_or(most, |limit| (limit / 10).clamp(least, most))
}
