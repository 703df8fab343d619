//! Background work that plugins have started: a job waits, runs on a thread of a pool, and comes back to the worker's
//! thread, where its task is called and freed. While no thread can be created, jobs wait.
//!
//! Invariant: the jobs that wait and run never exceed [`MAX_JOBS`], of which [`THREADS`] run at a time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callsign_plugin::abi::status;
use tokio::sync::{Notify, mpsc};

use super::deferred::DeferredTask;
use crate::plugin::call::Failure;
use crate::plugin::deferred::Work;
use crate::system::pool::Pool;

/// Jobs that run at a time: enough that some can wait for a disk or a database, few enough that the worker's thread
/// gets its share of the processors. The pool starts threads when they are needed and ends idle ones.
pub const THREADS: usize = 16;
/// Jobs that wait and run together: seconds of work if each takes a few milliseconds. A further job is rejected with
/// [`status::BUSY`].
pub const MAX_JOBS: usize = 1024;

/// Time after which the next attempt to create a thread is made.
const RETRY: Duration = Duration::from_millis(100);

/// The background work of a worker.
#[derive(Debug, Default)]
pub struct Background {
    waiting: RefCell<VecDeque<(Work, DeferredTask)>>,
    /// By the number of the job.
    running: RefCell<HashMap<u64, DeferredTask>>,
    started_total: Cell<u64>,
    /// Notified when a job was added or cancelled.
    changed: Notify,
    /// Notified when a job is done.
    job_done: Notify,
}

impl Background {
    /// The background work of this thread. A plugin may start work while it is loaded, before the worker exists.
    pub fn current() -> &'static Self {
        thread_local!(static CURRENT: &'static Background = Box::leak(Box::default()));
        CURRENT.with(|background| *background)
    }

    /// Runs jobs in order, [`THREADS`] at a time.
    pub async fn run(&self) {
        self.run_on(&Pool::new("background", THREADS)).await
    }

    async fn run_on(&self, pool: &Pool) {
        let (sender, mut results) = mpsc::unbounded_channel();
        let mut has_failed = false;
        loop {
            let mut retry = false;
            while self.running.borrow().len() < THREADS
                && let Some((work, done)) = self.next()
            {
                let number = self.started_total.get();
                self.started_total.set(number + 1);
                match self.start(pool, number, work, &sender) {
                    Ok(()) => {
                        has_failed = false;
                        self.running.borrow_mut().insert(number, done);
                    }
                    Err((work, error)) => {
                        self.waiting.borrow_mut().push_front((work, done));
                        if !std::mem::replace(&mut has_failed, true) {
                            log::error!(
                                "no thread can be created for background work: {error}; {} jobs wait until one can",
                                self.jobs()
                            );
                        }
                        retry = true;
                        break;
                    }
                }
            }
            tokio::select! {
                Some((number, result)) = results.recv() => self.finish(number, result),
                () = self.changed.notified() => {}
                () = tokio::time::sleep(RETRY), if retry => {}
            }
        }
    }

    /// Starts the work on a thread, which sends the job's number and result when it is done. Err: no thread can be created.
    fn start(
        &self,
        pool: &Pool,
        number: u64,
        work: Work,
        sender: &mpsc::UnboundedSender<(u64, Result<(), Failure>)>,
    ) -> Result<(), (Work, std::io::Error)> {
        let (slot, sender) = (Arc::new(Mutex::new(Some(work))), sender.clone());
        let job = {
            let slot = slot.clone();
            Box::new(move || {
                let work = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                let _ = sender.send((number, work.map_or(Ok(()), Work::run)));
            })
        };
        pool.run(job).map_err(|(_, error)| {
            let work = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            (work.expect("the job has not run"), error)
        })
    }

    /// Adds a job: the work, and the task to call after it. Returns a [`status`]; if it is not
    /// [`status::SENT`], the plugin keeps its data.
    pub fn add(&self, work: Work, done: DeferredTask) -> i32 {
        if self.jobs() >= MAX_JOBS {
            return status::BUSY;
        }
        self.waiting.borrow_mut().push_back((work, done));
        self.changed.notify_one();
        status::SENT
    }

    /// Jobs that wait or run.
    pub fn jobs(&self) -> usize {
        self.waiting.borrow().len() + self.running.borrow().len()
    }

    /// The number of these jobs of each plugin, by name.
    pub fn jobs_by_plugin(&self) -> BTreeMap<&'static str, usize> {
        let (waiting, running) = (self.waiting.borrow(), self.running.borrow());
        let mut jobs = BTreeMap::new();
        for task in waiting.iter().map(|(_, done)| done).chain(running.values()) {
            *jobs.entry(task.label().plugin_name.as_str()).or_default() += 1;
        }
        jobs
    }

    /// Cancels the jobs of one generation of a plugin: waiting work is not run, and running work is not followed by a
    /// call. [`run`](Self::run) frees each task in its turn.
    pub fn end_generation(&self, plugin: usize, generation: u32) {
        let (waiting, running) = (self.waiting.borrow(), self.running.borrow());
        let all = waiting.iter().map(|(_, done)| done).chain(running.values());
        all.filter(|done| done.belongs_to(plugin, generation)).for_each(DeferredTask::cancel);
        self.changed.notify_one();
    }

    /// Waits until no job waits or runs.
    pub async fn finished(&self) {
        while self.jobs() > 0 {
            self.job_done.notified().await;
        }
    }

    /// The next job that is not cancelled. Frees those that are.
    fn next(&self) -> Option<(Work, DeferredTask)> {
        loop {
            let (work, done) = self.waiting.borrow_mut().pop_front()?;
            if !done.is_cancelled() {
                return Some((work, done));
            }
            done.free();
            self.job_done.notify_waiters();
        }
    }

    fn finish(&self, number: u64, result: Result<(), Failure>) {
        let Some(done) = self.running.borrow_mut().remove(&number) else { return };
        match result {
            Ok(()) => done.call(),
            Err(thrown) => done.fail(&thrown),
        }
        done.free();
        self.job_done.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::bridge::deferred::tests::of_closure;
    use crate::plugin::deferred::tests::no_work;

    /// A task, and how often it was called. The task is freed when the counter's other reference is dropped.
    fn counter(generation: u32) -> (Rc<Cell<u32>>, DeferredTask) {
        let called: Rc<Cell<u32>> = Rc::default();
        let count = called.clone();
        (called, of_closure(generation, move || count.set(count.get() + 1)))
    }

    #[tokio::test]
    async fn work_of_a_replaced_generation_is_freed_without_a_call() {
        let background = Background::default();
        let ((old, old_done), (new, new_done)) = (counter(1), counter(2));
        background.add(no_work(), old_done);
        background.add(no_work(), new_done);
        background.end_generation(0, 1);
        tokio::select! {
            () = background.run() => unreachable!("background work runs for ever"),
            () = background.finished() => {}
        }
        assert_eq!((old.get(), new.get()), (0, 1));
        assert_eq!((Rc::strong_count(&old), Rc::strong_count(&new)), (1, 1));
    }

    #[tokio::test]
    async fn no_more_than_the_bound_is_taken() {
        let background = Background::default();
        let called: Rc<Cell<usize>> = Rc::default();
        let done = || {
            let count = called.clone();
            of_closure(1, move || count.set(count.get() + 1))
        };
        for _ in 0..MAX_JOBS {
            assert_eq!(background.add(no_work(), done()), status::SENT);
        }
        // A rejected job stays the caller's: nothing frees it.
        assert_eq!(background.add(no_work(), of_closure(1, || ())), status::BUSY);
        tokio::select! {
            () = background.run() => unreachable!("background work runs for ever"),
            () = background.finished() => {}
        }
        assert_eq!((called.get(), Rc::strong_count(&called)), (MAX_JOBS, 1));
        assert_eq!(background.add(no_work(), done()), status::SENT);
    }
}
