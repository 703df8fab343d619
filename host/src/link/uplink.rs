//! The worker's end of the link: carries GLOBAL broadcasts to the parent, in order, and receives those of other
//! workers. Memory is bounded: a full queue makes the sender wait. While it waits it receives, so that two workers
//! that wait for each other both continue.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Buf, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::broadcast::{Audience, Broadcast};
use super::orders::Order;
use super::worker_message::WorkerMessage;
use super::{Decoder, Tag, write_message};
use crate::system::pace::Pace;
use crate::system::scoreboard;

/// Bytes queued for the parent above which a sender waits.
const QUEUE_MAX: usize = 1 << 20;
/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// The worker's end of the link.
#[derive(Debug)]
pub struct Uplink {
    /// Index of this worker.
    worker: u16,
    broadcasts_total: Cell<u64>,
    socket: tokio::net::UnixStream,
    queue: RefCell<BytesMut>,
    pushed: Notify,
    incoming: RefCell<Decoder>,
}

/// A message of the parent.
#[derive(Debug)]
pub enum ParentMessage<'m> {
    /// For clients of this worker.
    Broadcast(Broadcast<'m>),
    /// For a plugin of this worker.
    WorkerMessage(WorkerMessage<'m>),
    /// Close every connection and end.
    Drain,
    /// A step of a reload.
    Order(Box<Order>),
}

impl Uplink {
    /// The end of the worker with index `worker`. Needs a tokio runtime.
    pub fn new(socket: UnixStream, worker: usize, max_message: usize) -> Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            worker: u16::try_from(worker)?,
            broadcasts_total: Cell::new(0),
            socket: tokio::net::UnixStream::from_std(socket)
                .context("the link to the parent cannot be used")?,
            queue: RefCell::default(),
            pushed: Notify::new(),
            incoming: RefCell::new(Decoder::new(max_message)),
        })
    }

    /// Accepts messages of up to that many bytes from now on, those of an earlier bound included.
    pub fn raise_max_message(&self, max_message: usize) {
        let mut incoming = self.incoming.borrow_mut();
        incoming.max_message = incoming.max_message.max(max_message);
    }

    /// Queues a message, which is written at the end of this turn. While the queue is full, it waits, and passes what
    /// the parent sends meanwhile to `deliver`.
    pub fn send(&self, tag: Tag, payload: &[u8], deliver: impl FnMut(ParentMessage<'_>)) {
        self.queue(|queue| write_message(queue, tag, payload), deliver);
    }

    /// Queues a message for the clients of all other workers, under the next number.
    pub fn broadcast(
        &self,
        audience: Audience<'_>,
        source: u64,
        op: u8,
        payload: &[u8],
        deliver: impl FnMut(ParentMessage<'_>),
    ) {
        let number = self.broadcasts_total.get() + 1;
        self.broadcasts_total.set(number);
        let broadcast = Broadcast { origin: self.worker, number, audience, source, op, payload };
        self.queue(|queue| broadcast.write_to(queue), deliver);
    }

    fn queue(&self, write: impl FnOnce(&mut BytesMut), deliver: impl FnMut(ParentMessage<'_>)) {
        let mut queue = self.queue.borrow_mut();
        if queue.is_empty() {
            self.pushed.notify_one();
        }
        write(&mut queue);
        if queue.len() > QUEUE_MAX {
            drop(queue);
            self.wait_for_room(deliver);
        }
    }

    /// Waits with plain system calls, because it runs inside a callback, where the runtime cannot run.
    #[cold]
    fn wait_for_room(&self, mut deliver: impl FnMut(ParentMessage<'_>)) {
        // The watchdog must not count the time for the callback that waits here, but for the worker that does not read.
        scoreboard::current().set_waiting(true);
        while self.queue.borrow().len() > QUEUE_MAX / 2 {
            // A failed link ends the worker: `run` returns the error next.
            if self.wait(scoreboard::HEARTBEAT_INTERVAL, &mut deliver).is_err() {
                break;
            }
        }
        scoreboard::current().set_waiting(false);
    }

    /// Blocks this thread until the parent sends something, or takes what is queued; then reads and writes. Returns after
    /// `limit` or one heartbeat interval at the latest, because the event loop, which counts the heartbeat otherwise,
    /// does not run.
    pub fn wait(&self, limit: Duration, mut deliver: impl FnMut(ParentMessage<'_>)) -> io::Result<()> {
        let limit = limit.min(scoreboard::HEARTBEAT_INTERVAL);
        let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos() as _ };
        let out = if self.queue.borrow().is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        scoreboard::current().beat();
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN | out)], Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut piece = [0; 16 * 1024];
        match rustix::io::read(&self.socket, &mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.incoming.borrow_mut().buffer.extend_from_slice(&piece[..n]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.deliver(&mut deliver, || false)?;
        self.write(|bytes| self.write_now(bytes)).map(drop)
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.socket, bytes)?)
    }

    /// Writes as much as the socket accepts. True: the queue is empty.
    fn write(&self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
        let mut queue = self.queue.borrow_mut();
        while !queue.is_empty() {
            match write(&queue) {
                Ok(n) => queue.advance(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Delivers what has arrived, or a part of it until `stop`. True: all of it.
    fn deliver(
        &self,
        deliver: &mut impl FnMut(ParentMessage<'_>),
        stop: impl Fn() -> bool,
    ) -> io::Result<bool> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        loop {
            if stop() {
                return Ok(false);
            }
            // Not borrowed while `deliver` runs: that may send, wait for room, and receive.
            let next = self.incoming.borrow_mut().take();
            let Some((tag, payload)) = next.map_err(|_| invalid())? else { return Ok(true) };
            deliver(match tag {
                Tag::Broadcast => ParentMessage::Broadcast(Broadcast::parse(&payload).ok_or_else(invalid)?),
                Tag::WorkerMessage => {
                    ParentMessage::WorkerMessage(WorkerMessage::parse(&payload).ok_or_else(invalid)?)
                }
                Tag::Drain => ParentMessage::Drain,
                Tag::Order => ParentMessage::Order(Box::new(serde_json::from_slice(&payload)?)),
                Tag::Ready | Tag::Failed | Tag::Reply => return Err(invalid()),
            });
        }
    }

    /// Carries messages both ways until the link fails; the error says how.
    pub async fn run(&self, mut deliver: impl FnMut(ParentMessage<'_>)) -> io::Error {
        tokio::select! {
            error = self.run_out() => error,
            error = self.run_in(&mut deliver) => error,
        }
    }

    async fn run_out(&self) -> io::Error {
        loop {
            self.pushed.notified().await;
            loop {
                if let Err(error) = self.socket.writable().await {
                    return error;
                }
                match self.write(|bytes| self.socket.try_write(bytes)) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => return error,
                }
            }
        }
    }

    async fn run_in(&self, deliver: &mut impl FnMut(ParentMessage<'_>)) -> io::Error {
        let mut piece = vec![0; READ];
        let pace = Pace::default();
        loop {
            if let Err(error) = self.socket.readable().await {
                return error;
            }
            match self.socket.try_read(&mut piece) {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(n) => {
                    self.incoming.borrow_mut().buffer.extend_from_slice(&piece[..n]);
                    loop {
                        let delivered = self.deliver(deliver, || pace.is_over());
                        pace.end_turn();
                        // Clients get their turn.
                        tokio::task::yield_now().await;
                        match delivered {
                            Ok(true) => break,
                            Ok(false) => {}
                            Err(error) => return error,
                        }
                    }
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return error,
            }
        }
    }

    /// Writes everything that is queued, before the worker ends. Blocks. Messages that arrive are read and discarded,
    /// because the parent may have to write them before it reads.
    pub fn flush(&self) -> io::Result<()> {
        while !self.write(|bytes| self.write_now(bytes))? {
            self.wait(scoreboard::HEARTBEAT_INTERVAL, |_| ())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::scoreboard::{HEARTBEAT_INTERVAL, Scoreboard, StallTimer};

    #[tokio::test]
    async fn a_worker_that_waits_for_the_parent_beats() {
        let scoreboard: &'static Scoreboard = Box::leak(Box::new(Scoreboard::private().expect("memory")));
        scoreboard::adopt(scoreboard.slot(0));
        let (worker, _parent) = UnixStream::pair().expect("a pair of sockets");
        let uplink = Uplink::new(worker, 0, 1000).expect("there is a runtime");
        let (mut timer, start) = (StallTimer::default(), std::time::Instant::now());
        for n in 1..4 {
            let nothing = |_: ParentMessage<'_>| unreachable!("the parent sends nothing");
            uplink.wait(HEARTBEAT_INTERVAL, nothing).expect("the link is there");
            let now = start + n * 4 * HEARTBEAT_INTERVAL;
            assert_eq!(timer.sample(now, scoreboard.slot(0), Some(HEARTBEAT_INTERVAL)), None);
        }
    }
}
