//! Clients that send more than is handled in one turn.

use std::time::Instant;

use super::*;

/// Handlers that record, echo every message, and take that long for each.
fn slow(time: Duration) -> Callbacks {
    thread_local!(static TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) });
    unsafe extern "C" fn onmessage(c: *mut abi::Connection, op: u8, data: *const c_void, length: usize) {
        // The clock of the system, also where tokio's is paused.
        let end = Instant::now() + TIME.get();
        while Instant::now() < end {}
        // SAFETY: the host's own pointers, as a plugin gets them.
        unsafe {
            let bytes = std::slice::from_raw_parts(data.cast::<u8>(), length);
            MESSAGES.with_borrow_mut(|messages| messages.push(bytes.to_vec()));
            (host_api::table().send)(c, op, data, length);
        }
    }
    TIME.set(time);
    Callbacks { onmessage: handler("slow", Kind::OnMessage, Function::OnMessage(onmessage)), ..recording() }
}

/// Numbered messages.
fn numbered(count: u32) -> Vec<u8> {
    (0..count).flat_map(|number| frame(0x80 | op::BINARY, &number.to_be_bytes())).collect()
}

/// Waits until so many messages were handled; returns them.
async fn handled(count: usize) -> Vec<Vec<u8>> {
    let start = Instant::now();
    while MESSAGES.with_borrow(Vec::len) < count {
        assert!(start.elapsed() < 60 * SECOND, "{} of {count}", MESSAGES.with_borrow(Vec::len));
        settle().await;
    }
    MESSAGES.take()
}

#[tokio::test]
async fn a_turn_ends_after_about_a_millisecond_however_much_was_read() {
    with_worker(limits(|_| ()), async |worker| {
        const MESSAGES: u32 = 300;
        let [busy, other] = TestClient::open_many(worker, 1 << 20, || slow(SECOND / 1000)).await;
        // In one read.
        busy.send(&numbered(MESSAGES));
        other.message(b"me too");
        let messages = handled(MESSAGES as usize + 1).await;
        let at = messages.iter().position(|message| message == b"me too").expect("it was handled");
        assert!(at < 50, "after {at} messages of the other");
        let ordered: Vec<_> = messages.iter().filter(|message| *message != b"me too").collect();
        assert!(ordered.iter().zip(0..MESSAGES).all(|(message, number)| ***message == number.to_be_bytes()));
        assert_eq!(busy.take_all().len(), MESSAGES as usize * 6);
    })
    .await;
}

#[tokio::test]
async fn what_was_read_is_handled_before_the_end_of_the_stream_and_before_a_close() {
    with_worker(limits(|_| ()), async |worker| {
        for closes in [false, true] {
            let c = TestClient::open(worker, 1 << 20, slow(SECOND / 1000)).await;
            c.peer.send(&numbered(100));
            if closes {
                c.peer.send(&frame(0x80 | op::CLOSE, &1000_u16.to_be_bytes()));
            }
            c.end();
            assert_eq!(handled(100).await.len(), 100);
            while DISCONNECTED.with_borrow(Vec::is_empty) {
                settle().await;
            }
            let code = if closes { 1000 } else { callsign_websocket::NO_CLOSE };
            assert_eq!(disconnected(), [(c.client.id(), code)]);
            assert!(c.is_dropped() && MESSAGES.take().is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_dropped_in_between_leaves_nothing() {
    with_worker(limits(|_| ()), async |worker| {
        let c = TestClient::open(worker, 1 << 20, slow(SECOND / 1000)).await;
        c.send(&numbered(300));
        while !c.client.turn.has_rest.get() {
            settle().await;
        }
        worker.hub.fail(&c.client, 1011, "enough");
        settle().await;
        let handled = MESSAGES.take().len();
        assert!(handled < 300);
        settle().await;
        assert_eq!((MESSAGES.take().len(), disconnected()), (0, vec![(1, 1011)]));
        c.end();
        settle().await;
        assert!(c.is_dropped());
    })
    .await;
}

#[tokio::test]
async fn a_wait_for_a_turn_is_noted_on_the_scoreboard() {
    let limits = limits(|limits| limits.slow_callback = Some(Duration::from_millis(50)));
    with_worker(limits, async |worker| {
        let clients = TestClient::open_many::<30>(worker, 1 << 20, || slow(SECOND / 200)).await;
        clients.iter().for_each(|c| c.send(&numbered(5)));
        handled(150).await;
        let (noted, waited_for) = worker.info.scoreboard.slot(0).lag();
        assert!(noted != 0 && waited_for >= SECOND / 20, "{waited_for:?}, with 5 ms for each of 30 clients");
    })
    .await;
}

#[tokio::test]
async fn a_client_whose_bytes_wait_for_the_worker_is_not_silent() {
    let limits = limits(|limits| limits.ping_interval = Some(SECOND / 50));
    with_worker(limits, async |worker| {
        let c = TestClient::open(worker, 1 << 20, slow(SECOND / 1000)).await;
        // They take ten intervals, and no Pong is read meanwhile.
        c.send(&numbered(200));
        assert_eq!(handled(200).await.len(), 200);
    })
    .await;
}

/// Many clients leave at once, as when a proxy ends.
#[tokio::test]
async fn other_tasks_run_between_slow_ondisconnect_handlers() {
    unsafe extern "C" fn ondisconnect(c: *mut abi::Connection) {
        let end = Instant::now() + SECOND / 500;
        while Instant::now() < end {}
        // SAFETY: the host's own pointer.
        DISCONNECTED.with_borrow_mut(|disconnected| disconnected.push((unsafe { (*c).id }, 0)));
    }
    with_worker(limits(|_| ()), async |worker| {
        let ondisconnect = handler("leave", Kind::OnDisconnect, Function::OnConnection(ondisconnect));
        let handlers = || Callbacks { ondisconnect, ..recording() };
        let clients = TestClient::open_many::<20>(worker, 1 << 20, handlers).await;
        clients.iter().for_each(TestClient::end);
        let mut between = 0;
        while DISCONNECTED.with_borrow(Vec::len) < clients.len() {
            tokio::task::yield_now().await;
            between += 1;
        }
        assert!(between >= clients.len() / 2, "{between}");
        disconnected();
    })
    .await;
}
