//! The parent's end of the links: carries each worker's broadcasts to all others, and its plugins' messages to
//! whom they are for, in order, in one piece for all broadcasts that came at once. Memory is bounded: while a
//! worker's queue is full, no worker is read from; a worker that does not take what is queued for it is hung, and
//! the watchdog ends it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use callsign_plugin::abi::ALL_WORKERS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::link::{Addresses, Decoder, Tag};

/// Bytes that may wait for one worker before nothing more is read from the others.
const QUEUE_MAX: usize = 4 << 20;
/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// What waits for one worker.
#[derive(Debug, Default)]
pub struct Queue {
    pieces: RefCell<VecDeque<Bytes>>,
    length: Cell<usize>,
    queued: Notify,
}

/// The queues of the workers that live.
#[derive(Debug, Default)]
pub struct Relay {
    queues: RefCell<Vec<(usize, Rc<Queue>)>>,
    /// Told when a queue has got shorter, or has gone.
    room: Notify,
}

impl Relay {
    /// A queue for a worker that serves now.
    pub fn join(&self, worker: usize) -> Rc<Queue> {
        let queue = Rc::new(Queue::default());
        self.queues.borrow_mut().push((worker, queue.clone()));
        queue
    }

    /// That worker has ended.
    pub fn leave(&self, worker: usize) {
        self.queues.borrow_mut().retain(|(other, _)| *other != worker);
        self.room.notify_waiters();
    }

    fn others(&self, source: usize) -> Vec<Rc<Queue>> {
        let queues = self.queues.borrow();
        queues.iter().filter(|(worker, _)| *worker != source).map(|(_, queue)| queue.clone()).collect()
    }

    /// Waits until every worker but `source` has room.
    async fn room(&self, source: usize) {
        loop {
            // Asked for before the look, so that no word is missed.
            let room = self.room.notified();
            if self.others(source).iter().all(|queue| queue.length.get() < QUEUE_MAX) {
                return;
            }
            room.await;
        }
    }

    /// Reads from a worker until its socket ends. `note` gets what is not for the other workers; false: the worker
    /// should not have said that now.
    pub async fn read(
        &self,
        source: usize,
        mut socket: OwnedReadHalf,
        max_message: usize,
        mut note: impl FnMut(Tag, Bytes) -> bool,
    ) -> io::Result<()> {
        let mut decoder = Decoder::new(max_message);
        let garbled = || io::Error::new(io::ErrorKind::InvalidData, "it has sent what no worker sends");
        loop {
            self.room(source).await;
            // Pieces of one allocation share it: were each given its own, a short one would hold as much memory as
            // a long one.
            if decoder.buffer.capacity() - decoder.buffer.len() < READ / 4 {
                decoder.buffer.reserve(READ);
            }
            match socket.read_buf(&mut decoder.buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Its end was closed before it had read all that was written to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
            loop {
                let broadcasts = decoder.take_broadcasts().map_err(|_| garbled())?;
                if !broadcasts.is_empty() {
                    self.others(source).iter().for_each(|queue| queue.push(broadcasts.clone()));
                }
                if let Some((post, addresses)) = decoder.take_post().map_err(|_| garbled())? {
                    self.forward(source, post, addresses).ok_or_else(garbled)?;
                    continue;
                }
                match decoder.take().map_err(|_| garbled())? {
                    Some((tag, payload)) => {
                        if !note(tag, payload) {
                            return Err(garbled());
                        }
                    }
                    None => break,
                }
            }
        }
    }

    /// Queues a plugin's message for whom it is for; for a worker that does not serve it is lost. None: `source`
    /// does not say who it is.
    fn forward(&self, source: usize, post: Bytes, addresses: Addresses) -> Option<()> {
        let is = |worker: usize, address: u32| u32::try_from(worker) == Ok(address);
        if !is(source, addresses.source) {
            return None;
        }
        for (worker, queue) in self.queues.borrow().iter() {
            if *worker != source && (addresses.target == ALL_WORKERS || is(*worker, addresses.target)) {
                queue.push(post.clone());
            }
        }
        Some(())
    }

    /// Writes to a worker what is queued for it, until its socket fails, or takes nothing for `patience`: then
    /// the error is [`io::ErrorKind::TimedOut`].
    pub async fn write(
        &self,
        queue: &Queue,
        mut socket: OwnedWriteHalf,
        patience: Option<Duration>,
    ) -> io::Result<()> {
        loop {
            let next = queue.pieces.borrow_mut().pop_front();
            let Some(mut piece) = next else {
                queue.queued.notified().await;
                continue;
            };
            while piece.has_remaining() {
                let before = piece.len();
                let written = socket.write_buf(&mut piece);
                match patience {
                    Some(patience) => tokio::time::timeout(patience, written).await??,
                    None => written.await?,
                };
                queue.length.set(queue.length.get() - (before - piece.len()));
                self.room.notify_waiters();
            }
        }
    }
}

impl Queue {
    /// Queues a whole message, or several.
    pub fn push(&self, piece: Bytes) {
        self.length.set(self.length.get() + piece.len());
        self.pieces.borrow_mut().push_back(piece);
        self.queued.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::pin::pin;

    use super::*;
    use crate::link::post::Post;
    use crate::link::{message, write_message};

    const MAX_MESSAGE: usize = 1 << 20;

    fn in_the_name_of(source: u32) -> Vec<u8> {
        Post { target: 7, source, id: 7, plugin: "chat", data: b"?" }.to_bytes()
    }

    /// What the worker sends, and the parent's end.
    fn link() -> (UnixStream, OwnedReadHalf) {
        let (worker, parent) = UnixStream::pair().expect("a pair of sockets");
        (worker, reading(parent))
    }

    fn reading(parent: UnixStream) -> OwnedReadHalf {
        parent.set_nonblocking(true).expect("it can be set");
        tokio::net::UnixStream::from_std(parent).expect("there is a runtime").into_split().0
    }

    fn queued(queue: &Queue) -> Vec<u8> {
        queue.pieces.borrow().iter().flat_map(|piece| piece.to_vec()).collect()
    }

    #[tokio::test]
    async fn broadcasts_go_to_all_others_in_order_and_the_rest_is_noted() {
        let relay = Relay::default();
        let queues = [0, 1, 2].map(|worker| relay.join(worker));
        let (mut worker, parent) = link();
        let (mut wire, mut broadcasts) = (Vec::new(), Vec::new());
        write_message(&mut wire, Tag::Ready, b"it serves");
        for number in 0..100_u8 {
            write_message(&mut broadcasts, Tag::Broadcast, &[number; 50]);
        }
        wire.extend(&broadcasts);
        worker.write_all(&wire).expect("it fits");
        drop(worker);
        let mut noted = Vec::new();
        let note = |tag, payload: Bytes| {
            noted.push((tag, payload.to_vec()));
            true
        };
        relay.read(1, parent, MAX_MESSAGE, note).await.expect("it ends well");
        assert_eq!(noted, [(Tag::Ready, b"it serves".to_vec())]);
        assert!(queued(&queues[0]) == broadcasts && queued(&queues[2]) == broadcasts);
        assert!(queued(&queues[1]).is_empty());
    }

    #[tokio::test]
    async fn posts_go_to_whom_they_are_for_in_order_with_broadcasts() {
        let relay = Relay::default();
        let queues = [0, 1, 2].map(|worker| relay.join(worker));
        let (mut worker, parent) = link();
        let post = |target, data| {
            message(Tag::Post, &Post { target, source: 1, id: 7, plugin: "chat", data }.to_bytes())
        };
        let wires = [
            post(0, b"first"),
            message(Tag::Broadcast, b"second"),
            post(ALL_WORKERS, b"third"),
            post(1, b"nobody else's"),
            post(2, b"fourth"),
            post(3, b"nobody's"),
            message(Tag::Broadcast, b"fifth"),
        ];
        worker.write_all(&wires.concat()).expect("it fits");
        drop(worker);
        relay.read(1, parent, MAX_MESSAGE, |_, _| false).await.expect("it ends well");
        let of =
            |indexes: &[usize]| indexes.iter().flat_map(|index| wires[*index].to_vec()).collect::<Vec<_>>();
        assert_eq!(queued(&queues[0]), of(&[0, 1, 2, 6]));
        assert_eq!(queued(&queues[1]), of(&[]));
        assert_eq!(queued(&queues[2]), of(&[1, 2, 4, 6]));
    }

    /// Nothing of it goes to the others, nor anything behind it.
    #[tokio::test]
    async fn what_no_worker_sends_ends_the_reading() {
        let tag = |code: u8, length: u32| [&length.to_le_bytes()[..], &[code]].concat();
        for (wire, believed) in [
            (tag(0, 0), false),
            (tag(77, 0), false),
            (vec![0xFF; 64], false),
            (tag(1, u32::MAX), false),
            (tag(1, (1 << 20) + 1), false),
            (tag(3, MAX_MESSAGE as u32 + 15), false),
            (tag(9, MAX_MESSAGE as u32 + 78), false),
            (tag(9, 3), false),
            // In another's name.
            (message(Tag::Post, &in_the_name_of(0)).to_vec(), false),
            // As it should be, at the wrong time.
            (message(Tag::Ready, b"again").to_vec(), false),
            (message(Tag::Drain, b"").to_vec(), false),
            // The largest frame is only not there yet.
            (tag(3, MAX_MESSAGE as u32 + 14), true),
        ] {
            let relay = Relay::default();
            let other = relay.join(0);
            let (mut worker, parent) = link();
            worker.write_all(&wire).expect("it fits");
            worker.write_all(&message(Tag::Broadcast, b"behind it")).expect("it fits");
            drop(worker);
            let result = relay.read(1, parent, MAX_MESSAGE, |_, _| false).await;
            let kind = result.map_err(|error| error.kind());
            assert_eq!(kind, if believed { Ok(()) } else { Err(io::ErrorKind::InvalidData) }, "{wire:?}");
            assert!(queued(&other).is_empty(), "{wire:?}");
        }
    }

    /// The kernel says then that it was reset.
    #[tokio::test]
    async fn a_worker_that_ends_before_it_has_read_all_has_closed_its_link_and_said_what_it_said() {
        let relay = Relay::default();
        let other = relay.join(0);
        let (mut worker, mut parent) = UnixStream::pair().expect("a pair of sockets");
        parent.write_all(b"unread").expect("it fits");
        let parent = reading(parent);
        let last = message(Tag::Broadcast, b"its last");
        worker.write_all(&last).expect("it fits");
        drop(worker);
        relay.read(1, parent, MAX_MESSAGE, |_, _| false).await.expect("it ends well");
        assert_eq!(queued(&other), last);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_worker_that_has_left() {
        let relay = Relay::default();
        let (dead, alive) = (relay.join(0), relay.join(2));
        dead.push(vec![0; QUEUE_MAX].into());
        let (mut worker, parent) = link();
        let news = message(Tag::Broadcast, b"news");
        worker.write_all(&news).expect("it fits");
        drop(worker);
        let mut read = pin!(relay.read(1, parent, MAX_MESSAGE, |_, _| true));
        let blocked = std::future::poll_fn(|cx| std::task::Poll::Ready(read.as_mut().poll(cx).is_pending()));
        assert!(blocked.await, "the queue is full");
        assert!(queued(&alive).is_empty());
        relay.leave(0);
        read.await.expect("it ends well");
        assert_eq!(queued(&alive), news);
    }
}
