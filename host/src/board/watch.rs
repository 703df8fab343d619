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
        /// Not more than it has run for.
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
}

#[derive(Debug)]
struct Seen {
    sequence: u64,
    /// Moved on by the time for which it waits.
    since: Instant,
    looked: Instant,
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
        match (&mut self.seen, running) {
            (Some(seen), Some((sequence, handler, waits))) if seen.sequence == sequence => {
                if waits {
                    seen.since += now.saturating_duration_since(seen.looked);
                }
                seen.looked = now;
                let running_for = now.saturating_duration_since(seen.since);
                let exceeds = |limit: Option<Duration>| limit.is_some_and(|limit| running_for >= limit);
                if !seen.hung && exceeds(hang) {
                    seen.hung = true;
                    return Some(Finding::Hung { label: slot.label(handler), running_for });
                }
                if seen.slow.is_none() && exceeds(slow) {
                    let label = seen.slow.insert(slot.label(handler)).clone();
                    return Some(Finding::Slow { label, running_for });
                }
                None
            }
            _ => {
                let begun = running.map(|(sequence, ..)| Seen {
                    sequence,
                    since: now,
                    looked: now,
                    slow: None,
                    hung: false,
                });
                let ended = std::mem::replace(&mut self.seen, begun)?;
                let ran_for = now.saturating_duration_since(ended.since);
                Some(Finding::SlowEnded { label: ended.slow?, ran_for })
            }
        }
    }

    /// How long the callback that the last look saw has run, to within one interval of sampling: not more than
    /// it really has. None: none was running.
    pub fn ran_for(&self, now: Instant) -> Option<Duration> {
        self.seen.as_ref().map(|seen| now.saturating_duration_since(seen.since))
    }
}

/// How often to look, for these limits: a quarter of the smaller, within 5 to 250 ms.
pub fn tick(slow: Option<Duration>, hang: Option<Duration>) -> Duration {
    let (least, most) = (Duration::from_millis(5), Duration::from_millis(250));
    slow.into_iter().chain(hang).min().map_or(most, |limit| (limit / 4).clamp(least, most))
}
