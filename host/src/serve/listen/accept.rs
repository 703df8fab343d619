//! Each worker accepts its part of the clients.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use log::Level;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;

use super::Listener;
use crate::http::{self, Peer, Stream};
use crate::system::process::fork;
use crate::worker::Worker;
use crate::worker::listening::Listening;

/// Pause after a failed accept, so that a lasting failure does not become a busy loop.
const FAILED_PAUSE: Duration = Duration::from_millis(100);
/// Clients that a worker accepts after its [`TURN`] before it compares itself with the others again.
const BATCH: usize = 4;
/// Time that a worker with more clients than others lets those accept first.
const TURN: Duration = Duration::from_millis(2);
/// Time for the clients that wait at a removed listener, if the worker has no room for them.
const LAST_CLIENTS: Duration = Duration::from_secs(5);

/// How the clients of a listening socket are served, and until when.
pub struct Terms {
    listening: RefCell<Rc<Listening>>,
    is_removed: Cell<bool>,
    removed: Notify,
}

impl Terms {
    pub fn new(listening: Rc<Listening>) -> Self {
        Self { listening: RefCell::new(listening), is_removed: Cell::new(false), removed: Notify::new() }
    }

    /// For the clients that are accepted from now on.
    pub fn replace(&self, listening: Rc<Listening>) {
        self.listening.replace(listening);
    }

    /// Ends [`accept`] when the clients that wait now are accepted.
    pub fn remove(&self) {
        self.is_removed.set(true);
        self.removed.notify_one();
    }

    async fn removed(&self) {
        while !self.is_removed.get() {
            self.removed.notified().await;
        }
    }
}

/// A listening socket of the runtime.
pub struct Acceptor {
    socket: Socket,
    terms: Rc<Terms>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// Needs a tokio runtime, and a socket that listens: the runtime would take another one for one that is closed.
    pub fn new(listener: Listener, terms: Rc<Terms>) -> io::Result<Self> {
        let socket = match listener {
            Listener::Tcp(listener) => TcpListener::from_std(listener).map(Socket::Tcp),
            Listener::Unix(listener) => UnixListener::from_std(listener).map(Socket::Unix),
        };
        Ok(Self { socket: socket?, terms })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        Poll::Ready(Ok(match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                of_tcp(stream, peer)
            }
            Socket::Unix(listener) => of_unix(ready!(listener.poll_accept(cx))?.0),
        }))
    }

    /// The socket without the runtime.
    fn into_listener(self) -> io::Result<Listener> {
        match self.socket {
            Socket::Tcp(listener) => listener.into_std().map(Listener::Tcp),
            Socket::Unix(listener) => listener.into_std().map(Listener::Unix),
        }
    }
}

fn of_tcp(stream: tokio::net::TcpStream, peer: SocketAddr) -> (Stream, Peer) {
    fork::add_socket(stream.as_raw_fd());
    // Otherwise small messages wait for acknowledgements of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("{peer}: {error}");
    }
    // A socket of both families shows clients of IPv4 as `::ffff:127.0.0.1`.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    (stream.into(), Peer::Address(peer))
}

fn of_unix(stream: tokio::net::UnixStream) -> (Stream, Peer) {
    fork::add_socket(stream.as_raw_fd());
    (stream.into(), Peer::Unix)
}

/// Accepts clients until it is dropped, or the listener is removed and nobody waits at it any more.
pub async fn accept(worker: &'static Worker, acceptor: Acceptor) {
    let terms = acceptor.terms.clone();
    // How many clients this worker may accept although it has more than others.
    let mut turn = 0;
    loop {
        let next = poll_fn(|cx| {
            // Checked when a client may be there: the counts may have changed during the wait.
            if !worker.admission.has_room() || turn == 0 && worker.admission.is_ahead() {
                return Poll::Ready(None);
            }
            let next = acceptor.poll_accept(cx);
            turn = if next.is_ready() { usize::saturating_sub(turn, 1) } else { 0 };
            next.map(Some)
        });
        let next = tokio::select! {
            biased;
            () = terms.removed() => break,
            next = next => next,
        };
        match next {
            Some(Ok((stream, peer))) => serve(worker, &terms, stream, peer).await,
            Some(Err(error)) => {
                report(worker, &terms, &error);
                tokio::time::sleep(FAILED_PAUSE).await;
            }
            None if !worker.admission.has_room() => tokio::select! {
                () = worker.admission.room() => {}
                () = terms.removed() => {}
            },
            None => {
                tokio::time::sleep(TURN).await;
                turn = BATCH;
            }
        }
    }
    match acceptor.into_listener() {
        Ok(listener) => accept_last(worker, &terms, listener).await,
        Err(error) => report(worker, &terms, &error),
    }
}

/// Serves the clients that have connected to a listener before it was removed. It closes then.
async fn accept_last(worker: &'static Worker, terms: &Terms, listener: Listener) {
    let accepted = async {
        loop {
            if !worker.admission.has_room() {
                worker.admission.room().await;
                continue;
            }
            // The kernel is asked, because the runtime may not have noticed yet that a client is there.
            match accept_now(&listener) {
                Ok((stream, peer)) => {
                    serve(worker, terms, stream, peer).await;
                    // Other clients have a turn, and the time passes.
                    tokio::task::yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A client that has left again.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    report(worker, terms, &error);
                    tokio::time::sleep(FAILED_PAUSE).await;
                }
            }
        }
    };
    if tokio::time::timeout(LAST_CLIENTS, accepted).await.is_err() {
        log::warn!(
            "{} was removed, and the clients that still wait to be accepted there are dropped: there was no room for them \
             within {LAST_CLIENTS:?}",
            terms.listening.borrow().settings.address
        );
    }
}

fn accept_now(listener: &Listener) -> io::Result<(Stream, Peer)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, peer) = listener.accept()?;
            stream.set_nonblocking(true)?;
            Ok(of_tcp(tokio::net::TcpStream::from_std(stream)?, peer))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(true)?;
            Ok(of_unix(tokio::net::UnixStream::from_std(stream)?))
        }
    }
}

/// Serves an accepted client, as the listener says now.
async fn serve(worker: &'static Worker, terms: &Terms, stream: Stream, peer: Peer) {
    let listening = terms.listening.borrow().clone();
    // Before TLS, which costs more than all else. A PROXY header may name another client.
    let admitted = match listening.settings.proxy_protocol {
        true => Ok(None),
        false => http::admit(worker, peer),
    };
    let seat = match admitted {
        Ok(seat) => seat,
        Err(turned_away) => {
            return http::turn_away(worker, turned_away, stream, peer, listening.tls.is_some());
        }
    };
    // Another worker may have accepted in the same moment; then this client waits.
    let permit = worker.admission.admit().await.seated(seat);
    tokio::task::spawn_local(http::serve(worker, listening, stream, peer, permit));
}

fn report(worker: &Worker, terms: &Terms, error: &io::Error) {
    let listening = terms.listening.borrow();
    let address = &listening.settings.address;
    worker.hub.repeats.log(
        Level::Error,
        "accept",
        format_args!("cannot accept a client of {address}: {error}; trying again"),
    );
}
