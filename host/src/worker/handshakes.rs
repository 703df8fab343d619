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
