//! Clients that are silent.

use super::*;

/// The interval of these tests.
const INTERVAL: Duration = Duration::from_secs(64);
/// The part of the interval over which pings are spread, and two ticks.
const EARLY: Duration = Duration::from_secs(10);

fn pinging() -> Limits {
    limits(|limits| limits.ping_interval = Some(INTERVAL))
}

impl TestClient {
    /// Waits for a ping; returns how long it took.
    async fn next_ping(&self) -> Duration {
        let start = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(SECOND / 10).await;
            let bytes = self.take_all();
            if !bytes.is_empty() {
                assert_eq!(bytes, server_frame(op::PING, b""));
                return start.elapsed();
            }
            assert!(start.elapsed() < 3 * INTERVAL, "no ping");
        }
    }

    fn pong(&self) {
        self.send(&frame(0x80 | op::PONG, b""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_comes_at_most_one_interval_after_the_last_byte_whenever_that_was() {
    with_worker(pinging(), async |worker| {
        // Each is spread more than the one before.
        for _ in 0..9 {
            let c = TestClient::open(worker, 1000, recording()).await;
            for seconds in [0, 1, 20, 32, 50] {
                c.message(b"here");
                c.next_ping().await;
                tokio::time::sleep(seconds * SECOND).await;
                c.message(b"and here");
                settle().await;
                let silence = c.next_ping().await;
                assert!(INTERVAL - EARLY < silence && silence <= INTERVAL, "{silence:?} after {seconds} s");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_dropped_one_interval_after_it() {
    with_worker(pinging(), async |worker| {
        let [silent, answering] = TestClient::open_many(worker, 100, recording).await;
        silent.next_ping().await;
        tokio::time::sleep(2 * SECOND).await;
        answering.take_all();
        answering.pong();
        tokio::time::sleep(INTERVAL - 4 * SECOND).await;
        assert_eq!((silent.client.is_open(), answering.client.is_open()), (true, true));
        tokio::time::sleep(3 * SECOND).await;
        assert_eq!((silent.client.is_open(), answering.client.is_open()), (false, true));
        assert_eq!(disconnected(), [(1, callsign_websocket::NO_CLOSE)]);
        for _ in 0..10 {
            answering.next_ping().await;
            answering.pong();
        }
        assert!(answering.client.is_open());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_connect_at_once_are_pinged_over_several_ticks_and_turns() {
    const CLIENTS: usize = 1000;
    with_worker(pinging(), async |worker| {
        let clients = TestClient::open_many::<CLIENTS>(worker, 100, recording).await;
        let pinged = || clients.iter().filter(|c| c.peer.writes() > 0).count();
        let mut steps = vec![0];
        while pinged() < CLIENTS {
            assert!(steps.len() < 10_000, "{} are pinged", pinged());
            // Every task that is ready runs once; the clock moves on when all have.
            let step = if steps.last() == Some(&pinged()) { SECOND / 2 } else { Duration::ZERO };
            tokio::time::advance(step).await;
            steps.push(pinged());
        }
        let most = steps.windows(2).map(|pair| pair[1] - pair[0]).max().expect("there are steps");
        assert!(most <= CLIENTS / 8, "{most} at once");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_worker_does_not_run_is_no_silence() {
    with_worker(pinging(), async |worker| {
        let c = TestClient::open(worker, 1000, recording()).await;
        c.next_ping().await;
        // As if the process had been stopped. The answer lies in the socket.
        c.peer.send(&frame(0x80 | op::PONG, b""));
        tokio::time::advance(10 * INTERVAL).await;
        settle().await;
        c.touch();
        tokio::time::sleep(INTERVAL / 2).await;
        assert!(c.client.is_open());
        assert!(c.next_ping().await < INTERVAL);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_used_again_has_one_check() {
    with_worker(pinging(), async |worker| {
        for _ in 0..5 {
            let c = TestClient::open(worker, 1000, recording()).await;
            tokio::time::sleep(SECOND).await;
            c.end();
            settle().await;
        }
        let c = TestClient::open(worker, 1000, recording()).await;
        assert_eq!(c.client.turn.slot.get(), 0);
        for _ in 0..3 {
            let silence = c.next_ping().await;
            assert!(silence > INTERVAL - EARLY, "{silence:?}");
            c.pong();
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_reads_a_long_queue_is_alive() {
    let limits = limits(|limits| {
        (limits.high_water, limits.max_backlog) = (200, 100_000);
        limits.ping_interval = Some(SECOND);
    });
    with_worker(limits, async |worker| {
        let c = TestClient::open(worker, 100, recording()).await;
        worker.broadcast(None, op::BINARY, &[1; 10_000], scope::LOCAL);
        for _ in 0..50 {
            tokio::time::sleep(SECOND / 4).await;
            assert_eq!(c.take_all().len(), 100);
        }
        settle().await;
        assert!(c.client.is_open(), "it reads, and so it lives");
    })
    .await;
}
