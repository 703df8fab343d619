//! Clients with TLS, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use rustls::StreamOwned;
use rustls::client::ClientConnection;

use super::*;
use crate::client::tls::tests::{socket_pair, worn_pair};

/// A client with TLS and its end of the socket.
struct Secure {
    worker: &'static Worker,
    client: Rc<Client>,
    peer: StreamOwned<ClientConnection, TcpStream>,
}

impl Secure {
    async fn open(worker: &'static Worker) -> Self {
        Self::open_after(worker, |_, _| ()).await
    }

    /// `before` runs before the worker has the socket.
    async fn open_after(
        worker: &'static Worker,
        before: impl FnOnce(&Transport, &mut StreamOwned<ClientConnection, TcpStream>),
    ) -> Self {
        Self::open_pair(worker, socket_pair(), before).await
    }

    async fn open_pair(
        worker: &'static Worker,
        (transport, mut peer): (Transport, StreamOwned<ClientConnection, TcpStream>),
        before: impl FnOnce(&Transport, &mut StreamOwned<ClientConnection, TcpStream>),
    ) -> Self {
        peer.sock.set_read_timeout(Some(10 * SECOND)).expect("a timeout");
        before(&transport, &mut peer);
        let request = hyper::Request::get("/").header("host", "a").body(()).expect("a request");
        let client = Rc::new(Client::requested(Head::new(&request.into_parts().0, "/", "127.0.0.1:9")));
        let permit = worker.admission.admit().await;
        worker.open(client.clone(), transport, echo(), permit, Vec::new());
        settle().await;
        Self { worker, client, peer }
    }

    /// Has the worker read, as an event of the reactor would.
    async fn read(&self) {
        self.client.turn.readable.set(true);
        self.worker.hub.schedule.push(&self.client);
        settle().await;
    }

    fn is_dropped(&self) -> bool {
        Rc::strong_count(&self.client) == 1
    }

    /// The client closes its side.
    async fn end(&self) {
        self.peer.sock.shutdown(Shutdown::Write).expect("it is open");
        self.read().await;
    }
}

fn close(peer: &mut StreamOwned<ClientConnection, TcpStream>) {
    peer.conn.send_close_notify();
    peer.flush().expect("the socket has room");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_read_with_the_request_needs_no_event() {
    with_worker(limits(|_| ()), async |worker| {
        let c = Secure::open_after(worker, |transport, peer| {
            peer.write_all(b"request").expect("the socket has room");
            close(peer);
            let mut buffer = vec![0; READ_BUFFER];
            assert_eq!(transport.read(&mut buffer).expect("data").length, 7);
        });
        let mut c = c.await;
        assert_eq!((CONNECTED.take(), disconnected()), (vec![1], vec![(1, 1006)]));
        assert_eq!(c.peer.read(&mut [0]).expect("a close_notify"), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_close_notify_is_answered_with_one_and_our_side_ends_first() {
    with_worker(limits(|_| ()), async |worker| {
        let mut c = Secure::open(worker).await;
        close(&mut c.peer);
        c.read().await;
        assert_eq!(disconnected(), [(1, 1006)]);
        assert_eq!(c.peer.read(&mut [0]).expect("a close_notify"), 0);
        assert!(!c.is_dropped());
        c.end().await;
        assert!(c.is_dropped());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_breaks_tls_gets_an_alert_although_more_bytes_lie_unread() {
    with_worker(limits(|_| ()), async |worker| {
        let mut c = Secure::open(worker).await;
        c.peer.sock.write_all(&[7; 100_000]).expect("the socket has room");
        c.read().await;
        assert_eq!(disconnected(), [(1, 1006)]);
        assert!(!c.is_dropped(), "the rest is read before the socket is closed");
        let error = c.peer.read(&mut [0]).expect_err("an alert").to_string();
        assert!(error.contains("alert"), "{error}");
        c.end().await;
        assert!(c.is_dropped());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_complete_and_has_no_data_holds_no_memory() {
    with_worker(limits(|_| ()), async |worker| {
        let mut c = Secure::open(worker).await;
        c.peer.conn.refresh_traffic_keys().expect("TLS 1.3");
        let mut update = Vec::new();
        c.peer.conn.write_tls(&mut update).expect("a vector");
        c.peer.sock.write_all(&update[..10]).expect("the socket has room");
        c.read().await;
        assert!(worker.hub.incoming.memory() > 0);
        c.peer.sock.write_all(&update[10..]).expect("the socket has room");
        c.read().await;
        assert_eq!(worker.hub.incoming.memory(), 0);
    })
    .await;
}

/// A record with a client's message.
fn record(c: &mut Secure, payload: &[u8]) -> Vec<u8> {
    c.peer.conn.writer().write_all(&frame(0x80 | op::BINARY, payload)).expect("a buffer");
    let mut record = Vec::new();
    c.peer.conn.write_tls(&mut record).expect("a vector");
    record
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_not_complete_in_time_is_closed_with_1008() {
    let limits = limits(|limits| limits.message_timeout = Some(16 * SECOND));
    with_worker(limits, async |worker| {
        let (mut slow, mut many) = (Secure::open(worker).await, Secure::open(worker).await);
        let code = |c: &Secure| c.client.endpoint.ending().map(|ending| ending.code);
        let half = record(&mut slow, &[7; 1000]);
        let mut next = record(&mut many, b"message");
        many.peer.sock.write_all(&next[..3]).expect("the socket has room");
        many.read().await;
        for second in 0..15 {
            // One byte more, and the end of one record with the beginning of the next.
            slow.peer.sock.write_all(&half[second..=second]).expect("the socket has room");
            slow.read().await;
            let begun = next.split_off(3);
            next = record(&mut many, b"message");
            many.peer.sock.write_all(&[&begun, &next[..3]].concat()).expect("the socket has room");
            many.read().await;
            tokio::time::sleep(SECOND).await;
        }
        assert_eq!((code(&slow), code(&many)), (None, None));
        many.peer.sock.write_all(&next[3..]).expect("the socket has room");
        many.read().await;
        tokio::time::sleep(4 * SECOND).await;
        assert_eq!((code(&slow), code(&many)), (Some(1008), None));
        assert_eq!(MESSAGES.take().len(), 16);
        let mut close = [0; 24];
        slow.peer.read_exact(&mut close).expect("a Close");
        assert_eq!(close[..], close_frame(1008, "message took too long")[..24]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_key_may_seal_no_more_is_closed_with_1012() {
    with_worker(limits(|_| ()), async |worker| {
        let mut c = Secure::open_pair(worker, worn_pair(), |_, _| ()).await;
        let sent = record(&mut c, b"message");
        c.peer.sock.write_all(&sent).expect("the socket has room");
        c.read().await;
        // What waited comes before the Close.
        let expected =
            [server_frame(op::BINARY, b"message"), close_frame(1012, "connect again for a new TLS key")]
                .concat();
        let mut received = vec![0; expected.len()];
        c.peer.read_exact(&mut received).expect("valid records");
        assert_eq!(received, expected);
        assert_eq!(c.client.endpoint.ending().map(|ending| ending.code), Some(1012));
    })
    .await;
}
