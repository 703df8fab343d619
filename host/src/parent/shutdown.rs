//! How the server stops: the workers drain, and are killed if they take too long or the operator asks again. Every
//! worker has ended when the stop is over, unless the kernel cannot end one. The time of the stop is bounded.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use anyhow::{Error, Result, anyhow, bail};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::workers::Workers;

/// Time beyond the drain time-out after which workers are killed.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Time for killed workers to end: the kernel ends one that waits for a disk only when the disk answers.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the server stops.
#[derive(Debug)]
pub enum StopReason {
    /// A signal asked for it.
    Requested,
    StartFailed(Error),
    /// The task of that name has a bug.
    TaskPanicked(String),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("stopping"),
            Self::StartFailed(error) => write!(f, "{error:#}"),
            Self::TaskPanicked(task) => panicked(task).fmt(f),
        }
    }
}

/// The state of the stop.
#[derive(Debug, Default)]
pub struct Shutdown {
    begun_at: Cell<Option<Instant>>,
    begun: Notify,
    is_forced: Cell<bool>,
}

impl Shutdown {
    pub fn has_begun(&self) -> bool {
        self.begun_at.get().is_some()
    }

    /// For how long the server has been stopping.
    pub fn lasts(&self) -> Option<Duration> {
        self.begun_at.get().map(|begun| begun.elapsed())
    }

    /// Waits until the stop begins.
    pub async fn begun(&self) {
        let begun = self.begun.notified();
        if !self.has_begun() {
            begun.await;
        }
    }

    /// Whether workers are killed instead of drained.
    pub fn is_forced(&self) -> bool {
        self.is_forced.get()
    }

    /// Stops all workers. They drain for at most `drain_timeout`, or until `hurry` is ready; if the start failed, they
    /// are killed at once. Err: the reason is an error, a worker hangs, or not every connection was closed in order. It
    /// is no error if `hurry` ends workers that still work when all clients are gone.
    pub async fn run(
        &self,
        reason: StopReason,
        workers: &Workers,
        drain_timeout: Duration,
        hurry: impl Future<Output = ()>,
    ) -> Result<()> {
        self.begun_at.set(Some(Instant::now()));
        self.begun.notify_waiters();
        if let StopReason::StartFailed(_) = reason {
            workers.kill();
        } else {
            match workers.clients() {
                0 => log::info!("stopping"),
                1 => log::info!("stopping: 1 client is told to close"),
                n => log::info!("stopping: {n} clients are told to close"),
            }
            workers.drain();
        }
        let forced = tokio::select! {
            () = workers.all_ended() => None,
            () = tokio::time::sleep(drain_timeout + DRAIN_GRACE) => {
                Some(("workers did not end in time (--drain-timeout)", false))
            }
            () = hurry => Some(("asked a second time", true)),
        };
        if let Some((why, is_asked)) = forced {
            let clients = workers.clients();
            self.is_forced.set(true);
            workers.kill();
            let left = match timeout(KILL_TIMEOUT, workers.all_ended()).await {
                Ok(()) => "",
                Err(_) => "; not every worker has ended although all were killed: is a disk stuck?",
            };
            // Workers end by themselves in time, unless they hang.
            if is_asked && clients == 0 && left.is_empty() && matches!(reason, StopReason::Requested) {
                log::warn!("stopped at once: {why}; no client was cut, and background work was abandoned");
                return Ok(());
            }
            let cut = match clients {
                1 => "1 client was cut".to_owned(),
                n => format!("{n} clients were cut"),
            };
            bail!("stopped at once: {why}; {cut}{left}");
        }
        match reason {
            StopReason::StartFailed(error) => return Err(error),
            StopReason::TaskPanicked(name) => return Err(panicked(&name)),
            StopReason::Requested => {}
        }
        if workers.any_unclean() {
            bail!("stopped, but not every connection could be closed in good order");
        }
        log::info!("stopped: all connections are closed");
        Ok(())
    }
}

/// The error with which the server ends after a panic.
pub fn panicked(task: &str) -> Error {
    anyhow!(
        "stopped because of a bug in callsign: the task `{task}` of the parent panicked; the log says how"
    )
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

    /// Stops workers of which one ends after that time, or when it is killed. It has a client. Returns the time that it
    /// took, too.
    async fn stop(
        reason: StopReason,
        ends_after: Duration,
        hurry: impl Future<Output = ()>,
    ) -> (Duration, Result<(), String>) {
        stop_with(1, reason, ends_after, hurry).await
    }

    async fn stop_with(
        clients: usize,
        reason: StopReason,
        ends_after: Duration,
        hurry: impl Future<Output = ()>,
    ) -> (Duration, Result<(), String>) {
        let (shutdown, workers) = (Shutdown::default(), Workers::new(2).expect("shared memory"));
        workers.score(1).set_clients(clients);
        let running = workers.count_running();
        let ends = async {
            shutdown.begun().await;
            let end = Instant::now() + ends_after;
            while !shutdown.is_forced() && Instant::now() < end {
                sleep(Duration::from_millis(10)).await;
            }
            drop(running);
        };
        let begun = Instant::now();
        let (result, ()) = tokio::join!(shutdown.run(reason, &workers, DRAIN_TIMEOUT, hurry), ends);
        (begun.elapsed(), result.map_err(|error| error.to_string()))
    }

    const SECONDS: fn(u64) -> Duration = Duration::from_secs;

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_workers_that_drain() {
        let (took, result) = stop(StopReason::Requested, SECONDS(9), pending()).await;
        assert_eq!((took.as_secs(), result), (9, Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn workers_that_take_too_long_are_killed() {
        let (took, result) = stop(StopReason::Requested, SECONDS(60), pending()).await;
        let error = "stopped at once: workers did not end in time (--drain-timeout); 1 client was cut";
        assert_eq!((took.as_secs(), result), (11, Err(error.to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_request_kills_them() {
        let (took, result) = stop(StopReason::Requested, SECONDS(60), sleep(SECONDS(2))).await;
        let error = "stopped at once: asked a second time; 1 client was cut";
        assert_eq!((took.as_secs(), result), (2, Err(error.to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_cannot_be_killed_does_not_keep_the_server() {
        let (shutdown, workers) = (Shutdown::default(), Workers::new(2).expect("shared memory"));
        let _running = workers.count_running();
        let begun = Instant::now();
        let result = shutdown.run(StopReason::Requested, &workers, DRAIN_TIMEOUT, sleep(SECONDS(2))).await;
        let error = result.expect_err("it has not ended").to_string();
        assert!(
            error.contains("asked a second time; 0 clients were cut; not every worker has ended"),
            "{error}"
        );
        assert_eq!(begun.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn killing_workers_without_clients_is_no_failure() {
        let (took, result) = stop_with(0, StopReason::Requested, SECONDS(60), sleep(SECONDS(2))).await;
        assert_eq!((took.as_secs(), result), (2, Ok(())));
        let reason = StopReason::TaskPanicked("watchdog".into());
        stop_with(0, reason, SECONDS(60), pending()).await.1.expect_err("a bug is an error");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_panic_workers_drain_and_the_stop_is_an_error() {
        let (took, result) = stop(StopReason::TaskPanicked("watchdog".into()), SECONDS(9), pending()).await;
        assert_eq!(took.as_secs(), 9);
        let error = result.expect_err("a bug is an error");
        assert!(error.contains("the task `watchdog` of the parent panicked"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_failed_is_reported_as_it_is() {
        let (_, result) = stop(StopReason::StartFailed(anyhow!("no such file")), SECONDS(0), pending()).await;
        assert_eq!(result, Err("no such file".to_owned()));
    }
}
