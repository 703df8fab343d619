//! A few threads for work that would block the event loop. Creating a thread may fail (`ulimit -u`, a container's limit
//! on pids): the work then waits for a thread that exists, or goes back to the caller.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::system::log::repeats::Repeats;

/// Time without work after which a thread ends.
const IDLE: Duration = Duration::from_secs(10);

/// Work for a thread.
pub type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    static REPEATS: Repeats = Repeats::default();
}

/// Threads that are created when they are needed, and end when they are idle.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    name: &'static str,
    threads_max: usize,
    state: Mutex<State>,
    queued: Condvar,
    /// Notified when a thread becomes idle or ends.
    became_idle: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    /// No threads yet. `name` is what a debugger shows.
    pub fn new(name: &'static str, threads_max: usize) -> Self {
        let (state, queued, became_idle) = (Mutex::default(), Condvar::new(), Condvar::new());
        Self(Arc::new(Shared { name, threads_max, state, queued, became_idle }))
    }

    /// Waits until no job waits or runs, but no longer than `patience`. Blocks this thread.
    pub fn wait(&self, patience: Duration) {
        let is_busy = |state: &mut State| !state.queue.is_empty() || state.idle < state.threads;
        let waited = self.0.became_idle.wait_timeout_while(self.0.state(), patience, is_busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Runs the job on a thread, after those that were given before.
    ///
    /// # Errors
    /// There is no thread, and none can be created: the job, which has not run, and why.
    pub fn run(&self, job: Job) -> Result<(), (Job, io::Error)> {
        self.run_with(job, |shared| {
            thread::Builder::new().name(shared.name.to_owned()).spawn(move || shared.work()).map(drop)
        })
    }

    fn run_with(
        &self,
        job: Job,
        spawn: impl FnOnce(Arc<Shared>) -> io::Result<()>,
    ) -> Result<(), (Job, io::Error)> {
        let mut state = self.0.state();
        if state.idle <= state.queue.len() && state.threads < self.0.threads_max {
            state.threads += 1;
            if let Err(error) = spawn(self.0.clone()) {
                state.threads -= 1;
                if state.threads == 0 {
                    return Err((job, error));
                }
            }
        }
        state.queue.push_back(job);
        self.0.queued.notify_one();
        Ok(())
    }

    /// Runs `f` on a thread and waits for its result. Where there is no thread, `f` runs here and blocks the loop.
    pub async fn call<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, mut result) = oneshot::channel();
        // Nobody waits any more for what a client has cancelled.
        let job = Box::new(move || {
            if !sender.is_closed() {
                _ = sender.send(f());
            }
        });
        if let Err((job, error)) = self.run(job) {
            let name = self.0.name;
            // Clients can cause it as often as they like, with requests for files.
            REPEATS.with(|repeats| {
                let what = "no thread can be created";
                let line = format_args!("{what} ({error}); the event loop does the work of `{name}`");
                repeats.log(log::Level::Warn, name, line);
            });
            job();
            return result.try_recv().expect("the job has sent its result");
        }
        result.await.expect("the thread has not dropped the job")
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job();
                state = self.state();
                continue;
            }
            state.idle += 1;
            self.became_idle.notify_all();
            let (next, timeout) =
                self.queued.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_run_in_order_on_no_more_threads_than_allowed() {
        let pool = Pool::new("test", 2);
        let (sender, results) = mpsc::channel();
        for n in 0..100 {
            let sender = sender.clone();
            let job = Box::new(move || sender.send((n, thread::current().id())).expect("it is awaited"));
            assert!(pool.run(job).is_ok());
        }
        let results: Vec<_> = results.iter().take(100).collect();
        let mut threads: Vec<_> = results.iter().map(|(_, thread)| format!("{thread:?}")).collect();
        threads.sort();
        threads.dedup();
        assert!((1..=2).contains(&threads.len()), "{threads:?}");
    }

    #[test]
    fn a_job_goes_back_if_there_is_no_thread_and_waits_if_there_is_one() {
        let pool = Pool::new("test", 2);
        let no_thread = |_| Err(io::Error::from(io::ErrorKind::WouldBlock));
        assert!(pool.run_with(Box::new(|| ()), no_thread).is_err());
        let (hold, held) = mpsc::channel::<()>();
        let (sender, results) = mpsc::channel();
        assert!(pool.run(Box::new(move || _ = held.recv())).is_ok());
        assert!(pool.run_with(Box::new(move || sender.send(7).expect("it is awaited")), no_thread).is_ok());
        assert!(results.try_recv().is_err(), "the only thread is busy");
        hold.send(()).expect("it waits");
        assert_eq!(results.recv(), Ok(7));
    }

    #[test]
    fn waiting_for_the_jobs_ends_with_the_last_one_or_with_patience() {
        let pool = Pool::new("test", 2);
        pool.wait(Duration::MAX);
        let (hold, held) = mpsc::channel::<()>();
        assert!(pool.run(Box::new(move || _ = held.recv())).is_ok());
        pool.wait(Duration::from_millis(20));
        hold.send(()).expect("it waits");
        pool.wait(Duration::MAX);
    }

    #[tokio::test]
    async fn a_call_returns_its_result() {
        assert_eq!(Pool::new("test", 1).call(|| 42).await, 42);
    }
}
