//! Entries of `listen` for the same address. Those with the same settings share a socket; others contradict each other.
//! `serve` and `check` decide by the same rules.

use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::held::is_same_file;
use crate::config::listen::Listen;
use crate::config::listen_address::ListenAddress;

/// An address that an entry is served on.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'l> {
    pub address: SocketAddr,
    /// Clients of IPv4 connect to it although it is one of IPv6.
    pub has_both_families: bool,
    pub entry: &'l Listen,
}

impl Claim<'_> {
    /// Whether clients of that address connect here.
    fn covers(&self, address: SocketAddr) -> bool {
        let own = self.address;
        let is_wildcard =
            own.ip().is_unspecified() && (own.is_ipv4() == address.is_ipv4() || self.has_both_families);
        own == address || is_wildcard && own.port() == address.port()
    }

    /// Whether clients who connect here would connect to that address too.
    fn is_in(&self, address: SocketAddr) -> bool {
        let own = self.address;
        address.ip().is_unspecified() && own.port() == address.port() && own.is_ipv4() == address.is_ipv4()
    }
}

/// Whether clients of the address are served by an earlier entry.
///
/// # Errors
/// They are served in another way than `entry` says, or they would be only in part.
pub fn is_served<'l>(
    address: SocketAddr,
    entry: &Listen,
    claims: impl Iterator<Item = Claim<'l>> + Clone,
) -> Result<bool> {
    // The system chooses a port of its own each time.
    if address.port() == 0 {
        return Ok(false);
    }
    if let Some(earlier) = claims.clone().find(|claim| claim.covers(address)) {
        if entry.has_settings_of(earlier.entry) {
            return Ok(true);
        }
        let place = place(earlier.entry);
        match earlier.address == address {
            true => {
                bail!("{address} is also the address of {place}, which has other settings; keep one of them")
            }
            false => bail!(
                "{address} is part of {}, the address of {place}, which has other settings; keep one of them",
                earlier.address
            ),
        }
    }
    match claims.clone().find(|claim| claim.is_in(address)) {
        Some(earlier) => {
            bail!(
                "{address} includes {}, the address of {}; keep one of them",
                earlier.address,
                place(earlier.entry)
            )
        }
        None => Ok(false),
    }
}

/// Err: two entries are for the same Unix socket.
pub fn check_files(listen: &[Listen]) -> Result<()> {
    let path = |entry: &Listen| match &entry.address {
        ListenAddress::Unix { path, .. } => Some(path.clone()),
        _ => None,
    };
    for (number, entry) in listen.iter().enumerate() {
        let Some(own) = path(entry) else { continue };
        let is_same = |earlier: &&Listen| path(earlier).is_some_and(|path| is_same_file(&path, &own));
        if let Some(earlier) = listen[..number].iter().find(is_same) {
            let error = anyhow::anyhow!(
                "{} is also the address of {}; keep one of them",
                entry.address,
                place(earlier)
            );
            return Err(entry.located(error));
        }
    }
    Ok(())
}

/// How a message names an entry: `callsign.toml:2:11`.
fn place(entry: &Listen) -> &str {
    entry.position.as_deref().unwrap_or("another --listen")
}
