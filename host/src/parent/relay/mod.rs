//! The parent's end of the links: carries each worker's broadcasts to all other workers, and worker messages to their
//! recipients, in order. All broadcasts that arrive together are forwarded in one piece. Memory is bounded: while the
//! queue of one worker is full, the parent reads from no other worker. If a worker reads nothing for a while, it is
//! stalled: its queue may grow, up to a second bound, and nobody waits for it. If it stays stalled or its queue reaches
//! that bound, it is ended.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use callsign_plugin::abi::ALL_WORKERS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::link::broadcast::BroadcastValidator;
use crate::link::{Addresses, Decoder, Tag};

/// Bytes queued for one worker above which the parent stops reading from the others.
const QUEUE_MAX: usize = 4 << 20;
/// Bytes queued for a stalled worker at which it is ended. If it must not be ended, the parent stops reading from the
/// others.
const STALLED_QUEUE_MAX: usize = 64 << 20;
/// Time after which a worker that reads nothing is stalled. A busy machine and most slow callbacks delay a worker for
/// less.
const STALLED_AFTER: Duration = Duration::from_millis(2500);
/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// The queues of the workers that serve.
#[derive(Debug, Default)]
pub struct Relay {
    queues: RefCell<Vec<(usize, Rc<Queue>)>>,
    /// Notified when a queue becomes shorter or is removed.
    room_made: Notify,
    /// Bytes of a message, by all limits that workers have had.
    max_message: Cell<usize>,
}

impl Relay {
    /// Adds a queue for a worker that begins to serve.
    pub fn join(&self, worker: usize) -> Rc<Queue> {
        let queue = Rc::new(Queue::default());
        self.queues.borrow_mut().push((worker, queue.clone()));
        queue
    }

    /// Removes the queue of a worker that has ended or is being ended.
    pub fn leave(&self, worker: usize) {
        self.queues.borrow_mut().retain(|(other, _)| *other != worker);
        self.room_made.notify_waiters();
    }

    fn others(&self, source: usize) -> Vec<Rc<Queue>> {
        let queues = self.queues.borrow();
        queues.iter().filter(|(worker, _)| *worker != source).map(|(_, queue)| queue.clone()).collect()
    }

    /// Relays messages of up to that many bytes from now on, those of an earlier bound included.
    pub fn raise_max_message(&self, max_message: usize) {
        self.max_message.set(self.max_message.get().max(max_message));
    }

    /// Bytes of the longest message that a worker may send, or may have sent before a limit was lowered.
    pub fn max_message(&self) -> usize {
        self.max_message.get()
    }

    /// Waits until every queue but that of `source` has room. A stalled worker delays nobody while its queue may grow.
    async fn room(&self, source: usize) {
        loop {
            // Created before the check, so that no notification is missed.
            let room_made = self.room_made.notified();
            if self.others(source).iter().all(|queue| queue.has_room()) {
                return;
            }
            room_made.await;
        }
    }

    /// Reads from a worker until its socket ends. `handle` gets every message that is not for other workers; it
    /// returns false if the worker must not send that message now.
    pub async fn read(
        &self,
        source: usize,
        mut socket: OwnedReadHalf,
        max_message: usize,
        mut handle: impl FnMut(Tag, Bytes) -> bool,
    ) -> io::Result<()> {
        let mut decoder = Decoder::new(max_message);
        let mut validator = BroadcastValidator::new(u16::try_from(source).map_err(io::Error::other)?);
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "it sent an invalid message");
        loop {
            self.room(source).await;
            // All pieces read into one allocation share it. If every read had its own, a short piece would keep as
            // much memory alive as a long one.
            if decoder.buffer.capacity() - decoder.buffer.len() < READ / 4 {
                decoder.buffer.reserve(READ);
            }
            match socket.read_buf(&mut decoder.buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The worker closed its end before it had read everything.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
            decoder.max_message = decoder.max_message.max(self.max_message.get());
            loop {
                let broadcasts = decoder.take_broadcasts(&mut validator).map_err(|_| invalid())?;
                if !broadcasts.is_empty() {
                    self.others(source).iter().for_each(|queue| queue.push(broadcasts.clone()));
                }
                if let Some((message, addresses)) = decoder.take_worker_message().map_err(|_| invalid())? {
                    self.forward(source, message, addresses).ok_or_else(invalid)?;
                    continue;
                }
                match decoder.take().map_err(|_| invalid())? {
                    Some((tag, payload)) => {
                        if !handle(tag, payload) {
                            return Err(invalid());
                        }
                    }
                    None => break,
                }
            }
        }
    }

    /// Queues a worker message for its recipients. A message for a worker that does not serve is lost. None: the
    /// message names another sender than `source`.
    fn forward(&self, source: usize, message: Bytes, addresses: Addresses) -> Option<()> {
        let is = |worker: usize, address: u32| u32::try_from(worker) == Ok(address);
        if !is(source, addresses.source) {
            return None;
        }
        for (worker, queue) in self.queues.borrow().iter() {
            if *worker != source && (addresses.target == ALL_WORKERS || is(*worker, addresses.target)) {
                queue.push(message.clone());
            }
        }
        Some(())
    }

    /// Writes what is queued for a worker until its socket fails. The error is [`io::ErrorKind::TimedOut`] if the
    /// worker reads nothing for `timeout`, or until [`STALLED_QUEUE_MAX`] bytes wait, and `may_end` allows to end it.
    pub async fn write(
        &self,
        queue: &Queue,
        mut socket: OwnedWriteHalf,
        timeout: impl Fn() -> Option<Duration>,
        may_end: impl Fn() -> bool,
    ) -> io::Result<()> {
        loop {
            let next = queue.pieces.borrow_mut().pop_front();
            let Some(mut piece) = next else {
                queue.pushed.notified().await;
                continue;
            };
            while piece.has_remaining() {
                let before = piece.len();
                self.write_part(queue, &mut socket, &mut piece, timeout(), &may_end).await?;
                queue.length.set(queue.length.get() - (before - piece.len()));
                self.room_made.notify_waiters();
            }
        }
    }

    /// Writes a part of a piece. Marks the queue as stalled while the worker reads nothing.
    async fn write_part(
        &self,
        queue: &Queue,
        socket: &mut OwnedWriteHalf,
        piece: &mut Bytes,
        timeout: Option<Duration>,
        may_end: &impl Fn() -> bool,
    ) -> io::Result<()> {
        let mut written = pin!(socket.write_buf(piece));
        let patience = timeout.map_or(STALLED_AFTER, |timeout| timeout.min(STALLED_AFTER));
        if let Ok(result) = tokio::time::timeout(patience, &mut written).await {
            return result.map(drop);
        }
        queue.is_stalled.set(true);
        self.room_made.notify_waiters();
        let mut deadline = timeout.map(|timeout| Instant::now() + (timeout - patience));
        let result = loop {
            let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if (is_late || !queue.has_room()) && may_end() {
                break Err(io::ErrorKind::TimedOut.into());
            }
            if is_late {
                deadline = timeout.map(|timeout| Instant::now() + timeout);
            }
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                result = &mut written => break result.map(drop),
                () = queue.reached_bound.notified() => {}
                () = late => {}
            }
        };
        queue.is_stalled.set(false);
        result
    }
}

/// Messages for one worker that are not written yet.
#[derive(Debug, Default)]
pub struct Queue {
    pieces: RefCell<VecDeque<Bytes>>,
    /// Bytes, those of a piece that is being written included.
    length: Cell<usize>,
    pushed: Notify,
    /// Whether the worker has read nothing for [`STALLED_AFTER`].
    is_stalled: Cell<bool>,
    /// Notified when [`STALLED_QUEUE_MAX`] bytes wait for a stalled worker.
    reached_bound: Notify,
}

impl Queue {
    /// Queues one or more whole messages.
    pub fn push(&self, piece: Bytes) {
        self.length.set(self.length.get() + piece.len());
        self.pieces.borrow_mut().push_back(piece);
        self.pushed.notify_one();
        if self.is_stalled.get() && !self.has_room() {
            self.reached_bound.notify_one();
        }
    }

    fn has_room(&self) -> bool {
        self.length.get() < if self.is_stalled.get() { STALLED_QUEUE_MAX } else { QUEUE_MAX }
    }

    /// All bytes that wait.
    #[cfg(test)]
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.borrow().iter().flat_map(|piece| piece.to_vec()).collect()
    }
}

#[cfg(test)]
mod tests;
