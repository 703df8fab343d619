//! The tasks of a connection's streams: one for each request, and one for each WebSocket, which sends what the worker has
//! written. hyper starts them.
//!
//! Invariant: hyper calls the service for a request and then starts its task, with nothing in between.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::system::scoreboard::Limit;
use crate::worker::Worker;
use crate::worker::handshakes::Pending;

/// Requests that a client may cancel in [`CANCELS_TIME`] before they have a response. A browser cancels those of a page that is
/// left, at most as many as it may have open at once.
const CANCELS_MAX: u32 = 1000;
const CANCELS_TIME: Duration = Duration::from_secs(10);

/// Whether what a stream has to send waits for its client.
#[derive(Debug, Default)]
pub struct Waiting {
    since: Cell<Option<Instant>>,
    begun: Notify,
}

impl Waiting {
    /// hyper has a piece of a response, and asks for the next when the client has room for it.
    pub fn begin(&self) {
        self.since.set(Some(Instant::now()));
        self.begun.notify_one();
    }

    /// hyper waits for the next piece.
    pub fn end(&self) {
        self.since.set(None);
    }

    /// Waits until the client has left no room for so long.
    async fn expired(&self, send_timeout: Duration) {
        loop {
            let end = self.since.get().map(|since| since + send_timeout);
            match end {
                None => self.begun.notified().await,
                Some(end) if end <= Instant::now() => return,
                Some(end) => sleep_until(end).await,
            }
        }
    }
}

/// Held by the connection of a WebSocket. What it has written waits for the client when it has ended.
#[derive(Debug)]
pub struct Open(pub Rc<Waiting>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// A request that has no response yet.
pub struct Unanswered(Option<Rc<Shared>>);

impl Unanswered {
    /// It has one.
    pub fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let Some(shared) = &self.0 else { return };
        let (now, (since, count)) = (Instant::now(), shared.cancelled.get());
        shared.cancelled.set(match since {
            Some(since) if now < since + CANCELS_TIME => (Some(since), count + 1),
            _ => (Some(now), 1),
        });
        if shared.cancelled.get().1 > CANCELS_MAX {
            shared.cancels_too_often.notify_one();
        }
    }
}

/// Starts tasks, and knows whether any runs.
#[derive(Clone)]
pub struct Tasks(Rc<Shared>);

struct Shared {
    worker: &'static Worker,
    /// That of the request whose task is started next.
    next: RefCell<Option<Rc<Waiting>>>,
    /// That of the request whose task runs now: it may start that of a WebSocket.
    current: RefCell<Option<Rc<Waiting>>>,
    running: Cell<usize>,
    /// When the last one has ended. None: none has begun.
    idle_since: Cell<Option<Instant>>,
    /// The end of the time for the first request.
    first_deadline: Instant,
    /// Requests that the client has cancelled before they had a response, and since when they are counted.
    cancelled: Cell<(Option<Instant>, u32)>,
    cancels_too_often: Notify,
}

/// A task that runs. A drain waits for it.
struct Running(Rc<Shared>, #[expect(dead_code, reason = "a guard")] Pending);

impl Tasks {
    /// None runs. The first request has to come until the deadline.
    pub fn new(worker: &'static Worker, first_deadline: Instant) -> Self {
        Self(Rc::new(Shared {
            worker,
            next: RefCell::default(),
            current: RefCell::default(),
            running: Cell::new(0),
            idle_since: Cell::new(None),
            first_deadline,
            cancelled: Cell::default(),
            cancels_too_often: Notify::new(),
        }))
    }

    /// For a request whose task is about to be started.
    pub fn next(&self) -> Rc<Waiting> {
        self.0.next.borrow_mut().insert(Rc::default()).clone()
    }

    /// For a request that is about to be answered.
    pub fn unanswered(&self) -> Unanswered {
        Unanswered(Some(self.0.clone()))
    }

    /// Waits until the client has cancelled more requests in a short time than people do: each costs the server more than
    /// the client (CVE-2023-44487).
    pub async fn cancels_too_often(&self) {
        self.0.cancels_too_often.notified().await;
    }

    /// When the client has had no stream for so long: not before that time. `told`: since when it knows that the connection
    /// ends; before, its first request has its own time.
    pub fn end_of_idle(&self, patience: Duration, told: Option<Instant>) -> Instant {
        match (self.0.idle_since.get(), told) {
            _ if self.0.running.get() > 0 => Instant::now() + patience,
            (None, None) => self.0.first_deadline,
            (since, told) => since.max(told).map_or(self.0.first_deadline, |since| since + patience),
        }
    }

    /// The limit that a client without streams reaches.
    pub fn limit_of_idle(&self) -> Limit {
        if self.0.idle_since.get().is_some() { Limit::KeepaliveTimeout } else { Limit::HandshakeTimeout }
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let shared = self.0.clone();
        let (running, send_timeout) = (Running::begin(&shared), shared.worker.hub.limits.get().send_timeout);
        let next = shared.next.take();
        let waits = next.or_else(|| shared.current.borrow().clone()).unwrap_or_default();
        tokio::task::spawn_local(async move {
            let _running = running;
            let mut future = pin!(future);
            let run = poll_fn(|cx| {
                let outer = shared.current.replace(Some(waits.clone()));
                let result = future.as_mut().poll(cx);
                shared.current.replace(outer);
                result
            });
            // A future that is dropped resets its stream.
            tokio::select! {
                biased;
                () = run => {}
                () = waits.expired(send_timeout) => shared.worker.count_limit(Limit::SendTimeout),
            }
        });
    }
}

impl Running {
    fn begin(shared: &Rc<Shared>) -> Self {
        shared.running.set(shared.running.get() + 1);
        Self(shared.clone(), shared.worker.handshakes.begin())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.idle_since.set(Some(Instant::now()));
    }
}
