//! Keeps connections alive, and finds clients that are gone without a word: a client that is silent for one interval
//! gets a Ping (RFC 6455 §5.5.2), one that is silent for another is dropped.
//!
//! Time is counted in ticks, fractions of the interval. A client notes the tick of its last data, so a message costs no
//! look at the clock. Each client has one check, in the bucket of the tick at which it is due. Checks that are due
//! together are done in slices, between which other tasks run.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use callsign_plugin::abi::op;
use tokio::time::{Instant, sleep_until};

use super::hub::Hub;
use crate::client::Client;

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
    interval: Option<Duration>,
    /// Ticks of an interval.
    ticks: u32,
    /// Ticks since the start, modulo 2^32.
    tick: Cell<u32>,
    /// The checks that are due at each of the next ticks.
    wheel: RefCell<VecDeque<Vec<Check>>>,
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
        let ticks = interval.map_or(0, |interval| {
            let ticks = interval.as_nanos() / tick_length(interval).as_nanos();
            u32::try_from(ticks).unwrap_or(TICKS).clamp(1, TICKS)
        });
        let wheel = RefCell::new((0..ticks).map(|_| Vec::new()).collect());
        Self { interval, ticks, tick: Cell::new(0), wheel }
    }

    /// The client is connected.
    pub fn begin(&self, c: &Client) {
        self.note_data(c);
        if self.interval.is_some() {
            self.push(Check::new(c.id(), false), self.patience(c));
        }
    }

    /// Data has arrived from the client, or the client has taken some.
    #[inline]
    pub fn note_data(&self, c: &Client) {
        c.last_active.set(self.tick.get());
    }

    /// Sends pings for as long as the worker runs; returns at once if there are none.
    pub async fn run(&self, hub: &Hub) {
        let Some(interval) = self.interval else { return };
        let tick = tick_length(interval);
        let mut next = Instant::now() + tick;
        loop {
            sleep_until(next).await;
            let late = next.elapsed();
            if late > tick {
                // The worker did not run. Answers that have arrived meanwhile are read before anybody is dropped.
                tokio::task::yield_now().await;
            }
            // A long pause is no silence of the clients.
            next = if late > interval / SPREAD { Instant::now() } else { next } + tick;
            self.tick.set(self.tick.get().wrapping_add(1));
            for slice in self.due().chunks(SLICE) {
                slice.iter().for_each(|check| self.check(hub, *check));
                tokio::task::yield_now().await;
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
        let bucket = ticks.clamp(1, self.ticks) as usize - 1;
        wheel[bucket].push(check);
    }

    /// Ticks of silence after which the client gets a Ping. Clients that are connected at once have consecutive slots.
    fn patience(&self, c: &Client) -> u32 {
        self.ticks - c.turn.slot.get() % (self.ticks / SPREAD + 1)
    }

    fn check(&self, hub: &Hub, check: Check) {
        let id = check.id();
        // A connection that has ended needs no check any more.
        let Some(c) = hub.find(id) else { return };
        let (silent, patience) = (self.tick.get().wrapping_sub(c.last_active.get()), self.patience(&c));
        if check.pinged() && silent > self.ticks {
            log::debug!("connection {id} ({}): no answer to a ping; dropping it", c.peer());
            hub.abort(&c);
        } else if silent >= patience {
            hub.send(&c, op::PING, b"");
            self.push(Check::new(id, true), self.ticks);
        } else {
            self.push(Check::new(id, false), patience - silent);
        }
    }
}

fn tick_length(interval: Duration) -> Duration {
    (interval / TICKS).max(TICK_MIN)
}
