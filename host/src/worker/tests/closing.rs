//! The closing handshake (RFC 6455 §7.1) between a client and a worker.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_clients_close_is_answered_and_the_socket_ends_when_the_client_closes_its_side() {
    with_worker(limits(|_| ()), async |worker| {
        let c = TestClient::open(worker, 1000, recording()).await;
        assert_eq!(CONNECTED.take(), [1]);
        c.send(&frame(0x80 | op::CLOSE, &[0x0f, 0xa0, b'b', b'y', b'e']));
        settle().await;
        assert_eq!(c.take_all(), close_frame(4000, "bye"));
        assert_eq!((disconnected(), worker.hub.len()), (vec![(1, 4000)], 0));
        assert!(c.peer.is_ended() && !c.is_dropped(), "the server's side ends first");
        c.end();
        settle().await;
        assert!(c.is_dropped());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_our_close_is_dropped_when_the_time_is_up() {
    with_worker(limits(|limits| limits.close_timeout = TIMEOUT), async |worker| {
        let c = TestClient::open(worker, 1000, recording()).await;
        worker.hub.close(&c.client, 1000, "that is all");
        settle().await;
        assert_eq!(c.take_all(), close_frame(1000, "that is all"));
        tokio::time::sleep(TIMEOUT - 10 * MOMENT).await;
        assert_eq!((disconnected(), c.is_dropped()), (vec![], false));
        tokio::time::sleep(20 * MOMENT).await;
        assert_eq!((disconnected(), c.is_dropped()), (vec![(1, 1000)], true));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_closes_its_side_is_dropped_in_the_same_time() {
    with_worker(limits(|limits| limits.close_timeout = TIMEOUT), async |worker| {
        let c = TestClient::open(worker, 1000, recording()).await;
        c.send(&frame(0x80 | op::CLOSE, b""));
        tokio::time::sleep(TIMEOUT - 10 * MOMENT).await;
        // What it sends meanwhile is discarded.
        c.send(&[7; 5000]);
        settle().await;
        assert!(!c.is_dropped());
        tokio::time::sleep(20 * MOMENT).await;
        assert!(c.is_dropped());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_after_our_close_are_discarded_and_the_clients_close_ends_the_wait() {
    with_worker(limits(|limits| limits.close_timeout = TIMEOUT), async |worker| {
        let c = TestClient::open(worker, 1000, echo()).await;
        worker.hub.close(&c.client, 1001, "");
        c.message(b"too late");
        settle().await;
        assert_eq!((MESSAGES.take().len(), c.take_all()), (0, close_frame(1001, "")));
        c.send(&frame(0x80 | op::CLOSE, &[0x03, 0xe9]));
        settle().await;
        assert_eq!(disconnected(), [(1, 1001)]);
        assert!(c.take_all().is_empty(), "a Close is sent once");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_violation_is_answered_with_its_code_and_nothing_is_read_any_more() {
    with_worker(limits(|_| ()), async |worker| {
        let c = TestClient::open(worker, 1000, echo()).await;
        c.send(&[frame(0x80 | op::BINARY, b"good"), vec![0x81, 0x01, b'x'], frame(0x82, b"more")].concat());
        settle().await;
        let out = c.take_all();
        let good = server_frame(op::BINARY, b"good");
        assert!(out.starts_with(&good));
        assert_eq!(&out[good.len()..][2..4], 1002_u16.to_be_bytes());
        assert_eq!(MESSAGES.take(), [b"good"]);
        assert_eq!(disconnected(), [(1, 1002)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_socket_ends_the_connection_at_once() {
    with_worker(limits(|_| ()), async |worker| {
        let c = TestClient::open(worker, 1000, recording()).await;
        c.peer.break_off();
        c.touch();
        settle().await;
        assert_eq!(disconnected(), [(1, callsign_websocket::NO_CLOSE)]);
        assert!(c.is_dropped());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_everybody_with_1001_and_waits_for_their_ends() {
    with_worker(limits(|limits| limits.close_timeout = TIMEOUT), async |worker| {
        let [polite, silent] = TestClient::open_many(worker, 1000, recording).await;
        let begun = tokio::time::Instant::now();
        let drain = tokio::task::spawn_local(worker.drain());
        settle().await;
        assert_eq!(polite.take_all(), close_frame(1001, "server is shutting down"));
        polite.send(&frame(0x80 | op::CLOSE, &[0x03, 0xe9]));
        settle().await;
        assert_eq!((worker.hub.len(), drain.is_finished()), (1, false));
        drain.await.expect("it ends");
        assert_eq!(begun.elapsed().as_secs(), TIMEOUT.as_secs(), "that long it waits for the other");
        assert!(silent.is_dropped());
        // Whoever comes now is told to go.
        let late = TestClient::open(worker, 1000, recording()).await;
        settle().await;
        assert_eq!(late.take_all(), close_frame(1001, "server is shutting down"));
    })
    .await;
}
