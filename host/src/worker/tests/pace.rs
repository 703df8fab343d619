//! Clients that do not read, and clients that send without a pause.

use super::*;

/// A queue of at most a few hundred bytes, and a socket that takes 100.
fn small() -> Limits {
    limits(|limits| (limits.high_water, limits.max_backlog) = (200, 1000))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_behind_is_not_read_from_until_it_takes_bytes() {
    with_worker(small(), async |worker| {
        let c = TestClient::open(worker, 100, echo()).await;
        c.message(&[1; 400]);
        settle().await;
        assert_eq!(MESSAGES.take().len(), 1);
        c.message(&[2; 10]);
        tokio::time::sleep(SECOND / 2).await;
        assert_eq!(MESSAGES.take().len(), 0, "it is behind");
        assert_eq!(c.take_all().len(), 100);
        settle().await;
        assert_eq!(MESSAGES.take().len(), 0, "still more than the high-water mark waits");
        assert_eq!(c.take_all().len(), 100);
        settle().await;
        assert_eq!(MESSAGES.take(), [[2; 10]]);
        let mut rest = c.take_all();
        settle().await;
        rest.extend(c.take_all());
        settle().await;
        rest.extend(c.take_all());
        assert!(rest.ends_with(&server_frame(op::BINARY, &[2; 10])));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_for_a_second_is_read_from_until_its_queue_is_full() {
    with_worker(small(), async |worker| {
        let c = TestClient::open(worker, 100, echo()).await;
        c.message(&[1; 400]);
        settle().await;
        for _ in 0..4 {
            c.message(&[2; 400]);
        }
        tokio::time::sleep(SECOND - 5 * MOMENT).await;
        assert_eq!((MESSAGES.take().len(), c.client.is_open()), (1, true));
        tokio::time::sleep(10 * MOMENT).await;
        assert_eq!(MESSAGES.take().len(), 3, "the third exceeds the queue and closes the connection");
        assert_eq!(c.code(), Some(1013));
        // What waited is delivered before the Close.
        let mut out = Vec::new();
        while !c.client.is_gone() && out.len() < 10_000 && !c.peer.is_ended() {
            out.extend(c.take_all());
            settle().await;
        }
        assert!(out.ends_with(&close_frame(1013, "too slow to receive")), "{} bytes", out.len());
        assert_eq!(disconnected(), [(1, 1013)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_little_now_and_then_is_not_stalled() {
    with_worker(small(), async |worker| {
        let c = TestClient::open(worker, 100, echo()).await;
        c.message(&[1; 990]);
        settle().await;
        c.message(&[2; 10]);
        for _ in 0..6 {
            tokio::time::sleep(SECOND * 9 / 10).await;
            assert_eq!(c.take_all().len(), 100);
            settle().await;
        }
        assert_eq!(MESSAGES.take().len(), 1, "it was not read from all the time");
        assert!(c.client.is_open());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_without_a_pause_lets_others_have_their_turn() {
    with_worker(limits(|_| ()), async |worker| {
        let [busy, other] =
            [TestClient::open(worker, 1 << 30, echo()).await, TestClient::open(worker, 100, echo()).await];
        let message = frame(0x80 | op::BINARY, &[1; 1000]);
        busy.send(&message.repeat(20 * READ_BUFFER / message.len()));
        other.message(b"me too");
        settle().await;
        let at = MESSAGES.take().iter().position(|message| message == b"me too").expect("it was heard");
        assert!(at < 9 * READ_BUFFER / message.len(), "after {at} messages of the other");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stall_begins_when_the_socket_is_full_and_not_with_the_next_bytes() {
    with_worker(small(), async |worker| {
        let c = TestClient::open(worker, 100, echo()).await;
        worker.broadcast(None, op::BINARY, &[1; 900], scope::LOCAL);
        tokio::time::sleep(3 * SECOND).await;
        c.message(b"late");
        settle().await;
        assert_eq!(MESSAGES.take(), [b"late"], "it has been stalled for more than a second already");
    })
    .await;
}
