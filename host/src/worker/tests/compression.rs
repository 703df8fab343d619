//! Windows of the messages that are sent, and the memory they share with write queues.

use callsign_deflate::{Agreement, Direction, Inflater, Window};

use super::*;
use crate::client::compression::Compression;

const DIRECTION: Direction = Direction { context: true, window_bits: 15 };

/// A client with compression, and what its inflater remembers.
struct Compressed {
    c: TestClient,
    window: Window,
}

impl Compressed {
    async fn open(worker: &'static Worker) -> Self {
        let (server, peer) = pipe(1 << 20);
        let request = hyper::Request::get("/").header("host", "a").body(()).expect("a request");
        let client = Rc::new(Client::requested(Head::new(&request.into_parts().0, "/", "127.0.0.1:9")));
        let agreement = Agreement { server: DIRECTION, client: DIRECTION };
        client.set_compression(Compression::new(agreement, 6, 0));
        let permit = worker.admission.admit().await;
        worker.open(client.clone(), Transport::Memory(server), recording(), permit, Vec::new());
        Self { c: TestClient { worker, client, peer }, window: Window::default() }
    }

    /// Whether it has got that message, compressed, and nothing else.
    fn received(&mut self, message: &[u8]) -> bool {
        let frame = self.c.take_all();
        let header = if frame[1] == 126 { 4 } else { 2 };
        assert_eq!(frame[0], 0xC2);
        let inflated = Inflater::default().inflate(self.window.bytes(), &frame[header..], message.len());
        self.window.push(message, DIRECTION);
        inflated.is_ok_and(|plain| plain[..message.len()] == *message)
    }

    /// Bytes that the worker remembers of what it has sent.
    fn remembered(&self) -> usize {
        self.c.client.with_compression(|it| it.map_or(0, |it| it.sent.memory()))
    }
}

#[tokio::test(start_paused = true)]
async fn windows_that_were_dropped_are_kept_again_only_when_there_is_room() {
    let limits = limits(|limits| {
        (limits.high_water, limits.max_backlog) = (1 << 20, 1 << 20);
        limits.send_memory = 256 << 10;
    });
    with_worker(limits, async |worker| {
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(Compressed::open(worker).await);
        }
        let slow = TestClient::open(worker, 1000, recording()).await;
        worker.hub.send(&slow.client, op::BINARY, &[0; 230 << 10]);
        settle().await;
        let memory = || worker.hub.outgoing.memory(&worker.hub.pool);
        let room = worker.hub.limits.get().send_memory.checked_sub(memory()).expect("it is within the bound");
        assert!((8 << 10..32 << 10).contains(&room), "{room} of {}", memory());
        // Without windows, less than an eighth is free. There is room for one window, and not for two.
        let message = |number: usize| {
            let mut message = format!("message {number:08}, ").repeat(room / 20);
            message.truncate(room * 2 / 3);
            message.into_bytes()
        };
        for number in 0..10 {
            let message = message(number);
            if number % 2 == 0 {
                worker.hub.broadcast(None, slow.client.id(), op::BINARY, &message);
            } else {
                clients.iter().for_each(|c| _ = worker.hub.send(&c.c.client, op::BINARY, &message));
            }
            settle().await;
            for c in &mut clients {
                assert!(c.received(&message), "message {number}");
                assert_eq!(c.remembered(), 0, "windows are dropped once, and not for each two clients");
            }
            assert!(slow.client.is_open());
        }
        while slow.client.backlog() > 0 {
            slow.take_all();
            settle().await;
        }
        for number in 10..20 {
            let message = message(number);
            worker.hub.broadcast(None, slow.client.id(), op::BINARY, &message);
            settle().await;
            for c in &mut clients {
                assert!(c.received(&message), "message {number}");
                assert!(c.remembered() > 0, "there is room again");
            }
        }
    })
    .await;
}
