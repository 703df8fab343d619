//! Listening sockets: bound by the parent, shared by the workers, each of which accepts its part of the clients.

mod passed; // sockets that the service manager has bound

mod overlap; // entries for the same address

mod redirect; // from http to https

mod accept; // clients, one after the other

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use anyhow::{Context, Error, Result, anyhow, bail};
use rustix::io::Errno;
use rustix::net::AddressFamily;

use crate::config::account::Owner;
use crate::config::defaults::{DEFAULT_LISTEN, DEFAULT_UNIX_MODE};
use crate::config::listen::{Listen, ListenerSettings};
use crate::config::listen_address::{ListenAddress, UNIX_PREFIX};
use crate::system::privileges::{self, Identity};
use crate::system::socket_file::{self, SocketFile};
use overlap::Claim;
use passed::PassedSockets;

pub use accept::{Acceptor, accept};

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

/// A bound listening socket.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: Listener,
    /// What workers have to know about it.
    pub settings: ListenerSettings,
    entry: Listen,
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

    /// Whether clients of IPv4 connect to this IPv6 socket too. Only a socket that was passed can be such one.
    fn has_both_families(&self) -> bool {
        use rustix::net::sockopt::ipv6_v6only;
        matches!(self, Self::Tcp(listener)
            if listener.local_addr().is_ok_and(|own| own.is_ipv6())
                && ipv6_v6only(listener).is_ok_and(|only| !only))
    }
}

impl Bound {
    /// None: it is a Unix socket.
    fn tcp_address(&self) -> Option<SocketAddr> {
        self.settings.address.parse().ok()
    }

    /// None: it is a Unix socket.
    fn claim(&self) -> Option<Claim<'_>> {
        let (address, has_both_families) = (self.tcp_address()?, self.listener.has_both_families());
        Some(Claim { address, has_both_families, entry: &self.entry })
    }
}

/// Binds the sockets of every entry, except for those that the service manager has passed. A Unix socket's file belongs
/// to its `owner`, else to the user of the workers.
pub fn bind(listen: &[Listen], workers: Option<Identity>) -> Result<Vec<Bound>> {
    let mut passed = PassedSockets::take(listen)?;
    overlap::check_files(listen)?;
    let mut bound = Vec::new();
    for (number, entry) in listen.iter().enumerate() {
        let first = bound.len();
        bind_entry(entry, workers, &mut passed, &mut bound).map_err(|error| entry.located(error))?;
        number_tls(&mut bound[first..], number)?;
    }
    let first = bound.len();
    bound.extend(passed.rest(listen)?);
    // They are served as the first entry is.
    number_tls(&mut bound[first..], 0)?;
    redirect::add_ports(&mut bound)?;
    Ok(bound)
}

/// Notes that the clients of these sockets have the certificates of that entry, if it has some.
fn number_tls(bound: &mut [Bound], number: usize) -> Result<()> {
    for bound in bound.iter_mut().filter(|bound| bound.entry.tls.is_some()) {
        if matches!(bound.listener, Listener::Unix(_)) {
            let error = anyhow!("{} is a Unix socket, which has no TLS", bound.settings.address);
            return Err(bound.entry.located(error));
        }
        bound.settings.tls = Some(number);
    }
    Ok(())
}

fn bind_entry(
    entry: &Listen,
    workers: Option<Identity>,
    passed: &mut PassedSockets,
    bound: &mut Vec<Bound>,
) -> Result<()> {
    match &entry.address {
        ListenAddress::Default if !passed.is_empty() => bound.extend(passed.all(entry)),
        ListenAddress::Default => bind_resolved(entry, resolve(DEFAULT_LISTEN)?, passed, bound)?,
        ListenAddress::Systemd(name) => bound.extend(passed.named(name, entry)?),
        ListenAddress::Tcp(address) => bind_resolved(entry, resolve(address)?, passed, bound)?,
        ListenAddress::Unix { path, mode, owner } => {
            if let Some(passed) = passed.at_path(path, entry) {
                bound.push(passed);
                return Ok(());
            }
            let hint = || cannot_listen(entry);
            let owner = match owner {
                Some(owner) => Some((look_up(entry, owner)?, owner.to_string())),
                None => workers.map(|workers| (workers, "the user of the workers (--user)".to_owned())),
            };
            let (listener, file) =
                socket_file::bind(path, mode.unwrap_or(DEFAULT_UNIX_MODE)).with_context(hint)?;
            listener.set_nonblocking(true)?;
            if let Some((Identity { user, group, .. }, owner)) = owner {
                file.give_to(user, group)
                    .with_context(|| format!("{} cannot be given to {owner}", entry.address))?;
            }
            let settings = entry.settings(format!("{UNIX_PREFIX}{}", file.path.display()));
            let (listener, entry) = (Listener::Unix(listener), entry.clone());
            bound.push(Bound { listener, settings, entry, file: Some(file) });
        }
    }
    Ok(())
}

/// Whether [`bind`] could succeed, without listening. Another program may listen there already: it may be the server that
/// runs now.
pub fn check(listen: &[Listen]) -> Result<()> {
    overlap::check_files(listen)?;
    let mut claims = Vec::new();
    listen.iter().try_for_each(|entry| check_entry(entry, &mut claims).map_err(|error| entry.located(error)))
}

fn check_entry<'l>(entry: &'l Listen, claims: &mut Vec<Claim<'l>>) -> Result<()> {
    match &entry.address {
        _ if passed::fits_any(entry) => {}
        ListenAddress::Systemd(_) => {}
        ListenAddress::Tcp(_) | ListenAddress::Default => {
            let (mut is_served, mut missing) = (false, None);
            for address in resolve(&entry.address.to_string())? {
                if overlap::is_served(address, entry, claims.iter().copied())? {
                    is_served = true;
                    continue;
                }
                match bind_socket(address) {
                    // A name may stand for addresses of a protocol that is turned off.
                    Err(error) if is_missing(&error) && !passed::has_address(address) => {
                        missing = missing.or(Some(unusable(address, &error)));
                    }
                    Err(error)
                        if error.kind() != io::ErrorKind::AddrInUse && !passed::has_address(address) =>
                    {
                        return Err(unusable(address, &error));
                    }
                    _ => {
                        claims.push(Claim { address, has_both_families: false, entry });
                        is_served = true;
                    }
                }
            }
            if let (false, Some(error)) = (is_served, missing) {
                return Err(error);
            }
        }
        ListenAddress::Unix { path, owner, .. } => {
            socket_file::check(path).with_context(|| cannot_listen(entry))?;
            owner.iter().try_for_each(|owner| look_up(entry, owner).map(drop))?;
        }
    }
    Ok(())
}

fn look_up(entry: &Listen, owner: &Owner) -> Result<Identity> {
    privileges::look_up_owner(owner).map_err(|why| anyhow!("the owner of {}: {why}", entry.address))
}

/// Binds the addresses that a name stands for. Those that this machine does not have are skipped, because `localhost`
/// is also `::1` where IPv6 is off. Those that are bound already are skipped, because a name may be listed twice.
///
/// # Errors
/// The machine has none of the addresses, or another program listens on one: clients of the name could reach it.
fn bind_resolved(
    entry: &Listen,
    resolved: impl Iterator<Item = SocketAddr>,
    passed: &mut PassedSockets,
    bound: &mut Vec<Bound>,
) -> Result<()> {
    let (mut tried, mut missing, mut is_served) = (Vec::new(), Vec::new(), false);
    for address in resolved {
        // For port 0, the system chooses a new port each time.
        if tried.contains(&address) {
            continue;
        }
        if overlap::is_served(address, entry, bound.iter().filter_map(Bound::claim))? {
            is_served = true;
            continue;
        }
        tried.push(address);
        if let Some(passed) = passed.at_address(address, entry) {
            bound.push(passed);
            is_served = true;
            continue;
        }
        match listen_on(address) {
            Ok(listener) => {
                let settings = entry.settings(listener.local_addr()?.to_string());
                let entry = entry.clone();
                bound.push(Bound { listener: Listener::Tcp(listener), settings, entry, file: None });
                is_served = true;
            }
            Err(error) if is_missing(&error) => missing.push((address, error)),
            Err(error) => return Err(unusable(address, &error)),
        }
    }
    if let [(address, error), ..] = &missing[..]
        && !is_served
    {
        return Err(unusable(*address, error));
    }
    for (address, error) in missing {
        log::info!("{} is also {address}, which is skipped: {}", entry.address, explain(&error));
    }
    Ok(())
}

fn resolve(address: &str) -> Result<impl Iterator<Item = SocketAddr> + use<>> {
    address.to_socket_addrs().with_context(|| format!("cannot resolve `{address}` (--listen)"))
}

fn cannot_listen(entry: &Listen) -> String {
    format!("cannot listen on {}; choose another address with --listen", entry.address)
}

/// Whether the machine does not have the address.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || is_without_family(error)
}

fn is_without_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ if is_without_family(error) => "this machine has no addresses of that family".to_owned(),
        _ => error.to_string(),
    }
}

fn unusable(address: SocketAddr, error: &io::Error) -> Error {
    anyhow!("cannot listen on {address}: {}; choose another address with --listen", explain(error))
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

/// The sockets with their settings, and apart from them their files: those are removed when the second part is dropped.
pub fn split(bound: Vec<Bound>) -> (Vec<(Listener, ListenerSettings)>, Vec<SocketFile>) {
    let (listeners, files): (Vec<_>, Vec<_>) =
        bound.into_iter().map(|bound| ((bound.listener, bound.settings), bound.file)).unzip();
    (listeners, files.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5737 reserves this address for documentation, so no machine has it.
    const MISSING: &str = "192.0.2.1:80";

    /// Binds a name that stands for these addresses, beside `bound`.
    fn bind_name(addresses: &[&str], bound: &mut Vec<Bound>) -> Result<(), String> {
        let resolved = addresses.iter().map(|address| address.parse().expect("an address"));
        let entry = Listen::parse("name:80").expect("it is valid");
        bind_resolved(&entry, resolved, &mut PassedSockets::default(), bound)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_served_on_the_addresses_that_the_machine_has() {
        let mut bound = Vec::new();
        assert_eq!(bind_name(&[MISSING, "127.0.0.1:0", "192.0.2.1:81"], &mut bound), Ok(()));
        assert_eq!(bound.len(), 1);
        let refused = "cannot listen on 192.0.2.1:80: this machine has no such address; choose another address \
                       with --listen";
        assert_eq!(bind_name(&[MISSING, "192.0.2.1:81"], &mut bound), Err(refused.to_owned()));
    }

    #[test]
    fn an_address_is_bound_once_however_often_it_is_listed() {
        let mut bound = Vec::new();
        assert_eq!(bind_name(&["127.0.0.1:0", "127.0.0.1:0"], &mut bound), Ok(()));
        let address = bound[0].settings.address.clone();
        assert_eq!(bind_name(&[&address, MISSING, &address], &mut bound), Ok(()));
        assert_eq!(bound.len(), 1);
        let wildcard = address.replace("127.0.0.1", "0.0.0.0");
        let refused =
            format!("{wildcard} includes {address}, the address of another --listen; keep one of them");
        assert_eq!(bind_name(&[&wildcard], &mut bound), Err(refused));

        bound.clear();
        assert_eq!(bind_name(&["0.0.0.0:0"], &mut bound), Ok(()));
        let included = bound[0].settings.address.replace("0.0.0.0", "127.0.0.1");
        assert_eq!(bind_name(&[&included], &mut bound), Ok(()));
        assert_eq!(bound.len(), 1);
    }

    #[test]
    fn an_address_of_another_program_is_refused_although_the_name_has_others() {
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = other.local_addr().expect("it is bound").to_string();
        let refused = format!(
            "cannot listen on {taken}: another program listens there; choose another address with --listen"
        );
        assert_eq!(bind_name(&[MISSING, &taken, "127.0.0.2:0"], &mut Vec::new()), Err(refused));
    }
}
