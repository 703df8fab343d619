//! The clients of a worker: who is connected, who is in an audience, and how messages get into their write queues.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use callsign_plugin::abi::{op, status};
use callsign_websocket::write_frame;
use tokio::sync::Notify;

use super::admission::Permit;
use super::compression::Compression;
use super::flush::FlushQueue;
use super::incoming::Incoming;
use super::keepalive::Keepalive;
use super::outgoing::Outgoing;
use super::schedule::{Schedule, now};
use crate::client::Client;
use crate::client::outbox::{Outbox, Pool};
use crate::client::tls::is_worn_out;
use crate::config::settings::Limits;
use crate::system::log::repeats::{FEW, Repeats};
use crate::system::scoreboard::Slot;

/// A broadcast frame of at least this many bytes is shared by its recipients' queues; a smaller one is cheaper to copy
/// than to count.
pub(super) const SHARED_FRAME: usize = 4 * 1024;

/// RFC 6455 and IANA's registry: service restart. The client may connect again at once.
const SERVICE_RESTART: u16 = 1012;

/// The clients of a worker.
pub struct Hub {
    /// What clients may cost. A reload changes it.
    pub limits: Cell<Limits>,
    /// Notified when the limits have changed.
    pub(super) limits_changed: Notify,
    /// Write buffers between two uses.
    pub pool: Pool,
    /// Which clients have a turn.
    pub schedule: Schedule,
    /// Which clients have something to write.
    pub flush_queue: FlushQueue,
    /// Which clients are silent.
    pub keepalive: Keepalive,
    /// Memory of what was received and is no complete message.
    pub incoming: Incoming,
    /// Memory of the write queues.
    pub outgoing: Outgoing,
    /// Compressor, inflater, and how many clients use them.
    pub compression: Compression,
    /// From the 101 to the end of the socket.
    slots: RefCell<Vec<Option<Entry>>>,
    free: RefCell<Vec<u32>>,
    /// Slots of the members by connection id: until their last callback.
    members: RefCell<HashMap<u64, u32>>,
    /// Told when a member has left.
    departures: Notify,
    /// A message was too large to be sent.
    pub(super) logged_too_large: Cell<bool>,
    /// Log lines that clients cause.
    pub repeats: Repeats,
}

struct Entry {
    client: Rc<Client>,
    is_member: bool,
    _permit: Permit,
}

impl Hub {
    /// No clients yet. The scoreboard shows what they hold.
    pub fn new(limits: Limits, score: &'static Slot) -> Self {
        Self {
            incoming: Incoming::new(score),
            outgoing: Outgoing::new(score),
            compression: Compression::new(score),
            keepalive: Keepalive::new(limits.ping_interval),
            limits: Cell::new(limits),
            limits_changed: Notify::new(),
            pool: Pool::default(),
            schedule: Schedule::default(),
            flush_queue: FlushQueue::default(),
            slots: RefCell::default(),
            free: RefCell::default(),
            members: RefCell::default(),
            departures: Notify::new(),
            logged_too_large: Cell::new(false),
            repeats: Repeats::allowing(FEW),
        }
    }

    /// Adds a client that has its 101.
    pub fn join(&self, client: Rc<Client>, permit: Permit) {
        let mut slots = self.slots.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or(slots.len() as u32);
        client.turn.slot.set(slot);
        self.members.borrow_mut().insert(client.id(), slot);
        self.begin_limits(&client);
        let entry = Some(Entry { client: client.clone(), is_member: true, _permit: permit });
        match slots.get_mut(slot as usize) {
            Some(free) => *free = entry,
            None => slots.push(entry),
        }
        drop(slots);
        self.begin_compression(&client);
        self.note_held(&client);
    }

    /// The client is in no audience any more, and cannot be found.
    pub fn leave(&self, c: &Client) {
        self.members.borrow_mut().remove(&c.id());
        self.end_compression(c);
        if let Some(Some(entry)) = self.slots.borrow_mut().get_mut(c.turn.slot.get() as usize) {
            entry.is_member = false;
        }
        self.departures.notify_waiters();
    }

    /// Gives up the client's slot and its permit. Its socket closes with its last reference.
    pub fn remove(&self, c: &Client) {
        self.uncount_queue(c);
        self.incoming.forget(c);
        self.end_limits(c);
        let slot = c.turn.slot.get();
        let entry = self.slots.borrow_mut().get_mut(slot as usize).and_then(Option::take);
        if entry.is_some() {
            self.free.borrow_mut().push(slot);
        }
    }

    /// The client in a slot.
    #[inline]
    pub fn at(&self, slot: u32) -> Option<Rc<Client>> {
        let slots = self.slots.borrow();
        slots.get(slot as usize)?.as_ref().map(|entry| entry.client.clone())
    }

    /// The open connection of that id.
    pub fn find(&self, id: u64) -> Option<Rc<Client>> {
        let slot = self.members.borrow().get(&id).copied()?;
        self.at(slot).filter(|c| c.is_open())
    }

    /// How many connections have not ended.
    pub fn len(&self) -> usize {
        self.members.borrow().len()
    }

    /// All connections that have not ended.
    pub fn members(&self) -> Vec<Rc<Client>> {
        let slots = self.slots.borrow();
        slots.iter().flatten().filter(|entry| entry.is_member).map(|entry| entry.client.clone()).collect()
    }

    /// All clients that have a slot.
    pub(super) fn all(&self) -> Vec<Rc<Client>> {
        self.slots.borrow().iter().flatten().map(|entry| entry.client.clone()).collect()
    }

    /// Waits until a member leaves.
    pub async fn departure(&self) {
        self.departures.notified().await;
    }

    /// Whether such a message may be sent; else a [`status`].
    #[inline]
    pub fn sendable(&self, op: u8, data: &[u8]) -> Result<(), i32> {
        Self::sendable_within(self.limits.get().max_message, op, data)
    }

    /// The same where a message has at most `max_message` bytes.
    #[inline]
    pub(super) fn sendable_within(max_message: usize, op: u8, data: &[u8]) -> Result<(), i32> {
        match op {
            op::BINARY if data.len() <= max_message => Ok(()),
            op::TEXT if data.len() <= max_message => {
                std::str::from_utf8(data).map(drop).map_err(|_| status::BAD_UTF8)
            }
            op::PING | op::PONG if data.len() <= callsign_websocket::op::CONTROL_MAX => Ok(()),
            op::BINARY | op::TEXT | op::PING | op::PONG => Err(status::TOO_LARGE),
            _ => Err(status::BAD_OP),
        }
    }

    /// Queues one message; a [`status`].
    #[inline]
    pub fn send(&self, c: &Client, op: u8, data: &[u8]) -> i32 {
        match self.sendable(op, data) {
            Ok(()) => self.queue_message(c, op, data),
            Err(_) => self.send_within_route(c, op, data),
        }
    }

    // As with `call::on_message`.
    #[inline(always)]
    fn queue_message(&self, c: &Client, op: u8, data: &[u8]) -> i32 {
        // Fast path for most messages: all but the first of a turn, and those that may be compressed. `queue` does the same.
        if c.turn.flush_due.get()
            && !c.turn.blocked.get()
            && c.is_open()
            && c.queue_within(op, data, c.turn.short_path_max.get() as usize)
        {
            return status::SENT;
        }
        self.queue_first(c, op, data)
    }

    #[inline(never)]
    pub(super) fn queue_first(&self, c: &Client, op: u8, data: &[u8]) -> i32 {
        if c.turn.short_path_max.get() == 0 {
            return self.queue_compressed(c, op, data);
        }
        self.queue(c, op, |outbox| outbox.push(op, data, &self.pool))
    }

    /// Queues a frame within the bound of the queue; a [`status`].
    pub fn send_framed(&self, c: &Client, op: u8, frame: &[u8]) -> i32 {
        self.queue(c, op, |outbox| outbox.push_framed(frame, &self.pool))
    }

    /// Sends a message to all connections, or to those with a handler of the plugin of that index, `source` excepted.
    /// It is framed once.
    pub fn broadcast(&self, plugin: Option<usize>, source: u64, op: u8, data: &[u8]) {
        let mut frame = Vec::with_capacity(data.len() + 10);
        write_frame(&mut frame, op, data);
        let slots = self.slots.borrow();
        let entries = slots.iter().flatten().filter(|entry| entry.is_member && entry.client.id() != source);
        match plugin {
            None => self.send_to_each(entries, op, data, frame),
            Some(plugin) => {
                let uses_it =
                    |entry: &&Entry| entry.client.callbacks().iter().any(|handler| handler.plugin == plugin);
                self.send_to_each(entries.filter(uses_it), op, data, frame);
            }
        }
    }

    #[inline]
    fn send_to_each<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
        op: u8,
        data: &[u8],
        frame: Vec<u8>,
    ) {
        if self.compression.has_clients() {
            let recipients = entries.map(|entry| &entry.client);
            self.send_to_each_compressed(recipients, op, data, frame);
        } else if frame.len() < SHARED_FRAME {
            entries.for_each(|entry| _ = self.send_framed(&entry.client, op, &frame));
        } else {
            let frame = self.pool.share(frame);
            entries.for_each(|entry| {
                _ = self.queue(&entry.client, op, |outbox| outbox.push_shared(frame.clone(), &self.pool));
            });
        }
    }

    /// The bound on a queue: a message is accepted when what waits is within it. A client that reads can therefore be
    /// sent a message larger than the bound.
    #[inline]
    pub(super) fn queue(&self, c: &Client, op: u8, push: impl FnOnce(&mut Outbox)) -> i32 {
        if !c.is_open() {
            return status::CLOSED;
        }
        if c.backlog() > self.limits.get().high_water
            && let Some(status) = self.reject_above_high_water(c, op)
        {
            return status;
        }
        let Some(waiting) = self.push(c, push) else { return status::CLOSED };
        if waiting <= self.limits.get().high_water {
            self.flush_queue.push(c);
            return status::SENT;
        }
        if !c.turn.blocked.get() {
            self.flush(c);
        }
        if c.backlog() > self.limits.get().high_water {
            self.queued_above_high_water(c)
        } else {
            status::SENT
        }
    }

    /// Writes what the socket takes.
    pub fn flush(&self, c: &Client) {
        let counted = self.counted(c);
        let result = c.flush(&self.pool);
        let was_blocked = match &result {
            Ok(drained) => c.turn.blocked.replace(!drained),
            Err(error) if is_worn_out(error) => return self.end_worn_out(c, counted),
            Err(_) => c.turn.blocked.get(),
        };
        let is_blocked = c.turn.blocked.get();
        if was_blocked || is_blocked {
            self.count_queue(c, counted);
        }
        match result {
            Ok(_) if was_blocked != is_blocked || !c.is_open() => self.schedule.push(c),
            Ok(_) => {}
            Err(_) => self.abort(c),
        }
    }

    /// The key of a TLS 1.2 session may seal little more, and cannot be replaced: the client is told to connect again.
    #[cold]
    fn end_worn_out(&self, c: &Client, counted: usize) {
        if c.turn.blocked.get() {
            self.count_queue(c, counted);
        }
        log::debug!("connection {} ({}): its TLS key has protected as much as it may", c.id(), c.peer());
        self.close(c, SERVICE_RESTART, "connect again for a new TLS key");
        self.flush(c);
    }

    /// Writes to the client in a slot, at the end of a turn.
    pub fn flush_slot(&self, slot: u32) {
        if let Some(c) = self.at(slot) {
            c.turn.flush_due.set(false);
            if !c.turn.blocked.get() && !c.is_gone() && c.backlog() > 0 {
                self.flush(&c);
            }
        }
    }

    /// Whether so much waits for a client that does not take it that the client should not be read from.
    pub fn is_behind(&self, c: &Client) -> bool {
        c.turn.blocked.get() && c.backlog() > self.limits.get().high_water
    }

    /// Starts the closing handshake; a [`status`]. Code 0 sends no code.
    pub fn close(&self, c: &Client, code: u16, reason: &str) -> i32 {
        match c.endpoint.close(code, reason, now()) {
            Ok(Some(frame)) => {
                self.send_last(c, &frame);
                status::SENT
            }
            Ok(None) => status::CLOSED,
            Err(_) => status::BAD_ARGUMENT,
        }
    }

    /// Fails the connection: sends a Close with that code and awaits no answer.
    pub fn fail(&self, c: &Client, code: u16, reason: &str) {
        let close = c.endpoint.fail(code, reason, now());
        self.incoming.forget(c);
        match close {
            Some(frame) => self.send_last(c, &frame),
            None => self.schedule.push(c),
        }
    }

    /// Queues a Close, whatever waits already, and has the connection end within the time to close.
    pub fn send_last(&self, c: &Client, close: &[u8]) {
        self.push(c, |outbox| outbox.push_framed(close, &self.pool));
        self.flush_queue.push(c);
        self.closing(c);
    }

    /// The connection is not open any more: it has a turn now, and one when the time to close is up.
    pub fn closing(&self, c: &Client) {
        if let Some(deadline) = c.endpoint.deadline(self.limits.get().close_timeout) {
            self.schedule.push_at(deadline, c);
        }
        self.schedule.push(c);
    }

    /// The client has ended its side without a Close: the connection ends, as lost, when its queue is written or the
    /// time to close is up.
    pub fn end_after_queue(&self, c: &Client) {
        c.endpoint.abort(now());
        self.incoming.forget(c);
        self.closing(c);
    }

    /// The client has broken TLS: the connection ends, as lost, with an alert instead of what is not sealed yet. Its socket
    /// is read to the end, because closing it with unread bytes could lose the alert.
    #[cold]
    pub fn end_with_alert(&self, c: &Client) {
        let counted = self.counted(c);
        c.drop_unbegun();
        self.count_queue(c, counted);
        self.end_after_queue(c);
    }

    /// The client is gone, or is to be dropped.
    pub fn abort(&self, c: &Client) {
        self.uncount_queue(c);
        c.abort(now());
        self.incoming.forget(c);
        self.schedule.push(c);
    }
}
