//! The worker's end of the link: carries GLOBAL broadcasts to the parent, in order, and brings in those of
//! other workers. Memory is bounded: a full queue makes the sender wait, and while it waits it takes in what
//! comes, so that two workers that wait for each other both go on.

use std::cell::RefCell;
use std::io;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use bytes::{Buf, BytesMut};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::orders::Order;
use super::{Decoder, Tag, write_message};
use crate::board;

/// Bytes that may wait for the parent before a broadcast blocks.
const QUEUE_MAX: usize = 1 << 20;
/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// The worker's end.
#[derive(Debug)]
pub struct Uplink {
    socket: tokio::net::UnixStream,
    queue: RefCell<BytesMut>,
    queued: Notify,
    incoming: RefCell<Decoder>,
}

/// What the parent wants.
#[derive(Debug)]
pub enum Event {
    /// A WebSocket frame for every client of this worker.
    Broadcast(bytes::Bytes),
    /// A message for a plugin, as [`super::post`] reads it.
    Post(bytes::Bytes),
    /// End in good order.
    Drain,
    /// A step of a reload.
    Order(Order),
}

impl Uplink {
    /// Takes the socket over; `max_message` is that of the settings. Needs a tokio runtime.
    pub fn new(socket: UnixStream, max_message: usize) -> Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: tokio::net::UnixStream::from_std(socket)
                .context("the link to the parent cannot be used")?,
            queue: RefCell::default(),
            queued: Notify::new(),
            incoming: RefCell::new(Decoder::new(max_message)),
        })
    }

    /// Queues a message; it leaves at the end of this turn. Waits while the queue is full: `deliver` is then
    /// given what comes in meanwhile.
    pub fn send(&self, tag: Tag, payload: &[u8], deliver: impl FnMut(Event)) {
        let mut queue = self.queue.borrow_mut();
        if queue.is_empty() {
            self.queued.notify_one();
        }
        write_message(&mut *queue, tag, payload);
        if queue.len() > QUEUE_MAX {
            drop(queue);
            self.wait_for_room(deliver);
        }
    }

    /// Runs inside of a callback, when the runtime cannot: with plain system calls.
    #[cold]
    fn wait_for_room(&self, mut deliver: impl FnMut(Event)) {
        // Who hangs is the worker that takes nothing, not the one that waits for it.
        board::current().set_waiting(true);
        while self.queue.borrow().len() > QUEUE_MAX / 2 {
            // A link that has failed ends the worker: `run` sees it next.
            if self.exchange(&mut deliver).is_err() {
                break;
            }
        }
        board::current().set_waiting(false);
    }

    /// Waits for what comes next, outside of the runtime, and sends meanwhile what is queued.
    pub fn wait(&self, mut deliver: impl FnMut(Event)) -> io::Result<()> {
        self.exchange(&mut deliver)
    }

    /// Waits until the socket can be read from, or written to if something is queued, and does it.
    fn exchange(&self, deliver: &mut impl FnMut(Event)) -> io::Result<()> {
        let out = if self.queue.borrow().is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN | out)], None) {
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
        self.deliver(deliver)?;
        self.write(|bytes| self.write_now(bytes)).map(drop)
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.socket, bytes)?)
    }

    /// Writes what the socket takes. True: all.
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

    fn deliver(&self, deliver: &mut impl FnMut(Event)) -> io::Result<()> {
        loop {
            let next = self.incoming.borrow_mut().take();
            match next.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))? {
                Some((Tag::Broadcast, frame)) => deliver(Event::Broadcast(frame)),
                Some((Tag::Post, payload)) => deliver(Event::Post(payload)),
                Some((Tag::Drain, _)) => deliver(Event::Drain),
                Some((Tag::Order, order)) => deliver(Event::Order(serde_json::from_slice(&order)?)),
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None => return Ok(()),
            }
        }
    }

    /// Carries messages both ways until the parent is gone, and says how.
    pub async fn run(&self, mut deliver: impl FnMut(Event)) -> io::Error {
        tokio::select! {
            error = self.run_out() => error,
            error = self.run_in(&mut deliver) => error,
        }
    }

    async fn run_out(&self) -> io::Error {
        loop {
            self.queued.notified().await;
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

    async fn run_in(&self, deliver: &mut impl FnMut(Event)) -> io::Error {
        let mut piece = vec![0; READ];
        loop {
            if let Err(error) = self.socket.readable().await {
                return error;
            }
            match self.socket.try_read(&mut piece) {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(n) => {
                    self.incoming.borrow_mut().buffer.extend_from_slice(&piece[..n]);
                    if let Err(error) = self.deliver(deliver) {
                        return error;
                    }
                    // The clients' turn.
                    tokio::task::yield_now().await;
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return error,
            }
        }
    }

    /// Writes all that is queued, before the worker ends. Blocks. What comes in has nobody to go to any more, but
    /// is taken: the parent may wait for that, before it reads.
    pub fn flush(&self) -> io::Result<()> {
        while !self.write(|bytes| self.write_now(bytes))? {
            self.exchange(&mut drop)?;
        }
        Ok(())
    }
}
