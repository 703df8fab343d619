//! How many clients a worker has, and may have. Each client holds a permit from its accept to the end of its socket.
//! The bounds are the server's `max_connections` and this process's limit on open files; the other workers' counts are
//! on the scoreboard.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::atomic::{Ordering::SeqCst, fence};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::system::addresses::{Addresses, Seat};
use crate::system::scoreboard::{Limit, Scoreboard};

/// A worker leaves the next clients to others when it has this many more than the worker with the fewest, and an
/// eighth.
const AHEAD: usize = 8;
/// Departures on other workers are not reported: time until the next look at their counts.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time between two log lines about a reached limit.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A worker among the workers.
#[derive(Clone, Copy)]
pub struct WorkerInfo {
    /// The scoreboard of all of them.
    pub scoreboard: &'static Scoreboard,
    /// Its own index, from 0.
    pub index: usize,
    /// The number of workers, at least 1.
    pub workers: usize,
    /// Connections that earlier workers of this index accepted.
    pub first_connection: u64,
    /// What the addresses of all workers' clients do. None: nothing counts it.
    pub addresses: Option<&'static Addresses>,
}

/// The number of clients of a worker, upgraded or not, and its bounds.
pub struct Admission {
    info: WorkerInfo,
    count: Cell<usize>,
    /// Most clients in this process, by the limit on open files.
    files_max: usize,
    /// Most clients in all workers together, by the settings.
    all_max: Cell<Option<usize>>,
    /// When a reached limit was logged last.
    limit_logged: Cell<Option<Instant>>,
    /// Told when a client of this worker has gone.
    departures: Notify,
    /// What all permits without a seat refer to. It refers back: an admission lives as long as its process.
    unseated: OnceCell<Rc<Grant>>,
}

/// The right of one client to be there. It has the size of a pointer, because each connection has one.
pub struct Permit(Rc<Grant>);

/// What a permit refers to.
struct Grant {
    admission: Rc<Admission>,
    /// The connection of the client's address.
    _seat: Option<Rc<Seat>>,
}

impl Admission {
    /// No clients yet. `files_max` bounds those of this process, `all_max` those of all workers.
    pub fn new(info: WorkerInfo, files_max: usize, all_max: Option<usize>) -> Rc<Self> {
        Rc::new(Self {
            info,
            count: Cell::new(0),
            files_max,
            all_max: Cell::new(all_max),
            limit_logged: Cell::new(None),
            departures: Notify::new(),
            unseated: OnceCell::new(),
        })
    }

    /// The counts of all workers, as they report them.
    fn counts(&self) -> impl Iterator<Item = usize> {
        (0..self.info.scoreboard.len()).map(|index| self.info.scoreboard.slot(index).clients())
    }

    fn total(&self) -> usize {
        self.counts().fold(0, usize::saturating_add)
    }

    fn change(&self, change: isize) {
        let count = self.count.get().saturating_add_signed(change);
        self.count.set(count);
        self.info.scoreboard.slot(self.info.index).set_clients(count);
    }

    fn permit(self: &Rc<Self>) -> Permit {
        let grant = || Rc::new(Grant { admission: self.clone(), _seat: None });
        Permit::of(self.unseated.get_or_init(grant).clone())
    }

    /// A permit for an accepted client, as soon as the limits allow one.
    pub async fn admit(self: &Rc<Self>) -> Permit {
        loop {
            let permit = self.permit();
            // Of two workers that take the last permit at once, at least one sees the other.
            fence(SeqCst);
            if self.all_max.get().is_none_or(|max| self.total() <= max) {
                return permit;
            }
            drop(permit);
            self.room().await;
        }
    }

    /// A permit for one more client, if the limits allow one now.
    pub fn try_admit(self: &Rc<Self>) -> Option<Permit> {
        if !self.has_room() {
            return None;
        }
        let permit = self.permit();
        fence(SeqCst);
        self.all_max.get().is_none_or(|max| self.total() <= max).then_some(permit)
    }

    /// Whether another client may come.
    pub fn has_room(&self) -> bool {
        self.count.get() < self.files_max && self.all_max.get().is_none_or(|max| self.total() < max)
    }

    /// Waits until another client may come.
    pub async fn room(&self) {
        if !self.has_room() {
            self.info.scoreboard.slot(self.info.index).limits.count(Limit::Connections);
        }
        while !self.has_room() {
            if self.limit_logged.get().is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
                let limit = match self.all_max.get() {
                    Some(max) if self.count.get() < self.files_max => {
                        format!("{max} in all (--max-connections)")
                    }
                    _ => format!("{} in this worker (limit on open files)", self.files_max),
                };
                log::warn!("connection limit reached: {limit}; others wait until one leaves");
                self.limit_logged.set(Some(Instant::now()));
            }
            let _ = tokio::time::timeout(POLL_INTERVAL, self.departures.notified()).await;
        }
    }

    /// Has a new bound on the clients of all workers. Those who are there stay.
    pub fn set_max(&self, all_max: Option<usize>) {
        self.all_max.set(all_max);
        self.departures.notify_waiters();
    }

    /// Whether this worker has many more clients than another one.
    pub fn is_ahead(&self) -> bool {
        let fewest = self.counts().min().unwrap_or(0);
        self.count.get() > fewest.saturating_add(fewest / 8).saturating_add(AHEAD)
    }
}

impl Permit {
    /// The same right, out of a shared permit: the only reference, or another permit that replaces this reference.
    pub fn take(shared: Rc<Self>) -> Self {
        Rc::try_unwrap(shared).unwrap_or_else(|shared| Self::of(shared.0.clone()))
    }

    /// The same right, and the connection of the client's address as long as the right.
    pub fn seated(self, seat: Option<Rc<Seat>>) -> Self {
        match seat {
            None => self,
            seat => Self::of(Rc::new(Grant { admission: self.0.admission.clone(), _seat: seat })),
        }
    }

    fn of(grant: Rc<Grant>) -> Self {
        grant.admission.change(1);
        Self(grant)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.admission.change(-1);
        self.0.admission.departures.notify_one();
    }
}
