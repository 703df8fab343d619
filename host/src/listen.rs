//! Listening and accepting: the sockets that clients come to, how many clients may be there at once, and an
//! even share of them for each worker.

#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::http;
use crate::worker::Worker;

/// Clients that may wait for their accept: what the kernel allows by default.
const ACCEPT_QUEUE: i32 = 4096;
/// Pause after a failed accept, so that a lasting failure does not become a busy loop.
const FAILED_PAUSE: Duration = Duration::from_millis(100);
/// Open files that are not clients: libraries, sockets of our own, what plugins open.
const FILES_RESERVED: u64 = 64;
/// Clients that a worker accepts after its [`TURN`] before it compares itself with the others again.
const BATCH: usize = 4;
/// Time that a worker with more clients than others leaves those to accept first.
const TURN: Duration = Duration::from_millis(2);

/// Binds every address; a name may stand for several.
pub fn bind(addresses: &[String]) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let resolved =
            address.to_socket_addrs().with_context(|| format!("cannot resolve `{address}` (--listen)"))?;
        for address in resolved {
            listeners.push(bind_one(address).map_err(|error| {
                let what = match error.kind() {
                    io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
                    io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
                    _ => error.to_string(),
                };
                anyhow!("cannot listen on {address}: {what}; choose another address with --listen")
            })?);
        }
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, whatever the system's default.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, ACCEPT_QUEUE)?;
    Ok(socket.into())
}

/// Raises the limit on open files to the hard limit; processes started from here on inherit it.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            log::warn!("the limit on open files cannot be raised: {error}");
        }
    }
}

/// How many clients this process can have with the open files that it is allowed.
pub fn clients_by_open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(FILES_RESERVED).max(1)).unwrap_or(usize::MAX)
}

/// Accepts clients for ever.
pub async fn accept(worker: &'static Worker, listener: tokio::net::TcpListener) {
    // How many it may accept although it has more than others.
    let mut turn = 0;
    loop {
        let next = poll_fn(|cx| {
            // Looked at now that a client may be there: what was true before the wait need not be true now.
            if !worker.clients.has_room() || turn == 0 && worker.clients.is_ahead() {
                return Poll::Ready(None);
            }
            let next = listener.poll_accept(cx);
            turn = if next.is_ready() { usize::saturating_sub(turn, 1) } else { 0 };
            next.map(Some)
        });
        match next.await {
            Some(Ok((stream, peer))) => {
                // Without it small messages wait for acknowledgements of earlier ones.
                if let Err(error) = stream.set_nodelay(true) {
                    log::debug!("{peer}: {error}");
                }
                // Another worker may have accepted in the same moment; then this client waits.
                let seat = worker.clients.seat().await;
                tokio::task::spawn_local(http::serve(worker, stream, peer, seat));
            }
            Some(Err(error)) => {
                log::error!("cannot accept a client: {error}; trying again");
                tokio::time::sleep(FAILED_PAUSE).await;
            }
            None if !worker.clients.has_room() => worker.clients.room().await,
            None => {
                tokio::time::sleep(TURN).await;
                turn = BATCH;
            }
        }
    }
}
