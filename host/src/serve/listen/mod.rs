//! Listening sockets: bound by the parent, shared by the workers, each of which accepts its part of the clients. A reload
//! finds the sockets of the next entries: those that the server has already, and new ones.

mod socket; // one TCP socket

mod held; // sockets that are there already

mod overlap; // entries for the same address

mod redirect; // from http to https

mod bind; // from the entries to their sockets

mod check; // whether that could succeed

mod accept; // clients, one after the other

mod acceptors; // all listening sockets of a worker

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rustix::net::AddressFamily;

use crate::config::listen::{Listen, ListenerSettings};
use crate::config::plan::PlannedListener;
use crate::config::tls::Tls;
use crate::system::privileges::Identity;
use crate::system::socket_file::SocketFile;
use overlap::Claim;

pub use acceptors::{Acceptors, NextListeners};
pub use bind::{Next, bind, bind_next};
pub use check::check;

/// Clients that may wait for their accept: what the kernel allows by default.
const ACCEPT_QUEUE: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A socket that the server listens on.
#[derive(Debug)]
pub struct Bound {
    /// As in [`PlannedListener`].
    pub id: u32,
    pub listener: Arc<Listener>,
    /// What workers have to know about it.
    pub settings: ListenerSettings,
    pub about: About,
    /// The socket's file, removed when this is dropped.
    pub file: Option<SocketFile>,
}

/// Where a listening socket comes from.
#[derive(Clone, Debug)]
pub struct About {
    pub entry: Listen,
    /// The number of the entry.
    pub number: usize,
    /// The name under which the service manager has passed it.
    pub passed_as: Option<String>,
    /// Whether it is served like the entries, although none of them is for it.
    is_rest: bool,
    /// Whether clients of IPv4 connect to this IPv6 socket too.
    has_both_families: bool,
    /// Of the file that the server has made for it.
    pub permissions: Option<Permissions>,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Permissions {
    mode: u32,
    /// None: the server's own user and group.
    owner: Option<Identity>,
}

/// A socket for an entry.
#[derive(Debug)]
pub struct Assigned {
    pub socket: Socket,
    pub settings: ListenerSettings,
    pub about: About,
}

#[derive(Debug)]
pub enum Socket {
    /// Bound, and not listening before a reload commits.
    New { listener: Arc<Listener>, file: Option<SocketFile> },
    /// The server listens on it already, under this id.
    Kept(u32),
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

    /// Another descriptor of the same socket.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// Whether clients of IPv4 connect to this IPv6 socket too. Only a socket that was passed can be such one.
    fn has_both_families(&self) -> bool {
        use rustix::net::sockopt::ipv6_v6only;
        matches!(self, Self::Tcp(listener)
            if listener.local_addr().is_ok_and(|own| own.is_ipv6())
                && ipv6_v6only(listener).is_ok_and(|only| !only))
    }

    /// Lets clients connect.
    fn listen(&self) -> rustix::io::Result<()> {
        rustix::net::listen(self, ACCEPT_QUEUE)
    }
}

impl Assigned {
    /// None: it is a Unix socket.
    fn tcp_address(&self) -> Option<SocketAddr> {
        self.settings.address.parse().ok()
    }

    /// None: it is a Unix socket.
    fn claim(&self) -> Option<Claim<'_>> {
        let About { has_both_families, entry, .. } = &self.about;
        Some(Claim { address: self.tcp_address()?, has_both_families: *has_both_families, entry })
    }

    /// Lets clients connect to a new socket: they wait until a worker accepts them.
    pub fn listen(&self) -> Result<()> {
        let Socket::New { listener, file } = &self.socket else { return Ok(()) };
        let address = &self.settings.address;
        listener
            .listen()
            .map_err(|error| self.about.entry.located(socket::unusable(address, &error.into())))?;
        // From here on nobody takes the file for a stale one.
        if file.as_ref().is_some_and(|file| !file.is_ours()) {
            let error =
                anyhow!("cannot listen on {address}: another program has replaced its file meanwhile");
            return Err(self.about.entry.located(error));
        }
        Ok(())
    }

    /// How workers serve it under that id, with the certificates of each entry.
    pub fn planned(&self, id: u32, tls: &[Option<Arc<Tls>>]) -> PlannedListener {
        planned(id, &self.settings, &self.about, tls)
    }
}

fn planned(id: u32, settings: &ListenerSettings, about: &About, tls: &[Option<Arc<Tls>>]) -> PlannedListener {
    PlannedListener { id, settings: settings.clone(), tls: tls.get(about.number).cloned().flatten() }
}

impl Bound {
    /// How workers serve it, with the certificates of each entry.
    pub fn planned(&self, tls: &[Option<Arc<Tls>>]) -> PlannedListener {
        planned(self.id, &self.settings, &self.about, tls)
    }

    /// A socket that was bound. Err: it is one that the server has already.
    pub fn new(id: u32, assigned: Assigned) -> Result<Self> {
        let Assigned { socket, settings, about } = assigned;
        let Socket::New { listener, file } = socket else { bail!("{} is bound already", settings.address) };
        Ok(Self { id, listener, settings, about, file })
    }

    /// Changes who may connect to a Unix socket.
    pub fn permit(&mut self, permissions: Permissions) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let Permissions { mode, owner } = permissions;
        let Identity { user, group, .. } = owner.unwrap_or_else(Identity::own);
        file.give_to(user, group).context("its owner cannot be changed")?;
        file.set_mode(mode).context("its mode cannot be changed")?;
        self.about.permissions = Some(permissions);
        Ok(())
    }
}
