//! Listening sockets: bound by the parent, shared by the workers, each of which accepts its part of the clients.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::net::AddressFamily;

use crate::config::listen_address::{ListenAddress, UNIX_PREFIX};
use crate::http::{self, Peer, Stream};
use crate::system::privileges::Identity;
use crate::system::process::fork;
use crate::system::socket_file::{self, SocketFile};
use crate::worker::Worker;

/// Clients that may wait for their accept: what the kernel allows by default.
const ACCEPT_QUEUE: i32 = 4096;
/// Pause after a failed accept, so that a lasting failure does not become a busy loop.
const FAILED_PAUSE: Duration = Duration::from_millis(100);
/// Clients that a worker accepts after its [`TURN`] before it compares itself with the others again.
const BATCH: usize = 4;
/// Time that a worker with more clients than others lets those accept first.
const TURN: Duration = Duration::from_millis(2);

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A listening socket and its address.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: Listener,
    /// `127.0.0.1:8080` or `unix:/run/chat.sock`.
    pub address: String,
    /// The socket's file, removed when this is dropped.
    file: Option<SocketFile>,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Listener {
    /// The listening socket behind a descriptor.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self> {
        match rustix::net::getsockname(&descriptor)?.address_family() {
            AddressFamily::INET | AddressFamily::INET6 => Ok(Self::Tcp(descriptor.into())),
            AddressFamily::UNIX => Ok(Self::Unix(descriptor.into())),
            _ => bail!("the parent has sent a socket of another kind than it listens on"),
        }
    }
}

/// Binds every address; a name may stand for several. A Unix socket's file belongs to `owner`, if there is one.
pub fn bind(addresses: &[String], owner: Option<Identity>) -> Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for address in addresses {
        match ListenAddress::parse(address).map_err(|expected| anyhow!("`{address}`: {expected}"))? {
            ListenAddress::Tcp(address) => {
                for address in resolve(&address)? {
                    bound.push(bind_tcp(address)?);
                }
            }
            ListenAddress::Unix { path, mode } => {
                let hint = || cannot_listen(&path);
                let (listener, file) = socket_file::bind(&path, mode).with_context(hint)?;
                listener.set_nonblocking(true)?;
                if let Some(owner) = owner {
                    file.give_to(owner.user, owner.group).with_context(hint)?;
                }
                let address = format!("{UNIX_PREFIX}{}", file.path.display());
                bound.push(Bound { listener: Listener::Unix(listener), address, file: Some(file) });
            }
        }
    }
    Ok(bound)
}

/// Whether [`bind`] could succeed, without listening. Another program may listen there already: it may be the server that
/// runs now.
pub fn check(addresses: &[String]) -> Result<()> {
    for address in addresses {
        match ListenAddress::parse(address).map_err(|expected| anyhow!("`{address}`: {expected}"))? {
            ListenAddress::Tcp(address) => {
                let checked = resolve(&address)?.map(|address| match bind_socket(address) {
                    Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(explain(address, &error)),
                    _ => Ok(()),
                });
                let checked: Vec<_> = checked.collect();
                // A name may stand for addresses of a protocol that is turned off.
                if !checked.iter().any(Result::is_ok) {
                    checked.into_iter().collect::<Result<()>>()?;
                }
            }
            ListenAddress::Unix { path, mode: _ } => {
                socket_file::check(&path).with_context(|| cannot_listen(&path))?;
            }
        }
    }
    Ok(())
}

fn resolve(address: &str) -> Result<impl Iterator<Item = SocketAddr>> {
    address.to_socket_addrs().with_context(|| format!("cannot resolve `{address}` (--listen)"))
}

fn cannot_listen(path: &Path) -> String {
    format!("cannot listen on {UNIX_PREFIX}{}; choose another address with --listen", path.display())
}

/// Why an address cannot be listened on.
fn explain(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    };
    anyhow!("cannot listen on {address}: {what}; choose another address with --listen")
}

fn bind_tcp(address: SocketAddr) -> Result<Bound> {
    let listener = listen_on(address).map_err(|error| explain(address, &error))?;
    let address = listener.local_addr()?.to_string();
    Ok(Bound { listener: Listener::Tcp(listener), address, file: None })
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind_socket(address)?;
    rustix::net::listen(&socket, ACCEPT_QUEUE)?;
    Ok(socket.into())
}

fn bind_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    use rustix::net::{SocketFlags, SocketType, bind, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, whatever the system's default.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Clients' sockets inherit it. Otherwise a byte that a client marks as urgent is missing in its frame.
    sockopt::set_socket_oobinline(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// A listening socket of the runtime.
pub enum Acceptor {
    /// TCP.
    Tcp(tokio::net::TcpListener),
    /// A Unix socket.
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    /// Needs a tokio runtime.
    pub fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => tokio::net::TcpListener::from_std(listener).map(Self::Tcp),
            Listener::Unix(listener) => tokio::net::UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        Poll::Ready(Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                fork::add_socket(stream.as_raw_fd());
                // Otherwise small messages wait for acknowledgements of earlier ones.
                if let Err(error) = stream.set_nodelay(true) {
                    log::debug!("{peer}: {error}");
                }
                (stream.into(), Peer::Address(peer))
            }
            Self::Unix(listener) => {
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
                // Another worker may have accepted in the same moment; then this client waits.
                let permit = worker.admission.admit().await;
                tokio::task::spawn_local(http::serve(worker, stream, peer, permit));
            }
            Some(Err(error)) => {
                log::error!("cannot accept a client: {error}; trying again");
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

/// The sockets, and apart from them their files: those are removed when the second part is dropped.
pub fn split(bound: Vec<Bound>) -> (Vec<Listener>, Vec<SocketFile>) {
    let (listeners, files): (Vec<_>, Vec<_>) =
        bound.into_iter().map(|bound| (bound.listener, bound.file)).unzip();
    (listeners, files.into_iter().flatten().collect())
}
