//! The timers that plugins have set on this worker: which is due when, and what ends with what. A timer
//! enters by `add` and leaves by its end; it is freed by the task that also fires it, so that neither happens
//! inside another callback. What it calls is `plugin::later`'s.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::plugin::later::Later;

/// Timers that fire before clients have their turn.
const BATCH: usize = 64;
/// Beyond what a clock can hold: about as far as its end. Some 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The timers of a worker.
#[derive(Debug, Default)]
pub struct Timers {
    last_id: Cell<u64>,
    /// All but the one that fires now.
    timers: RefCell<HashMap<u64, Timer>>,
    /// When to fire which. Those whose connection is closing are not in it.
    queue: RefCell<BTreeSet<(Instant, u64)>>,
    /// Connection and timer.
    of_connections: RefCell<BTreeSet<(u64, u64)>>,
    /// The one that fires now, until it is removed.
    firing: Cell<Option<u64>>,
    /// To be freed.
    ended: RefCell<Vec<Later>>,
    /// Told when there is something to free, or to fire before what was next.
    changed: Notify,
}

#[derive(Debug)]
struct Timer {
    later: Later,
    due: Instant,
    repeat: Option<Duration>,
}

impl Timers {
    /// Those of this thread. A plugin may set timers while it is loaded, before there is a worker.
    pub fn current() -> &'static Self {
        thread_local!(static CURRENT: &'static Timers = Box::leak(Box::default()));
        CURRENT.with(|timers| *timers)
    }

    /// Fires what is due, and frees what has ended.
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
                // In time or not, there is something to look at.
                Some(due) => _ = timeout_at(due, changed).await,
            }
        }
    }

    /// Sets a timer; its id.
    pub fn add(&self, later: Later, delay: Duration, repeat: Option<Duration>) -> u64 {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        if let Some(connection) = later.connection() {
            self.of_connections.borrow_mut().insert((connection, id));
        }
        let now = Instant::now();
        let due = now.checked_add(delay).unwrap_or(now + FAR);
        self.insert(id, Timer { later, due, repeat });
        id
    }

    /// Whether there is a timer of that id, and it is such.
    pub fn is(&self, id: u64, such: impl Fn(&Later) -> bool) -> bool {
        self.timers.borrow().get(&id).is_some_and(|timer| such(&timer.later))
    }

    /// Ends a timer. False: it has ended already.
    pub fn remove(&self, id: u64) -> bool {
        if self.firing.get() == Some(id) {
            self.firing.set(None);
            return true;
        }
        let timer = self.timers.borrow_mut().remove(&id);
        timer.map(|timer| self.end(id, timer)).is_some()
    }

    /// Ends the timers of a connection. They are freed later, after its last callback.
    pub fn end_connection(&self, connection: u64) {
        let all = (connection, 0)..=(connection, u64::MAX);
        let ids: Vec<u64> = self.of_connections.borrow().range(all).map(|&(_, id)| id).collect();
        ids.into_iter().for_each(|id| _ = self.remove(id));
    }

    /// Ends the timers of one copy of a plugin, and frees them.
    pub fn end_plugin(&self, plugin: usize, generation: u32) {
        self.end_if(|later| later.is_of(plugin, generation));
    }

    /// Ends all timers, and frees them.
    pub fn end_all(&self) {
        self.end_if(|_| true);
    }

    fn end_if(&self, ends: impl Fn(&Later) -> bool) {
        let ids: Vec<u64> =
            self.timers.borrow().iter().filter(|(_, timer)| ends(&timer.later)).map(|(&id, _)| id).collect();
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
        if let Some(connection) = timer.later.connection() {
            self.of_connections.borrow_mut().remove(&(connection, id));
        }
        self.ended.borrow_mut().push(timer.later);
        self.changed.notify_one();
    }

    fn fire_due(&self, now: Instant) {
        for _ in 0..BATCH {
            let Some(&(due, id)) = self.queue.borrow().first() else { return };
            if due > now {
                return;
            }
            self.queue.borrow_mut().remove(&(due, id));
            self.fire(id);
        }
    }

    fn fire(&self, id: u64) {
        let Some(timer) = self.timers.borrow_mut().remove(&id) else { return };
        if timer.later.is_void() {
            // It stays, to be freed with its connection.
            self.timers.borrow_mut().insert(id, timer);
            return;
        }
        self.firing.set(Some(id));
        timer.later.call();
        let removed = self.firing.take().is_none();
        match timer.repeat {
            Some(repeat) if !removed => {
                self.insert(id, Timer { due: next_due(timer.due, repeat, Instant::now()), ..timer });
            }
            _ => self.end(id, timer),
        }
    }

    fn free_ended(&self) {
        // What is freed may end other timers.
        loop {
            let ended = self.ended.take();
            if ended.is_empty() {
                return;
            }
            ended.into_iter().for_each(Later::free);
        }
    }
}

/// The next of the times that follow `due` in steps of `repeat`; those that are over by now are left out.
fn next_due(due: Instant, repeat: Duration, now: Instant) -> Instant {
    let late = now.saturating_duration_since(due).as_nanos();
    let since_last = Duration::from_nanos((late % repeat.as_nanos()) as u64);
    now.checked_add(repeat - since_last).unwrap_or(now + FAR)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::plugin::later::tests::of_closure;

    const MS: Duration = Duration::from_millis(1);

    /// Runs timers beside a test. What their closures keep counts as alive until they are freed.
    async fn with_timers<F: Future>(test: impl FnOnce(&'static Timers) -> F) -> F::Output {
        let timers: &'static Timers = Box::leak(Box::default());
        tokio::select! {
            () = timers.run() => unreachable!("it runs for ever"),
            result = test(timers) => result,
        }
    }

    /// Times, in whole milliseconds since now, at which a timer has fired, and the timer.
    fn recorder(generation: u32) -> (Rc<RefCell<Vec<u128>>>, Later) {
        let fired: Rc<RefCell<Vec<u128>>> = Rc::default();
        let (start, times) = (Instant::now(), fired.clone());
        (fired, of_closure(generation, move || times.borrow_mut().push(start.elapsed().as_millis())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_once_at_its_time_and_is_freed() {
        with_timers(async |timers| {
            let (fired, later) = recorder(1);
            let id = timers.add(later, 30 * MS, None);
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
            let (fired, later) = recorder(1);
            let id = timers.add(later, 10 * MS, Some(10 * MS));
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
            let later = of_closure(1, move || {
                fired.set(fired.get() + 1);
                assert!(fired.get() < 3 || timers.remove(own_id.get()));
            });
            id.set(timers.add(later, MS, Some(MS)));
            tokio::time::sleep(100 * MS).await;
            assert_eq!((count.get(), Rc::strong_count(&count)), (3, 1));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn timers_end_with_their_generation_and_others_stay() {
        with_timers(async |timers| {
            let ((old, old_later), (new, new_later)) = (recorder(1), recorder(2));
            timers.add(old_later, 10 * MS, Some(10 * MS));
            timers.add(new_later, 10 * MS, Some(10 * MS));
            tokio::time::sleep(11 * MS).await;
            timers.end_plugin(0, 1);
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
            let (fired, later) = recorder(1);
            timers.add(later, Duration::from_millis(u64::MAX), Some(Duration::from_millis(u64::MAX)));
            tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
            assert_eq!(fired.borrow().len(), 0);
            let now = Instant::now();
            assert!(next_due(now, Duration::MAX, now) > now);
        })
        .await;
    }
}
