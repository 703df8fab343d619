//! What is sent reaches its audience, in order, in as few writes as can be.

use super::*;
use crate::plugin::handler::HandlerRef;

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_every_open_connection_but_its_source() {
    with_worker(limits(|_| ()), async |worker| {
        let clients = TestClient::open_many::<4>(worker, 100_000, recording).await;
        worker.hub.close(&clients[3].client, 1000, "");
        settle().await;
        clients[3].take_all();
        for (op, payload) in [(op::TEXT, vec![b'x'; 10]), (op::BINARY, vec![7; 50_000])] {
            assert_eq!(worker.broadcast(Some(2), op, &payload, scope::LOCAL), status::SENT);
            settle().await;
            let expected = server_frame(op, &payload);
            let received = clients.each_ref().map(TestClient::take_all);
            assert_eq!(received, [expected.clone(), vec![], expected, vec![]]);
        }
        assert_eq!(worker.broadcast(None, op::TEXT, b"\xff", scope::LOCAL), status::BAD_UTF8);
        assert_eq!(worker.broadcast(None, op::TEXT, b"", 9), status::BAD_ARGUMENT);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_to_the_clients_of_a_plugin_reaches_those_with_any_handler_of_it() {
    with_worker(limits(|_| ()), async |worker| {
        let handler = |plugin, kind| -> Option<HandlerRef> {
            Some(Box::leak(Box::new(Handler::unnamed(plugin, "", kind))))
        };
        let of = |onmessage: usize, ondisconnect: usize| Callbacks {
            onmessage: handler(onmessage, Kind::OnMessage),
            ondisconnect: handler(ondisconnect, Kind::OnDisconnect),
            onconnect: None,
            ondrain: None,
        };
        let mut clients = Vec::new();
        for handlers in [of(1, 1), of(2, 2), of(2, 1), of(1, 2), Callbacks::default()] {
            clients.push(TestClient::open(worker, 100_000, handlers).await);
        }
        for (plugin, source, reached) in [
            (Some(1), 0, [true, false, true, true, false]),
            (Some(2), 4, [false, true, true, false, false]),
            (Some(3), 0, [false; 5]),
            (None, 2, [true, false, true, true, true]),
        ] {
            for payload in [vec![7; 10], vec![7; 50_000]] {
                worker.hub.broadcast(plugin, source, op::BINARY, &payload);
                settle().await;
                let frame = server_frame(op::BINARY, &payload);
                let received: Vec<bool> = clients.iter().map(|c| c.take_all() == frame).collect();
                assert_eq!(received, reached, "plugin {plugin:?}");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_in_one_turn_leaves_in_one_write() {
    with_worker(limits(|_| ()), async |worker| {
        let [c, other] = TestClient::open_many(worker, 100_000, echo).await;
        let messages: Vec<u8> = (0..32).flat_map(|n| frame(0x80 | op::BINARY, &[n; 20])).collect();
        c.send(&messages);
        settle().await;
        assert_eq!((c.take_all().len(), c.peer.writes()), (32 * 22, 1));
        for n in 0..32 {
            worker.broadcast(Some(1), op::BINARY, &[n; 20], scope::LOCAL);
        }
        settle().await;
        assert_eq!((other.take_all().len(), other.peer.writes()), (32 * 22, 1));
    })
    .await;
}

/// The handler requires the NUL, and overwrites it.
#[tokio::test(start_paused = true)]
async fn a_nul_follows_a_message_that_ends_where_a_full_read_ends() {
    let limits = limits(|limits| limits.max_message = READ_BUFFER);
    with_worker(limits, async |worker| {
        let c = TestClient::open(worker, 1 << 30, echo()).await;
        // One frame that fills the buffer; two that fill it; one that is longer than it by a byte, and one behind it.
        let full = vec![b'f'; READ_BUFFER - 14];
        let (short, rest) = (vec![b's'; 100], vec![b'r'; READ_BUFFER - 106 - 14]);
        let longer = vec![b'l'; READ_BUFFER - 13];
        let messages = [full, short, rest, longer, b"last".to_vec()];
        c.send(&messages.iter().flat_map(|message| frame(0x80 | op::BINARY, message)).collect::<Vec<u8>>());
        settle().await;
        assert!(MESSAGES.take() == messages);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_ping_keeps_its_place_between_messages() {
    with_worker(limits(|_| ()), async |worker| {
        let c = TestClient::open(worker, 1000, echo()).await;
        let wire = [frame(0x82, b"a"), frame(0x89, b"ping"), frame(0x82, b"b")].concat();
        c.send(&wire);
        settle().await;
        let expected =
            [server_frame(op::BINARY, b"a"), server_frame(op::PONG, b"ping"), server_frame(op::BINARY, b"b")];
        assert_eq!(c.take_all(), expected.concat());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn slots_are_used_again_and_ids_are_not() {
    with_worker(limits(|_| ()), async |worker| {
        let first = TestClient::open(worker, 100, recording()).await;
        let slot = first.client.turn.slot.get();
        worker.hub.abort(&first.client);
        settle().await;
        assert!(first.is_dropped() && worker.hub.find(1).is_none());
        let second = TestClient::open(worker, 100, recording()).await;
        assert_eq!((second.client.turn.slot.get(), second.client.id()), (slot, 2));
        // Events of the first that are still on their way do no harm.
        worker.hub.schedule.push(&first.client);
        worker.hub.flush_queue.push(&first.client);
        settle().await;
        assert!(second.client.is_open());
    })
    .await;
}

/// RFC 6455 §5.5.3: one Pong may answer several Pings.
#[tokio::test(start_paused = true)]
async fn a_ping_of_a_client_above_its_backlog_does_not_end_it() {
    with_worker(limits(|limits| limits.max_backlog = 1000), async |worker| {
        let c = TestClient::open(worker, 64, echo()).await;
        let message = vec![b'm'; 5000];
        worker.hub.send(&c.client, op::BINARY, &message);
        c.send(&frame(0x80 | op::PING, b"?"));
        settle().await;
        assert!(c.client.is_open());
        let mut received = Vec::new();
        while received.len() < message.len() + 4 {
            received.extend(c.take_all());
            settle().await;
        }
        assert!(received.ends_with(b"m"), "no Pong, because one message more would have been too much");
        c.send(&frame(0x80 | op::PING, b"?"));
        settle().await;
        assert_eq!(c.take_all(), [0x80 | op::PONG, 1, b'?']);
    })
    .await;
}
