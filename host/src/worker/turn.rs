//! A client's turn: read, hand messages to the plugin, write what it has queued, and close in the order of RFC 6455
//! §7.1. One task gives every client of the worker its turns.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use callsign_websocket::{Event, Input, Payload, State, op};

use super::schedule::now;
use super::{READ_BUFFER, Worker};
use crate::client::tls::Read;
use crate::client::turn_state::Ondrain;
use crate::client::{Client, Phase, Rest};
use crate::plugin::call;

/// Reads after which a client that sends without a pause lets others have their turn, unless the time for a turn is
/// over earlier.
const READS_PER_TURN: usize = 8;
/// Bytes of a read of a client whose last read was not handled in one turn.
const HEAVY_READ: usize = 64 * 1024;
/// Time without a byte written after which a client counts as not reading.
pub(super) const STALL: Duration = Duration::from_secs(1);

impl Worker {
    /// Gives clients their turns for as long as the worker runs.
    pub(super) async fn run_turns(&self) {
        poll_fn(|cx| self.poll_turns(cx)).await
    }

    /// One round: the clients whose turn it was when the round began, as far as time allows. What they send to others is
    /// written after the round.
    fn poll_turns(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (hub, schedule) = (&self.hub, &self.hub.schedule);
        schedule.begin(cx, |slot| hub.due(slot));
        self.reactor.poll_events(cx, |event| {
            let Some(c) = hub.at(event.slot) else { return };
            if event.readable {
                c.turn.readable.set(true);
            }
            if event.read_closed {
                c.turn.read_closed.set(true);
            }
            if event.urgent {
                c.turn.urgent.set(true);
            }
            if event.writable {
                c.turn.writable.set(true);
            }
            schedule.push(&c);
        });
        let mut spent = Duration::ZERO;
        for _ in 0..schedule.len() {
            let Some(slot) = schedule.pop() else { break };
            let Some(c) = hub.at(slot) else {
                schedule.pop_probe(slot);
                continue;
            };
            c.turn.queued.set(false);
            self.turn(&c);
            spent += self.pace.end_turn();
            if spent >= self.pace.turn() {
                break;
            }
        }
        schedule.end(cx);
        Poll::Pending
    }

    /// The first turn of a connection: onconnect, then the bytes that came behind the request.
    pub(super) fn first_turn(&self, c: &Rc<Client>, mut early: Vec<u8>) {
        self.with_one_write(c, || {
            self.call(c, c.callbacks().onconnect);
            if !early.is_empty() {
                note_received(c, &early);
                early.push(0);
                self.receive_bytes(c, &mut Input::new(&mut early));
            }
        });
        self.pace.end_turn();
        if c.turn.readable.get() || c.turn.has_rest.get() || !c.is_open() {
            self.hub.schedule.push(c);
        }
    }

    fn turn(&self, c: &Rc<Client>) {
        if c.turn.writable.replace(false) && c.turn.blocked.get() {
            self.hub.keepalive.note_data(c);
            self.hub.flush(c);
        }
        if c.phase() == Phase::Closed {
            return self.linger(c);
        }
        if !c.is_open() && self.is_late(c) {
            self.hub.abort(c);
        }
        let mut reads = 0;
        // Also without bytes to read: a stall begins and ends here, and progress keeps the client alive.
        while self.may_read(c) && (c.turn.readable.get() || c.turn.has_rest.get()) {
            self.read(c);
            reads += 1;
            if reads == READS_PER_TURN || c.turn.has_rest.get() {
                self.hub.schedule.push(c);
                break;
            }
        }
        if c.is_open() {
            if c.turn.ondrain.get() == Ondrain::Due {
                self.drain_queue(c);
            }
            return;
        }
        let is_closed = c.endpoint.state() == State::Closed;
        if is_closed && !c.turn.blocked.get() && !c.is_gone() && c.backlog() > 0 {
            self.hub.flush(c);
        }
        if c.is_gone() || is_closed && c.backlog() == 0 {
            self.end(c);
        }
    }

    /// Whether the time to close is up.
    fn is_late(&self, c: &Client) -> bool {
        c.endpoint.deadline(self.hub.limits.get().close_timeout).is_some_and(|deadline| now() >= deadline)
    }

    /// A client that is behind with its own answers is not read from: it sends no faster than it reads. One that
    /// takes nothing for [`STALL`] is read from again, until its queue reaches its bound.
    fn may_read(&self, c: &Client) -> bool {
        if c.is_gone() || c.endpoint.state() == State::Closed {
            return false;
        }
        if !c.is_open() || !self.hub.is_behind(c) {
            self.end_stall(c);
            return true;
        }
        if c.turn.progressed.replace(false) {
            self.hub.keepalive.note_data(c);
            self.end_stall(c);
        }
        let now = now();
        let since = c.turn.stalled_since.get().unwrap_or_else(|| {
            c.turn.stalled_since.set(Some(now));
            self.hub.schedule.push_at(now + STALL, c);
            now
        });
        now >= since + STALL
    }

    fn end_stall(&self, c: &Client) {
        if let Some(since) = c.turn.stalled_since.take() {
            self.hub.schedule.cancel(since + STALL, c);
        }
    }

    /// Handles what was read before, or reads once and handles what came.
    fn read(&self, c: &Client) {
        if c.turn.has_rest.get() {
            return self.receive_rest(c);
        }
        // One buffer for all clients: it is in use only from a read to the end of its callbacks.
        let mut buffer = self.read_buffer.borrow_mut();
        // What is not handled in one turn is copied.
        let size = if c.turn.is_heavy.replace(false) { HEAVY_READ } else { READ_BUFFER };
        let result = c.transport().read(&mut buffer[..size]);
        match result {
            Ok(Read { length, is_empty }) if length > 0 => {
                self.hub.keepalive.note_data(c);
                if c.turn.watched.is_recorded() {
                    note_received(c, &buffer[..length]);
                }
                // A read also ends before urgent data.
                c.turn.readable.set(!is_empty || c.turn.read_closed.get() || c.turn.urgent.get());
                self.with_one_write(c, || self.receive_bytes(c, &mut Input::new(&mut buffer[..length + 1])));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                c.turn.readable.set(false);
                c.turn.urgent.set(false);
                if c.transport().is_tls() {
                    self.note_records(c);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The client sends no more, and may still read what waits for it.
            Ok(_) if c.backlog() > 0 || c.transport().is_tls() => self.hub.end_after_queue(c),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                log::debug!("connection {} ({}): {error}", c.id(), c.peer());
                self.hub.end_with_alert(c);
            }
            _ => self.hub.abort(c),
        }
    }

    /// A read may have brought the beginning of a TLS record, or the end of one, and no data.
    fn note_records(&self, c: &Client) {
        if c.transport().received_memory() > 0 {
            self.hub.keepalive.note_data(c);
        }
        self.hub.note_record(c);
    }

    /// Runs callbacks of a client; what they send to it leaves in one write after them.
    pub(super) fn with_one_write(&self, c: &Client, f: impl FnOnce()) {
        let flush_is_ours = !c.turn.flush_due.replace(true);
        f();
        if flush_is_ours {
            c.turn.flush_due.set(false);
            if !c.turn.blocked.get() && c.backlog() > 0 && !c.is_gone() {
                self.hub.flush(c);
            }
        }
    }

    /// Handles bytes that were read before.
    #[cold]
    fn receive_rest(&self, c: &Client) {
        let Some(mut rest) = c.take_rest() else { return };
        // The worker was behind, and not the client.
        self.hub.keepalive.note_data(c);
        self.with_one_write(c, || {
            let mut input = Input::new(&mut rest.bytes[rest.handled..]);
            self.receive_some(c, &mut input);
            if !input.is_empty() {
                let left = input.rest().len();
                rest.handled = rest.bytes.len() - left;
                c.keep_rest(rest);
            }
            self.hub.note_held(c);
        });
    }

    /// Handles bytes of a client, and keeps those that are too many for one turn.
    fn receive_bytes(&self, c: &Client, input: &mut Input<'_>) {
        self.receive_some(c, input);
        if !input.is_empty() {
            c.turn.is_heavy.set(true);
            c.keep_rest(Rest { bytes: input.rest().into(), handled: 0 });
        }
        self.hub.note_held(c);
    }

    /// Handles bytes of a client until its turn is over.
    fn receive_some(&self, c: &Client, input: &mut Input<'_>) {
        let was_open = c.is_open();
        let (onmessage, max_message) = match c.turn.watched.is_limited() {
            false => (c.onmessage(), self.hub.limits.get().max_message),
            true => self.begin_limited_read(c),
        };
        let is_over = || self.pace.is_over();
        let message = |op, data: Payload<'_>| {
            if let Some(handler) = onmessage.or_else(|| self.admit_message(c))
                && let Err(reason) = call::on_message(handler, c, op, data)
            {
                self.handler_failed(c, handler, &reason);
            }
        };
        c.endpoint.receive_until(is_over, input, max_message, now, message, |event| match event {
            Event::Message { .. } | Event::Pong(_) => {}
            Event::Compressed { op, data } => self.receive_compressed(c, (onmessage, max_message), op, data),
            // Of the frames for the client only a Pong is subject to the bound of the queue: a client above it gets none,
            // and later one for all its Pings (RFC 6455 §5.5.3).
            Event::Send(pong) if c.endpoint.ending().is_none() => {
                if c.backlog() <= self.hub.limits.get().max_backlog {
                    self.hub.send_framed(c, op::PONG, pong);
                }
            }
            Event::Send(close) => self.hub.send_last(c, close),
            Event::Violation(violation) => {
                log::debug!("connection {} ({}): {violation}", c.id(), c.peer());
            }
        });
        if was_open && !c.is_open() {
            self.hub.closing(c);
        }
    }

    /// The connection has ended: its last callback, then our side of the socket. Closing a socket with unread bytes in
    /// it would reset it, and the client might lose our last frames; so the client closes its side first.
    fn end(&self, c: &Rc<Client>) {
        self.hub.leave(c);
        if let Some(listeners) = self.listeners.get() {
            (listeners.on_leave)(c.id());
        }
        if let Some(ending) = c.endpoint.ending() {
            log::debug!("connection {} ({}): closed with {}", c.id(), c.peer(), ending.code);
        }
        // The callback is a piece of the round of turns, and runs whatever the time.
        let _ = self.pace.is_over();
        self.disconnect(c);
        c.set_closed();
        self.record(c);
        if c.is_gone() || c.transport().shutdown().is_err() {
            return self.remove(c);
        }
        self.linger(c);
    }

    /// Discards what the client sends until it closes its side, or the time to close is up.
    fn linger(&self, c: &Rc<Client>) {
        if c.is_gone() || self.is_late(c) {
            return self.remove(c);
        }
        let mut buffer = self.read_buffer.borrow_mut();
        for _ in 0..READS_PER_TURN {
            if !c.turn.readable.get() {
                return;
            }
            let result = c.transport().discard(&mut buffer);
            match result {
                Ok(n) if n > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => c.turn.readable.set(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return self.remove(c),
            }
        }
        self.hub.schedule.push(c);
    }

    /// The socket is of no more use.
    fn remove(&self, c: &Rc<Client>) {
        self.end_stall(c);
        if let Some(deadline) = c.endpoint.deadline(self.hub.limits.get().close_timeout) {
            self.hub.schedule.cancel(deadline, c);
        }
        self.reactor.deregister(&c.transport());
        c.transport().end();
        self.hub.remove(c);
    }
}

/// Counts what the client has sent, for the access log.
#[cold]
#[inline(never)]
fn note_received(c: &Client, bytes: &[u8]) {
    c.recorded().iter().for_each(|recorded| recorded.note_received(bytes));
}
