//! How many clients a worker has: each holds a seat from its accept to the end of its socket. Knows the bounds,
//! and what the other workers say of themselves on the scoreboard.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{Ordering::SeqCst, fence};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::board::Board;
use crate::listen;

/// How many more clients than the worker with the fewest are no reason to leave the next ones to it.
const AHEAD: usize = 8;
/// Clients of other workers leave unheard: time until the next look.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Clients come and go; the log is not to be filled with it.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Where a worker stands among the workers.
#[derive(Clone, Copy)]
pub struct Rank {
    /// What all of them say of themselves.
    pub board: &'static Board,
    /// Its own place, from 0.
    pub index: usize,
    /// How many workers there are; at least 1.
    pub workers: usize,
    /// Connections that earlier workers of this place have had.
    pub first_connection: u64,
}

/// The clients of a worker, upgraded or not.
pub struct Clients {
    rank: Rank,
    count: Cell<usize>,
    /// In this process, by the limit on open files.
    files_max: usize,
    /// In all workers together, by the settings.
    all_max: Option<usize>,
    /// When it was said last that no more may come.
    full_said: Cell<Option<Instant>>,
    /// Told when a client has gone.
    left: Notify,
}

/// A client's socket is open: first hyper's, then the connection's.
pub struct Seat(&'static Clients);

impl Clients {
    /// Nobody yet.
    pub fn new(rank: Rank, all_max: Option<usize>) -> Self {
        let files_max = listen::clients_by_open_files();
        Self {
            rank,
            count: Cell::new(0),
            files_max,
            all_max,
            full_said: Cell::new(None),
            left: Notify::new(),
        }
    }

    /// How many each worker has, by its own word.
    fn each(&self) -> impl Iterator<Item = usize> {
        (0..self.rank.board.len()).map(|index| self.rank.board.slot(index).clients())
    }

    fn all(&self) -> usize {
        self.each().fold(0, usize::saturating_add)
    }

    fn change(&self, change: isize) {
        let count = self.count.get().saturating_add_signed(change);
        self.count.set(count);
        self.rank.board.slot(self.rank.index).set_clients(count);
    }

    /// A seat for a client that was accepted, as soon as there is one.
    pub async fn seat(&'static self) -> Rc<Seat> {
        loop {
            self.change(1);
            let seat = Seat(self);
            // Of two workers that take the last seat at once, at least one sees the other.
            fence(SeqCst);
            if self.all_max.is_none_or(|max| self.all() <= max) {
                return Rc::new(seat);
            }
            drop(seat);
            self.room().await;
        }
    }

    /// Whether another client may come.
    pub fn has_room(&self) -> bool {
        self.count.get() < self.files_max && self.all_max.is_none_or(|max| self.all() < max)
    }

    /// Waits until another client may come.
    pub async fn room(&self) {
        while !self.has_room() {
            if self.full_said.get().is_none_or(|said| said.elapsed() > SAY_AGAIN) {
                let bound = match self.all_max {
                    Some(max) if self.count.get() < self.files_max => {
                        format!("{max} in all (--max-connections)")
                    }
                    _ => format!("{} in this worker (limit on open files)", self.files_max),
                };
                log::warn!("as many clients as there may be: {bound}; others wait until one leaves");
                self.full_said.set(Some(Instant::now()));
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, self.left.notified()).await;
        }
    }

    /// Whether this worker has many more than another one.
    pub fn is_ahead(&self) -> bool {
        let fewest = self.each().min().unwrap_or(0);
        self.count.get() > fewest.saturating_add(fewest / 8).saturating_add(AHEAD)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.change(-1);
        self.0.left.notify_one();
    }
}
