//! The limits of a client's route, and its ondrain handler.

use callsign_websocket::NO_CLOSE;

use super::*;
use crate::config::route_limits::{MessageRate, OnFull, RouteLimits};

impl TestClient {
    /// An open connection of a route with these limits.
    async fn open_limited(worker: &'static Worker, handlers: Callbacks, limits: RouteLimits) -> Self {
        let (server, peer) = pipe(1000);
        let request = hyper::Request::get("/").header("host", "a").body(()).expect("a request");
        let client = Rc::new(Client::requested(Head::new(&request.into_parts().0, "/", "127.0.0.1:9")));
        client.set_limits(Rc::new(limits), now());
        let permit = worker.admission.admit().await;
        worker.open(client.clone(), Transport::Memory(server), handlers, permit, Vec::new());
        Self { worker, client, peer }
    }

    /// How long it takes until the connection has ended.
    async fn end_of_time(&self) -> Duration {
        let start = tokio::time::Instant::now();
        while self.client.is_open() {
            tokio::time::sleep(SECOND / 10).await;
            assert!(start.elapsed() < 10_000 * SECOND, "it stays open");
        }
        start.elapsed()
    }

    fn pong_of_client(&self) {
        self.send(&frame(0x80 | op::PONG, b""));
    }
}

#[tokio::test(start_paused = true)]
async fn only_complete_messages_end_idleness() {
    with_worker(limits(|_| ()), async |worker| {
        let idle = || RouteLimits { idle_timeout: Some(60 * SECOND), ..RouteLimits::default() };
        let c = TestClient::open_limited(worker, echo(), idle()).await;
        for _ in 0..5 {
            tokio::time::sleep(50 * SECOND).await;
            c.message(b"here");
        }
        settle().await;
        c.take_all();
        tokio::time::sleep(30 * SECOND).await;
        c.pong_of_client();
        c.send(&frame(0x80 | op::PING, b""));
        // The first half of a message.
        c.send(&frame(op::BINARY, b"half"));
        c.worker.hub.send(&c.client, op::BINARY, b"to the client");
        let took = c.end_of_time().await;
        assert!((29 * SECOND..31 * SECOND).contains(&took), "{took:?}");
        assert_eq!(c.code(), Some(1001));
        // Also without an onmessage handler.
        let silent = TestClient::open_limited(worker, recording(), idle()).await;
        tokio::time::sleep(50 * SECOND).await;
        silent.message(b"here");
        let took = silent.end_of_time().await;
        assert!((59 * SECOND..61 * SECOND).contains(&took), "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_has_arrived_while_the_worker_did_not_run_counts() {
    with_worker(limits(|_| ()), async |worker| {
        let idle = RouteLimits { idle_timeout: Some(60 * SECOND), ..RouteLimits::default() };
        let c = TestClient::open_limited(worker, echo(), idle).await;
        settle().await;
        // The deadline passes, and the reactor reports the message, before the worker runs again.
        c.peer.send(&frame(0x80 | op::BINARY, b"in time"));
        c.client.turn.readable.set(true);
        tokio::time::advance(100 * SECOND).await;
        settle().await;
        settle().await;
        assert!(c.client.is_open());
        let took = c.end_of_time().await;
        assert!(took > 59 * SECOND, "{took:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_came_together_do_not_leave_together() {
    with_worker(limits(|_| ()), async |worker| {
        let lifetime = 800 * SECOND;
        let mut clients = Vec::new();
        for _ in 0..100 {
            let limits = RouteLimits { max_lifetime: Some(lifetime), ..RouteLimits::default() };
            clients.push(TestClient::open_limited(worker, recording(), limits).await);
        }
        tokio::time::sleep(lifetime - lifetime / 8 - SECOND).await;
        assert!(clients.iter().all(|c| c.client.is_open()));
        let mut at_once = 0;
        for _ in 0..10 {
            let before = clients.iter().filter(|c| c.client.is_open()).count();
            tokio::time::sleep(10 * SECOND + SECOND / 4).await;
            let after = clients.iter().filter(|c| c.client.is_open()).count();
            at_once = at_once.max(before - after);
        }
        assert!(clients.iter().all(|c| c.code() == Some(1001)), "at the end of the lifetime all have left");
        assert!(at_once <= 20, "{at_once} of 100 in a tenth of the time");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_rate_allows_a_burst_and_then_as_many_as_it_says() {
    with_worker(limits(|_| ()), async |worker| {
        let rate = MessageRate { messages: 10, per: SECOND, burst: 20 };
        let limited = || RouteLimits { message_rate: Some(rate), ..RouteLimits::default() };
        MESSAGES.take();
        let c = TestClient::open_limited(worker, echo(), limited()).await;
        c.send(&frame(0x80 | op::BINARY, b"m").repeat(20));
        settle().await;
        for _ in 0..50 {
            c.take_all();
            tokio::time::sleep(SECOND / 10).await;
            c.message(b"m");
        }
        settle().await;
        assert!(c.client.is_open());
        assert_eq!(MESSAGES.take().len(), 70);
        c.send(&frame(0x80 | op::BINARY, b"m").repeat(5));
        settle().await;
        assert_eq!(c.code(), Some(1008));
        assert!(MESSAGES.take().len() <= 1, "the handler gets no message beyond the rate");
        // A client that sent nothing for long has one burst, and no more.
        let c = TestClient::open_limited(worker, echo(), limited()).await;
        tokio::time::sleep(1000 * SECOND).await;
        c.send(&frame(0x80 | op::BINARY, b"m").repeat(21));
        settle().await;
        assert_eq!((c.code(), MESSAGES.take().len()), (Some(1008), 20));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pings_of_a_route_come_in_time_and_find_clients_that_are_gone() {
    const INTERVAL: Duration = Duration::from_secs(8);
    with_worker(limits(|limits| limits.ping_interval = Some(1000 * SECOND)), async |worker| {
        let pings = || RouteLimits { ping_interval: Some(INTERVAL), ..RouteLimits::default() };
        let silent = TestClient::open_limited(worker, recording(), pings()).await;
        let c = TestClient::open_limited(worker, recording(), pings()).await;
        for _ in 0..10 {
            let start = tokio::time::Instant::now();
            while c.peer.take(usize::MAX).is_empty() {
                tokio::time::sleep(SECOND / 10).await;
                assert!(start.elapsed() <= INTERVAL, "no ping");
            }
            assert!(start.elapsed() >= INTERVAL - INTERVAL / 8 - SECOND / 5, "{:?}", start.elapsed());
            c.pong_of_client();
            settle().await;
        }
        assert!(c.client.is_open());
        assert_eq!(silent.code(), Some(NO_CLOSE));
        assert_eq!(silent.peer.take(usize::MAX), server_frame(op::PING, b""));
        let took = c.end_of_time().await;
        assert!((INTERVAL..=2 * INTERVAL + SECOND).contains(&took), "{took:?}");
    })
    .await;
}

thread_local!(static DRAINED: Cell<usize> = const { Cell::new(0) });

/// Handlers that count how often the queue was empty.
fn draining() -> Callbacks {
    unsafe extern "C" fn ondrain(c: *mut abi::Connection) {
        DRAINED.set(DRAINED.get() + 1);
        // SAFETY: the host's own pointer.
        assert_eq!(unsafe { (host_api::table().queued)(c) }, 0);
    }
    Callbacks { ondrain: handler("drained", Kind::OnDrain, Function::OnConnection(ondrain)), ..recording() }
}

#[tokio::test(start_paused = true)]
async fn ondrain_is_called_once_when_nothing_waits_any_more() {
    let limits = limits(|limits| limits.high_water = 2000);
    with_worker(limits, async |worker| {
        DRAINED.set(0);
        let c = TestClient::open(worker, 1000, draining()).await;
        let send = |length| worker.hub.send(&c.client, op::BINARY, &vec![7; length]);
        // Nobody has asked.
        assert_eq!(send(500), status::SENT);
        settle().await;
        c.take_all();
        settle().await;
        assert_eq!(DRAINED.get(), 0);
        // Somebody has, and the socket takes everything.
        assert_eq!((send(500), worker.hub.queued(&c.client)), (status::SENT, 504));
        settle().await;
        assert_eq!(DRAINED.get(), 1);
        c.take_all();
        // The queue is above high_water, and is written in parts.
        assert_eq!(send(4000), status::QUEUED);
        while c.client.backlog() > 0 {
            assert_eq!(DRAINED.get(), 1);
            c.take(100);
            settle().await;
        }
        settle().await;
        assert_eq!(DRAINED.get(), 2);
        c.take_all();
        settle().await;
        assert_eq!(DRAINED.get(), 2);
        // Not while the connection closes.
        assert_eq!(send(4000), status::QUEUED);
        worker.hub.close(&c.client, 1000, "");
        for _ in 0..10 {
            c.take_all();
            settle().await;
        }
        assert_eq!((c.client.backlog(), DRAINED.get()), (0, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_whole_messages_and_no_control_frames() {
    let limits = limits(|limits| limits.high_water = 2000);
    with_worker(limits, async |worker| {
        DRAINED.set(0);
        let drops = RouteLimits { on_full: OnFull::Drop, ..RouteLimits::default() };
        let c = TestClient::open_limited(worker, draining(), drops).await;
        let score = || worker.hub.outgoing.score.counters().dropped;
        let send = |op, payload: &[u8]| worker.hub.send(&c.client, op, payload);
        assert_eq!(send(op::BINARY, &[1; 4000]), status::QUEUED);
        for op in [op::BINARY, op::TEXT] {
            assert_eq!(send(op, b"dropped"), status::DROPPED);
        }
        worker.broadcast(None, op::TEXT, b"dropped", scope::LOCAL);
        worker.broadcast(None, op::TEXT, &[b'd'; 9000], scope::LOCAL);
        assert_eq!(score(), 4);
        assert_eq!(send(op::PING, b"kept"), status::QUEUED);
        c.send(&frame(0x80 | op::PING, b"answered"));
        worker.hub.close(&c.client, 1000, "kept");
        let expected = [
            server_frame(op::BINARY, &[1; 4000]),
            server_frame(op::PING, b"kept"),
            close_frame(1000, "kept"),
        ]
        .concat();
        let mut received = Vec::new();
        while received.len() < expected.len() {
            settle().await;
            received.extend(c.take(300));
        }
        assert!(received == expected);
        assert_eq!(score(), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_control_frame_above_the_backlog_is_dropped_too_and_closes_nobody() {
    let limits = limits(|limits| (limits.high_water, limits.max_backlog) = (1000, 2000));
    with_worker(limits, async |worker| {
        let drops = RouteLimits { on_full: OnFull::Drop, ..RouteLimits::default() };
        let c = TestClient::open_limited(worker, draining(), drops).await;
        let send = |op, payload: &[u8]| worker.hub.send(&c.client, op, payload);
        assert_eq!(send(op::BINARY, &[1; 8000]), status::QUEUED);
        for op in [op::PING, op::PONG, op::BINARY] {
            assert_eq!(send(op, b"dropped"), status::DROPPED);
        }
        assert_eq!(worker.hub.outgoing.score.counters().dropped, 3);
        let expected = server_frame(op::BINARY, &[1; 8000]);
        let mut received = Vec::new();
        while received.len() < expected.len() {
            settle().await;
            received.extend(c.take(300));
        }
        assert!(received == expected && c.client.is_open());
        settle().await;
        assert_eq!(send(op::PING, b"sent"), status::SENT);
    })
    .await;
}

#[test]
fn a_client_pays_for_the_limits_of_its_route_only_if_it_has_some() {
    assert!(size_of::<Client>() <= 344, "{} bytes", size_of::<Client>());
}
