//! Keeps connections alive, and finds clients that are gone without a word: a client that is silent for one interval
//! gets a Ping (RFC 6455 §5.5.2), one that is silent for another is dropped.
//!
//! Time is counted in ticks, fractions of the interval. A client notes the tick of its last data, so a message costs no
//! look at the clock. Each client has one check, in the bucket of the tick at which it is due. Checks that are due
//! together are done in slices, between which other tasks run.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use callsign_plugin::abi::op;
use tokio::time::{Instant, sleep_until};

use super::hub::Hub;
use crate::client::Client;
use crate::system::delivery::Delivery;

/// Ticks of an interval, unless they would be shorter than [`TICK_MIN`].
const TICKS: u32 = 64;
/// The timer's resolution.
const TICK_MIN: Duration = Duration::from_millis(1);
/// Clients that are connected at once get their pings over this fraction of the interval. The pings come earlier, and
/// never later, than the interval.
const SPREAD: u32 = 8;
/// Checks between which other tasks run: with a write each, less than a millisecond.
const SLICE: usize = 64;

/// The silence of the clients of a worker.
#[derive(Debug, Default)]
pub struct Keepalive {
    /// None: no pings.
    interval: Cell<Option<Duration>>,
    /// Ticks of an interval.
    ticks: Cell<u32>,
    /// Ticks since the start, modulo 2^32.
    tick: Cell<u32>,
    /// The checks that are due at each of the next ticks.
    wheel: RefCell<VecDeque<Vec<Check>>>,
    /// Clients whose Ping lies behind bytes that they have not acknowledged, by id.
    reading: RefCell<HashMap<u64, Reading>>,
}

/// How far a client is on its way to a Ping.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Bytes that it had acknowledged at the last look.
    acknowledged: u64,
    /// Bytes up to the Ping.
    ping_at: u64,
}

/// A look at one client: twice its id, plus 1 if the client has been sent a Ping.
#[derive(Clone, Copy, Debug)]
struct Check(u64);

impl Check {
    fn new(id: u64, pinged: bool) -> Self {
        Self(id << 1 | u64::from(pinged))
    }

    fn id(self) -> u64 {
        self.0 >> 1
    }

    fn pinged(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Keepalive {
    /// No clients yet.
    pub fn new(interval: Option<Duration>) -> Self {
        let keepalive = Self::default();
        keepalive.set_interval(interval);
        keepalive
    }

    /// Has another interval. No client has a check any more: each one begins again.
    pub(super) fn set_interval(&self, interval: Option<Duration>) {
        let ticks = interval.map_or(0, |interval| {
            let ticks = interval.as_nanos() / tick_length(interval).as_nanos();
            u32::try_from(ticks).unwrap_or(TICKS).clamp(1, TICKS)
        });
        self.interval.set(interval);
        self.ticks.set(ticks);
        self.wheel.replace((0..ticks).map(|_| Vec::new()).collect());
    }

    /// The client is connected.
    pub fn begin(&self, c: &Client) {
        self.note_data(c);
        if self.interval.get().is_some() {
            self.push(Check::new(c.id(), false), self.patience(c));
        }
    }

    /// Data has arrived from the client, or the client has taken some.
    #[inline]
    pub fn note_data(&self, c: &Client) {
        c.last_active.set(self.tick.get());
    }

    /// Sends pings for as long as the worker runs.
    pub async fn run(&self, hub: &Hub) {
        loop {
            match self.interval.get() {
                None => hub.limits_changed.notified().await,
                Some(interval) => self.run_with(hub, interval).await,
            }
        }
    }

    /// The same as long as the interval is this one.
    async fn run_with(&self, hub: &Hub, interval: Duration) {
        let tick = tick_length(interval);
        let mut next = Instant::now() + tick;
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                () = hub.limits_changed.notified() => {}
            }
            let late = next.elapsed();
            if late > tick {
                // The worker did not run. Answers that have arrived meanwhile are read before anybody is dropped.
                tokio::task::yield_now().await;
            }
            if self.interval.get() != Some(interval) {
                return;
            }
            if next > Instant::now() {
                continue;
            }
            // A long pause is no silence of the clients.
            next = if late > interval / SPREAD { Instant::now() } else { next } + tick;
            self.tick.set(self.tick.get().wrapping_add(1));
            for slice in self.due().chunks(SLICE) {
                slice.iter().for_each(|check| self.check(hub, *check));
                tokio::task::yield_now().await;
                // The other checks are those of the last interval.
                if self.interval.get() != Some(interval) {
                    return;
                }
            }
        }
    }

    /// The checks of the current tick.
    fn due(&self) -> Vec<Check> {
        let mut wheel = self.wheel.borrow_mut();
        wheel.push_back(Vec::new());
        wheel.pop_front().unwrap_or_default()
    }

    /// Has the check done after that many ticks, at least one.
    fn push(&self, check: Check, ticks: u32) {
        let mut wheel = self.wheel.borrow_mut();
        let bucket = ticks.clamp(1, self.ticks.get()) as usize - 1;
        wheel[bucket].push(check);
    }

    /// Ticks of silence after which the client gets a Ping. Clients that are connected at once have consecutive slots.
    fn patience(&self, c: &Client) -> u32 {
        let ticks = self.ticks.get();
        ticks - c.turn.slot.get() % (ticks / SPREAD + 1)
    }

    fn check(&self, hub: &Hub, check: Check) {
        let id = check.id();
        // A connection that has ended needs no check any more.
        let Some(c) = hub.find(id) else { return self.forget(id) };
        let (silent, patience) = (self.tick.get().wrapping_sub(c.last_active.get()), self.patience(&c));
        if silent < patience {
            self.forget(id);
            self.push(Check::new(id, false), patience - silent);
        } else if !check.pinged() || silent <= self.ticks.get() {
            self.ping(hub, &c);
            self.push(Check::new(id, true), self.ticks.get());
        } else if c.turn.queued.get() || c.turn.has_rest.get() {
            // The client waits for the worker. What it has sent is read before anybody is dropped.
            self.push(check, 1);
        } else if self.reads_on(&c) {
            self.push(check, self.ticks.get());
        } else {
            self.drop_silent(hub, &c);
        }
    }

    /// Drops a client that has answered no Ping.
    pub(super) fn drop_silent(&self, hub: &Hub, c: &Client) {
        log::debug!("connection {} ({}): no answer to a ping; dropping it", c.id(), c.peer());
        self.forget(c.id());
        hub.abort(c);
    }

    /// Sends a Ping, and notes what lies before it. A client above its backlog gets none, because a message more would
    /// end the connection; it has to read instead.
    pub(super) fn ping(&self, hub: &Hub, c: &Client) {
        let backlog = c.backlog();
        match c.transport().delivery() {
            Some(Delivery { acknowledged, waiting }) if waiting > 0 || backlog > 0 => {
                let ping_at = acknowledged + waiting + c.backlog_on_wire() as u64;
                self.reading.borrow_mut().insert(c.id(), Reading { acknowledged, ping_at });
            }
            _ => self.forget(c.id()),
        }
        if backlog <= hub.limits.get().max_backlog {
            hub.send(c, op::PING, b"");
        }
    }

    /// Whether the client has not read as far as to the Ping at the last look, and has read on since.
    pub(super) fn reads_on(&self, c: &Client) -> bool {
        let mut reading = self.reading.borrow_mut();
        let (Some(before), Some(delivery)) = (reading.get_mut(&c.id()), c.transport().delivery()) else {
            return false;
        };
        let acknowledged = mem::replace(&mut before.acknowledged, delivery.acknowledged);
        acknowledged <= before.ping_at && delivery.acknowledged > acknowledged
    }

    pub(super) fn forget(&self, id: u64) {
        let mut reading = self.reading.borrow_mut();
        if !reading.is_empty() {
            reading.remove(&id);
        }
    }
}

fn tick_length(interval: Duration) -> Duration {
    (interval / TICKS).max(TICK_MIN)
}
