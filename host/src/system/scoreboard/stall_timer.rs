//! Finds event loops that do not run by sampling a slot: the worker is stopped, blocked in a system call, or in an
//! endless loop of the host. The time goes in as an argument, events come out; what is done about them is up to the
//! caller. A running callback is not a stall: the callback timer measures it.

use std::time::{Duration, Instant};

use super::Slot;
use super::slot::Pulse;

/// Time between two heartbeats of a worker.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// Shortest stall that is reported: a worker on a busy machine may have to wait for a processor for less.
pub const STALL_MIN: Duration = Duration::from_secs(1);
/// Most time that one sample adds to a stall. If more has passed since the last sample, the parent, the machine or a
/// container stood still, and the worker gets a chance to run first.
const SAMPLE_MAX: Duration = Duration::from_millis(500);

/// What a sample of a slot shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StallEvent {
    /// The event loop has not run for [`STALL_MIN`]. Once for each stall.
    Stalled { stalled_for: Duration, is_waiting: bool },
    /// A stalled event loop runs again.
    Resumed { stalled_for: Duration },
    /// The event loop has not run for the hang limit. Once for each stall, and again after [`StallTimer::excuse`].
    Hung { stalled_for: Duration, is_waiting: bool },
}

/// Measures for how long the event loop of one worker has not run.
#[derive(Debug, Default)]
pub struct StallTimer {
    seen: Option<Seen>,
    last_sample: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    pulse: Pulse,
    /// Time that counts since the first sample of this pulse.
    unchanged_for: Duration,
    is_stalled: bool,
    is_hung: bool,
    /// Stalled time that does not count for the hang limit.
    excused: Duration,
}

impl Seen {
    /// The time since the next heartbeat was due.
    fn stalled_for(&self) -> Duration {
        self.unchanged_for.saturating_sub(HEARTBEAT_INTERVAL)
    }
}

impl StallTimer {
    /// Samples the slot of a worker that serves. A hang limit of None is off; one below [`STALL_MIN`] is raised to it.
    pub fn sample(&mut self, now: Instant, slot: &Slot, hang: Option<Duration>) -> Option<StallEvent> {
        let pulse = slot.pulse();
        let elapsed = now.saturating_duration_since(self.last_sample.replace(now).unwrap_or(now));
        let may_stall = !pulse.is_in_callback || pulse.is_waiting;
        let Some(seen) = self.seen.as_mut().filter(|seen| may_stall && seen.pulse == pulse) else {
            let seen = Seen {
                pulse,
                unchanged_for: Duration::ZERO,
                is_stalled: false,
                is_hung: false,
                excused: Duration::ZERO,
            };
            let last = self.seen.replace(seen).filter(|last| last.is_stalled)?;
            return Some(StallEvent::Resumed { stalled_for: last.stalled_for() });
        };
        seen.unchanged_for += elapsed.min(SAMPLE_MAX);
        let (stalled_for, is_waiting) = (seen.stalled_for(), pulse.is_waiting);
        let counts = stalled_for.saturating_sub(seen.excused);
        if !seen.is_hung && hang.is_some_and(|hang| counts >= hang.max(STALL_MIN)) {
            (seen.is_stalled, seen.is_hung) = (true, true);
            return Some(StallEvent::Hung { stalled_for, is_waiting });
        }
        if !seen.is_stalled && stalled_for >= STALL_MIN {
            seen.is_stalled = true;
            return Some(StallEvent::Stalled { stalled_for, is_waiting });
        }
        None
    }

    /// For how long the event loop had not run at the last sample, if that is a stall.
    pub fn stalled_for(&self) -> Option<Duration> {
        self.seen.as_ref().map(Seen::stalled_for).filter(|time| *time >= STALL_MIN)
    }

    /// The worker counts as hung only after the hang limit has passed once more.
    pub fn excuse(&mut self) {
        if let Some(seen) = &mut self.seen {
            seen.is_hung = false;
            seen.excused = seen.stalled_for();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scoreboard::{CodeLabel, Scoreboard};

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const HANG: Option<Duration> = Some(Duration::from_secs(3));

    /// A worker's slot, sampled at times that a test chooses.
    struct Watch {
        scoreboard: Scoreboard,
        timer: StallTimer,
        start: Instant,
    }

    impl Watch {
        fn new() -> Self {
            let scoreboard = Scoreboard::private().expect("shared memory");
            Self { scoreboard, timer: StallTimer::default(), start: Instant::now() }
        }

        fn slot(&self) -> &Slot {
            self.scoreboard.slot(0)
        }

        fn sample(&mut self, ms: u64) -> Option<StallEvent> {
            self.timer.sample(self.start + MS(ms), self.scoreboard.slot(0), HANG)
        }

        /// All events of samples every 50 ms.
        fn samples(&mut self, from: u64, to: u64) -> Vec<(u64, StallEvent)> {
            (from..=to).step_by(50).filter_map(|ms| Some((ms, self.sample(ms)?))).collect()
        }
    }

    fn stalled(ms: u64) -> StallEvent {
        StallEvent::Stalled { stalled_for: MS(ms), is_waiting: false }
    }

    fn hung(ms: u64) -> StallEvent {
        StallEvent::Hung { stalled_for: MS(ms), is_waiting: false }
    }

    #[test]
    fn a_worker_that_beats_is_not_stalled() {
        let mut watch = Watch::new();
        for ms in (0..20_000).step_by(250) {
            watch.slot().beat();
            assert_eq!(watch.samples(ms, ms + 249), []);
        }
        assert_eq!(watch.timer.stalled_for(), None);
    }

    #[test]
    fn a_stall_is_reported_once_and_hangs_once_and_its_end_is_reported() {
        let mut watch = Watch::new();
        // One heartbeat interval is no stall.
        assert_eq!(watch.samples(0, 1200), []);
        assert_eq!(watch.timer.stalled_for(), None);
        assert_eq!(watch.samples(1250, 10_000), [(1250, stalled(1000)), (3250, hung(3000))]);
        assert_eq!(watch.timer.stalled_for(), Some(MS(9750)));
        watch.slot().beat();
        assert_eq!(watch.sample(10_050), Some(StallEvent::Resumed { stalled_for: MS(9750) }));
        assert_eq!(watch.timer.stalled_for(), None);
        assert_eq!(watch.sample(10_100), None);
    }

    #[test]
    fn a_running_callback_is_no_stall_and_neither_are_many_short_ones() {
        let mut watch = Watch::new();
        watch.slot().define(1, &CodeLabel::default());
        watch.slot().enter(1);
        assert_eq!(watch.samples(0, 10_000), []);
        watch.slot().leave();
        for ms in (10_050..20_000).step_by(500) {
            watch.slot().enter(1);
            watch.slot().leave();
            assert_eq!(watch.samples(ms, ms + 450), []);
        }
        assert_eq!(watch.samples(20_050, 21_250), [(20_800, stalled(1000))], "after the last one");
        watch.slot().enter(1);
        assert!(matches!(watch.sample(21_300), Some(StallEvent::Resumed { .. })));
    }

    #[test]
    fn a_callback_that_waits_for_other_workers_has_to_beat() {
        let mut watch = Watch::new();
        watch.slot().enter(0);
        watch.slot().set_waiting(true);
        for ms in (0..10_000).step_by(250) {
            watch.slot().beat();
            assert_eq!(watch.samples(ms, ms + 249), []);
        }
        let event = StallEvent::Stalled { stalled_for: MS(1000), is_waiting: true };
        assert_eq!(watch.samples(10_000, 11_200), [(11_000, event)], "it was stopped while it waited");
    }

    #[test]
    fn a_machine_that_stood_still_is_no_stall() {
        let mut watch = Watch::new();
        assert_eq!(watch.samples(0, 500), []);
        assert_eq!(watch.sample(60_000), None);
        watch.slot().beat();
        assert_eq!(watch.sample(60_050), None);
        assert_eq!(watch.samples(60_100, 61_300), [(61_300, stalled(1000))]);
    }

    #[test]
    fn a_short_hang_limit_is_raised_and_none_is_off() {
        let mut watch = Watch::new();
        let mut events = |hang: Option<Duration>| -> Vec<StallEvent> {
            watch.timer = StallTimer::default();
            let times = (0..100_000).step_by(50).map(|ms| watch.start + MS(ms));
            times.filter_map(|now| watch.timer.sample(now, watch.scoreboard.slot(0), hang)).collect()
        };
        assert_eq!(events(Some(MS(1))), [hung(1000)]);
        assert_eq!(events(None), [stalled(1000)]);
    }

    #[test]
    fn an_excused_worker_gets_the_hang_limit_once_more() {
        let mut watch = Watch::new();
        assert_eq!(watch.samples(0, 3250), [(1250, stalled(1000)), (3250, hung(3000))]);
        watch.timer.excuse();
        assert_eq!(watch.samples(3300, 10_000), [(6250, hung(6000))]);
    }
}
