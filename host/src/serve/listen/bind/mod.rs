//! From the entries of `listen` to their sockets: those that are there already, because the service manager has passed
//! them or the server listens on them before a reload, and new ones.
//!
//! Invariant: in a reload nobody can connect to a new socket before [`Assigned::listen`], because the reload may still be
//! rejected.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use super::held::{Found, Held, HeldSockets};
use super::socket::{Sharing, bind_tcp, explain, is_missing, local_address, unusable};
use super::{About, Assigned, Listener, Permissions, Socket, overlap, redirect};
use crate::config::account::Owner;
use crate::config::defaults::{DEFAULT_LISTEN, DEFAULT_UNIX_MODE};
use crate::config::listen::Listen;
use crate::config::listen_address::{ListenAddress, SYSTEMD_PREFIX, UNIX_PREFIX};
use crate::system::privileges::{self, Identity};
use crate::system::socket_file;

/// The sockets of the next entries, in a reload.
#[derive(Debug, Default)]
pub struct Next {
    pub sockets: Vec<Assigned>,
    /// Entries for sockets that only a restart can get from the service manager.
    pub unavailable: Vec<String>,
    /// Old sockets and new ones whose addresses overlap.
    pub sharing: Sharing,
}

struct Binder<'l> {
    listen: &'l [Listen],
    /// The user of the workers.
    workers: Option<Identity>,
    held: HeldSockets,
    /// Whether the server runs: new sockets do not listen yet.
    is_reload: bool,
    next: Next,
}

/// Binds the sockets of every entry, except for those that the service manager has passed. A Unix socket's file belongs
/// to its `owner`, else to the user of the workers.
pub fn bind(listen: &[Listen], workers: Option<Identity>) -> Result<Vec<Assigned>> {
    let held = HeldSockets::passed(listen)?;
    Binder { listen, workers, held, is_reload: false, next: Next::default() }.bind().map(|next| next.sockets)
}

/// Finds the sockets of new entries for a server that has those of `held`: an entry gets the sockets with its address, and
/// new ones are bound for the others. May block, because it resolves names.
pub fn bind_next(listen: &[Listen], workers: Option<Identity>, held: Vec<Held>) -> Result<Next> {
    let held = HeldSockets::in_use(held, listen);
    Binder { listen, workers, held, is_reload: true, next: Next::default() }.bind()
}

impl Binder<'_> {
    fn bind(mut self) -> Result<Next> {
        overlap::check_files(self.listen)?;
        for (number, entry) in self.listen.iter().enumerate() {
            self.bind_entry(number, entry).map_err(|error| entry.located(error))?;
        }
        let Self { listen, held, mut next, .. } = self;
        if let [first, ..] = listen {
            // They are served as the first entry is.
            let rest = held.rest(listen)?.into_iter();
            next.sockets.extend(rest.map(|found| found.assigned(0, first, true)));
        }
        let with_tls = next.sockets.iter().filter(|socket| socket.about.entry.tls.is_some());
        if let Some(unix) = with_tls.into_iter().find(|socket| socket.tcp_address().is_none()) {
            let error = anyhow!("{} is a Unix socket, which has no TLS", unix.settings.address);
            return Err(unix.about.entry.located(error));
        }
        redirect::add_ports(&mut next.sockets)?;
        Ok(next)
    }

    fn bind_entry(&mut self, number: usize, entry: &Listen) -> Result<()> {
        match &entry.address {
            ListenAddress::Default if self.held.has_passed() => {
                let all = self.held.all_passed();
                self.assign(number, entry, all);
            }
            ListenAddress::Default => self.bind_name(number, entry, DEFAULT_LISTEN)?,
            ListenAddress::Systemd(name) => match self.held.named(name) {
                Ok(named) => self.assign(number, entry, named),
                Err(_) if self.is_reload => self.next.unavailable.push(format!("{SYSTEMD_PREFIX}{name}")),
                Err(error) => return Err(error),
            },
            ListenAddress::Tcp(address) => self.bind_name(number, entry, address)?,
            ListenAddress::Unix { path, mode, owner } => {
                let owner_of = match owner {
                    Some(owner) => Some((look_up(entry, owner)?, owner.to_string())),
                    None => {
                        self.workers.map(|workers| (workers, "the user of the workers (--user)".to_owned()))
                    }
                };
                let mode = mode.unwrap_or(DEFAULT_UNIX_MODE);
                let permissions = Permissions { mode, owner: owner_of.as_ref().map(|(owner, _)| *owner) };
                if let Some(found) = self.held.at_path(path, entry) {
                    let mut assigned = found.assigned(number, entry, false);
                    assigned.about.permissions = assigned.about.passed_as.is_none().then_some(permissions);
                    self.next.sockets.push(assigned);
                    return Ok(());
                }
                let bound = match self.is_reload {
                    true => socket_file::reserve(path, mode),
                    false => socket_file::bind(path, mode),
                };
                let (listener, mut file) = bound.with_context(|| cannot_listen(entry))?;
                listener.set_nonblocking(true)?;
                if let Some((Identity { user, group, .. }, owner)) = owner_of {
                    file.give_to(user, group)
                        .with_context(|| format!("{} cannot be given to {owner}", entry.address))?;
                }
                let settings = entry.settings(format!("{UNIX_PREFIX}{}", file.path.display()));
                let about = About { permissions: Some(permissions), ..About::bound(number, entry) };
                let socket = Socket::New { listener: Arc::new(Listener::Unix(listener)), file: Some(file) };
                self.next.sockets.push(Assigned { socket, settings, about });
            }
        }
        Ok(())
    }

    fn assign(&mut self, number: usize, entry: &Listen, found: Vec<Found>) {
        self.next.sockets.extend(found.into_iter().map(|found| found.assigned(number, entry, false)));
    }

    /// Binds what `address` stands for, `HOST:PORT`. Sockets for which the system has chosen the port stay those of their
    /// entry. So do those of a name that cannot be resolved now.
    fn bind_name(&mut self, number: usize, entry: &Listen, address: &str) -> Result<()> {
        let is_any_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse() == Ok(0_u16));
        let resolved = (!is_any_port).then(|| resolve(address));
        if !matches!(resolved, Some(Ok(_))) {
            let same = self.held.same_entry(entry);
            if !same.is_empty() {
                self.assign(number, entry, same);
                return Ok(());
            }
        }
        let resolved = resolved.unwrap_or_else(|| resolve(address))?;
        self.bind_resolved(number, entry, resolved)
    }

    /// Binds the addresses that a name stands for. Those that this machine does not have are skipped, because `localhost`
    /// is also `::1` where IPv6 is off. Those that are bound already are skipped, because a name may be listed twice.
    ///
    /// # Errors
    /// The machine has none of the addresses, or another program listens on one: clients of the name could reach it.
    fn bind_resolved(
        &mut self,
        number: usize,
        entry: &Listen,
        resolved: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<()> {
        let (mut tried, mut missing, mut is_served) = (Vec::new(), Vec::new(), false);
        for address in resolved {
            // For port 0, the system chooses a new port each time.
            if tried.contains(&address) {
                continue;
            }
            if overlap::is_served(address, entry, self.next.sockets.iter().filter_map(Assigned::claim))? {
                is_served = true;
                continue;
            }
            tried.push(address);
            if let Some(found) = self.held.at_address(address) {
                self.next.sockets.push(found.assigned(number, entry, false));
                is_served = true;
                continue;
            }
            match self.bind_tcp(address) {
                Ok(listener) => {
                    if !self.is_reload {
                        listener.listen().map_err(|error| unusable(&address, &error.into()))?;
                    }
                    let settings = entry.settings(local_address(&listener)?.to_string());
                    let socket = Socket::New { listener, file: None };
                    let about = About::bound(number, entry);
                    self.next.sockets.push(Assigned { socket, settings, about });
                    is_served = true;
                }
                Err(error) if is_missing(&error) => missing.push((address, error)),
                Err(error) => return Err(unusable(&address, &error)),
            }
        }
        if let [(address, error), ..] = &missing[..]
            && !is_served
        {
            return Err(unusable(address, error));
        }
        for (address, error) in missing {
            log::info!("{} is also {address}, which is skipped: {}", entry.address, explain(&error));
        }
        Ok(())
    }

    /// Binds an address. If a socket of the server that this reload removes has a part of it, as 127.0.0.1 is one of
    /// 0.0.0.0, both have it until the reload commits.
    fn bind_tcp(&mut self, address: SocketAddr) -> io::Result<Arc<Listener>> {
        let new = |listener| Arc::new(Listener::Tcp(listener));
        match bind_tcp(address, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let overlapping = self.held.overlapping(address);
                if overlapping.is_empty() {
                    return Err(error);
                }
                overlapping.into_iter().for_each(|listener| self.next.sharing.add(listener));
                let listener = bind_tcp(address, true).map(new)?;
                self.next.sharing.add(Arc::downgrade(&listener));
                Ok(listener)
            }
            bound => bound.map(new),
        }
    }
}

impl About {
    /// Of a socket that the server has bound.
    fn bound(number: usize, entry: &Listen) -> Self {
        Self {
            entry: entry.clone(),
            number,
            passed_as: None,
            is_rest: false,
            has_both_families: false,
            permissions: None,
        }
    }
}

pub(super) fn look_up(entry: &Listen, owner: &Owner) -> Result<Identity> {
    privileges::look_up_owner(owner).map_err(|why| anyhow!("the owner of {}: {why}", entry.address))
}

pub(super) fn resolve(address: &str) -> Result<impl Iterator<Item = SocketAddr> + use<>> {
    address.to_socket_addrs().with_context(|| format!("cannot resolve `{address}` (--listen)"))
}

pub(super) fn cannot_listen(entry: &Listen) -> String {
    format!("cannot listen on {}; choose another address with --listen", entry.address)
}

#[cfg(test)]
mod tests;
