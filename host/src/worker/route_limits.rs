//! The limits of a client's route: its time without a message, its lifetime, its pings, and how many messages it may send.
//!
//! A client of a route without limits costs one branch for each read. One with limits has a place in the sorted set of
//! deadlines if it has any, and its clock is read once for each read.

use std::rc::Rc;
use std::time::Duration;

use log::Level;

use super::hub::Hub;
use super::schedule::now;
use super::turn::STALL;
use super::{GOING_AWAY, Worker};
use crate::client::Client;
use crate::client::limited::Due;
use crate::plugin::handler::HandlerRef;

/// RFC 6455 §7.4.1: policy violation.
const POLICY_VIOLATION: u16 = 1008;
/// No tick of the keepalive: nothing has been noted since the last look.
const UNNOTED: u32 = u32::MAX;

impl Hub {
    /// The client is connected.
    pub(super) fn begin_limits(&self, c: &Client) {
        match self.has_own_pings(c) {
            true => c.last_active.set(UNNOTED),
            false => self.keepalive.begin(c),
        }
        let next = c.with_limited(|limited| {
            limited.begin(c.id(), now());
            limited.next_look()
        });
        if let Some(Some(next)) = next {
            self.schedule.push_at(next, c);
        }
    }

    /// The interval between pings has changed: the silence of all clients that have no interval of their own begins now.
    pub(super) fn begin_pings(&self) {
        self.keepalive.set_interval(self.limits.get().ping_interval);
        for c in self.members().into_iter().filter(|c| !self.has_own_pings(c)) {
            self.keepalive.forget(c.id());
            self.keepalive.begin(&c);
            if self.limits.get().ping_interval.is_none()
                && let Err(error) = c.transport().keep_alive()
            {
                log::debug!("connection {} ({}): no TCP keepalive: {error}", c.id(), c.peer());
            }
        }
    }

    /// The client's slot is given up.
    pub(super) fn end_limits(&self, c: &Client) {
        if let Some(Some(next)) = c.with_limited(|limited| limited.next_look()) {
            self.schedule.cancel(next, c);
        }
        if self.has_own_pings(c) {
            self.keepalive.forget(c.id());
        }
    }

    fn has_own_pings(&self, c: &Client) -> bool {
        c.with_limited(|limited| limited.limits.ping_interval.is_some()) == Some(true)
    }

    /// Silence after which the client gets a ping. None: it gets none.
    pub(super) fn ping_interval(&self, c: &Client) -> Option<Duration> {
        let own = c.with_limited(|limited| limited.limits.ping_interval).flatten();
        own.or(self.limits.get().ping_interval).filter(|interval| !interval.is_zero())
    }

    /// Bytes of a message from the client.
    pub(super) fn max_message(&self, c: &Client) -> usize {
        c.with_limited(|limited| limited.limits.max_message)
            .flatten()
            .unwrap_or(self.limits.get().max_message)
    }

    /// A deadline of the client in that slot has passed: it has a turn, after which its limits have been looked at.
    pub(super) fn due(&self, slot: u32) {
        let Some(c) = self.at(slot) else { return };
        if c.turn.watched.is_limited() && c.is_open() {
            self.look_at_limits(&c);
        }
        self.schedule.push(&c);
    }

    fn look_at_limits(&self, c: &Rc<Client>) {
        let now = now();
        // While a client is behind and reads on, it is not read from.
        let stalls = c.turn.stalled_since.get().is_some_and(|since| now >= since + STALL);
        let waits = c.turn.has_rest.get() || c.turn.queued.get() || self.is_behind(c) && !stalls;
        let is_noted = self.has_own_pings(c) && c.last_active.replace(UNNOTED) != UNNOTED;
        let looked = c.with_limited(|limited| {
            if is_noted {
                limited.note_data(now);
            }
            // Else it is a deadline of another kind, or of a client that had the slot before.
            let is_due = limited.next_look().is_some_and(|next| now >= next);
            is_due.then(|| (limited.look(now, waits), limited.next_look()))
        });
        let Some(Some((due, next))) = looked else { return };
        match due {
            Due::Nothing => {}
            Due::Ping => self.keepalive.ping(self, c),
            Due::Silent if self.keepalive.reads_on(c) => {}
            Due::Silent => self.keepalive.drop_silent(self, c),
            Due::Idle => return self.send_away(c, "no message for too long"),
            Due::Lifetime => return self.send_away(c, "connected for too long"),
        }
        if let Some(next) = next {
            self.schedule.push_at(next, c);
        }
    }

    fn send_away(&self, c: &Client, reason: &str) {
        log::debug!("connection {} ({}): {reason}; closing it with {GOING_AWAY}", c.id(), c.peer());
        self.close(c, GOING_AWAY, reason);
    }
}

impl Worker {
    /// A read of a client with limits: the handler for its messages, None if they are counted, and the bytes of one.
    #[cold]
    pub(super) fn begin_limited_read(&self, c: &Client) -> (Option<HandlerRef>, usize) {
        let now = now();
        let limits = c.with_limited(|limited| {
            limited.note_data(now);
            (limited.limits.count_messages(), limited.limits.ping_interval.is_some())
        });
        let (counts, has_own_pings) = limits.unwrap_or_default();
        if has_own_pings {
            c.last_active.set(UNNOTED);
        }
        (if counts { None } else { c.onmessage() }, self.hub.max_message(c))
    }

    /// Counts a message of a client with limits; returns the handler for it. None: there is none, or the message is one
    /// too many.
    #[cold]
    pub(super) fn admit_message(&self, c: &Client) -> Option<HandlerRef> {
        match c.with_limited(|limited| limited.admit()) {
            Some(false) => {
                self.exceeds_rate(c);
                None
            }
            _ => c.onmessage(),
        }
    }

    fn exceeds_rate(&self, c: &Client) {
        self.hub.repeats.log(
            Level::Info,
            "message_rate",
            format_args!(
                "connection {} ({}): more messages than message_rate of its route allows; closing it with \
                 {POLICY_VIOLATION}",
                c.id(),
                c.peer()
            ),
        );
        self.hub.fail(c, POLICY_VIOLATION, "too many messages");
    }
}
