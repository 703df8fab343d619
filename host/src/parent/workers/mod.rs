//! The workers as the parent sees them: a slot for each, the scoreboard that they share with the parent, and how many
//! still run. What a worker reports, on its link or on the scoreboard, is untrusted.

mod slot; // one worker's slot: its process, its queue, its inventory

mod printed; // what plugins print

mod launcher; // starts the process of a worker

mod restart; // how long to wait before the next worker of a slot

mod supervisor; // keeps one slot filled

mod worker_link; // messages from a worker

mod report; // how a worker ended, for the log

pub mod backtraces; // where dead workers were

mod proc_status; // the state of a process, and its tracer

mod growth; // how reloads grow a worker

mod watchdog; // slow and hung callbacks, event loops that do not run

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

pub use launcher::{Launched, Launcher};
pub use slot::WorkerSlot;
pub use supervisor::Supervisor;
pub use watchdog::Watchdog;

use crate::system::addresses::Addresses;
use crate::system::scoreboard::{self, Scoreboard};

/// All workers of a server.
pub struct Workers {
    slots: Vec<WorkerSlot>,
    scoreboard: Scoreboard,
    scoreboard_descriptor: OwnedFd,
    /// What the addresses of clients do, and the descriptor for workers. It takes memory when there are limits per
    /// address.
    addresses: (Addresses, OwnedFd),
    /// Whether there are such limits, or were.
    counts_addresses: Cell<bool>,
    /// Notified when a worker serves, or has ended before.
    start_finished: Notify,
    /// Live [`Running`] values.
    running: Cell<usize>,
    running_ended: Notify,
}

/// A supervisor or a worker process that has not ended. The server waits for it when it stops.
pub struct Running<'w>(&'w Workers);

impl Workers {
    pub fn new(count: usize) -> io::Result<Self> {
        let (scoreboard, scoreboard_descriptor) = Scoreboard::create(count)?;
        Ok(Self {
            addresses: Addresses::create(count)?,
            counts_addresses: Cell::new(false),
            slots: (0..count).map(WorkerSlot::new).collect(),
            scoreboard,
            scoreboard_descriptor,
            start_finished: Notify::new(),
            running: Cell::new(0),
            running_ended: Notify::new(),
        })
    }

    /// Workers count what the addresses of clients do.
    pub fn count_addresses(&self) {
        self.counts_addresses.set(true);
    }

    /// Gives back what the addresses of a worker's clients had there: it has died.
    pub fn release_addresses(&self, worker: usize) {
        // Else this would be the first use of the table.
        if self.counts_addresses.get() {
            self.addresses.0.release_worker(worker);
        }
    }

    pub fn slots(&self) -> &[WorkerSlot] {
        &self.slots
    }

    /// The scoreboard slot of a worker.
    pub fn score(&self, index: usize) -> &scoreboard::Slot {
        self.scoreboard.slot(index)
    }

    pub fn scoreboard_descriptor(&self) -> BorrowedFd<'_> {
        self.scoreboard_descriptor.as_fd()
    }

    pub fn addresses_descriptor(&self) -> BorrowedFd<'_> {
        self.addresses.1.as_fd()
    }

    /// Indexes of the workers that serve.
    pub fn serving(&self) -> Vec<usize> {
        self.slots.iter().filter(|slot| slot.serves()).map(|slot| slot.index).collect()
    }

    /// The first worker whose event loop does not run, and for how long.
    pub fn stalled(&self) -> Option<(usize, Duration)> {
        self.slots.iter().find_map(|slot| Some((slot.index, slot.stalled_for()?)))
    }

    /// Queues a message for these workers; those that do not serve do not get it.
    pub fn send(&self, indexes: &[usize], message: &Bytes) {
        indexes.iter().for_each(|&index| self.slots[index].send(message.clone()));
    }

    /// Clients of all workers. Each worker reports its own number, so the sum may be anything.
    pub fn clients(&self) -> usize {
        (0..self.slots.len()).map(|index| self.score(index).clients()).fold(0, usize::saturating_add)
    }

    /// Notes how large the workers are before a reload.
    pub fn begin_reload(&self) {
        for slot in self.slots.iter().filter(|slot| slot.serves()) {
            slot.growth.borrow_mut().begin(slot.proc_status().resident_kib);
        }
    }

    /// Notes how large they are after it, and warns if reloads have grown one by much.
    pub fn end_reload(&self) {
        for slot in self.slots.iter().filter(|slot| slot.serves()) {
            if let Some(warning) = slot.growth.borrow_mut().end(slot.proc_status().resident_kib) {
                log::warn!("worker {} {warning}", slot.index);
            }
        }
    }

    /// The worker in a slot serves, or has ended.
    pub fn finish_start(&self, slot: &WorkerSlot) {
        slot.is_starting.set(false);
        self.start_finished.notify_waiters();
    }

    /// Waits until no worker is starting.
    pub async fn none_starting(&self) {
        while self.slots.iter().any(|slot| slot.is_starting.get()) {
            self.start_finished.notified().await;
        }
    }

    /// Waits until every worker serves.
    pub async fn all_serve(&self) {
        while !self.slots.iter().all(WorkerSlot::serves) {
            self.start_finished.notified().await;
        }
    }

    /// Counts something that runs, until the result is dropped.
    pub fn count_running(&self) -> Running<'_> {
        self.running.set(self.running.get() + 1);
        Running(self)
    }

    /// Waits until every supervisor and every worker process has ended.
    pub async fn all_ended(&self) {
        while self.running.get() > 0 {
            self.running_ended.notified().await;
        }
    }

    pub fn drain(&self) {
        self.slots.iter().for_each(WorkerSlot::drain);
    }

    pub fn kill(&self) {
        self.slots.iter().for_each(WorkerSlot::kill);
    }

    /// Whether a worker ended at shutdown without having closed its connections.
    pub fn any_unclean(&self) -> bool {
        self.slots.iter().any(|slot| slot.is_unclean.get())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.running_ended.notify_waiters();
    }
}
