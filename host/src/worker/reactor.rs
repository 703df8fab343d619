//! Which sockets of clients are ready. One readiness queue of the system holds all of a worker's clients; tokio waits
//! on that queue as on a single descriptor. A client costs no memory here, and no task.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use tokio::io::Interest as TokioInterest;
use tokio::io::unix::AsyncFd;

use super::schedule::yield_to_runtime;
use crate::client::transport::Transport;

/// Events that are fetched at once. More stay in the queue until clients have had their turn.
const EVENTS: usize = 256;

/// What has happened to a socket.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    /// The index that the socket was registered under.
    pub slot: u32,
    /// There may be bytes to read.
    pub readable: bool,
    /// The socket may accept bytes again.
    pub writable: bool,
    /// There is urgent data (TCP).
    pub urgent: bool,
    /// The client has ended its side, or the socket has failed.
    pub read_closed: bool,
}

/// The sockets of a worker's clients. Events are edge-triggered.
#[derive(Debug)]
pub struct Reactor {
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    ready: AsyncFd<QueueFd>,
}

/// A second descriptor of the readiness queue.
#[derive(Debug)]
struct QueueFd(OwnedFd);

impl AsRawFd for QueueFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Reactor {
    /// Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        let queue = QueueFd(poll.registry().as_fd().try_clone_to_owned()?);
        // SAFETY: `QueueFd` returns the same descriptor each time, and owns it until it is dropped.
        #[expect(unsafe_code, reason = "tokio has to be told that the descriptor stays the same")]
        let ready = unsafe { AsyncFd::register_with_interest(queue, TokioInterest::READABLE) };
        let ready = ready.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { poll: RefCell::new(poll), events: RefCell::new(Events::with_capacity(EVENTS)), ready })
    }

    /// Reports events of the transport under that index from now on. A transport without a descriptor has none.
    pub fn register(&self, transport: &Transport, slot: u32) -> io::Result<()> {
        let Some(descriptor) = transport.descriptor() else { return Ok(()) };
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[cfg(target_os = "linux")]
        let interest = interest | Interest::PRIORITY;
        let token = Token(slot as usize);
        self.poll.borrow().registry().register(&mut SourceFd(&descriptor.as_raw_fd()), token, interest)
    }

    /// Stops that. A closed descriptor would stay registered while another process has it open, such as one that a
    /// plugin forked.
    pub fn deregister(&self, transport: &Transport) {
        if let Some(descriptor) = transport.descriptor() {
            let _ = self.poll.borrow().registry().deregister(&mut SourceFd(&descriptor.as_raw_fd()));
        }
    }

    /// Calls `note` with all events that are there, and has the task woken by the next.
    pub fn poll_events(&self, cx: &mut Context<'_>, mut note: impl FnMut(Readiness)) {
        while let Poll::Ready(Ok(mut guard)) = self.ready.poll_read_ready(cx) {
            let mut events = self.events.borrow_mut();
            if let Err(error) = self.poll.borrow_mut().poll(&mut events, Some(Duration::ZERO)) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                log::error!("cannot ask which sockets are ready: {error}");
            }
            let mut count = 0;
            for event in events.iter() {
                count += 1;
                note(Readiness {
                    slot: event.token().0 as u32,
                    readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                    urgent: event.is_priority(),
                    writable: event.is_writable() || event.is_error(),
                    read_closed: event.is_read_closed() || event.is_error(),
                });
            }
            if count == EVENTS {
                // There may be more, which no new edge tells.
                guard.retain_ready();
                return yield_to_runtime(cx);
            }
            guard.clear_ready();
        }
    }
}
