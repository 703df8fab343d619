use std::future::Future;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::pin;

use super::*;
use crate::link::broadcast::{Audience, Broadcast, HEAD_MAX};
use crate::link::worker_message::WorkerMessage;
use crate::link::{TEXT_MAX, message, write_message};

const MAX_MESSAGE: usize = 1 << 20;

fn message_from(source: u32) -> Vec<u8> {
    WorkerMessage { target: 7, source, id: 7, plugin: "chat", data: b"?" }.to_bytes()
}

/// A broadcast of worker `origin`, encoded.
fn broadcast(origin: u16, number: u64, payload: &[u8]) -> Bytes {
    let mut wire = Vec::new();
    Broadcast { origin, number, audience: Audience::Everyone, source: 0, op: 2, payload }.write_to(&mut wire);
    wire.into()
}

/// The worker's end, and the parent's.
fn link() -> (UnixStream, OwnedReadHalf) {
    let (worker, parent) = UnixStream::pair().expect("a pair of sockets");
    (worker, reading(parent))
}

fn reading(parent: UnixStream) -> OwnedReadHalf {
    parent.set_nonblocking(true).expect("it can be set");
    tokio::net::UnixStream::from_std(parent).expect("there is a runtime").into_split().0
}

#[tokio::test]
async fn broadcasts_go_to_all_others_in_order_and_other_messages_to_the_handler() {
    let relay = Relay::default();
    let queues = [0, 1, 2].map(|worker| relay.join(worker));
    let (mut worker, parent) = link();
    let (mut wire, mut broadcasts) = (Vec::new(), Vec::new());
    write_message(&mut wire, Tag::Ready, b"it serves");
    for number in 0..100_u8 {
        broadcasts.extend_from_slice(&broadcast(1, u64::from(number) + 1, &[number; 50]));
    }
    wire.extend(&broadcasts);
    worker.write_all(&wire).expect("it fits");
    drop(worker);
    let mut handled = Vec::new();
    let handle = |tag, payload: Bytes| {
        handled.push((tag, payload.to_vec()));
        true
    };
    relay.read(1, parent, MAX_MESSAGE, handle).await.expect("it ends well");
    assert_eq!(handled, [(Tag::Ready, b"it serves".to_vec())]);
    assert!(queues[0].bytes() == broadcasts && queues[2].bytes() == broadcasts);
    assert!(queues[1].bytes().is_empty());
}

#[tokio::test]
async fn worker_messages_go_to_their_recipients_in_order_with_broadcasts() {
    let relay = Relay::default();
    let queues = [0, 1, 2].map(|worker| relay.join(worker));
    let (mut worker, parent) = link();
    let to = |target, data: &[u8]| {
        let sent = WorkerMessage { target, source: 1, id: 7, plugin: "chat", data };
        message(Tag::WorkerMessage, &sent.to_bytes())
    };
    let wires = [
        to(0, b"first"),
        broadcast(1, 1, b"second"),
        to(ALL_WORKERS, b"third"),
        to(1, b"nobody else's"),
        to(2, b"fourth"),
        to(3, b"nobody's"),
        broadcast(1, 2, b"fifth"),
    ];
    worker.write_all(&wires.concat()).expect("it fits");
    drop(worker);
    relay.read(1, parent, MAX_MESSAGE, |_, _| false).await.expect("it ends well");
    let of = |indexes: &[usize]| indexes.iter().flat_map(|index| wires[*index].to_vec()).collect::<Vec<_>>();
    assert_eq!(queues[0].bytes(), of(&[0, 1, 2, 6]));
    assert_eq!(queues[1].bytes(), of(&[]));
    assert_eq!(queues[2].bytes(), of(&[1, 2, 4, 6]));
}

/// The other workers get neither the message nor anything behind it.
#[tokio::test]
async fn an_invalid_message_ends_the_reading() {
    let tag = |code: u8, length: u32| [&length.to_le_bytes()[..], &[code]].concat();
    for (wire, is_valid) in [
        (tag(0, 0), false),
        (tag(77, 0), false),
        (vec![0xFF; 64], false),
        (tag(1, u32::MAX), false),
        (tag(1, TEXT_MAX as u32 + 1), false),
        (tag(3, (MAX_MESSAGE + HEAD_MAX) as u32 + 1), false),
        (tag(9, MAX_MESSAGE as u32 + 78), false),
        (tag(9, 3), false),
        // From another sender.
        (message(Tag::WorkerMessage, &message_from(0)).to_vec(), false),
        (broadcast(0, 1, b"another's").to_vec(), false),
        (message(Tag::Broadcast, b"shorter than its head").to_vec(), false),
        // Valid, at the wrong time.
        (message(Tag::Ready, b"again").to_vec(), false),
        (message(Tag::Drain, b"").to_vec(), false),
        // The beginning of the largest broadcast.
        (tag(3, (MAX_MESSAGE + HEAD_MAX) as u32), true),
    ] {
        let relay = Relay::default();
        let other = relay.join(0);
        let (mut worker, parent) = link();
        worker.write_all(&wire).expect("it fits");
        worker.write_all(&broadcast(1, 1, b"behind it")).expect("it fits");
        drop(worker);
        let result = relay.read(1, parent, MAX_MESSAGE, |_, _| false).await;
        let kind = result.map_err(|error| error.kind());
        assert_eq!(kind, if is_valid { Ok(()) } else { Err(io::ErrorKind::InvalidData) }, "{wire:?}");
        assert!(other.bytes().is_empty(), "{wire:?}");
    }
}

/// The kernel then reports a reset connection.
#[tokio::test]
async fn a_worker_that_ends_before_it_has_read_everything_has_closed_its_link_and_its_last_broadcast_arrives()
{
    let relay = Relay::default();
    let other = relay.join(0);
    let (mut worker, mut parent) = UnixStream::pair().expect("a pair of sockets");
    parent.write_all(b"unread").expect("it fits");
    let parent = reading(parent);
    let last = broadcast(1, 1, b"its last");
    worker.write_all(&last).expect("it fits");
    drop(worker);
    relay.read(1, parent, MAX_MESSAGE, |_, _| false).await.expect("it ends well");
    assert_eq!(other.bytes(), last);
}

#[tokio::test]
async fn no_worker_waits_for_one_that_has_ended() {
    let relay = Relay::default();
    let (dead, alive) = (relay.join(0), relay.join(2));
    dead.push(vec![0; QUEUE_MAX].into());
    let (mut worker, parent) = link();
    let sent = broadcast(1, 1, b"sent");
    worker.write_all(&sent).expect("it fits");
    drop(worker);
    let mut read = pin!(relay.read(1, parent, MAX_MESSAGE, |_, _| true));
    let blocked = std::future::poll_fn(|cx| std::task::Poll::Ready(read.as_mut().poll(cx).is_pending()));
    assert!(blocked.await, "the queue is full");
    assert!(alive.bytes().is_empty());
    relay.leave(0);
    read.await.expect("it ends well");
    assert_eq!(alive.bytes(), sent);
}

/// A relay with workers 0, which reads nothing, 1, and 2; what happens to worker 0 when its queue fills up.
struct Stalled {
    relay: Rc<Relay>,
    queue: Rc<Queue>,
    other: Rc<Queue>,
    writer: tokio::task::JoinHandle<io::Result<()>>,
    /// Worker 0's end.
    worker: UnixStream,
    may_end: Rc<Cell<bool>>,
}

const TIMEOUT: Duration = Duration::from_secs(11);

impl Stalled {
    fn new(timeout: Option<Duration>) -> Self {
        let relay = Rc::new(Relay::default());
        let (queue, other) = (relay.join(0), relay.join(2));
        let (worker, parent) = UnixStream::pair().expect("a pair of sockets");
        parent.set_nonblocking(true).expect("it can be set");
        let write = tokio::net::UnixStream::from_std(parent).expect("there is a runtime").into_split().1;
        let may_end = Rc::new(Cell::new(true));
        let writer = {
            let (relay, queue, may_end) = (relay.clone(), queue.clone(), may_end.clone());
            tokio::task::spawn_local(async move {
                let result = relay.write(&queue, write, || timeout, || may_end.get()).await;
                relay.leave(0);
                result
            })
        };
        queue.push(vec![0; QUEUE_MAX + (1 << 20)].into());
        Self { relay, queue, other, writer, worker, may_end }
    }

    /// How long worker 1 waits until it is read from.
    async fn wait(&self) -> Duration {
        let begun = Instant::now();
        self.relay.room(1).await;
        begun.elapsed()
    }

    fn push(&self, size: usize) {
        self.relay.others(1).iter().for_each(|queue| queue.push(vec![1; size].into()));
        self.other.pieces.take();
        self.other.length.set(0);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_sender_waits_for_a_full_queue_for_a_short_time_and_then_no_more() {
    let stalled = Stalled::new(Some(TIMEOUT));
    let waited = stalled.wait().await;
    assert!(waited <= STALLED_AFTER + Duration::from_millis(10), "{waited:?}");
    assert!(stalled.queue.length.get() >= QUEUE_MAX);
    for _ in 0..50 {
        assert_eq!(stalled.wait().await, Duration::ZERO);
        stalled.push(1 << 20);
    }
    assert!(!stalled.writer.is_finished());
    // It is ended when it has read nothing for the whole time.
    let begun = Instant::now();
    let error = stalled.writer.await.expect("no panic").expect_err("it has read nothing");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() <= TIMEOUT - STALLED_AFTER + Duration::from_millis(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stalled_worker_whose_queue_reaches_the_bound_is_ended_at_once() {
    let stalled = Stalled::new(Some(TIMEOUT));
    stalled.wait().await;
    stalled.push(STALLED_QUEUE_MAX);
    assert_eq!(stalled.wait().await, Duration::ZERO, "it has left");
    let error = stalled.writer.await.expect("no panic").expect_err("it has read nothing");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stalled_worker_that_must_not_be_ended_keeps_all_messages_and_makes_senders_wait_at_the_bound() {
    for timeout in [Some(TIMEOUT), None] {
        let stalled = Stalled::new(timeout);
        stalled.may_end.set(false);
        stalled.wait().await;
        stalled.push(STALLED_QUEUE_MAX);
        let waited = tokio::time::timeout(100 * TIMEOUT, stalled.relay.room(1)).await;
        assert!(waited.is_err() && !stalled.writer.is_finished());
        // A debugger lets go of it.
        stalled.may_end.set(true);
        if timeout.is_some() {
            assert!(stalled.wait().await <= TIMEOUT);
            stalled.writer.await.expect("no panic").expect_err("it has read nothing");
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_worker_that_reads_again_gets_everything_in_order_and_senders_wait_for_it_again() {
    use std::io::Read;
    let mut stalled = Stalled::new(Some(TIMEOUT));
    stalled.wait().await;
    stalled.push(1 << 20);
    stalled.worker.set_nonblocking(true).expect("it can be set");
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let mut read = |worker: &mut UnixStream, received: &mut Vec<u8>| match worker.read(&mut buffer) {
        Ok(n) => received.extend_from_slice(&buffer[..n]),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
    };
    read(&mut stalled.worker, &mut received);
    while stalled.queue.is_stalled.get() {
        read(&mut stalled.worker, &mut received);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(stalled.queue.length.get() >= QUEUE_MAX);
    assert!(
        tokio::time::timeout(STALLED_AFTER / 2, stalled.relay.room(1)).await.is_err(),
        "it makes progress, so that senders wait"
    );
    let all = QUEUE_MAX + (2 << 20);
    while received.len() < all {
        read(&mut stalled.worker, &mut received);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(received[..all - (1 << 20)].iter().all(|byte| *byte == 0));
    assert!(received[all - (1 << 20)..].iter().all(|byte| *byte == 1));
    assert!(!stalled.writer.is_finished());
}
