//! What holds for all WebSocket handshakes: the origins that routes accept, and the reverse proxies that tell the host.
//! Also the names of subprotocols.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::web_origin::OriginRule;

const PROXY_EXPECTED: &str = "expected an address or a network, such as 127.0.0.1, 10.0.0.0/8 or fd00::/8, or unix: \
                              for clients of Unix sockets";

/// What holds for the handshakes of all routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakePolicy {
    /// For routes that have no rule of their own.
    pub origins: OriginRule,
    /// Their `X-Forwarded-Host` replaces the Host header.
    pub trusted_proxies: Vec<TrustedProxy>,
}

/// Clients that are a reverse proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrustedProxy {
    /// Every address of a network.
    Network(IpNet),
    /// Clients of Unix sockets, which have no address.
    Unix,
}

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
            Err(_) => Err(PROXY_EXPECTED.to_owned()),
        }
    }

    /// Whether that client is the proxy. None: a client of a Unix socket.
    pub fn includes(&self, client: Option<IpAddr>) -> bool {
        match (self, client) {
            (Self::Unix, None) => true,
            // A socket that listens on [::] shows IPv4 clients with addresses such as ::ffff:192.0.2.1.
            (Self::Network(network), Some(client)) => network.contains(&client.to_canonical()),
            _ => false,
        }
    }
}

/// Parses the name of a subprotocol, a token (RFC 6455 §4.1). The error states what was expected.
pub fn parse_protocol(text: &str) -> Result<String, String> {
    if is_protocol(text.as_bytes()) {
        Ok(text.to_owned())
    } else {
        Err("expected a subprotocol's name, such as \"mqtt\", without spaces and separators".to_owned())
    }
}

/// Whether these bytes can be the name of a subprotocol: a token (RFC 9110 §5.6.2).
pub fn is_protocol(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
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
            let proxy = TrustedProxy::parse(proxy).expect(proxy);
            assert_eq!(proxy.includes(client.parse().ok()), is_included, "{proxy:?} {client}");
        }
        assert!(TrustedProxy::Unix.includes(None));
        assert!(!TrustedProxy::parse("0.0.0.0/0").expect("a network").includes(None));
    }

    #[test]
    fn a_subprotocol_is_a_token() {
        for name in ["mqtt", "v2.chat+json", "graphql-transport-ws", "a|b~!"] {
            assert_eq!(parse_protocol(name), Ok(name.to_owned()));
        }
        for name in ["", "a b", "a,b", "a/b", "\"a\"", "é", "a\t", "a:b"] {
            assert!(parse_protocol(name).is_err(), "{name}");
        }
    }

    #[test]
    fn another_proxy_is_rejected() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.1:80", "10.0.0.0/255.0.0.0", "*", "unix"] {
            assert_eq!(TrustedProxy::parse(text), Err(PROXY_EXPECTED.to_owned()), "{text}");
        }
    }
}
