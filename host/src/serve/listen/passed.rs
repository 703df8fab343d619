//! Sockets that the service manager has bound and passed, and which entry of `listen` each of them is for: the one with
//! its name, else the one with its address. No socket stays unserved: clients could connect to it, and would wait.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Error, Result, bail};
use rustix::net::sockopt::set_socket_oobinline;

use super::{Bound, Listener};
use crate::config::listen::Listen;
use crate::config::listen_address::{ListenAddress, SYSTEMD_PREFIX, UNIX_PREFIX};
use crate::system::service_manager::{self, Passed};

/// The sockets that no entry has got yet.
#[derive(Default)]
pub struct PassedSockets {
    sockets: Vec<PassedSocket>,
    /// Of all sockets, for messages.
    names: Vec<String>,
}

struct PassedSocket {
    name: String,
    listener: Listener,
    address: Address,
    /// Whether an entry names it. Then it is not for an entry with its address.
    is_named: bool,
}

/// The address of a socket that was passed.
#[derive(Debug, Clone)]
struct Address {
    /// `127.0.0.1:8080` or `unix:/run/chat.sock`.
    text: String,
    has_both_families: bool,
}

/// The addresses of all sockets that were passed.
static ADDRESSES: OnceLock<Vec<Address>> = OnceLock::new();

/// Whether a socket was passed that fits an entry without a name. The server need not be allowed to bind its address.
pub fn fits_any(entry: &Listen) -> bool {
    ADDRESSES.get().into_iter().flatten().any(|address| match &entry.address {
        ListenAddress::Default => true,
        ListenAddress::Tcp(_) | ListenAddress::Systemd(_) => false,
        ListenAddress::Unix { path, .. } => address.is_at(path),
    })
}

/// Whether a socket of this address was passed.
pub fn has_address(address: SocketAddr) -> bool {
    ADDRESSES.get().into_iter().flatten().any(|passed| passed.is_of(address))
}

impl PassedSockets {
    /// Takes the sockets, for these entries. Err: a socket cannot be used.
    pub fn take(listen: &[Listen]) -> Result<Self> {
        let passed = Self::new(service_manager::take_sockets().map_err(Error::msg)?, listen)?;
        let addresses = passed.sockets.iter().map(|socket| socket.address.clone()).collect();
        // Only the first call gets any.
        let _ = ADDRESSES.set(addresses);
        Ok(passed)
    }

    fn new(passed: Vec<Passed>, listen: &[Listen]) -> Result<Self> {
        let names = passed.iter().map(|passed| passed.name.clone()).collect();
        let socket = |Passed { name, socket }| {
            let is_named = listen
                .iter()
                .any(|entry| matches!(&entry.address, ListenAddress::Systemd(of) if *of == name));
            let (listener, address) = prepare(socket)?;
            Ok(PassedSocket { name, listener, address, is_named })
        };
        Ok(Self { sockets: passed.into_iter().map(socket).collect::<Result<_>>()?, names })
    }

    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// All sockets, for an entry without an address.
    pub fn all(&mut self, entry: &Listen) -> Vec<Bound> {
        self.sockets.drain(..).map(|socket| socket.bound(entry)).collect()
    }

    /// The sockets of a name. Err: there is none.
    pub fn named(&mut self, name: &str, entry: &Listen) -> Result<Vec<Bound>> {
        let of_name: Vec<_> = self
            .sockets
            .extract_if(.., |socket| socket.name == name)
            .map(|socket| socket.bound(entry))
            .collect();
        if of_name.is_empty() {
            let hint = match &self.names[..] {
                [] => "systemd has passed none; start the server through its socket unit".to_owned(),
                names => format!("systemd has passed `{}`; see FileDescriptorName=", names.join("`, `")),
            };
            bail!("no socket for {SYSTEMD_PREFIX}{name}: {hint}");
        }
        Ok(of_name)
    }

    /// The socket with this address.
    pub fn at_address(&mut self, address: SocketAddr, entry: &Listen) -> Option<Bound> {
        self.first(entry, |socket| socket.address.is_of(address))
    }

    /// The Unix socket at this path.
    pub fn at_path(&mut self, path: &Path, entry: &Listen) -> Option<Bound> {
        let ListenAddress::Unix { mode, owner, .. } = &entry.address else { return None };
        let found = self.first(entry, |socket| socket.address.is_at(path));
        if found.is_some() && (mode.is_some() || owner.is_some()) {
            log::warn!(
                "{}: systemd has bound it, and its socket unit decides on mode and owner (SocketMode=, SocketUser=, \
                 SocketGroup=)",
                entry.address
            );
        }
        found
    }

    /// The sockets that are for no entry, served as all entries are. Err: how to serve them is not clear.
    pub fn rest(mut self, listen: &[Listen]) -> Result<Vec<Bound>> {
        let Some(PassedSocket { name, address, .. }) = self.sockets.first() else { return Ok(Vec::new()) };
        let (any_named, [first, others @ ..]) = (listen.iter().any(is_name), listen) else {
            return Ok(Vec::new());
        };
        if any_named || !others.iter().all(|other| other.has_settings_of(first)) {
            bail!(
                "systemd has passed the socket `{name}` ({}), and no entry of `listen` says how to serve it; add \
                 {SYSTEMD_PREFIX}{name}, or remove the socket from the units of the service",
                address.text
            );
        }
        for PassedSocket { name, address: Address { text, .. }, .. } in &self.sockets {
            log::info!("{text} is served too: systemd has passed it as `{name}`");
        }
        Ok(self.all(first))
    }

    fn first(&mut self, entry: &Listen, fits: impl Fn(&PassedSocket) -> bool) -> Option<Bound> {
        let index = self.sockets.iter().position(|socket| !socket.is_named && fits(socket))?;
        Some(self.sockets.remove(index).bound(entry))
    }
}

impl PassedSocket {
    /// Its file stays, because the service manager listens on it.
    fn bound(self, entry: &Listen) -> Bound {
        let settings = entry.settings(self.address.text);
        Bound { listener: self.listener, settings, entry: entry.clone(), file: None }
    }
}

impl Address {
    /// A socket of both families on `[::]` is that of `0.0.0.0`, too.
    fn is_of(&self, address: SocketAddr) -> bool {
        let is_any = address.ip().is_unspecified() && address.is_ipv4();
        self.text.parse().is_ok_and(|own: SocketAddr| {
            let is_any_too = own.ip().is_unspecified() && self.has_both_families;
            own == address || is_any && is_any_too && own.port() == address.port()
        })
    }

    fn is_at(&self, path: &Path) -> bool {
        self.text.strip_prefix(UNIX_PREFIX).is_some_and(|own| is_same_file(Path::new(own), path))
    }
}

fn is_name(entry: &Listen) -> bool {
    matches!(entry.address, ListenAddress::Systemd(_))
}

/// Makes a socket as one that the server has bound. Returns its address, too.
fn prepare(socket: OwnedFd) -> Result<(Listener, Address)> {
    let listener = Listener::from_descriptor(socket)?;
    let text = match &listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            set_socket_oobinline(listener, true)?;
            listener.local_addr()?.to_string()
        }
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            format!("{UNIX_PREFIX}{}", unix_path(&address).display())
        }
    };
    let has_both_families = listener.has_both_families();
    Ok((listener, Address { text, has_both_families }))
}

/// The path of a Unix socket; `@` and the name of an abstract one.
fn unix_path(address: &std::os::unix::net::SocketAddr) -> PathBuf {
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::linux::net::SocketAddrExt::as_abstract_name(address) {
        return format!("@{}", String::from_utf8_lossy(name)).into();
    }
    address.as_pathname().unwrap_or(Path::new("")).to_owned()
}

pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path| fs::canonicalize(path).ok();
    std::path::absolute(other).is_ok_and(|other| one == other)
        || real(one).is_some() && real(one) == real(other)
}
