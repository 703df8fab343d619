//! Keeps one slot filled: starts a worker, waits until it has ended, logs how, and starts the next one, until the
//! server stops. No worker starts while a reload is in progress.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::report::Death;
use super::restart::{Progress, RestartPolicy};
use super::worker_link::WorkerLink;
use super::{Launched, Running, Watchdog, WorkerSlot, backtraces};
use crate::parent::Parent;
use crate::parent::startup::StartupEvent;
use crate::system::process::Leader;
use crate::system::scoreboard::Crash;
use crate::system::task;

/// Time to read the last messages of a worker that has ended. A process that a plugin started by a bare `clone` system
/// call, and that left the worker's process group, may hold the socket.
const LAST_MESSAGES_TIMEOUT: Duration = Duration::from_millis(100);
/// Time for a slow reader of stdout to take what a worker has printed last, when no other worker follows.
const LAST_PRINTED_TIMEOUT: Duration = Duration::from_millis(600);

/// The supervisor of one slot.
pub struct Supervisor {
    parent: &'static Parent,
    slot: &'static WorkerSlot,
    restarts: RestartPolicy,
    _running: Running<'static>,
}

/// How a worker ended.
struct End {
    progress: Progress,
    /// 0: there was no process, or its id is not known.
    pid: i32,
    /// Whether the exit status is 0.
    is_clean: bool,
    /// How it ended, for the log.
    report: String,
    /// What the crash handler recorded.
    crash: Option<Crash>,
}

impl Supervisor {
    pub fn new(parent: &'static Parent, slot: &'static WorkerSlot) -> Self {
        let _running = parent.workers.count_running();
        Self { parent, slot, restarts: RestartPolicy::default(), _running }
    }

    /// Supervises until the server stops.
    pub async fn run(mut self) {
        let Self { parent, slot, .. } = self;
        loop {
            parent.reloads.ballots.none_open().await;
            if parent.shutdown.has_begun() {
                return;
            }
            let end = self.run_worker().await;
            // A signal to the whole process group reaches the parent and the workers. The parent may see a worker's
            // end first, so its own signal gets a turn.
            tokio::task::yield_now().await;
            if let Some(crash) = end.crash {
                backtraces::log(format!("worker {} (process {})", slot.index, end.pid), crash);
            }
            if parent.shutdown.has_begun() {
                slot.is_unclean.set(matches!(end.progress, Progress::Served { .. }) && !end.is_clean);
                if slot.is_unclean.get() && !parent.shutdown.is_forced() {
                    log::error!("{}, while it was closing its connections", end.report);
                }
                return;
            }
            self.pause_after(end.progress, end.report).await;
        }
    }

    /// Logs the end of a worker, and waits until the next one may start.
    async fn pause_after(&mut self, progress: Progress, report: String) {
        let (startup, index) = (&self.parent.startup, self.slot.index);
        let pause = self.restarts.pause_after(&progress);
        let early_deaths = self.restarts.early_deaths;
        match progress {
            Progress::FailedToStart(reason) => {
                if startup.is_over() {
                    log::error!("worker {index} cannot start: {reason}");
                }
                startup.report(StartupEvent::Failed(reason));
            }
            Progress::DiedBeforeServing => {
                startup.report(StartupEvent::Died { in_a_row: early_deaths, report: report.clone() });
                log::error!("{report}, before it served");
            }
            Progress::Served { .. } => log::error!("{report}; starting another"),
        }
        let Some(pause) = pause else { return };
        if early_deaths > 1 {
            log::error!(
                "worker {index} dies soon after every start ({early_deaths} times now); the next one starts in {pause:?}"
            );
        }
        tokio::select! { () = tokio::time::sleep(pause) => {} () = self.parent.shutdown.begun() => {} }
    }

    /// Runs one worker from its start to its end.
    async fn run_worker(&self) -> End {
        let Self { parent, slot, .. } = *self;
        let started_at = Instant::now();
        slot.begin(started_at);
        let score = parent.workers.score(slot.index);
        score.clear();
        let not_started = |progress, report| {
            parent.workers.finish_start(slot);
            End { progress, pid: 0, is_clean: false, report, crash: None }
        };
        // A disk that is stuck must not keep the server from stopping.
        let plan = tokio::select! {
            plan = parent.reloads.plan_to_load() => plan,
            () = parent.shutdown.begun() => return not_started(Progress::DiedBeforeServing, String::new()),
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => return not_started(Progress::FailedToStart(format!("{error:#}")), String::new()),
        };
        // From here to the launch nothing waits: a server that stops drains only the processes that it knows.
        if parent.shutdown.has_begun() {
            return not_started(Progress::DiedBeforeServing, String::new());
        }
        let (max_message, copies) = (parent.relay.max_message(), parent.reloads.copies_folder());
        let launched = parent.launcher.launch(slot, &parent.workers, &plan, max_message, copies);
        let Launched { child, link, setup, later, mut printed } = match launched {
            Ok(launched) => launched,
            Err(error) => {
                let report = format!("worker {} cannot be started: {error:#}", slot.index);
                return not_started(Progress::DiedBeforeServing, report);
            }
        };
        let (pid, number) = (child.pid(), child.pid().map_or(0, |pid| pid.as_raw_nonzero().get()));
        slot.pid.set(pid);
        slot.set_later(later);
        let ended = self.reap(child);
        let reader = WorkerLink::new(parent, slot, pid).run(link, setup);
        let mut reader = task::spawn(format!("link of worker {}", slot.index), reader);
        let status = ended.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        parent.workers.release_addresses(slot.index);
        // The others are not read from while the queue of a dead worker is full.
        parent.relay.leave(slot.index);
        if timeout(LAST_MESSAGES_TIMEOUT, &mut reader).await.is_err() {
            reader.abort();
        }
        // If it takes longer, a process that left the worker's group can still print: the task goes on.
        let limit = if parent.shutdown.has_begun() { LAST_PRINTED_TIMEOUT } else { LAST_MESSAGES_TIMEOUT };
        let _ = timeout(limit, &mut printed).await;
        let has_served = slot.finish(score.counters().accepted);
        parent.workers.finish_start(slot);
        parent.reloads.ballots.record_death(slot.index);
        // One more sample, for the time that the last callback had run.
        slot.timer.borrow_mut().sample(Instant::now(), score, None, None);
        let (crash, lived) = (score.crash(), started_at.elapsed());
        let is_clean = status.as_ref().is_ok_and(ExitStatus::success);
        let report = match status {
            Ok(status) => {
                let interval = Watchdog::new(&parent.limits()).interval();
                let is_confined = parent.launcher.confinement.is_some();
                let (pid, crash) = (number, crash.as_ref());
                Death { slot, score, crash, pid, status, lived, is_confined, interval }.report()
            }
            Err(error) => format!("worker {} cannot be waited for: {error}", slot.index),
        };
        let progress = match slot.start_failure.take() {
            Some(reason) => Progress::FailedToStart(reason),
            None if has_served => Progress::Served { lived },
            None => Progress::DiedBeforeServing,
        };
        End { progress, pid: number, is_clean, report, crash }
    }

    /// Waits for the end of the process, and kills what its plugins have started in its process group. In a task of its
    /// own: if the supervisor panics, the server still drains the process and waits for it.
    fn reap(&self, mut child: Leader) -> oneshot::Receiver<std::io::Result<ExitStatus>> {
        let slot = self.slot;
        let running = self.parent.workers.count_running();
        let (sender, ended) = oneshot::channel();
        task::spawn(format!("process of worker {}", slot.index), async move {
            let status = child.wait().await;
            // `wait` has reaped the process: from here on another process can get its id.
            slot.pid.set(None);
            let _ = sender.send(status);
            drop(running);
        });
        ended
    }
}
