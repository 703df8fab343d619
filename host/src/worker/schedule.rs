//! Which clients have a turn: those whose sockets are ready, those that others have changed, and those whose deadline
//! has passed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::client::Client;

/// The time. In tests the clock may be paused.
#[inline]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Has the task woken after the runtime has looked for events of its own: listening sockets, timers, signals, the link
/// to the parent, the readiness of the reactor. A task that wakes itself would run dozens of rounds before that.
pub fn yield_to_runtime(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// The slot of the probe, which no client has.
const PROBE: u32 = u32::MAX;

/// The turns and deadlines of a worker's clients, by slot.
#[derive(Debug, Default)]
pub struct Schedule {
    probe_queued: Cell<bool>,
    probe_popped: Notify,
    queue: RefCell<VecDeque<u32>>,
    /// An entry that is not cancelled when its client ends is harmless: the turn finds nothing to do.
    deadlines: RefCell<BTreeSet<(Instant, u32)>>,
    sleep: RefCell<Option<Pin<Box<Sleep>>>>,
    waker: RefCell<Option<Waker>>,
    running: Cell<bool>,
}

impl Schedule {
    /// Gives the client a turn.
    #[inline]
    pub fn push(&self, c: &Client) {
        if !c.turn.queued.replace(true) {
            self.queue.borrow_mut().push_back(c.turn.slot.get());
            self.wake();
        }
    }

    /// Waits for a turn like a client.
    pub async fn turn_of_probe(&self) {
        let popped = self.probe_popped.notified();
        if !self.probe_queued.replace(true) {
            self.queue.borrow_mut().push_back(PROBE);
            self.wake();
        }
        popped.await;
    }

    /// The turn of a slot without a client: the probe's, or that of a client that has gone.
    #[cold]
    pub fn pop_probe(&self, slot: u32) {
        if slot == PROBE {
            self.probe_queued.set(false);
            self.probe_popped.notify_waiters();
        }
    }

    /// Gives the client a turn at that time.
    pub fn push_at(&self, time: Instant, c: &Client) {
        self.deadlines.borrow_mut().insert((time, c.turn.slot.get()));
        self.wake();
    }

    /// Cancels a turn at that time.
    pub fn cancel(&self, time: Instant, c: &Client) {
        self.deadlines.borrow_mut().remove(&(time, c.turn.slot.get()));
    }

    fn wake(&self) {
        if !self.running.get()
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Begins a round of turns: from here on new turns do not wake the task. Calls `due` with the slots whose deadline
    /// has passed.
    pub fn begin(&self, cx: &mut Context<'_>, mut due: impl FnMut(u32)) {
        self.running.set(true);
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        if self.deadlines.borrow().is_empty() {
            return;
        }
        let now = now();
        loop {
            let next = self.deadlines.borrow().first().copied();
            match next {
                Some(deadline @ (time, slot)) if time <= now => {
                    self.deadlines.borrow_mut().remove(&deadline);
                    due(slot);
                }
                _ => return,
            }
        }
    }

    /// The slots that have a turn in this round.
    pub fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    /// The next of them.
    pub fn pop(&self) -> Option<u32> {
        self.queue.borrow_mut().pop_front()
    }

    /// Ends the round: the task is woken for the next one, at once if there are turns already.
    pub fn end(&self, cx: &mut Context<'_>) {
        self.running.set(false);
        if !self.queue.borrow().is_empty() {
            yield_to_runtime(cx);
        }
        let mut sleep = self.sleep.borrow_mut();
        let next = self.deadlines.borrow().first().map(|&(time, _)| tokio::time::Instant::from_std(time));
        let Some(next) = next else { return };
        match &mut *sleep {
            Some(sleep) if sleep.deadline() == next => {}
            Some(sleep) => sleep.as_mut().reset(next),
            None => *sleep = Some(Box::pin(tokio::time::sleep_until(next))),
        }
        if let Some(sleep) = &mut *sleep
            && let Poll::Ready(()) = sleep.as_mut().poll(cx)
        {
            cx.waker().wake_by_ref();
        }
    }
}
