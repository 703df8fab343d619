//! The watchdog: samples each worker's scoreboard slot many times a second. It logs slow callbacks and event loops that
//! do not run, and ends a worker whose callback never returns or whose event loop stays stalled. A traced worker is
//! never ended.

use std::time::{Duration, Instant};

use super::{WorkerSlot, Workers};
use crate::config::settings::Limits;
use crate::config::units::Time;
use crate::parent::relay::Relay;
use crate::system::log as logging;
use crate::system::scoreboard::{self, CallbackEvent, CodeLabel, HEARTBEAT_INTERVAL, Lag, Slot, StallEvent};

/// Least time for a worker to start: on a busy machine, and with a program on a slow disk.
const START_TIMEOUT_MIN: Duration = Duration::from_secs(10);

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
    /// The event loop does not run.
    WarnOfStall(String),
    End {
        reason: String,
    },
}

impl Watchdog {
    pub fn new(limits: &Limits) -> Self {
        Self { slow: limits.slow_callback, hang: limits.hang_timeout }
    }

    /// Time between two samples of the running callback. None: both limits are off.
    pub fn interval(&self) -> Option<Duration> {
        (self.slow.is_some() || self.hang.is_some())
            .then(|| scoreboard::sampling_interval(self.slow, self.hang))
    }

    /// Watches all workers for as long as the parent runs, by the limits of each moment.
    pub async fn run(limits: impl Fn() -> Limits, workers: &'static Workers, relay: &Relay) {
        let mut watchdog = Self::new(&limits());
        loop {
            // A late sample delays the next ones.
            tokio::time::sleep(watchdog.interval().unwrap_or(HEARTBEAT_INTERVAL)).await;
            watchdog = Self::new(&limits());
            watchdog.watch(workers, relay);
        }
    }

    /// Samples all workers.
    fn watch(&self, workers: &'static Workers, relay: &Relay) {
        logging::flush();
        for slot in workers.slots().iter().filter(|slot| slot.pid.get().is_some()) {
            let (now, score) = (Instant::now(), workers.score(slot.index));
            let of_callback = self.interval().and_then(|_| self.inspect(now, slot, score));
            let of_event_loop = self.inspect_event_loop(now, slot, score);
            let of_waits = self.slow.and_then(|slow| inspect_waits(now, slot, score, slow));
            let all = [of_callback, of_event_loop, of_waits].into_iter().flatten();
            all.for_each(|action| act(action, slot, relay));
        }
    }

    /// Samples the event loop of one worker.
    fn inspect_event_loop(&self, now: Instant, slot: &WorkerSlot, score: &Slot) -> Option<Action> {
        if !slot.serves() {
            return self.inspect_start(now, slot, score);
        }
        let index = slot.index;
        let what = |is_waiting| match is_waiting {
            false => "outside of any callback",
            true => "while it waits for other workers",
        };
        let event = slot.stall_timer.borrow_mut().sample(now, score, self.hang)?;
        Some(match event {
            // The worker writes its backtrace.
            StallEvent::Stalled { .. } if score.crash().is_some() => return None,
            StallEvent::Stalled { stalled_for, is_waiting } => Action::WarnOfStall(format!(
                "worker {index} has not run its event loop for {stalled_for:.1?}, {}: is it stopped, or blocked in a \
                 system call?",
                what(is_waiting)
            )),
            StallEvent::Resumed { stalled_for } => {
                Action::Warn(format!("worker {index} runs its event loop again, after {stalled_for:.1?}"))
            }
            StallEvent::Hung { stalled_for, is_waiting } => Action::End {
                reason: format!(
                    "was ended: it had not run its event loop for {stalled_for:.1?}, {} (--hang-timeout)",
                    what(is_waiting)
                ),
            },
        })
    }

    /// Samples a worker that starts. It has no heartbeat yet; only the time outside of plugins' code counts.
    fn inspect_start(&self, now: Instant, slot: &WorkerSlot, score: &Slot) -> Option<Action> {
        if !slot.is_starting.get() {
            return None;
        }
        let limit = self.hang.map(|hang| hang.max(START_TIMEOUT_MIN));
        match slot.stall_timer.borrow_mut().sample(now, score, limit)? {
            StallEvent::Hung { stalled_for, .. } => Some(Action::End {
                reason: format!(
                    "was ended: it had not started within {stalled_for:.1?}, outside of any callback (--hang-timeout)"
                ),
            }),
            StallEvent::Stalled { .. } | StallEvent::Resumed { .. } => None,
        }
    }

    /// Samples the running callback of one worker.
    fn inspect(&self, now: Instant, slot: &WorkerSlot, score: &Slot) -> Option<Action> {
        let index = slot.index;
        let event = slot.timer.borrow_mut().sample(now, score, self.slow, self.hang)?;
        slot.lag_timer.borrow_mut().note_slow(now);
        Some(match event {
            CallbackEvent::BecameSlow { label, running_for } => Action::Warn(format!(
                "worker {index}: {label} has run for {}{} (--slow-callback)",
                rounded(running_for),
                match slot.is_starting.get() {
                    true => ", while the worker starts",
                    false => " and blocks the worker's other clients",
                }
            )),
            CallbackEvent::SlowReturned { label, ran_for } => {
                Action::Warn(format!("worker {index}: {label} has returned after {}", rounded(ran_for)))
            }
            CallbackEvent::Hung { label, running_for } => Action::End {
                reason: format!(
                    "was ended: {label} had not returned after {running_for:.1?} (--hang-timeout)"
                ),
            },
        })
    }
}

/// `210ms`, or `1.5s`.
fn rounded(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{time:.0?}"),
        _ => format!("{time:.1?}"),
    }
}

/// Samples what runs on one worker while clients wait for their turn.
fn inspect_waits(now: Instant, slot: &WorkerSlot, score: &Slot, slow: Duration) -> Option<Action> {
    let Lag { waited_for, label, callbacks } = slot.lag_timer.borrow_mut().sample(now, score)?;
    let CodeLabel { plugin, kind, name, .. } = label;
    let handler = match (plugin.as_str(), name.as_str()) {
        ("", _) => "another handler".to_owned(),
        (plugin, "") => format!("{kind} of {plugin}"),
        (plugin, name) => format!("{kind} {plugin}:{name}"),
    };
    Some(Action::Warn(format!(
        "worker {}: {handler} blocked the event loop for {waited_for:.1?}, in {callbacks} callbacks, none of which is \
         slow: clients waited for their turn (slow_callback = {})",
        slot.index,
        Time(slow)
    )))
}

fn act(action: Action, slot: &'static WorkerSlot, relay: &Relay) {
    match action {
        Action::Warn(warning) => log::warn!("{warning}"),
        Action::WarnOfStall(warning) => {
            if !slot.is_traced() {
                let state = slot.proc_status().state.unwrap_or_else(|| "unknown".to_owned());
                log::warn!("{warning} The state of the process is {state}");
            }
        }
        Action::End { .. } if slot.is_traced() => {
            slot.timer.borrow_mut().excuse(Instant::now());
            slot.stall_timer.borrow_mut().excuse();
        }
        Action::End { reason } => {
            // A stopped process lives on until it is killed. No worker waits for it meanwhile.
            relay.leave(slot.index);
            slot.end_hung(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::system::scoreboard::{Fault, Scoreboard};

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
        let watchdog = Watchdog { slow: Some(MS(1400)), hang: None };
        assert_eq!(
            actions(watchdog, 1500),
            [
                warn("has run for 1.4s and blocks the worker's other clients (--slow-callback)"),
                warn("has returned after 1.5s"),
            ]
        );
    }

    #[test]
    fn a_slow_hook_of_a_worker_that_starts_blocks_no_client() {
        let scoreboard = Scoreboard::private().expect("shared memory");
        let (slot, score, start) = (WorkerSlot::new(3), scoreboard.slot(0), Instant::now());
        let watchdog = Watchdog { slow: Some(MS(100)), hang: None };
        slot.begin(start);
        slot.is_starting.set(true);
        score.enter(0);
        let actions: Vec<_> =
            (0..=200).step_by(10).filter_map(|at| watchdog.inspect(start + MS(at), &slot, score)).collect();
        let warning =
            "worker 3: another handler has run for 100ms, while the worker starts (--slow-callback)"
                .to_owned();
        assert_eq!(actions, [Action::Warn(warning)]);
    }

    #[test]
    fn a_callback_that_does_not_return_ends_its_worker_once() {
        let watchdog = Watchdog { slow: None, hang: Some(MS(1000)) };
        let reason = "was ended: another handler had not returned after 1.0s (--hang-timeout)".to_owned();
        assert_eq!(actions(watchdog, 5000), [Action::End { reason }]);
    }

    /// What the watchdog does about an event loop that does not run for `ms`, sampled every 50 ms.
    fn actions_of_a_stall(watchdog: Watchdog, slot: &WorkerSlot, ms: u64) -> Vec<Action> {
        let scoreboard = Scoreboard::private().expect("shared memory");
        let (score, start) = (scoreboard.slot(0), Instant::now());
        let mut actions = Vec::new();
        for at in (0..=ms).step_by(50) {
            actions.extend(watchdog.inspect_event_loop(start + MS(at), slot, score));
        }
        score.beat();
        actions.extend(watchdog.inspect_event_loop(start + MS(ms + 50), slot, score));
        actions
    }

    #[test]
    fn an_event_loop_that_does_not_run_is_logged_twice_and_ends_its_worker_at_the_hang_limit() {
        let slot = WorkerSlot::new(3);
        let watchdog = Watchdog { slow: None, hang: Some(MS(5000)) };
        assert_eq!(actions_of_a_stall(watchdog, &slot, 60_000), [], "it does not serve yet");
        slot.begin_serving(Rc::default(), Rc::default());
        let warning = "worker 3 has not run its event loop for 1.0s, outside of any callback: is it stopped, or \
                       blocked in a system call?";
        let warning = Action::WarnOfStall(warning.to_owned());
        let resumed = |time| Action::Warn(format!("worker 3 runs its event loop again, after {time}"));
        assert_eq!(actions_of_a_stall(watchdog, &slot, 2250), [warning, resumed("2.0s")]);

        slot.stall_timer.take();
        let reason =
            "was ended: it had not run its event loop for 5.0s, outside of any callback (--hang-timeout)";
        let actions = actions_of_a_stall(watchdog, &slot, 7250);
        assert_eq!(actions[1..], [Action::End { reason: reason.to_owned() }, resumed("7.0s")]);

        slot.stall_timer.take();
        let actions = actions_of_a_stall(Watchdog { slow: None, hang: None }, &slot, 60_250);
        assert_eq!(actions[1..], [resumed("60.0s")], "without a hang limit it is logged and not ended");
    }

    #[test]
    fn many_short_callbacks_that_keep_clients_waiting_are_logged() {
        let (slot, scoreboard, start) =
            (WorkerSlot::new(3), Scoreboard::private().expect("memory"), Instant::now());
        let score = scoreboard.slot(0);
        let (plugin, kind, name) = ("chat".into(), "onmessage handler".into(), "message".into());
        score.define(1, &CodeLabel { plugin, kind, name, generation: 1 });
        let mut actions = Vec::new();
        for ms in (0..=400).step_by(10) {
            score.leave();
            score.enter(1);
            if ms == 400 {
                score.note_lag(MS(400));
            }
            actions.extend(inspect_waits(start + MS(ms), &slot, score, MS(100)));
        }
        let warning = "worker 3: onmessage handler chat:message blocked the event loop for 400.0ms, in 40 callbacks, \
                       none of which is slow: clients waited for their turn (slow_callback = 100ms)";
        assert_eq!(actions, [Action::Warn(warning.to_owned())]);
    }

    #[test]
    fn a_worker_that_is_stopped_while_it_starts_is_ended_and_a_slow_start_is_not_logged() {
        let (slot, watchdog) = (WorkerSlot::new(3), Watchdog { slow: None, hang: Some(MS(5000)) });
        slot.begin(Instant::now());
        let reason =
            "was ended: it had not started within 10.0s, outside of any callback (--hang-timeout)".to_owned();
        assert_eq!(actions_of_a_stall(watchdog, &slot, 60_000), [Action::End { reason }]);
        slot.begin(Instant::now());
        assert_eq!(actions_of_a_stall(watchdog, &slot, 8000), []);
        slot.begin_serving(Rc::default(), Rc::default());
        assert_eq!(actions_of_a_stall(watchdog, &slot, 50), []);
    }

    #[test]
    fn a_worker_that_writes_its_backtrace_is_not_stalled() {
        let (slot, scoreboard) = (WorkerSlot::new(3), Scoreboard::private().expect("shared memory"));
        slot.begin_serving(Rc::default(), Rc::default());
        scoreboard.slot(0).begin_crash(&Fault {
            signal: libc::SIGSEGV,
            code: 1,
            address: 0,
            argument: 0,
            pc: 0,
            overflow: false,
            worker_thread: true,
        });
        let (watchdog, start) = (Watchdog { slow: None, hang: Some(MS(5000)) }, Instant::now());
        let actions: Vec<Action> = (0..4000)
            .step_by(50)
            .filter_map(|at| watchdog.inspect_event_loop(start + MS(at), &slot, scoreboard.slot(0)))
            .collect();
        assert_eq!(actions, []);
    }

    #[test]
    fn without_limits_no_callback_is_sampled() {
        assert_eq!(Watchdog { slow: None, hang: None }.interval(), None);
        assert_eq!(Watchdog { slow: None, hang: Some(MS(1000)) }.interval(), Some(MS(100)));
        assert_eq!(actions(Watchdog { slow: None, hang: None }, 5000), []);
    }
}
