//! The ports to which listeners with `redirect` send their clients.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::Assigned;
use crate::config::redirect::{HTTPS_PORT, RedirectTarget};

/// Adds to the sockets with a redirect where it leads to.
pub fn add_ports(sockets: &mut [Assigned]) -> Result<()> {
    let with_tls: Vec<_> = sockets.iter().filter(|socket| socket.about.entry.is_for_redirected()).collect();
    let with_tls: Vec<_> = with_tls.into_iter().filter_map(Assigned::tcp_address).collect();
    for socket in sockets {
        let Some(redirect) = socket.about.entry.redirect.clone() else { continue };
        let port = redirect.port.or_else(|| https_port(socket.tcp_address(), &with_tls));
        let port = port.context("no address has TLS to redirect to");
        let port = port.map_err(|error| socket.about.entry.located(error))?;
        socket.settings.redirect = Some(RedirectTarget { host: redirect.host, port });
    }
    Ok(())
}

/// The port with TLS for clients of the address `from`; None: they come through a Unix socket. Addresses that only this
/// machine can reach come last, unless `from` is such one; then the usual port of https precedes others, then the first
/// one.
fn https_port(from: Option<SocketAddr>, with_tls: &[SocketAddr]) -> Option<u16> {
    let is_local = from.is_some_and(|from| from.ip().is_loopback());
    let rank = |to: &&SocketAddr| (to.ip().is_loopback() && !is_local, to.port() != HTTPS_PORT);
    with_tls.iter().min_by_key(rank).map(SocketAddr::port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_a_port_that_they_can_reach() {
        for (from, with_tls, port) in [
            ("0.0.0.0:80", &["0.0.0.0:8443", "0.0.0.0:443"][..], 443),
            ("0.0.0.0:80", &["0.0.0.0:8443", "0.0.0.0:9443"], 8443),
            ("0.0.0.0:80", &["127.0.0.1:443", "0.0.0.0:8443"], 8443),
            ("127.0.0.1:80", &["127.0.0.1:443", "0.0.0.0:8443"], 443),
            ("0.0.0.0:80", &["127.0.0.1:8443"], 8443),
            ("unix:/run/a.sock", &["127.0.0.1:443", "[::]:8443"], 8443),
        ] {
            let with_tls: Vec<_> =
                with_tls.iter().map(|address| address.parse().expect("an address")).collect();
            assert_eq!(https_port(from.parse().ok(), &with_tls), Some(port), "{from}");
        }
        assert_eq!(https_port(None, &[]), None);
    }
}
