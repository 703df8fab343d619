//! Which callbacks are slow or never end, told from looking at a slot now and then. It takes the time as an
//! argument and does nothing about what it finds.

use std::time::{Duration, Instant};

use super::{Label, Slot};

/// What a look at a worker may find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A callback runs for longer than it should. Once for each.
    Slow {
        /// Whose it is.
        label: Label,
        /// To within one interval of sampling.
        running_for: Duration,
    },
    /// A slow one has ended.
    SlowEnded {
        /// Whose it was.
        label: Label,
        /// How long it ran, to within one interval of sampling.
        ran_for: Duration,
    },
    /// A callback has run for so long that it will not end. Once for each.
    Hung {
        /// Whose it is.
        label: Label,
        /// Not more than it has run for.
        running_for: Duration,
    },
}

/// What is known of one worker's running callback.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Option<Seen>,
    /// When it was looked last.
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    sequence: u64,
    /// When it was seen first; moved on by the time for which it waits.
    since: Instant,
    /// How long it may have run before.
    before: Duration,
    /// Set when it was found to be slow.
    slow: Option<Label>,
    hung: bool,
}

impl Watch {
    /// Looks at a slot; a limit of None is not checked. Call it every [`tick`], and once more when the worker
    /// has died, before [`Watch::ran_for`].
    pub fn look(
        &mut self,
        now: Instant,
        slot: &Slot,
        slow: Option<Duration>,
        hang: Option<Duration>,
    ) -> Option<Finding> {
        let running = slot.now();
        let gone = now.saturating_duration_since(self.looked.replace(now).unwrap_or(now));
        let counts = gone.min(LOOKS_MAX * tick(slow, hang));
        match (&mut self.seen, running) {
            (Some(seen), Some((sequence, handler, waits))) if seen.sequence == sequence => {
                seen.since += if waits { gone } else { gone - counts };
                let running_for = now.saturating_duration_since(seen.since);
                if !seen.hung && hang.is_some_and(|hang| running_for >= hang) {
                    seen.hung = true;
                    return Some(Finding::Hung { label: slot.label(handler), running_for });
                }
                // Better one that is almost slow than a slow one unsaid.
                let running_for = running_for + seen.before;
                if seen.slow.is_none() && slow.is_some_and(|slow| running_for >= slow) {
                    let label = seen.slow.insert(slot.label(handler)).clone();
                    return Some(Finding::Slow { label, running_for });
                }
                None
            }
            _ => {
                let begun = running.map(|(sequence, ..)| Seen {
                    sequence,
                    since: now,
                    before: counts,
                    slow: None,
                    hung: false,
                });
                let ended = std::mem::replace(&mut self.seen, begun)?;
                let ran_for = now.saturating_duration_since(ended.since);
                Some(Finding::SlowEnded { label: ended.slow?, ran_for })
            }
        }
    }

    /// How long the callback of that number has run; None if the last look did not see it.
    pub fn running_for(&self, now: Instant, sequence: u64) -> Option<Duration> {
        let seen = self.seen.as_ref().filter(|seen| seen.sequence == sequence)?;
        Some(now.saturating_duration_since(seen.since))
    }

    /// How long the callback that the last look saw has run, to within one interval of sampling: not more than
    /// it really has. None: none was running.
    pub fn ran_for(&self, now: Instant) -> Option<Duration> {
        self.seen.as_ref().map(|seen| now.saturating_duration_since(seen.since))
    }
}

/// Looks without which a callback's time goes on: if more are left out, it is not the callback that stands
/// still, but the machine, or a container that is frozen.
const LOOKS_MAX: u32 = 4;

/// How often to look, for these limits: a tenth of the smaller, within 5 to 250 ms.
pub fn tick(slow: Option<Duration>, hang: Option<Duration>) -> Duration {
    let (least, most) = (Duration::from_millis(5), Duration::from_millis(250));
    slow.into_iter().chain(hang).min().map_or(most, |limit| (limit / 10).clamp(least, most))
}
