//! The hosts of a route: `example.org`, `*.example.org`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

const EXPECTED: &str = "expected a host such as \"example.org\", \"*.example.org\" or \"192.0.2.7\"";
/// Bytes of the longest name that DNS has.
const NAME_MAX: usize = 253;

/// Matches the hosts of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostPattern {
    /// In lower case.
    Exact(String),
    /// `*.example.org` is stored as `example.org`; it matches what is below, at any depth.
    Below(String),
}

impl HostPattern {
    /// Parses a host of a route. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.is_ascii() {
            return Err(format!(
                "{EXPECTED}; a name in another script is written as browsers send it: `xn--…`"
            ));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self::Exact(canonical(&match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            })));
        }
        if text.contains(':') {
            return Err(format!("{EXPECTED}; a route is for all ports, so its host has none"));
        }
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = canonical(name);
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        match name.len() <= NAME_MAX && name.split('.').all(is_label) {
            true if is_below => Ok(Self::Below(name)),
            true => Ok(Self::Exact(name)),
            false => Err(EXPECTED.to_owned()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// The host in a Host header, as it is compared: without its port, in lower case, without a final dot. None: no route has
/// such a host.
pub fn name_of(host: &str) -> Option<String> {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => format!("[{}]", address.parse::<Ipv6Addr>().ok()?),
        None => canonical(host.split(':').next().unwrap_or_default()),
    };
    (name.len() <= NAME_MAX && !name.is_empty()).then_some(name)
}

/// What is below which a name is, from the nearest: `b.c` and `c` for `a.b.c`.
pub fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[at + 1..])
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_an_address_or_all_below_a_name() {
        for (text, shown) in [
            ("example.org", "example.org"),
            ("Example.ORG.", "example.org"),
            ("*.example.org", "*.example.org"),
            ("a_b", "a_b"),
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:DB8::0]", "[2001:db8::]"),
            ("::1", "[::1]"),
        ] {
            assert_eq!(HostPattern::parse(text).map(|it| it.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for text in [
            "",
            "*",
            "*.",
            "a.*.b",
            "a*",
            "a..b",
            ".a",
            "a:80",
            "http://a",
            "a/b",
            "büro.example",
            "a b",
            "[::1]:80",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_of_a_request_has_one_spelling() {
        for (host, name) in [
            ("example.org", Some("example.org")),
            ("EXAMPLE.org.:8080", Some("example.org")),
            ("[2001:db8:0::7]:80", Some("[2001:db8::7]")),
            ("192.0.2.7:1", Some("192.0.2.7")),
            ("", None),
            (":80", None),
            ("[::1", Some("[")),
        ] {
            assert_eq!(name_of(host).as_deref(), name, "{host}");
        }
        assert_eq!(name_of(&"a".repeat(254)), None);
        assert_eq!(parents("a.b.c").collect::<Vec<_>>(), ["b.c", "c"]);
    }
}
