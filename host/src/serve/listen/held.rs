//! Sockets that are there already, and which entry of `listen` each of them is for. When the server starts, those are the
//! sockets that the service manager has bound and passed: a socket is that of the entry with its name, else of the one
//! with its address. No such socket stays unserved: clients could connect to it, and would wait. In a reload, those are the
//! sockets that the server listens on.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use anyhow::{Error, Result, bail};
use rustix::net::sockopt::set_socket_oobinline;

use super::{About, Assigned, Bound, Listener, Socket};
use crate::config::listen::Listen;
use crate::config::listen_address::{ListenAddress, SYSTEMD_PREFIX, UNIX_PREFIX};
use crate::system::service_manager::{self, Passed};

/// The sockets that no entry has got yet.
#[derive(Default)]
pub struct HeldSockets {
    sockets: Vec<Held>,
    /// Names of all sockets that were passed, for messages.
    names: Vec<String>,
}

/// A socket that is there already.
#[derive(Debug)]
pub struct Held {
    socket: HeldSocket,
    address: Address,
    /// The name under which the service manager has passed it.
    passed_as: Option<String>,
    /// Whether an entry has this name. Then the socket is not for an entry with its address.
    is_named: bool,
    /// For what the server has used it so far. None: it was passed just now.
    about: Option<About>,
}

#[derive(Debug)]
enum HeldSocket {
    Passed(Listener),
    /// The server listens on it, under this id.
    InUse(u32, Weak<Listener>),
}

/// A socket that is for an entry.
pub struct Found(Held);

/// The address of a socket.
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

impl Bound {
    /// The socket, for the entries of a reload. None: another program has replaced its file, so no client reaches it.
    pub fn hold(&self) -> Option<Held> {
        if self.file.as_ref().is_some_and(|file| !file.is_ours()) {
            return None;
        }
        let About { passed_as, has_both_families, .. } = self.about.clone();
        Some(Held {
            socket: HeldSocket::InUse(self.id, Arc::downgrade(&self.listener)),
            address: Address { text: self.settings.address.clone(), has_both_families },
            passed_as,
            is_named: false,
            about: Some(self.about.clone()),
        })
    }
}

impl HeldSockets {
    /// Takes the sockets that were passed, for these entries. Err: a socket cannot be used.
    pub fn passed(listen: &[Listen]) -> Result<Self> {
        let held = Self::new(service_manager::take_sockets().map_err(Error::msg)?, listen)?;
        let addresses = held.sockets.iter().map(|socket| socket.address.clone()).collect();
        // Only the first call gets any.
        let _ = ADDRESSES.set(addresses);
        Ok(held)
    }

    fn new(passed: Vec<Passed>, listen: &[Listen]) -> Result<Self> {
        let names = passed.iter().map(|passed| passed.name.clone()).collect();
        let held = |Passed { name, socket }| {
            let (listener, address) = prepare(socket)?;
            let is_named = is_named(&name, listen);
            let socket = HeldSocket::Passed(listener);
            Ok(Held { socket, address, passed_as: Some(name), is_named, about: None })
        };
        Ok(Self { sockets: passed.into_iter().map(held).collect::<Result<_>>()?, names })
    }

    /// The sockets of a server that runs, for the entries of a reload.
    pub fn in_use(mut held: Vec<Held>, listen: &[Listen]) -> Self {
        for socket in &mut held {
            socket.is_named = socket.passed_as.as_ref().is_some_and(|name| is_named(name, listen));
        }
        Self { sockets: held, names: Vec::new() }
    }

    pub fn has_passed(&self) -> bool {
        self.sockets.iter().any(|socket| socket.passed_as.is_some())
    }

    /// All sockets that were passed, for an entry without an address.
    pub fn all_passed(&mut self) -> Vec<Found> {
        self.take(|socket| socket.passed_as.is_some())
    }

    /// The sockets of a name. Err: there is none.
    pub fn named(&mut self, name: &str) -> Result<Vec<Found>> {
        let of_name = self.take(|socket| socket.passed_as.as_deref() == Some(name));
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
    pub fn at_address(&mut self, address: SocketAddr) -> Option<Found> {
        self.first(|socket| socket.address.is_of(address))
    }

    /// The Unix socket at this path.
    pub fn at_path(&mut self, path: &Path, entry: &Listen) -> Option<Found> {
        let ListenAddress::Unix { mode, owner, .. } = &entry.address else { return None };
        let found = self.first(|socket| socket.address.is_at(path));
        let is_passed = found.as_ref().is_some_and(|Found(held)| held.passed_as.is_some());
        if is_passed && (mode.is_some() || owner.is_some()) {
            log::warn!(
                "{}: systemd has bound it, and its socket unit decides on mode and owner (SocketMode=, SocketUser=, \
                 SocketGroup=)",
                entry.address
            );
        }
        found
    }

    /// The sockets that the server has bound for an earlier entry with the same address, if this one has got none.
    pub fn same_entry(&mut self, entry: &Listen) -> Vec<Found> {
        let of = |socket: &Held| {
            let about = socket.about.as_ref().filter(|_| socket.passed_as.is_none())?;
            (about.entry.address == entry.address).then_some(about.number)
        };
        let Some(number) = self.sockets.iter().find_map(of) else { return Vec::new() };
        self.take(|socket| of(socket) == Some(number))
    }

    /// The sockets that the server has bound, of which this address is a part, or which are part of it.
    pub fn overlapping(&self, address: SocketAddr) -> Vec<Weak<Listener>> {
        let overlaps = |socket: &&Held| {
            socket.address.text.parse().is_ok_and(|own: SocketAddr| {
                let is_any = own.ip().is_unspecified() || address.ip().is_unspecified();
                own.port() == address.port() && own.is_ipv4() == address.is_ipv4() && is_any
            })
        };
        let in_use = self.sockets.iter().filter(overlaps).filter_map(|socket| match &socket.socket {
            HeldSocket::InUse(_, listener) if socket.passed_as.is_none() => Some(listener.clone()),
            _ => None,
        });
        in_use.collect()
    }

    /// The passed sockets that are for no entry, served as all entries are, and were so before a reload. Err: how to serve
    /// them is not clear.
    pub fn rest(mut self, listen: &[Listen]) -> Result<Vec<Found>> {
        let rest = self.take(|socket| {
            socket.passed_as.is_some() && socket.about.as_ref().is_none_or(|about| about.is_rest)
        });
        let Some(Found(Held { passed_as: Some(name), address, .. })) = rest.first() else {
            return Ok(Vec::new());
        };
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
        for Found(Held { passed_as, address: Address { text, .. }, about, .. }) in &rest {
            if let (Some(name), None) = (passed_as, about) {
                log::info!("{text} is served too: systemd has passed it as `{name}`");
            }
        }
        Ok(rest)
    }

    fn take(&mut self, fits: impl Fn(&Held) -> bool) -> Vec<Found> {
        self.sockets.extract_if(.., |socket| fits(socket)).map(Found).collect()
    }

    fn first(&mut self, fits: impl Fn(&Held) -> bool) -> Option<Found> {
        let index = self.sockets.iter().position(|socket| !socket.is_named && fits(socket))?;
        Some(Found(self.sockets.remove(index)))
    }
}

impl Found {
    /// The socket, for that entry. The file of one that was passed stays, because the service manager listens on it.
    pub fn assigned(self, number: usize, entry: &Listen, is_rest: bool) -> Assigned {
        let Self(Held { socket, address: Address { text, has_both_families }, passed_as, about, .. }) = self;
        let socket = match socket {
            HeldSocket::Passed(listener) => Socket::New { listener: Arc::new(listener), file: None },
            HeldSocket::InUse(id, _) => Socket::Kept(id),
        };
        let permissions = about.and_then(|about| about.permissions);
        let entry = entry.clone();
        let settings = entry.settings(text);
        let about = About { entry, number, passed_as, is_rest, has_both_families, permissions };
        Assigned { socket, settings, about }
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

fn is_named(name: &str, listen: &[Listen]) -> bool {
    listen.iter().any(|entry| matches!(&entry.address, ListenAddress::Systemd(of) if of == name))
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
