//! Handshakes that are being answered: a drain waits for them, and a reload must keep the handlers that they have
//! promised to clients. TLS handshakes take turns.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use tokio::sync::{Notify, Semaphore};

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
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            promised: RefCell::default(),
            promises: Cell::new(0),
            pending: Cell::new(0),
            done: Notify::new(),
            turn: Semaphore::new(1),
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
}
