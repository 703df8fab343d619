//! Handshakes that are being answered: a drain waits for them, and a reload must keep the handlers that they have
//! promised to clients. TLS handshakes take turns, and those that are begun are completed before others are begun:
//! otherwise, of more clients than there is time for, the server would sign for all and serve none.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::plugin::handler::Callbacks;

/// The requests and upgrades of a worker that are on their way.
#[derive(Debug)]
pub struct Handshakes {
    /// Handlers of clients whose 101 is not written yet.
    promised: RefCell<HashMap<u64, Callbacks>>,
    promises: Cell<u64>,
    /// Clients with a response, or a 101, on its way.
    pending: Cell<usize>,
    done: Notify,
    /// Held by the handshake that computes.
    turn: Semaphore,
    /// Held by the handshake that waits for its turn to begin.
    beginning: Semaphore,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            promised: RefCell::default(),
            promises: Cell::new(0),
            pending: Cell::new(0),
            done: Notify::new(),
            turn: Semaphore::new(1),
            beginning: Semaphore::new(1),
        }
    }
}

impl Handshakes {
    /// Runs `f`, which may take a millisecond: an operation with a private key. Only one runs in each turn of the event
    /// loop, so that a flood of handshakes leaves clients that are connected every second turn.
    pub async fn in_turn<R>(&self, f: impl FnOnce() -> R) -> R {
        // The semaphore is never closed.
        let turn = self.turn.acquire().await;
        let result = f();
        // The runtime looks for other events before this continues.
        tokio::task::yield_now().await;
        drop(turn);
        result
    }

    /// The same for the first step of a handshake. All of these wait in a queue of their own, of which only the head waits
    /// for a turn, so that what is begun waits for one of them at most. None: the client has waited longer than
    /// `patience`, and `f` was not run.
    pub async fn begin_in_turn<R>(&self, patience: Duration, f: impl FnOnce() -> R) -> Option<R> {
        let since = Instant::now();
        // The semaphore is never closed.
        let _head = self.beginning.acquire().await;
        if since.elapsed() > patience {
            return None;
        }
        Some(self.in_turn(f).await)
    }

    /// A client will have these handlers once its 101 is written: until the guard is dropped.
    pub fn promise(&'static self, handlers: Callbacks) -> Promised {
        let number = self.promises.get();
        self.promises.set(number + 1);
        self.promised.borrow_mut().insert(number, handlers);
        Promised(self, number)
    }

    /// The handlers of clients whose 101 is on its way.
    pub fn promised(&self) -> Vec<Callbacks> {
        self.promised.borrow().values().copied().collect()
    }

    /// A response or an upgrade is on its way: until the guard is dropped.
    pub fn begin(&'static self) -> Pending {
        self.pending.set(self.pending.get() + 1);
        Pending(self)
    }

    /// Clients with a response or an upgrade on its way.
    pub fn pending(&self) -> usize {
        self.pending.get()
    }

    /// Waits until one of them is done.
    pub async fn one_done(&self) {
        self.done.notified().await;
    }
}

/// See [`Handshakes::promise`].
pub struct Promised(&'static Handshakes, u64);

impl Drop for Promised {
    fn drop(&mut self) {
        self.0.promised.borrow_mut().remove(&self.1);
    }
}

/// See [`Handshakes::begin`].
pub struct Pending(&'static Handshakes);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.set(self.0.pending.get() - 1);
        self.0.done.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};
    use tokio::time::{advance, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_handshakes_leaves_every_second_turn_to_others() {
        let handshakes: &'static Handshakes = Box::leak(Box::default());
        let log = Rc::new(RefCell::new(Vec::new()));
        let note = |what: &'static str| {
            let log = log.clone();
            move || log.borrow_mut().push(what)
        };
        LocalSet::new()
            .run_until(async {
                let steps: Vec<_> =
                    (0..20).map(|_| spawn_local(handshakes.in_turn(note("handshake")))).collect();
                let note_other = note("other");
                let others = spawn_local(async move {
                    loop {
                        note_other();
                        yield_now().await;
                    }
                });
                for step in steps {
                    step.await.expect("no panic");
                }
                others.abort();
            })
            .await;
        let log = log.borrow();
        assert_eq!(log.iter().filter(|what| **what == "handshake").count(), 20);
        assert!(!log.windows(2).any(|pair| pair == ["handshake", "handshake"]), "{log:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_more_handshakes_than_there_is_time_for_those_that_begin_succeed() {
        const STEP: Duration = Duration::from_millis(1);
        const LIMIT: Duration = Duration::from_secs(1);
        let handshakes: &'static Handshakes = Box::leak(Box::default());
        let begun = Rc::new(Cell::new(0));
        let shake = |begun: Rc<Cell<usize>>| async move {
            handshakes.begin_in_turn(LIMIT / 3, || begun.set(begun.get() + 1)).await?;
            // The client's answer comes at once.
            handshakes.in_turn(|| ()).await;
            Some(Instant::now())
        };
        LocalSet::new()
            .run_until(async {
                let start = Instant::now();
                let clients: Vec<_> =
                    (0..5000).map(|_| spawn_local(timeout(LIMIT, shake(begun.clone())))).collect();
                let time = spawn_local(async {
                    loop {
                        advance(STEP).await;
                    }
                });
                let mut ends = Vec::new();
                for client in clients {
                    ends.push(client.await.expect("no panic").expect("nobody waits for the whole time"));
                }
                time.abort();
                let served: Vec<_> = ends.iter().flatten().collect();
                assert_eq!(served.len(), begun.get(), "each that was signed for is served");
                // Two steps for each client in a third of the time.
                assert!((100..=400).contains(&served.len()), "{}", served.len());
                assert!(ends[..served.len()].iter().all(Option::is_some), "the first ones");
                assert!(**served.last().expect("some") - start < LIMIT / 2, "the others were closed early");
            })
            .await;
    }
}
