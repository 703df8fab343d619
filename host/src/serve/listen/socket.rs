//! One TCP socket: bound, and what to tell the operator if it cannot be.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Weak;

use anyhow::{Error, anyhow};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use super::Listener;

/// The first port that every user may listen on, unless the system is configured otherwise.
const FIRST_FREE_PORT: u16 = 1024;

/// Sockets that may have the same port until this is dropped: the kernel allows that only if all of them do.
#[derive(Debug, Default)]
pub struct Sharing(Vec<Weak<Listener>>);

impl Sharing {
    /// Lets the socket share its port.
    pub fn add(&mut self, listener: Weak<Listener>) {
        share_port(&listener, true);
        self.0.push(listener);
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.0.iter().for_each(|listener| share_port(listener, false));
    }
}

fn share_port(listener: &Weak<Listener>, shares: bool) {
    if let Some(listener) = listener.upgrade()
        && let Err(error) = sockopt::set_socket_reuseport(&*listener, shares)
    {
        log::debug!("a listening socket cannot share its port: {error}");
    }
}

/// Binds a socket, which does not listen yet.
pub fn bind_tcp(address: SocketAddr, shares_port: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if shares_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, whatever the system's default.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Clients' sockets inherit it. Otherwise a byte that a client marks as urgent is missing in its frame.
    sockopt::set_socket_oobinline(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket.into())
}

pub fn local_address(listener: &Listener) -> io::Result<SocketAddr> {
    match listener {
        Listener::Tcp(listener) => listener.local_addr(),
        Listener::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Whether the machine does not have the address.
pub fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || is_without_family(error)
}

fn is_without_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

pub fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => format!(
            "{error}: a port below {FIRST_FREE_PORT} needs a server that was started as root, or with CAP_NET_BIND_SERVICE"
        ),
        _ if is_without_family(error) => "this machine has no addresses of that family".to_owned(),
        _ => error.to_string(),
    }
}

pub fn unusable(address: &impl std::fmt::Display, error: &io::Error) -> Error {
    anyhow!("cannot listen on {address}: {}; choose another address with --listen", explain(error))
}
