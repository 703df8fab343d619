//! How a worker ended, in one log line: why, in which code of which plugin, and what that cost.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::WorkerSlot;
use crate::system::crash;
use crate::system::scoreboard::{Crash, Slot};

/// What is known of a worker that has ended.
pub struct Death<'w> {
    pub slot: &'w WorkerSlot,
    pub score: &'w Slot,
    pub crash: Option<&'w Crash>,
    /// 0 if it is not known.
    pub pid: i32,
    pub status: ExitStatus,
    pub lived: Duration,
    /// Whether the worker was confined.
    pub is_confined: bool,
    /// The watchdog's interval, which bounds how exact times of callbacks are. None: callbacks have no limit, and are not sampled.
    pub interval: Option<Duration>,
}

impl Death<'_> {
    /// The report. Takes the slot's reason.
    pub fn report(&self) -> String {
        let Self { slot, score, pid, lived, .. } = self;
        let how = match (slot.end_reason.take(), self.status.signal(), self.status.code()) {
            (Some(reason), ..) => reason,
            (None, Some(signal), _) => self.signal_report(signal),
            (None, None, Some(code)) => format!("ended with status {code}{}", self.in_callback()),
            (None, None, None) => format!("ended with {}", self.status),
        };
        let clients = score.clients();
        format!(
            "worker {} (process {pid}) {how}; it had lived for {lived:.1?}; clients lost: {clients}",
            slot.index
        )
    }

    fn signal_report(&self, signal: i32) -> String {
        // The worker's own record counts only if it is about the signal that ended the process.
        let cause = self.crash.filter(|crash| crash.signal == signal).map(crash::cause);
        let cause = cause.unwrap_or_else(|| crash::unrecorded_cause(signal, self.is_confined));
        match self.crash {
            // A thread of a plugin crashed. What the worker's thread did meanwhile is not to blame.
            Some(crash) if !crash.worker_thread => format!("died of {cause}"),
            _ => format!("died of {cause}{}", self.in_callback()),
        }
    }

    /// The callback that ran, and for how long as far as the watchdog can tell.
    fn in_callback(&self) -> String {
        let Some(running) = self.score.running() else { return " outside of any plugin's code".to_owned() };
        let Some(interval) = self.interval else { return format!(" in {}", running.label) };
        match self.slot.timer.borrow().ran_for(Instant::now()) {
            Some(time) if time >= interval => format!(" in {}, which had run for {time:.1?}", running.label),
            _ => format!(" in {}, which had run for less than {interval:?}", running.label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scoreboard::{CodeLabel, Scoreboard};

    fn report(status: i32, prepare: impl FnOnce(&WorkerSlot, &Slot)) -> String {
        let scoreboard = Scoreboard::private().expect("shared memory");
        let (slot, score) = (WorkerSlot::new(2), scoreboard.slot(0));
        prepare(&slot, score);
        let lived = Duration::from_millis(1500);
        let interval = Some(Duration::from_millis(10));
        let (status, crash) = (ExitStatus::from_raw(status), score.crash());
        let crash = crash.as_ref();
        let is_confined = true;
        Death { slot: &slot, score, crash, pid: 4711, status, lived, is_confined, interval }.report()
    }

    #[test]
    fn it_names_the_cause_and_the_callback_that_ran() {
        let end = "; it had lived for 1.5s; clients lost: 7";
        assert_eq!(
            report(libc::SIGKILL, |_, score| score.set_clients(7)),
            format!("worker 2 (process 4711) died of SIGKILL outside of any plugin's code{end}")
        );
        let label = CodeLabel {
            plugin: "chat".into(),
            kind: "onmessage handler".into(),
            name: "message".into(),
            generation: 3,
        };
        let in_callback = |_: &WorkerSlot, score: &Slot| {
            score.set_clients(7);
            score.define(1, &label);
            score.enter(1);
        };
        assert_eq!(
            report(3 << 8, in_callback),
            format!(
                "worker 2 (process 4711) ended with status 3 in {label}, which had run for less than 10ms{end}"
            )
        );
    }

    #[test]
    fn the_parents_own_reason_comes_first() {
        let report = report(libc::SIGABRT, |slot, _| {
            slot.end_reason.replace(Some("was ended: it hung".to_owned()));
        });
        assert!(report.starts_with("worker 2 (process 4711) was ended: it hung; "), "{report}");
    }
}
