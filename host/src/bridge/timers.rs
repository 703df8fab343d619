//! The timers that plugins have set on this worker. A timer enters by `add`; it leaves when it has fired for the last
//! time, was removed, or its connection or generation ended.
//!
//! Invariant: a timer never fires and is never freed inside another callback. The task that runs [`Timers::run`] does
//! both; `end_generation` and `end_all`, which also free, are called outside of callbacks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::deferred::DeferredTask;
use crate::system::pace::Pace;

/// Timers that fire before the other tasks of the worker have their turn.
const BATCH: usize = 64;
/// Replaces a delay beyond the range of the clock: some 30 years.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The timers of a worker.
#[derive(Debug, Default)]
pub struct Timers {
    last_id: Cell<u64>,
    /// All timers except the one that is firing.
    timers: RefCell<HashMap<u64, Timer>>,
    /// Due time and id. A timer that comes due while its connection is closing is removed from here only.
    queue: RefCell<BTreeSet<(Instant, u64)>>,
    /// Connection id and timer id.
    by_connection: RefCell<BTreeSet<(u64, u64)>>,
    /// The timer that is firing. None if it was removed meanwhile.
    firing: Cell<Option<u64>>,
    /// Waiting to be freed.
    ended: RefCell<Vec<DeferredTask>>,
    /// Notified when a timer is to be freed, or a new timer is due before all others.
    changed: Notify,
    /// How long timers fire before clients have their turn.
    pace: Pace,
}

#[derive(Debug)]
struct Timer {
    task: DeferredTask,
    due: Instant,
    repeat: Option<Duration>,
}

impl Timers {
    /// The timers of this thread. A plugin may set timers while it is loaded, before the worker exists.
    pub fn current() -> &'static Self {
        thread_local!(static CURRENT: &'static Timers = Box::leak(Box::default()));
        CURRENT.with(|timers| *timers)
    }

    /// Fires timers that are due, and frees timers that have ended.
    pub async fn run(&self) {
        loop {
            self.free_ended();
            self.fire_due(Instant::now());
            self.free_ended();
            let changed = self.changed.notified();
            let next = self.queue.borrow().first().map(|&(due, _)| due);
            match next {
                None => changed.await,
                Some(due) if due <= Instant::now() => tokio::task::yield_now().await,
                // The loop checks again, whether the time has come or something changed.
                Some(due) => _ = timeout_at(due, changed).await,
            }
        }
    }

    /// Sets a timer and returns its id.
    pub fn add(&self, task: DeferredTask, delay: Duration, repeat: Option<Duration>) -> u64 {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        if let Some(connection) = task.connection() {
            self.by_connection.borrow_mut().insert((connection, id));
        }
        let now = Instant::now();
        let due = now.checked_add(delay).unwrap_or(now + FAR_FUTURE);
        self.insert(id, Timer { task, due, repeat });
        id
    }

    /// Index and generation of the plugin that set the timer. None if there is no such timer, or it is firing.
    pub fn owner(&self, id: u64) -> Option<(usize, u32)> {
        self.timers.borrow().get(&id).map(|timer| timer.task.owner())
    }

    /// Ends a timer. False: the timer has ended already.
    pub fn remove(&self, id: u64) -> bool {
        if self.firing.get() == Some(id) {
            self.firing.set(None);
            return true;
        }
        let timer = self.timers.borrow_mut().remove(&id);
        timer.map(|timer| self.end(id, timer)).is_some()
    }

    /// Ends the timers of a connection. [`run`](Self::run) frees them, after the connection's last callback.
    pub fn end_connection(&self, connection: u64) {
        let all = (connection, 0)..=(connection, u64::MAX);
        let ids: Vec<u64> = self.by_connection.borrow().range(all).map(|&(_, id)| id).collect();
        ids.into_iter().for_each(|id| _ = self.remove(id));
    }

    /// Ends the timers of one generation of a plugin, and frees them.
    pub fn end_generation(&self, plugin: usize, generation: u32) {
        self.end_if(|task| task.belongs_to(plugin, generation));
    }

    /// Ends all timers, and frees them.
    pub fn end_all(&self) {
        self.end_if(|_| true);
    }

    fn end_if(&self, ends: impl Fn(&DeferredTask) -> bool) {
        let ids: Vec<u64> =
            self.timers.borrow().iter().filter(|(_, timer)| ends(&timer.task)).map(|(&id, _)| id).collect();
        ids.into_iter().for_each(|id| _ = self.remove(id));
        self.free_ended();
    }

    fn insert(&self, id: u64, timer: Timer) {
        let mut queue = self.queue.borrow_mut();
        queue.insert((timer.due, id));
        if queue.first() == Some(&(timer.due, id)) {
            self.changed.notify_one();
        }
        self.timers.borrow_mut().insert(id, timer);
    }

    fn end(&self, id: u64, timer: Timer) {
        self.queue.borrow_mut().remove(&(timer.due, id));
        if let Some(connection) = timer.task.connection() {
            self.by_connection.borrow_mut().remove(&(connection, id));
        }
        self.ended.borrow_mut().push(timer.task);
        self.changed.notify_one();
    }

    fn fire_due(&self, now: Instant) {
        for _ in 0..BATCH {
            let Some(&(due, id)) = self.queue.borrow().first() else { break };
            if due > now || self.pace.is_over() {
                break;
            }
            self.queue.borrow_mut().remove(&(due, id));
            self.fire(id);
        }
        self.pace.end_turn();
    }

    fn fire(&self, id: u64) {
        let Some(timer) = self.timers.borrow_mut().remove(&id) else { return };
        if timer.task.is_cancelled() {
            // Its connection is closing. The timer stays, to be freed with the connection.
            self.timers.borrow_mut().insert(id, timer);
            return;
        }
        self.firing.set(Some(id));
        timer.task.call();
        let removed = self.firing.take().is_none();
        match timer.repeat {
            Some(repeat) if !removed => {
                self.insert(id, Timer { due: next_due(timer.due, repeat, Instant::now()), ..timer });
            }
            _ => self.end(id, timer),
        }
    }

    fn free_ended(&self) {
        // A plugin may remove other timers while it frees one.
        loop {
            let ended = self.ended.take();
            if ended.is_empty() {
                return;
            }
            ended.into_iter().for_each(DeferredTask::free);
        }
    }
}

/// The first time after `now` that follows `due` in steps of `repeat`. Times that a busy worker missed are skipped.
fn next_due(due: Instant, repeat: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(due).as_nanos();
    let since_last = Duration::from_nanos((late % repeat.as_nanos()) as u64);
    now.checked_add(repeat - since_last).unwrap_or(now + FAR_FUTURE)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::bridge::deferred::tests::of_closure;

    const MS: Duration = Duration::from_millis(1);

    /// Runs timers beside a test. A timer is freed when the values that its closure captured are dropped.
    async fn with_timers<F: Future>(test: impl FnOnce(&'static Timers) -> F) -> F::Output {
        let timers: &'static Timers = Box::leak(Box::default());
        tokio::select! {
            () = timers.run() => unreachable!("timers run for ever"),
            result = test(timers) => result,
        }
    }

    /// A timer task, and the times at which it fired, in whole milliseconds since now.
    fn recorder(generation: u32) -> (Rc<RefCell<Vec<u128>>>, DeferredTask) {
        let fired: Rc<RefCell<Vec<u128>>> = Rc::default();
        let (start, times) = (Instant::now(), fired.clone());
        (fired, of_closure(generation, move || times.borrow_mut().push(start.elapsed().as_millis())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_once_at_its_time_and_is_freed() {
        with_timers(async |timers| {
            let (fired, task) = recorder(1);
            let id = timers.add(task, 30 * MS, None);
            tokio::time::sleep(29 * MS).await;
            assert_eq!((fired.borrow().len(), Rc::strong_count(&fired)), (0, 2));
            tokio::time::sleep(100 * MS).await;
            assert_eq!(*fired.borrow(), [30]);
            assert_eq!(Rc::strong_count(&fired), 1);
            assert!(!timers.remove(id));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn timers_fire_in_the_order_of_their_times_whatever_the_order_of_their_setting() {
        with_timers(async |timers| {
            let order: Rc<RefCell<Vec<u32>>> = Rc::default();
            for delay in [5, 1, 4, 2, 3] {
                let order = order.clone();
                timers.add(of_closure(1, move || order.borrow_mut().push(delay)), delay * MS, None);
            }
            tokio::time::sleep(10 * MS).await;
            assert_eq!(*order.borrow(), [1, 2, 3, 4, 5]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_timer_keeps_its_beat_and_leaves_out_what_a_busy_worker_has_missed() {
        with_timers(async |timers| {
            let (fired, task) = recorder(1);
            let id = timers.add(task, 10 * MS, Some(10 * MS));
            tokio::time::sleep(31 * MS).await;
            // Nothing else runs on the thread meanwhile.
            tokio::time::advance(44 * MS).await;
            tokio::time::sleep(20 * MS).await;
            assert_eq!(*fired.borrow(), [10, 20, 30, 75, 80, 90]);
            assert!(timers.remove(id));
            tokio::time::sleep(100 * MS).await;
            assert_eq!(fired.borrow().len(), 6);
            assert_eq!(Rc::strong_count(&fired), 1);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_may_end_itself_while_it_fires() {
        with_timers(async |timers| {
            let (count, id) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (fired, own_id) = (count.clone(), id.clone());
            let task = of_closure(1, move || {
                fired.set(fired.get() + 1);
                assert!(fired.get() < 3 || timers.remove(own_id.get()));
            });
            id.set(timers.add(task, MS, Some(MS)));
            tokio::time::sleep(100 * MS).await;
            assert_eq!((count.get(), Rc::strong_count(&count)), (3, 1));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn timers_end_with_their_generation_and_others_stay() {
        with_timers(async |timers| {
            let ((old, old_task), (new, new_task)) = (recorder(1), recorder(2));
            timers.add(old_task, 10 * MS, Some(10 * MS));
            timers.add(new_task, 10 * MS, Some(10 * MS));
            tokio::time::sleep(11 * MS).await;
            timers.end_generation(0, 1);
            assert_eq!(Rc::strong_count(&old), 1);
            tokio::time::sleep(10 * MS).await;
            assert_eq!((old.borrow().len(), new.borrow().len()), (1, 2));
            timers.end_all();
            assert_eq!(Rc::strong_count(&new), 1);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_timers_let_others_have_their_turn() {
        with_timers(async |timers| {
            let fired = Rc::new(Cell::new(0));
            for _ in 0..100_000 {
                let fired = fired.clone();
                timers.add(of_closure(1, move || fired.set(fired.get() + 1)), MS, None);
            }
            tokio::time::advance(2 * MS).await;
            let first = fired.get();
            assert!(first < 100_000, "{first} without a turn for others");
            while fired.get() < 100_000 {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
            assert_eq!(Rc::strong_count(&fired), 1);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_beyond_the_clock_is_far_away() {
        with_timers(async |timers| {
            let (fired, task) = recorder(1);
            timers.add(task, Duration::from_millis(u64::MAX), Some(Duration::from_millis(u64::MAX)));
            tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
            assert_eq!(fired.borrow().len(), 0);
            let now = Instant::now();
            assert!(next_due(now, Duration::MAX, now) > now);
        })
        .await;
    }
}
