//! Reverse proxies that the operator trusts. What they say about a client counts: its address, and the host and scheme of
//! its request.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

const EXPECTED: &str = "expected an address or a network, such as 127.0.0.1, 10.0.0.0/8 or fd00::/8, or unix: for \
                        clients of Unix sockets";

/// Clients that are a reverse proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrustedProxy {
    /// Every address of a network.
    Network(IpNet),
    /// Clients of Unix sockets, which have no address.
    Unix,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedProxies(Vec<TrustedProxy>);

impl TrustedProxy {
    /// Parses an address, a network in CIDR notation, or `unix:`. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "unix:" {
            return Ok(Self::Unix);
        }
        let address = text.parse::<IpAddr>().map(IpNet::from);
        match address.or_else(|_| text.parse::<IpNet>()) {
            Ok(network) => Ok(Self::Network(network.trunc())),
            Err(_) => Err(EXPECTED.to_owned()),
        }
    }

    fn includes(&self, client: Option<IpAddr>) -> bool {
        match (self, client) {
            (Self::Unix, None) => true,
            // A socket that listens on [::] shows IPv4 clients with addresses such as ::ffff:192.0.2.1.
            (Self::Network(network), Some(client)) => network.contains(&client.to_canonical()),
            _ => false,
        }
    }
}

impl TrustedProxies {
    pub const NONE: &Self = &Self(Vec::new());

    /// Whether that client is a trusted proxy. None: a client of a Unix socket.
    pub fn include(&self, client: Option<IpAddr>) -> bool {
        self.0.iter().any(|proxy| proxy.includes(client))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<TrustedProxy>> for TrustedProxies {
    fn from(proxies: Vec<TrustedProxy>) -> Self {
        Self(proxies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_address_a_network_or_a_unix_socket() {
        for (proxy, client, is_included) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.1.2.3/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("::1", "::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "10.0.0.1", false),
            ("0.0.0.0/0", "::1", false),
            ("unix:", "127.0.0.1", false),
        ] {
            let proxies = TrustedProxies::from(vec![TrustedProxy::parse(proxy).expect(proxy)]);
            assert_eq!(proxies.include(client.parse().ok()), is_included, "{proxies:?} {client}");
        }
        let everything = ["0.0.0.0/0", "::/0"].map(|proxy| TrustedProxy::parse(proxy).expect(proxy));
        assert!(!TrustedProxies::from(everything.to_vec()).include(None));
        assert!(TrustedProxies::from(vec![TrustedProxy::Unix]).include(None));
        assert!(!TrustedProxies::default().include(None));
    }

    #[test]
    fn another_proxy_is_rejected() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.1:80", "10.0.0.0/255.0.0.0", "*", "unix"] {
            assert_eq!(TrustedProxy::parse(text), Err(EXPECTED.to_owned()), "{text}");
        }
    }
}
