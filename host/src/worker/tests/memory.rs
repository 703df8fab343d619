//! What the clients of a worker hold together: incomplete messages and write queues.

use super::*;
use crate::client::tls::tests::socket_pair;

const KIB: usize = 1 << 10;

/// The first part of a message of 64 KiB.
fn part(length: usize) -> Vec<u8> {
    frame(0x80 | op::BINARY, &[7; 64 * KIB])[..length].to_vec()
}

fn receiving() -> Limits {
    limits(|limits| {
        (limits.max_message, limits.receive_memory) = (64 * KIB, 256 * KIB);
        limits.message_timeout = Some(32 * SECOND);
    })
}

#[tokio::test(start_paused = true)]
async fn of_clients_that_hold_parts_of_messages_those_are_closed_that_hold_most_for_the_longest_time() {
    with_worker(receiving(), async |worker| {
        let clients = TestClient::open_many::<8>(worker, 1000, echo).await;
        let [small, first, second, third, new, newer, ..] = &clients;
        small.send(&part(1000));
        first.send(&part(50 * KIB));
        for (c, kib) in [(second, 60), (third, 60), (new, 63), (newer, 63)] {
            tokio::time::sleep(4 * SECOND).await;
            c.send(&part(kib * KIB));
            settle().await;
        }
        let codes: Vec<_> = clients.iter().map(TestClient::code).collect();
        assert_eq!(codes, [None, Some(1013), Some(1013), None, None, None, None, None]);
        assert_eq!(first.take_all(), close_frame(1013, "too much data of incomplete messages"));
        assert!(worker.hub.incoming.memory() <= worker.hub.limits.get().receive_memory);
        // The others complete theirs.
        for (c, sent) in [(third, 60 * KIB), (new, 63 * KIB), (newer, 63 * KIB)] {
            c.send(&frame(0x80 | op::BINARY, &[7; 64 * KIB])[sent..]);
        }
        settle().await;
        assert_eq!(MESSAGES.take().len(), 3);
        clients.iter().for_each(TestClient::end);
        tokio::time::sleep(20 * SECOND).await;
        assert_eq!((worker.hub.incoming.memory(), worker.hub.len()), (0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_clients_with_the_largest_message_stay_within_the_least_memory() {
    let limits = limits(|limits| (limits.max_message, limits.receive_memory) = (64 * KIB, 3 * 64 * KIB));
    with_worker(limits, async |worker| {
        let clients = TestClient::open_many::<2>(worker, 1000, echo).await;
        for at in 0..64 {
            clients.iter().for_each(|c| c.send(&part(64 * KIB)[at * KIB..(at + 1) * KIB]));
            settle().await;
        }
        assert!(worker.hub.incoming.memory() > 2 * 63 * KIB);
        assert_eq!(clients.each_ref().map(TestClient::code), [None; 2]);
        clients.iter().for_each(TestClient::end);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_complete_in_time_is_closed_with_1008() {
    let limits = limits(|limits| limits.message_timeout = Some(16 * SECOND));
    with_worker(limits, async |worker| {
        let [slow, fragments, many] = TestClient::open_many(worker, 1 << 20, echo).await;
        let whole = frame(0x80 | op::BINARY, b"message");
        many.send(&whole[..3]);
        for second in 0..15 {
            // One byte, an empty fragment, and the end of one message with the beginning of the next.
            slow.send(&part(100)[second..=second]);
            fragments.send(&frame(if second == 0 { op::BINARY } else { op::CONTINUATION }, b""));
            many.send(&[&whole[3..], &whole[..3]].concat());
            tokio::time::sleep(SECOND).await;
        }
        assert_eq!([&slow, &fragments, &many].map(TestClient::code), [None; 3]);
        many.send(&[&whole[3..], &whole[..3]].concat());
        tokio::time::sleep(4 * SECOND).await;
        assert_eq!([&slow, &fragments, &many].map(TestClient::code), [Some(1008), Some(1008), None]);
        assert_eq!(MESSAGES.take().len(), 16);
        assert_eq!(slow.take_all(), close_frame(1008, "message took too long"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_message_may_take_any_time_and_pipes_of_messages_are_not_late() {
    let limits = limits(|limits| limits.message_timeout = None);
    with_worker(limits, async |worker| {
        let c = TestClient::open(worker, 1000, echo()).await;
        c.send(&part(1000));
        tokio::time::sleep(10_000 * SECOND).await;
        assert!(c.client.is_open());
        c.end();
        tokio::time::sleep(10 * SECOND).await;
        assert!(c.is_dropped());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_worker_does_not_read_does_not_count_for_a_message() {
    let limits = limits(|limits| {
        (limits.high_water, limits.max_backlog) = (200, 100_000);
        limits.message_timeout = Some(4 * SECOND);
    });
    with_worker(limits, async |worker| {
        let c = TestClient::open(worker, 100, echo()).await;
        let message = frame(0x80 | op::BINARY, &[1; 4000]);
        c.send(&[&message[..], &message[..1000]].concat());
        for _ in 0..30 {
            tokio::time::sleep(SECOND / 2).await;
            assert_eq!(c.take_all().len(), 100);
        }
        assert!(c.client.is_open(), "it reads its answer slowly");
    })
    .await;
}

fn sending() -> Limits {
    limits(|limits| (limits.max_backlog, limits.send_memory) = (100 * KIB, 500 * KIB))
}

#[tokio::test(start_paused = true)]
async fn of_clients_that_do_not_read_those_are_closed_for_which_most_waits() {
    with_worker(sending(), async |worker| {
        let clients = TestClient::open_many::<10>(worker, 1000, recording).await;
        let queue = |c: &TestClient, kib: usize| {
            (0..kib).for_each(|n| _ = worker.hub.send(&c.client, op::BINARY, &[n as u8; KIB]))
        };
        clients.iter().for_each(|c| queue(c, 20));
        settle().await;
        assert!(worker.hub.outgoing.memory(&worker.hub.pool) >= 200 * KIB);
        assert!(clients.iter().all(|c| c.client.is_open()));
        for (number, kib) in [(3, 40), (7, 70), (5, 50)] {
            queue(&clients[number], kib);
            settle().await;
        }
        let closed: Vec<_> = (0..10).filter(|n| clients[*n].code() == Some(1013)).collect();
        assert_eq!(closed, [7]);
        assert!(worker.hub.outgoing.memory(&worker.hub.pool) <= 500 * KIB);
        // What was begun is completed, then comes the Close.
        let mut out = Vec::new();
        for _ in 0..10 {
            out.extend(clients[7].take_all());
            settle().await;
        }
        let first = server_frame(op::BINARY, &[0; KIB]);
        assert!(out == [first, close_frame(1013, "too slow to receive")].concat(), "{} bytes", out.len());
        for c in clients.iter().filter(|c| c.client.is_open()) {
            while !c.take_all().is_empty() {
                settle().await;
            }
        }
        assert_eq!(worker.hub.outgoing.memory(&worker.hub.pool), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_that_waits_for_many_counts_once() {
    with_worker(sending(), async |worker| {
        let clients = TestClient::open_many::<50>(worker, 1000, recording).await;
        for _ in 0..2 {
            worker.broadcast(None, op::BINARY, &[1; 90 * KIB], scope::LOCAL);
            settle().await;
        }
        let memory = worker.hub.outgoing.memory(&worker.hub.pool);
        assert!((180 * KIB..220 * KIB).contains(&memory), "{memory}");
        assert!(clients.iter().all(|c| c.client.is_open()));
        clients.iter().for_each(TestClient::end);
        worker.drop_all().await;
        settle().await;
        assert_eq!(worker.hub.outgoing.memory(&worker.hub.pool), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_large_message_begun_is_dropped_at_once() {
    let limits = limits(|limits| (limits.max_backlog, limits.send_memory) = (100 * KIB, 300 * KIB));
    with_worker(limits, async |worker| {
        let c = TestClient::open(worker, 1000, recording()).await;
        worker.hub.send(&c.client, op::BINARY, &[1; 400 * KIB]);
        settle().await;
        assert_eq!(disconnected(), [(1, 1013)]);
        assert!(c.is_dropped());
        assert_eq!(worker.hub.outgoing.memory(&worker.hub.pool), 0);
    })
    .await;
}

/// Sends messages of 60 KiB to new clients that read nothing, one after the other, until clients are closed for their
/// memory. How many there were, and how many of them were closed.
async fn closed_for_memory(
    worker: &'static Worker,
    mut transport: impl FnMut() -> Transport,
) -> (usize, usize) {
    let is_closed = |c: &Rc<Client>| c.endpoint.ending().is_some_and(|ending| ending.code == 1013);
    let mut clients = Vec::new();
    while !clients.iter().any(is_closed) {
        let c = open(worker, transport(), recording()).await;
        while !c.turn.blocked.get() && c.is_open() {
            worker.hub.send(&c, op::BINARY, &[1; 60 * KIB]);
            settle().await;
        }
        clients.push(c);
    }
    let max = worker.hub.limits.get().send_memory;
    let memory = worker.hub.outgoing.memory(&worker.hub.pool);
    assert!(memory <= max - max / 8, "{memory}");
    (clients.len(), clients.iter().filter(|c| is_closed(c)).count())
}

#[tokio::test(start_paused = true)]
async fn clients_with_nothing_but_a_frame_that_is_begun_are_not_all_closed() {
    with_worker(limits(|limits| limits.send_memory = 1024 * KIB), async |worker| {
        let mut peers = Vec::new();
        let (open, closed) = closed_for_memory(worker, || {
            let (server, peer) = pipe(1000);
            peers.push(peer);
            Transport::Memory(server)
        })
        .await;
        assert!(open > 10 && closed <= open / 3, "{closed} of {open}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_with_sealed_records_are_not_all_closed() {
    with_worker(limits(|limits| limits.send_memory = 1024 * KIB), async |worker| {
        let mut peers = Vec::new();
        let (open, closed) = closed_for_memory(worker, || {
            let (transport, peer) = socket_pair();
            peers.push(peer);
            transport
        })
        .await;
        assert!(open >= 5 && closed <= open / 2, "{closed} of {open}");
    })
    .await;
}
