//! The work that plugins have handed over to be done off the loop: waits, runs on one of a few threads of the
//! runtime's blocking pool, and comes back to this thread to be finished and freed. What it does is
//! `plugin::later`'s.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

use callsign_plugin::abi::status;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};

use crate::plugin::later::{Later, Work};

/// Jobs that run at once: enough for some that wait for a disk or a database, few enough that the worker
/// itself gets its share of the processors. The threads start when they are needed, and end when they are
/// idle.
pub const THREADS: usize = 16;
/// Jobs that wait and run, all together: seconds of work that takes a few milliseconds each. Beyond it a
/// plugin is told to stop.
pub const MAX_JOBS: usize = 1024;

/// The work of a worker.
#[derive(Debug, Default)]
pub struct Background {
    waiting: RefCell<VecDeque<(Work, Later)>>,
    running: RefCell<HashMap<Id, Later>>,
    /// Told when there is work.
    changed: Notify,
    /// Told when a job is over.
    over: Notify,
}

impl Background {
    /// That of this thread. A plugin may hand over work while it is loaded, before there is a worker.
    pub fn current() -> &'static Self {
        thread_local!(static CURRENT: &'static Background = Box::leak(Box::default()));
        CURRENT.with(|background| *background)
    }

    /// Does what is handed over, in order, [`THREADS`] at once.
    pub async fn run(&self) {
        let mut pool = JoinSet::new();
        loop {
            while pool.len() < THREADS
                && let Some((work, done)) = self.next()
            {
                let id = pool.spawn_blocking(|| work.run()).id();
                self.running.borrow_mut().insert(id, done);
            }
            tokio::select! {
                Some(result) = pool.join_next_with_id() => {
                    // Work cannot unwind; if it could, it would be over all the same.
                    self.finish(result.map_or_else(|error| error.id(), |(id, ())| id));
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// Takes over work, and what is to be called after it; a [`status`].
    pub fn add(&self, work: Work, done: Later) -> i32 {
        if self.jobs() >= MAX_JOBS {
            return status::BUSY;
        }
        self.waiting.borrow_mut().push_back((work, done));
        self.changed.notify_one();
        status::SENT
    }

    /// Jobs that are not over.
    pub fn jobs(&self) -> usize {
        self.waiting.borrow().len() + self.running.borrow().len()
    }

    /// Ends the work of one copy of a plugin: what has not begun is not done, and nothing is called after the
    /// rest. All of it is freed in its turn.
    pub fn end_plugin(&self, plugin: usize, generation: u32) {
        let (waiting, running) = (self.waiting.borrow(), self.running.borrow());
        let all = waiting.iter().map(|(_, done)| done).chain(running.values());
        all.filter(|done| done.is_of(plugin, generation)).for_each(Later::end);
        self.changed.notify_one();
    }

    /// Waits until nothing waits and nothing runs.
    pub async fn finished(&self) {
        while self.jobs() > 0 {
            self.over.notified().await;
        }
    }

    /// The next job that is still wanted.
    fn next(&self) -> Option<(Work, Later)> {
        loop {
            let (work, done) = self.waiting.borrow_mut().pop_front()?;
            if !done.is_void() {
                return Some((work, done));
            }
            done.free();
            self.over.notify_waiters();
        }
    }

    fn finish(&self, id: Id) {
        let Some(done) = self.running.borrow_mut().remove(&id) else { return };
        done.call();
        done.free();
        self.over.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::plugin::later::tests::{no_work, of_closure};

    /// How often it was called; what it keeps counts as alive until it is freed.
    fn counter(generation: u32) -> (Rc<Cell<u32>>, Later) {
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
        background.end_plugin(0, 1);
        tokio::select! {
            () = background.run() => unreachable!("it runs for ever"),
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
        // It stays the caller's: nothing frees it.
        assert_eq!(background.add(no_work(), of_closure(1, || ())), status::BUSY);
        tokio::select! {
            () = background.run() => unreachable!("it runs for ever"),
            () = background.finished() => {}
        }
        assert_eq!((called.get(), Rc::strong_count(&called)), (MAX_JOBS, 1));
        assert_eq!(background.add(no_work(), done()), status::SENT);
    }
}
