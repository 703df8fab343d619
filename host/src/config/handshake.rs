//! What holds for the requests of all routes: the origins of pages that may open WebSockets, whether messages are
//! compressed, and the reverse proxies that tell who the client is. Also the names of subprotocols.

use serde::{Deserialize, Serialize};

use super::compression::Compression;
use super::trusted_proxies::TrustedProxies;
use super::web_origin::OriginRule;

/// What holds for the requests of all routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakePolicy {
    /// For routes that have no rule of their own.
    pub origins: OriginRule,
    /// For routes that have no compression of their own.
    pub compression: Compression,
    /// Who tells the addresses of clients.
    pub trusted_proxies: TrustedProxies,
}

/// Parses the name of a subprotocol, a token (RFC 6455 §4.1). The error states what was expected.
pub fn parse_protocol(text: &str) -> Result<String, String> {
    if is_token(text.as_bytes()) {
        Ok(text.to_owned())
    } else {
        Err("expected a subprotocol's name, such as \"mqtt\", without spaces and separators".to_owned())
    }
}

/// Whether these bytes are a token (RFC 9110 §5.6.2), such as the name of a subprotocol.
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subprotocol_is_a_token() {
        for name in ["mqtt", "v2.chat+json", "graphql-transport-ws", "a|b~!"] {
            assert_eq!(parse_protocol(name), Ok(name.to_owned()));
        }
        for name in ["", "a b", "a,b", "a/b", "\"a\"", "é", "a\t", "a:b"] {
            assert!(parse_protocol(name).is_err(), "{name}");
        }
    }
}
