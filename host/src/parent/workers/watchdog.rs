//! The watchdog: samples each worker's scoreboard slot many times a second, logs callbacks that are slow, and ends a
//! worker whose callback never returns.

use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::{WorkerSlot, Workers};
use crate::config::settings::Limits;
use crate::system::scoreboard::{self, CallbackEvent, Slot};

/// The limits on callbacks.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    /// `--slow-callback`
    slow: Option<Duration>,
    /// `--hang-timeout`
    hang: Option<Duration>,
}

/// What the watchdog does about a worker.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Warn(String),
    End { reason: String },
}

impl Watchdog {
    pub fn new(limits: &Limits) -> Self {
        Self { slow: limits.slow_callback, hang: limits.hang_timeout }
    }

    /// Time between two samples. None: both limits are off.
    pub fn interval(&self) -> Option<Duration> {
        (self.slow.is_some() || self.hang.is_some())
            .then(|| scoreboard::sampling_interval(self.slow, self.hang))
    }

    /// Watches all workers for as long as the parent runs.
    pub async fn run(self, workers: &'static Workers) {
        let Some(interval) = self.interval() else { return };
        let mut interval = tokio::time::interval(interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            for slot in workers.slots().iter().filter(|slot| slot.pid.get().is_some()) {
                match self.inspect(Instant::now(), slot, workers.score(slot.index)) {
                    Some(Action::Warn(warning)) => log::warn!("{warning}"),
                    Some(Action::End { reason }) => slot.end_hung(reason),
                    None => {}
                }
            }
        }
    }

    /// Samples one worker.
    fn inspect(&self, now: Instant, slot: &WorkerSlot, score: &Slot) -> Option<Action> {
        let index = slot.index;
        let event = slot.timer.borrow_mut().sample(now, score, self.slow, self.hang)?;
        Some(match event {
            CallbackEvent::BecameSlow { label, running_for } => Action::Warn(format!(
                "worker {index}: {label} has run for {running_for:.0?} and blocks the worker's other clients (--slow-callback)"
            )),
            CallbackEvent::SlowReturned { label, ran_for } => {
                Action::Warn(format!("worker {index}: {label} has returned after {ran_for:.0?}"))
            }
            CallbackEvent::Hung { label, running_for } => Action::End {
                reason: format!(
                    "was ended: {label} had not returned after {running_for:.1?} (--hang-timeout)"
                ),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scoreboard::Scoreboard;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// What the watchdog does about a callback that runs for `ms` and then returns, sampled every 10 ms.
    fn actions(watchdog: Watchdog, ms: u64) -> Vec<Action> {
        let scoreboard = Scoreboard::private().expect("shared memory");
        let (slot, score, start) = (WorkerSlot::new(3), scoreboard.slot(0), Instant::now());
        let mut actions = Vec::new();
        score.enter(0);
        for at in (0..=ms).step_by(10) {
            actions.extend(watchdog.inspect(start + MS(at), &slot, score));
        }
        score.leave();
        actions.extend(watchdog.inspect(start + MS(ms + 10), &slot, score));
        actions
    }

    #[test]
    fn a_slow_callback_is_logged_twice_and_a_quick_one_never() {
        let watchdog = Watchdog { slow: Some(MS(100)), hang: Some(MS(1000)) };
        assert_eq!(actions(watchdog, 50), []);
        let warn = |text: &str| Action::Warn(format!("worker 3: another handler {text}"));
        assert_eq!(
            actions(watchdog, 200),
            [
                warn("has run for 100ms and blocks the worker's other clients (--slow-callback)"),
                warn("has returned after 210ms"),
            ]
        );
    }

    #[test]
    fn a_callback_that_does_not_return_ends_its_worker_once() {
        let watchdog = Watchdog { slow: None, hang: Some(MS(1000)) };
        let reason = "was ended: another handler had not returned after 1.0s (--hang-timeout)".to_owned();
        assert_eq!(actions(watchdog, 5000), [Action::End { reason }]);
    }

    #[test]
    fn without_limits_no_worker_is_sampled() {
        assert_eq!(Watchdog { slow: None, hang: None }.interval(), None);
        assert_eq!(Watchdog { slow: None, hang: Some(MS(1000)) }.interval(), Some(MS(100)));
        assert_eq!(actions(Watchdog { slow: None, hang: None }, 5000), []);
    }
}
