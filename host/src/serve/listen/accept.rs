//! Each worker accepts its part of the clients.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use log::Level;
use tokio::net::{TcpListener, UnixListener};

use super::Listener;
use crate::config::listen::ListenerSettings;
use crate::http::{self, Peer, Stream};
use crate::system::process::fork;
use crate::worker::Worker;

/// Pause after a failed accept, so that a lasting failure does not become a busy loop.
const FAILED_PAUSE: Duration = Duration::from_millis(100);
/// Clients that a worker accepts after its [`TURN`] before it compares itself with the others again.
const BATCH: usize = 4;
/// Time that a worker with more clients than others lets those accept first.
const TURN: Duration = Duration::from_millis(2);

/// A listening socket of the runtime.
pub struct Acceptor {
    socket: Socket,
    settings: Rc<ListenerSettings>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// Needs a tokio runtime.
    pub fn new(listener: Listener, settings: ListenerSettings) -> io::Result<Self> {
        let socket = match listener {
            Listener::Tcp(listener) => TcpListener::from_std(listener).map(Socket::Tcp),
            Listener::Unix(listener) => UnixListener::from_std(listener).map(Socket::Unix),
        };
        Ok(Self { socket: socket?, settings: Rc::new(settings) })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        Poll::Ready(Ok(match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                fork::add_socket(stream.as_raw_fd());
                // Otherwise small messages wait for acknowledgements of earlier ones.
                if let Err(error) = stream.set_nodelay(true) {
                    log::debug!("{peer}: {error}");
                }
                // A socket of both families shows clients of IPv4 as `::ffff:127.0.0.1`.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                (stream.into(), Peer::Address(peer))
            }
            Socket::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                fork::add_socket(stream.as_raw_fd());
                (stream.into(), Peer::Unix)
            }
        }))
    }
}

/// Accepts clients until it is dropped.
pub async fn accept(worker: &'static Worker, acceptor: Acceptor) {
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
        match next.await {
            Some(Ok((stream, peer))) => {
                let listener = acceptor.settings.clone();
                // Before TLS, which costs more than all else. A PROXY header may name another client.
                let seat = match if listener.proxy_protocol { Ok(None) } else { http::admit(worker, peer) } {
                    Ok(seat) => seat,
                    Err(turned_away) => {
                        let is_tls = listener.tls.is_some();
                        http::turn_away(worker, turned_away, stream, peer, is_tls);
                        continue;
                    }
                };
                // Another worker may have accepted in the same moment; then this client waits.
                let permit = worker.admission.admit().await.seated(seat);
                tokio::task::spawn_local(http::serve(worker, listener, stream, peer, permit));
            }
            Some(Err(error)) => {
                let address = &acceptor.settings.address;
                worker.hub.repeats.log(
                    Level::Error,
                    "accept",
                    format_args!("cannot accept a client of {address}: {error}; trying again"),
                );
                tokio::time::sleep(FAILED_PAUSE).await;
            }
            None if !worker.admission.has_room() => worker.admission.room().await,
            None => {
                tokio::time::sleep(TURN).await;
                turn = BATCH;
            }
        }
    }
}
