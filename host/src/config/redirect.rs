//! `redirect`: where a listener without TLS sends its clients.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// The port that URLs of `https` and `wss` leave out.
pub const HTTPS_PORT: u16 = 443;
/// Most bytes of a name, and of a part of it (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

const EXPECTED: &str = "expected \"https\", or with the port that clients use \"https:8443\", or with a host too \
                        \"https://chat.example.com:8443\"";

/// Where clients are sent to, as the operator says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// None: the host that the client asks for.
    pub host: Option<String>,
    /// None: that of a listener with TLS.
    pub port: Option<u16>,
}

/// Where clients are sent to, with the port known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectTarget {
    /// As in [`Redirect`].
    pub host: Option<String>,
    pub port: u16,
}

impl Redirect {
    /// Parses `https`, `https:PORT`, `https://HOST` or `https://HOST:PORT`. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_target(text).ok_or_else(|| EXPECTED.to_owned())
    }

    fn parse_target(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https")?;
        if rest.is_empty() {
            return Some(Self::default());
        }
        let Some(authority) = rest.strip_prefix("://") else {
            return Some(Self { host: None, port: Some(parse_port(rest.strip_prefix(':')?)?) });
        };
        let (host, port) = split_port(authority);
        let port = match port {
            Some(digits) => parse_port(digits)?,
            None => HTTPS_PORT,
        };
        is_host(host).then(|| Self { host: Some(host.to_owned()), port: Some(port) })
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|&port| is_number && port != 0)
}

/// Splits `HOST` or `HOST:PORT`.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    let behind = authority.rfind(']').map_or(0, |end| end + 1);
    match authority[behind..].find(':') {
        Some(colon) => (&authority[..behind + colon], Some(&authority[behind + colon + 1..])),
        None => (authority, None),
    }
}

/// Whether the text is a name of DNS, an IPv4 address, or an IPv6 address in brackets: what browsers connect to. RFC 3986
/// allows more in a host, such as `a,b` and `%61`.
pub fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(is_name)
    };
    name.len() <= NAME_MAX && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_has_a_port_and_a_host_if_it_names_them() {
        for (text, host, port) in [
            ("https", None, None),
            ("https:8443", None, Some(8443)),
            ("https://chat.example.com", Some("chat.example.com"), Some(443)),
            ("https://chat.example.com:8443", Some("chat.example.com"), Some(8443)),
            ("https://[2001:db8::1]:8443", Some("[2001:db8::1]"), Some(8443)),
        ] {
            let host = host.map(str::to_owned);
            assert_eq!(Redirect::parse(text), Ok(Redirect { host, port }), "{text}");
        }
        for bad in [
            "",
            "http",
            "HTTPS",
            "https:",
            "https:0",
            "https:+1",
            "https:65536",
            "https://",
            "https://a/",
            "https://a:",
            "https://a:x",
            "https://a b",
            "https://a@b",
            "https:a",
            "https://:8443",
            "https8443",
            "https://a..b",
            "https://::1",
            "wss",
        ] {
            assert_eq!(Redirect::parse(bad), Err(EXPECTED.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_host_is_what_browsers_connect_to() {
        let long = "a".repeat(63);
        for good in ["a", "a.b.", "xn--bcher-kva.example", "a_b", "1.2.3.4", "[::1]", &long] {
            assert!(is_host(good), "{good}");
        }
        let (too_long, many) = ("a".repeat(64), "a.".repeat(127) + "a");
        for bad in [
            "", ".", "a..b", ".a", "a,b", "a%61", "a'b", "[::1", "[a]", "::1", "a:1", "bücher", &too_long,
            &many,
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
