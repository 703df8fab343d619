//! A transport in memory, for tests on a paused clock: the client's end is a [`Transport::Memory`], the test holds the
//! [`Peer`]. Each direction holds a bounded number of bytes, as a socket's buffer does.
//!
//! [`Transport::Memory`]: super::transport::Transport::Memory

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Wake;

#[derive(Debug, Default)]
struct Direction {
    bytes: VecDeque<u8>,
    ended: bool,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Shared {
    to_server: Direction,
    to_client: Direction,
    broken: bool,
    writes: usize,
}

/// The server's end.
#[derive(Debug)]
pub struct Pipe(Rc<RefCell<Shared>>);

/// The client's end.
#[derive(Debug)]
pub struct Peer(Rc<RefCell<Shared>>);

/// A pair of ends; `capacity` bounds the bytes on the way to the client.
pub fn pipe(capacity: usize) -> (Pipe, Peer) {
    let shared = Rc::new(RefCell::new(Shared::default()));
    shared.borrow_mut().to_client.capacity = capacity;
    (Pipe(shared.clone()), Peer(shared))
}

impl Pipe {
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut shared = self.0.borrow_mut();
        if shared.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let incoming = &mut shared.to_server;
        let n = buffer.len().min(incoming.bytes.len());
        if n == 0 && !incoming.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        incoming.bytes.drain(..n).zip(buffer).for_each(|(byte, to)| *to = byte);
        Ok(n)
    }

    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut shared = self.0.borrow_mut();
        if shared.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        shared.writes += 1;
        let outgoing = &mut shared.to_client;
        let room = outgoing.capacity - outgoing.bytes.len();
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).take(room);
        let before = outgoing.bytes.len();
        outgoing.bytes.extend(bytes);
        Ok(outgoing.bytes.len() - before)
    }

    pub fn shutdown(&self) {
        self.0.borrow_mut().to_client.ended = true;
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Peer {
    /// Sends bytes to the server, which has to be told that the transport is readable.
    pub fn send(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_server.bytes.extend(bytes);
    }

    /// Ends the client's side.
    pub fn end(&self) {
        self.0.borrow_mut().to_server.ended = true;
    }

    /// Takes what the server has written, at most `max` bytes.
    pub fn take(&self, max: usize) -> Vec<u8> {
        let mut shared = self.0.borrow_mut();
        let n = max.min(shared.to_client.bytes.len());
        shared.to_client.bytes.drain(..n).collect()
    }

    /// Whether the server has ended its side, or closed the transport.
    pub fn is_ended(&self) -> bool {
        self.0.borrow().to_client.ended
    }

    /// How many writes the server has made.
    pub fn writes(&self) -> usize {
        self.0.borrow().writes
    }

    /// Breaks the transport: reads and writes of the server fail.
    pub fn break_off(&self) {
        self.0.borrow_mut().broken = true;
    }
}

/// A waker's task: how often it was woken.
#[derive(Default)]
pub struct Wakes(pub AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}
