//! Whether the entries could be bound, without listening. Another program may listen there already: it may be the
//! server that runs now.

use std::io;

use anyhow::{Context, Result};

use super::bind::{cannot_listen, look_up, resolve};
use super::held;
use super::overlap::{self, Claim};
use super::socket::{bind_tcp, is_missing, unusable};
use crate::config::listen::Listen;
use crate::config::listen_address::ListenAddress;
use crate::system::socket_file;

/// Whether [`bind`](super::bind()) could succeed.
pub fn check(listen: &[Listen]) -> Result<()> {
    overlap::check_files(listen)?;
    let mut claims = Vec::new();
    listen.iter().try_for_each(|entry| check_entry(entry, &mut claims).map_err(|error| entry.located(error)))
}

fn check_entry<'l>(entry: &'l Listen, claims: &mut Vec<Claim<'l>>) -> Result<()> {
    match &entry.address {
        _ if held::fits_any(entry) => {}
        ListenAddress::Systemd(_) => {}
        ListenAddress::Tcp(_) | ListenAddress::Default => {
            let (mut is_served, mut missing) = (false, None);
            for address in resolve(&entry.address.to_string())? {
                if overlap::is_served(address, entry, claims.iter().copied())? {
                    is_served = true;
                    continue;
                }
                match bind_tcp(address, false) {
                    // A name may stand for addresses of a protocol that is turned off.
                    Err(error) if is_missing(&error) && !held::has_address(address) => {
                        missing = missing.or(Some(unusable(&address, &error)));
                    }
                    Err(error) if error.kind() != io::ErrorKind::AddrInUse && !held::has_address(address) => {
                        return Err(unusable(&address, &error));
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
