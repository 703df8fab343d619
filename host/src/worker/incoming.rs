//! Memory and time of what a worker's clients have sent and what is no complete message yet, and their bounds. The windows
//! of clients with compression count too.
//!
//! Time is counted in ticks, fractions of the time for a message, so that a message costs no look at the clock. Clients
//! that hold something are listed. A client that does not, as most, costs a few loads for each read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use log::Level;

use super::hub::Hub;
use super::outgoing::{FREED_PART, TRY_AGAIN_LATER, clients};
use crate::client::Client;
use crate::config::units::{Size, Time};
use crate::system::scoreboard::Slot;

/// RFC 6455 §7.4.1: policy violation.
const POLICY_VIOLATION: u16 = 1008;
/// Ticks of the time for a message.
const TICKS: u32 = 16;
/// Bounds of a tick: the timer's resolution, and how old the list of clients may be.
const TICK_MIN: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_secs(5);

/// What the clients of a worker have sent and what is no complete message yet.
pub struct Incoming {
    /// Bytes of memory.
    memory: Cell<usize>,
    /// Ticks since the start, modulo 2^32.
    tick: Cell<u32>,
    /// The clients that hold something, and some that held something at the last tick.
    holders: RefCell<Vec<Holder>>,
    score: &'static Slot,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    /// None: the client has gone.
    slot: Option<u32>,
    /// The tick in which the message began.
    since: u32,
    is_in_message: bool,
    memory: usize,
}

impl Incoming {
    /// Nothing is held. The scoreboard shows the memory.
    pub fn new(score: &'static Slot) -> Self {
        Self { memory: Cell::new(0), tick: Cell::new(0), holders: RefCell::default(), score }
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.memory.get()
    }

    /// The time for messages has changed: that of the messages which have begun starts now.
    pub(super) fn begin_again(&self) {
        let now = self.tick.get();
        self.holders.borrow_mut().iter_mut().for_each(|holder| holder.since = now);
    }

    /// The memory of something that counts has changed.
    pub(super) fn change(&self, before: usize, after: usize) {
        self.memory.set(self.memory.get() + after - before);
        self.score.set_receive_memory(self.memory.get());
    }

    /// The client is not received from any more.
    pub fn forget(&self, c: &Client) {
        c.take_rest();
        if let Some(holder) = self.holders.borrow_mut().get_mut(index(c)) {
            c.turn.holder.set(0);
            holder.slot = None;
            self.change(std::mem::take(&mut holder.memory), 0);
        }
    }
}

/// The client's place among the holders; `usize::MAX` if it has none.
fn index(c: &Client) -> usize {
    (c.turn.holder.get() as usize).wrapping_sub(1)
}

impl Hub {
    /// Notes what a client holds, after its bytes were handled. May close any client.
    #[inline]
    pub(super) fn note_held(&self, c: &Client) {
        let (memory, incomplete) = c.held();
        if memory != 0 || incomplete.is_some() || c.turn.holder.get() != 0 {
            self.note_holder(c, memory, incomplete.is_some(), incomplete.is_none_or(|it| it.is_new));
        }
    }

    /// Notes what a client holds, after a read that has brought no data: the beginning of a TLS record, or more of it.
    #[cold]
    pub(super) fn note_record(&self, c: &Client) {
        let (memory, incomplete) = c.held();
        self.note_holder(c, memory, incomplete.is_some(), incomplete.is_some_and(|it| it.is_new));
    }

    fn note_holder(&self, c: &Client, memory: usize, is_in_message: bool, is_new: bool) {
        let incoming = &self.incoming;
        let since = incoming.tick.get();
        let mut holders = incoming.holders.borrow_mut();
        if c.turn.holder.get() == 0 {
            holders.push(Holder { slot: Some(c.turn.slot.get()), since, is_in_message, memory: 0 });
            c.turn.holder.set(holders.len() as u32);
        }
        let Some(holder) = holders.get_mut(index(c)) else { return };
        // The beginning of a TLS record is that of a message, as far as one can tell.
        let is_in_message = is_in_message || c.transport().received_memory() > 0;
        if is_new || !holder.is_in_message {
            holder.since = since;
        }
        holder.is_in_message = is_in_message;
        incoming.change(std::mem::replace(&mut holder.memory, memory), memory);
        drop(holders);
        self.bound_holders();
    }

    /// Closes clients if what they hold is above the bound.
    pub(super) fn bound_holders(&self) {
        if self.incoming.memory.get() > self.limits.get().receive_memory {
            self.shed_holders();
        }
    }

    /// Closes the clients that hold much, and have done so for long.
    #[cold]
    fn shed_holders(&self) {
        let (incoming, max) = (&self.incoming, self.limits.get().receive_memory);
        let (before, tick) = (incoming.memory.get(), incoming.tick.get());
        let mut holders = incoming.holders.borrow().clone();
        // Somebody who has just begun a large message is no more to blame than others who hold half of one for long.
        holders.sort_unstable_by_key(|holder| {
            let age = u128::from(tick.wrapping_sub(holder.since)) + 1;
            std::cmp::Reverse(holder.memory as u128 * age)
        });
        let mut closed = 0;
        for c in holders.iter().filter_map(|holder| self.at(holder.slot?)) {
            if incoming.memory.get() <= max - max / FREED_PART {
                break;
            }
            self.fail(&c, TRY_AGAIN_LATER, "too much data of incomplete messages");
            closed += 1;
        }
        incoming.score.count_shed(closed);
        let clients = clients(closed);
        self.repeats.log(
            Level::Warn,
            "receive_memory",
            format_args!(
                "incomplete messages take {before} bytes, more than --receive-memory ({}); closed the {clients} that \
                 held most for the longest time with {TRY_AGAIN_LATER}",
                Size(max)
            ),
        );
    }

    /// Closes clients whose message takes too long, for as long as the worker runs.
    pub(super) async fn watch_held(&self) {
        loop {
            let timeout = self.limits.get().message_timeout;
            let tick = timeout.map_or(TICK_MAX, |timeout| (timeout / TICKS).clamp(TICK_MIN, TICK_MAX));
            // Also after a pause of the worker only one tick passes: clients are not to blame for it.
            tokio::time::sleep(tick).await;
            self.incoming.tick.set(self.incoming.tick.get().wrapping_add(1));
            if !self.incoming.holders.borrow().is_empty() {
                self.list_holders();
                if let Some(timeout) = timeout.filter(|_| timeout == self.limits.get().message_timeout) {
                    self.close_late_messages(timeout, tick);
                }
            }
        }
    }

    /// Keeps only clients in the list that hold something.
    fn list_holders(&self) {
        let mut number = 0;
        self.incoming.holders.borrow_mut().retain(|holder| {
            let Some(c) = holder.slot.and_then(|slot| self.at(slot)) else { return false };
            let holds = holder.memory != 0 || holder.is_in_message;
            number += u32::from(holds);
            c.turn.holder.set(if holds { number } else { 0 });
            holds
        });
        let mut holders = self.incoming.holders.borrow_mut();
        if holders.capacity() > 4 * holders.len() + 64 {
            holders.shrink_to_fit();
        }
    }

    fn close_late_messages(&self, timeout: Duration, tick: Duration) {
        let (now, ticks) = (self.incoming.tick.get(), (timeout.as_nanos() / tick.as_nanos()) as u32);
        let mut late: Vec<Rc<Client>> = Vec::new();
        for holder in self.incoming.holders.borrow_mut().iter_mut().filter(|holder| holder.is_in_message) {
            let Some(c) = holder.slot.and_then(|slot| self.at(slot)) else { continue };
            if c.turn.has_rest.get() || self.is_behind(&c) {
                // The worker does not read from it.
                holder.since = now;
            } else if now.wrapping_sub(holder.since) > ticks {
                late.push(c);
            }
        }
        for c in &late {
            self.repeats.log(
                Level::Info,
                "message_timeout",
                format_args!(
                    "connection {} ({}): a message is not complete after {} (--message-timeout); closing it with \
                     {POLICY_VIOLATION}",
                    c.id(),
                    c.peer(),
                    Time(timeout)
                ),
            );
            self.fail(c, POLICY_VIOLATION, "message took too long");
        }
        self.incoming.score.count_shed(late.len());
    }
}
