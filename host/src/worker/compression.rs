//! Compresses what is sent to clients, and inflates what they send (RFC 7692). All clients of the worker share one
//! compressor and one inflater; a client has at most its windows.
//!
//! A broadcast is compressed once for all clients with the same method. It refers to no window, and enters the windows of
//! those clients that have one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use callsign_deflate::{Compressor, InflateError, Inflater, Method};
use callsign_plugin::abi::op;
use callsign_websocket::op::COMPRESSED;
use callsign_websocket::{Payload, write_frame};
use log::Level;

use super::Worker;
use super::hub::{Hub, SHARED_FRAME};
use super::outgoing::clients;
use crate::client::Client;
use crate::client::compression::Compression as ClientCompression;
use crate::client::outbox::{Pool, SharedFrames};
use crate::config::units::Size;
use crate::plugin::call;
use crate::plugin::handler::HandlerRef;
use crate::system::scoreboard::Slot;

/// RFC 6455 §7.4.1: data that does not fit the type of the message; also what is not DEFLATE.
const INVALID_DATA: u16 = 1007;
/// RFC 6455 §7.4.1.
const TOO_BIG: u16 = 1009;

/// Compression in a worker.
pub struct Compression {
    compressor: RefCell<Compressor>,
    inflater: RefCell<Inflater>,
    /// Members whose messages are compressed.
    clients: Cell<usize>,
    /// Bytes that the windows of these clients' messages may take.
    received_max: Cell<usize>,
    score: &'static Slot,
}

impl Compression {
    /// No clients yet. The scoreboard shows their number.
    pub fn new(score: &'static Slot) -> Self {
        let (compressor, inflater) = (RefCell::default(), RefCell::default());
        Self { compressor, inflater, clients: Cell::new(0), received_max: Cell::new(0), score }
    }

    /// Whether there are members whose messages are compressed.
    pub fn has_clients(&self) -> bool {
        self.clients.get() > 0
    }
}

impl Hub {
    /// Whether the messages of another client may refer to earlier ones, which takes up to that many bytes. A client that
    /// may do so cannot be told otherwise later, so at most half of the memory for received data is given away.
    pub fn has_room_for_window(&self, bytes: usize) -> bool {
        self.compression.received_max.get() + bytes <= self.limits.get().receive_memory / 2
    }

    /// A client joins: counts it if its messages are compressed, and lets them take the short path if not.
    pub(super) fn begin_compression(&self, c: &Client) {
        self.set_short_path(c);
        let max = c.with_compression(|it| it.map(|it| it.received_max()));
        if let Some(max) = max {
            let compression = &self.compression;
            compression.clients.set(compression.clients.get() + 1);
            compression.received_max.set(compression.received_max.get() + max);
            compression.score.set_compressed(compression.clients.get());
            self.count_windows(c);
        }
    }

    /// Notes up to which queue messages of a client without compression take the short path.
    pub(super) fn set_short_path(&self, c: &Client) {
        let high_water = u32::try_from(self.limits.get().high_water).unwrap_or(u32::MAX);
        let is_compressed = c.with_compression(|it| it.is_some());
        c.turn.short_path_max.set(if is_compressed { 0 } else { high_water });
    }

    /// The client gets and sends no more messages.
    pub(super) fn end_compression(&self, c: &Client) {
        if let Some(it) = c.take_compression() {
            let compression = &self.compression;
            compression.clients.set(compression.clients.get() - 1);
            compression.received_max.set(compression.received_max.get() - it.received_max());
            compression.score.set_compressed(compression.clients.get());
            self.outgoing.change_windows(it.counted.0, 0, &self.pool);
            self.incoming.change(it.counted.1, 0);
        }
    }

    /// The windows of a client have changed. May close any client.
    fn count_windows(&self, c: &Client) {
        let changed = c.with_compression(|it| {
            let it = it?;
            let now = (it.sent.memory(), it.received.memory());
            let before = std::mem::replace(&mut it.counted, now);
            (before != now).then_some((before, now))
        });
        let Some((before, now)) = changed else { return };
        if before.0 != now.0 {
            self.outgoing.change_windows(before.0, now.0, &self.pool);
            self.bound_senders();
        }
        if before.1 != now.1 {
            self.incoming.change(before.1, now.1);
            self.bound_holders();
        }
    }

    /// Frees the windows of all messages that were sent: later ones refer to none of them. Windows are kept again when
    /// there is room. Returns whether there were any.
    pub(super) fn drop_sent_windows(&self) -> bool {
        let (mut freed, mut owners) = (0, 0);
        for c in self.all() {
            let of_client = c.with_compression(|it| {
                it.map_or(0, |it| {
                    it.sent.clear();
                    std::mem::take(&mut it.counted.0)
                })
            });
            freed += of_client;
            owners += usize::from(of_client > 0);
        }
        if freed == 0 {
            return false;
        }
        self.outgoing.change_windows(freed, 0, &self.pool);
        self.outgoing.pause_windows();
        self.repeats.log(
            Level::Warn,
            "compression",
            format_args!(
                "write queues and windows of compression take more than --send-memory ({}); dropped the windows of {} \
                 ({freed} bytes): the next messages compress less",
                Size(self.limits.get().send_memory),
                clients(owners)
            ),
        );
        true
    }

    /// A message was queued compressed: it enters the client's window. If windows are not kept, the window becomes empty,
    /// because later messages may only refer to what was sent directly before them.
    fn push_sent(&self, it: &mut ClientCompression, data: &[u8]) {
        if self.keeps_windows() {
            it.sent.push(data, it.agreement.server);
        } else {
            it.sent.clear();
        }
    }

    /// Queues one message, compressed if the client gets messages like it compressed; a status.
    #[cold]
    pub(super) fn queue_compressed(&self, c: &Client, op: u8, data: &[u8]) -> i32 {
        // Compressed only if it is queued, because it enters the window.
        let status = self.queue(c, op, |outbox| {
            let mut compressor = self.compression.compressor.borrow_mut();
            let is_compressed = c.with_compression(|it| {
                let Some(it) = it.filter(|it| it.is_due(op, data)) else { return false };
                let Some(compressed) = compressor.compress(it.method(), it.sent.bytes(), data) else {
                    return false;
                };
                outbox.push(op | COMPRESSED, compressed, &self.pool);
                self.push_sent(it, data);
                true
            });
            if !is_compressed {
                outbox.push(op, data, &self.pool);
            }
        });
        self.count_windows(c);
        status
    }

    /// Sends a message to these clients, some of which get it compressed. `frame` is the message as others get it.
    pub(super) fn send_to_each_compressed<'c>(
        &self,
        recipients: impl Iterator<Item = &'c Rc<Client>>,
        op: u8,
        data: &[u8],
        frame: Vec<u8>,
    ) {
        let plain = Prepared::new(frame, &self.pool);
        // For each method, its result; None: the message does not shrink.
        let mut results: Vec<(Method, Option<Prepared>)> = Vec::new();
        for c in recipients {
            let method = c.with_compression(|it| Some(it.filter(|it| it.is_due(op, data))?.method()));
            let result = method.and_then(|method| {
                let found = results.iter().position(|(its, _)| *its == method);
                let at = found.unwrap_or_else(|| {
                    results.push((method, self.compress_alone(method, op, data)));
                    results.len() - 1
                });
                results[at].1.as_ref()
            });
            match result {
                None => _ = self.queue(c, op, |outbox| plain.push(outbox, &self.pool)),
                Some(compressed) => {
                    self.queue(c, op, |outbox| {
                        compressed.push(outbox, &self.pool);
                        c.with_compression(|it| it.map(|it| self.push_sent(it, data)));
                    });
                    self.count_windows(c);
                }
            }
        }
    }

    /// The frame of a message that refers to no other.
    fn compress_alone(&self, method: Method, op: u8, data: &[u8]) -> Option<Prepared> {
        let mut compressor = self.compression.compressor.borrow_mut();
        let compressed = compressor.compress(method, &[], data)?;
        let mut frame = Vec::with_capacity(compressed.len() + 10);
        write_frame(&mut frame, op | COMPRESSED, compressed);
        Some(Prepared::new(frame, &self.pool))
    }

    /// Inflates a message of the client to at most `max` bytes; a NUL follows it.
    fn inflate(&self, c: &Client, data: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
        let mut inflater = self.compression.inflater.borrow_mut();
        c.with_compression(|it| {
            let it = it.ok_or(InflateError::Invalid)?;
            let plain = inflater.inflate(it.received.bytes(), data, max)?;
            it.received.push(&plain[..plain.len() - 1], it.agreement.client);
            Ok(plain)
        })
    }
}

/// A frame for several clients.
enum Prepared {
    Copied(Vec<u8>),
    Shared(Rc<SharedFrames>),
}

impl Prepared {
    fn new(frame: Vec<u8>, pool: &Pool) -> Self {
        if frame.len() < SHARED_FRAME { Self::Copied(frame) } else { Self::Shared(pool.share(frame)) }
    }

    fn push(&self, outbox: &mut crate::client::outbox::Outbox, pool: &Pool) {
        match self {
            Self::Copied(frame) => outbox.push_framed(frame, pool),
            Self::Shared(frame) => outbox.push_shared(frame.clone(), pool),
        }
    }
}

impl Worker {
    /// Inflates a message, and calls the handler with it. `onmessage` is None if the messages of the client are counted;
    /// each has at most `max` bytes.
    #[cold]
    #[inline(never)]
    pub(super) fn receive_compressed(
        &self,
        c: &Client,
        (onmessage, max): (Option<HandlerRef>, usize),
        op: u8,
        data: &[u8],
    ) {
        let handler = onmessage.or_else(|| self.admit_message(c));
        if !c.is_open() {
            return;
        }
        let mut plain = match self.hub.inflate(c, data, max) {
            Ok(plain) => plain,
            Err(error @ InflateError::TooBig) => {
                return self.reject_compressed(c, TOO_BIG, &error.to_string());
            }
            Err(error @ InflateError::Invalid) => {
                return self.reject_compressed(c, INVALID_DATA, &error.to_string());
            }
        };
        let text = &plain[..plain.len() - 1];
        if op == op::TEXT && std::str::from_utf8(text).is_err() {
            return self.reject_compressed(c, INVALID_DATA, "text message is not UTF-8");
        }
        self.hub.count_windows(c);
        if c.is_open()
            && let Some(handler) = handler
            && let Err(reason) = call::on_message(handler, c, op, Payload::terminate(&mut plain))
        {
            self.handler_failed(c, handler, &reason);
        }
        self.hub.compression.inflater.borrow_mut().give_back(plain);
    }

    #[cold]
    fn reject_compressed(&self, c: &Client, code: u16, reason: &str) {
        log::debug!("connection {} ({}): {reason} ({code})", c.id(), c.peer());
        self.hub.fail(c, code, reason);
    }
}
