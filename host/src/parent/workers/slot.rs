//! The slot of a worker in the parent: one process after the other runs in it. It knows how to reach the process that
//! runs now; starting the next one is the supervisor's task.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use rustix::process::{Pid, Signal};
use tokio::task::AbortHandle;

use super::growth::Growth;
use super::proc_status::ProcStatus;
use crate::link::inventory::Inventory;
use crate::link::{Tag, descriptors, message};
use crate::parent::relay::Queue;
use crate::system::scoreboard::{CallbackTimer, LagTimer, StallTimer};
use crate::system::task;

/// Time for a hung worker to write its backtrace before it is killed.
const ABORT_GRACE: Duration = Duration::from_millis(2500);
/// Bound on the connections that one worker process can report. Ids of later connections continue from the sum, so a
/// false number must not make them collide.
const CONNECTIONS_MAX: u64 = 1 << 36;

/// The slot of one worker.
pub struct WorkerSlot {
    /// From 0.
    pub index: usize,
    /// The process, from its start until it is reaped.
    pub pid: Cell<Option<Pid>>,
    /// Start of the last process.
    pub started_at: Cell<Option<Instant>>,
    /// Whether the process was started and does not serve yet.
    pub is_starting: Cell<bool>,
    /// Measures the running callback.
    pub timer: RefCell<CallbackTimer>,
    /// Measures for how long the event loop has not run.
    pub stall_timer: RefCell<StallTimer>,
    /// Measures what runs while clients wait for their turn.
    pub lag_timer: RefCell<LagTimer>,
    /// By how much reloads have grown the process.
    pub growth: RefCell<Growth>,
    /// Whether the log names the tracer of the process already.
    is_tracer_logged: Cell<bool>,
    /// What the worker has loaded. Set while it serves.
    pub inventory: RefCell<Option<Rc<Inventory>>>,
    /// Why the worker says that it cannot start.
    pub start_failure: RefCell<Option<String>>,
    /// Why the parent ended the process.
    pub end_reason: RefCell<Option<String>>,
    /// Whether the process ended at shutdown without having closed its connections.
    pub is_unclean: Cell<bool>,
    /// What is queued for the worker. Set while it serves.
    queue: RefCell<Option<Rc<Queue>>>,
    /// For descriptors that the worker gets after its setup.
    later: RefCell<Option<descriptors::Sender>>,
    /// The task that writes what is queued.
    writer: RefCell<Option<AbortHandle>>,
    /// Connections that all earlier processes of this slot accepted.
    accepted_total: Cell<u64>,
}

impl WorkerSlot {
    pub fn new(index: usize) -> Self {
        Self {
            index,
            pid: Cell::new(None),
            started_at: Cell::new(None),
            is_starting: Cell::new(false),
            timer: RefCell::default(),
            stall_timer: RefCell::default(),
            lag_timer: RefCell::default(),
            growth: RefCell::default(),
            is_tracer_logged: Cell::new(false),
            inventory: RefCell::default(),
            start_failure: RefCell::default(),
            end_reason: RefCell::default(),
            is_unclean: Cell::new(false),
            queue: RefCell::default(),
            later: RefCell::default(),
            writer: RefCell::default(),
            accepted_total: Cell::new(0),
        }
    }

    /// Forgets the last process; the next one is about to start.
    pub fn begin(&self, now: Instant) {
        self.is_starting.set(true);
        self.started_at.set(Some(now));
        self.start_failure.take();
        self.end_reason.take();
        self.timer.take();
        self.stall_timer.take();
        self.lag_timer.take();
        self.growth.take();
        self.is_tracer_logged.set(false);
    }

    /// The worker serves and takes messages from this queue.
    pub fn begin_serving(&self, inventory: Rc<Inventory>, queue: Rc<Queue>) {
        self.inventory.replace(Some(inventory));
        // From here on it has a heartbeat.
        self.stall_timer.take();
        self.queue.replace(Some(queue));
    }

    pub fn set_later(&self, later: descriptors::Sender) {
        self.later.replace(Some(later));
    }

    /// Sends descriptors, for a transaction. Err: the worker cannot take them.
    pub fn send_descriptors(&self, transaction: u32, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let later = self.later.borrow();
        let later = later.as_ref().context("it has ended")?;
        later.send(transaction, descriptors)
    }

    pub fn set_writer(&self, writer: AbortHandle) {
        self.writer.replace(Some(writer));
    }

    /// The process has ended, having accepted this number of connections. Returns whether it had served.
    pub fn finish(&self, accepted: u64) -> bool {
        if let Some(writer) = self.writer.take() {
            writer.abort();
        }
        self.inventory.take();
        self.later.take();
        self.accepted_total.set(self.accepted_total.get() + accepted.min(CONNECTIONS_MAX));
        self.queue.take().is_some()
    }

    pub fn serves(&self) -> bool {
        self.queue.borrow().is_some()
    }

    pub fn accepted_total(&self) -> u64 {
        self.accepted_total.get()
    }

    /// For how long the event loop of a worker that serves has not run, if that is a stall.
    pub fn stalled_for(&self) -> Option<Duration> {
        self.stall_timer.borrow().stalled_for().filter(|_| self.serves() && self.pid.get().is_some())
    }

    /// What the kernel reports of the process.
    pub fn proc_status(&self) -> ProcStatus {
        self.pid.get().map(ProcStatus::read).unwrap_or_default()
    }

    /// Whether a debugger or strace holds the process: a traced worker is not ended because it does not run. The first
    /// time for each process, that is logged.
    pub fn is_traced(&self) -> bool {
        let Some(tracer) = self.proc_status().tracer else { return false };
        if !self.is_tracer_logged.replace(true) {
            log::warn!(
                "worker {} does not run and is traced by process {tracer}; while it is traced, it is not ended \
                 (--hang-timeout)",
                self.index
            );
        }
        true
    }

    /// Queues a message if the worker serves.
    pub fn send(&self, message: Bytes) {
        if let Some(queue) = &*self.queue.borrow() {
            queue.push(message);
        }
    }

    /// Makes the worker close its connections and end.
    pub fn drain(&self) {
        let is_written = self.writer.borrow().as_ref().is_some_and(|writer| !writer.is_finished());
        if self.serves() && is_written {
            self.send(message(Tag::Drain, b""));
        } else {
            // It may serve already, with its message about that still on the way. SIGTERM drains it too.
            self.signal(Signal::TERM);
        }
    }

    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid.get() {
            // The process may have ended, but it is not reaped yet: no other process has its id.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Ends a hung worker with the signal that makes it write its backtrace, and kills it if that does not help.
    /// `reason` completes "worker 0 (process 1)" in the log, unless the slot has a reason already.
    pub fn end_hung(&'static self, reason: String) {
        let pid = self.pid.get();
        self.end_reason.borrow_mut().get_or_insert(reason);
        self.signal(Signal::ABORT);
        task::spawn(format!("end of worker {}", self.index), async move {
            tokio::time::sleep(ABORT_GRACE).await;
            if self.pid.get() == pid {
                self.kill();
            }
        });
    }
}
