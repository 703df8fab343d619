//! Clients with TLS, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use rustls::StreamOwned;
use rustls::client::ClientConnection;

use super::*;
use crate::client::tls::tests::socket_pair;

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
        let (transport, mut peer) = socket_pair();
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
