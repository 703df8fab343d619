//! Clients that read more slowly than they are sent to: what happens to their messages, and when their plugins hear that
//! they have caught up.
//!
//! None of it is in the way of a message to a client whose queue is within `high_water`.

use std::rc::Rc;

use callsign_plugin::abi::{op, status};
use log::Level;

use super::Worker;
use super::hub::Hub;
use super::outgoing::TRY_AGAIN_LATER;
use crate::client::Client;
use crate::client::turn_state::Ondrain;
use crate::config::route_limits::OnFull;
use crate::config::units::Size;

impl Hub {
    /// A message or control frame for a client whose queue is above `high_water`: the [`status`] if it is not queued.
    /// `on_full = "drop"` drops messages at once, and control frames above `max_backlog`.
    #[cold]
    pub(super) fn reject_above_high_water(&self, c: &Client, op: u8) -> Option<i32> {
        let is_message = matches!(op, op::TEXT | op::BINARY);
        let is_full = c.backlog() > self.limits.get().max_backlog;
        if (is_message || is_full) && self.drops_when_full(c) {
            self.want_drain(c);
            return Some(self.drop_message(c));
        }
        is_full.then(|| self.overflow(c))
    }

    fn drops_when_full(&self, c: &Client) -> bool {
        c.with_limited(|limited| limited.limits.on_full) == Some(OnFull::Drop)
    }

    fn drop_message(&self, c: &Client) -> i32 {
        self.outgoing.score.count_dropped();
        if c.with_limited(|limited| std::mem::replace(&mut limited.has_dropped, true)) == Some(false) {
            self.repeats.log(
                Level::Warn,
                "on_full",
                format_args!(
                    "connection {} ({}) reads slower than it is sent to: {} bytes wait for it, more than high_water ({}); \
                     dropping messages for it until it has read (on_full = \"drop\"). Later messages that are dropped for \
                     it are counted only: see `callsign status`",
                    c.id(),
                    c.peer(),
                    c.backlog(),
                    Size(self.limits.get().high_water)
                ),
            );
        }
        status::DROPPED
    }

    fn overflow(&self, c: &Client) -> i32 {
        self.repeats.log(
            Level::Warn,
            "max_backlog",
            format_args!(
                "connection {} ({}) reads slower than it is sent to: {} bytes wait for it, more than --max-backlog; \
                 closing it with {TRY_AGAIN_LATER}",
                c.id(),
                c.peer(),
                c.backlog()
            ),
        );
        self.close(c, TRY_AGAIN_LATER, "too slow to receive");
        status::CLOSED
    }

    /// The status of a message after which the queue is above `high_water`.
    #[cold]
    pub(super) fn queued_above_high_water(&self, c: &Client) -> i32 {
        self.want_drain(c);
        status::QUEUED
    }

    /// Bytes that wait, for the plugin, which then hears when nothing waits any more.
    pub fn queued(&self, c: &Client) -> usize {
        let queued = c.backlog();
        if queued > 0 {
            self.want_drain(c);
        }
        queued
    }

    /// Has the ondrain handler called when nothing waits any more.
    fn want_drain(&self, c: &Client) {
        if c.turn.ondrain.get() == Ondrain::Bound {
            c.turn.ondrain.set(Ondrain::Due);
            // A blocked client has a turn when its queue is written.
            if !c.turn.blocked.get() {
                self.schedule.push(c);
            }
        }
    }

    /// The status of a message that is not [`sendable`](Hub::sendable). A handler may ignore it: the first message of a
    /// worker that is too large is logged.
    #[cold]
    pub(super) fn unsendable(&self, data: &[u8], status: i32) -> i32 {
        if status == status::TOO_LARGE
            && data.len() > self.limits.get().max_message
            && !self.logged_too_large.replace(true)
        {
            log::warn!(
                "a message of {} bytes was not sent, because it exceeds --max-message ({}); the next ones are not logged",
                data.len(),
                Size(self.limits.get().max_message)
            );
        }
        status
    }

    /// Sends a message that is not [`sendable`](Hub::sendable), if only because it is larger than the server's limit, and
    /// not than that of the client's route.
    #[cold]
    pub(super) fn send_within_route(&self, c: &Client, op: u8, data: &[u8]) -> i32 {
        match Self::sendable_within(self.max_message(c), op, data) {
            Ok(()) => self.queue_first(c, op, data),
            Err(status) => self.unsendable(data, status),
        }
    }
}

impl Worker {
    /// Calls the ondrain handler, if nothing waits any more.
    #[cold]
    pub(super) fn drain_queue(&self, c: &Rc<Client>) {
        if !c.turn.blocked.get() && c.backlog() > 0 {
            self.hub.flush(c);
        }
        if c.is_open() && c.backlog() == 0 {
            // The handler may fill the queue again.
            c.turn.ondrain.set(Ondrain::Bound);
            self.with_one_write(c, || self.call(c, c.callbacks().ondrain));
        }
    }
}
