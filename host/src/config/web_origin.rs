//! Which web pages may open WebSockets: origins (RFC 6454) as browsers send them, and the rule of a route.
//!
//! Text of the operator or of a browser enters. An [`OriginRule`] leaves, which decides by the Origin header and by where a
//! request is sent to.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

const EXPECTED: &str = "expected a page's origin without a path, such as https://example.com or http://localhost:3000, or * for all pages";

/// The origin of a page, as browsers write it: `https://example.com`, with the port unless the scheme implies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// Parses an origin. `null` stands for pages without one, such as those of a sandboxed frame.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self(text.to_owned()));
        }
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = host_and_port(authority)?;
        if !is_scheme || host.is_empty() && scheme != "file" {
            return None;
        }
        let port = port.filter(|&port| Some(port) != default_port(&scheme));
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(Self(format!("{scheme}://{}{port}", host.to_ascii_lowercase())))
    }

    /// Whether the page comes from where a request is sent to. The ports must be equal too; the scheme of the page
    /// implies a port that is not written. A page without TLS, which anybody on its way may have written, is not from a
    /// host with TLS. A page with TLS may be from a host that seems to have none, because a reverse proxy may add TLS.
    pub fn is_from(&self, target: &RequestTarget) -> bool {
        let Some((scheme, authority)) = self.0.split_once("://") else { return false };
        if target.is_tls && scheme == "http" {
            return false;
        }
        let (Some(page), Some(host)) = (host_and_port(authority), host_and_port(&target.host)) else {
            return false;
        };
        let default = default_port(scheme);
        !host.0.is_empty() && page.0.eq_ignore_ascii_case(host.0) && page.1.or(default) == host.1.or(default)
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits `HOST` or `HOST:PORT`. None: it is malformed.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let is_after_host = |at: &usize| !authority[*at..].contains(']');
    let (host, port) = match authority.rfind(':').filter(is_after_host) {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.bytes().all(|b| b.is_ascii_hexdigit() || b":.".contains(&b)),
        None => host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)),
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    is_host.then_some((host, port))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Where a request is sent to, as far as the server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTarget<'r> {
    /// `HOST` or `HOST:PORT`; "" if it is unknown.
    pub host: Cow<'r, str>,
    /// Whether the client has sent it over TLS.
    pub is_tls: bool,
}

/// One entry of a list of origins: an origin, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// Pages of every origin.
    Any,
    /// Pages of this origin.
    Origin(WebOrigin),
}

impl OriginPattern {
    /// Parses an entry. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "*" => Ok(Self::Any),
            text => WebOrigin::parse(text).map(Self::Origin).ok_or_else(|| EXPECTED.to_owned()),
        }
    }
}

/// Which pages may open WebSockets on a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OriginRule {
    /// Those from the host that the request is for.
    #[default]
    SameHost,
    /// All.
    Any,
    /// Those of these origins.
    Listed(Vec<WebOrigin>),
}

impl OriginRule {
    /// Whether a page of this origin may open a WebSocket there.
    pub fn allows(&self, origin: &WebOrigin, target: &RequestTarget) -> bool {
        match self {
            Self::SameHost => origin.is_from(target),
            Self::Any => true,
            Self::Listed(origins) => origins.contains(origin),
        }
    }
}

impl FromIterator<OriginPattern> for OriginRule {
    fn from_iter<I: IntoIterator<Item = OriginPattern>>(patterns: I) -> Self {
        let origins = patterns.into_iter().map(|pattern| match pattern {
            OriginPattern::Any => None,
            OriginPattern::Origin(origin) => Some(origin),
        });
        origins.collect::<Option<_>>().map_or(Self::Any, Self::Listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> WebOrigin {
        WebOrigin::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn an_origin_is_compared_without_case_and_with_its_default_port() {
        for (written, sent) in [
            ("https://Example.COM", "https://example.com"),
            ("HTTPS://example.com:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("file://", "file://"),
            ("null", "null"),
        ] {
            assert_eq!(origin(written).to_string(), sent);
        }
        assert_ne!(origin("http://example.com"), origin("https://example.com"));
        assert_ne!(origin("http://example.com"), origin("http://example.com:8080"));
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for text in [
            "",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/chat",
            "https://user@example.com",
            "https://example.com:http",
            "https://example.com:65536",
            "https://*.example.com",
            "https://ex ample.com",
            "https://münchen.example",
            "://example.com",
            "1http://example.com",
            "Null",
            "https://a,https://b",
        ] {
            assert_eq!(WebOrigin::parse(text), None, "{text}");
        }
    }

    fn plain(host: &str) -> RequestTarget<'_> {
        RequestTarget { host: host.into(), is_tls: false }
    }

    #[test]
    fn a_page_is_from_the_host_if_name_and_port_are_equal() {
        for (page, host) in [
            ("http://example.com", "example.com"),
            ("http://example.com", "Example.com:80"),
            ("https://example.com", "example.com"),
            ("https://example.com", "example.com:443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(origin(page).is_from(&plain(host)), "{page} {host}");
        }
        for (page, host) in [
            ("http://example.com", "example.com:8080"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com", "example.com:443"),
            ("http://example.com.evil.example", "example.com"),
            ("http://evil.example", "example.com"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("file://", ""),
            ("null", "null"),
            ("null", ""),
            ("http://example.com", ""),
            ("http://example.com", "example.com, evil.example"),
        ] {
            assert!(!origin(page).is_from(&plain(host)), "{page} {host}");
        }
    }

    #[test]
    fn a_page_without_tls_is_not_from_a_host_with_tls() {
        for (page, host, is_tls, is_from) in [
            ("https://example.com", "example.com", true, true),
            ("https://example.com", "example.com", false, true),
            ("http://example.com", "example.com", false, true),
            ("http://example.com", "example.com", true, false),
            ("http://example.com:8443", "example.com:8443", true, false),
            ("https://example.com:8443", "example.com:8443", true, true),
        ] {
            let target = RequestTarget { host: host.into(), is_tls };
            assert_eq!(origin(page).is_from(&target), is_from, "{page} {target:?}");
        }
    }

    #[test]
    fn a_list_replaces_the_rule_of_the_same_host_and_a_star_allows_all() {
        let rule = |entries: &[&str]| -> OriginRule {
            entries.iter().map(|entry| OriginPattern::parse(entry).expect(entry)).collect()
        };
        let own = origin("http://own.example");
        let allows = |rule: &OriginRule, page| rule.allows(&origin(page), &plain("own.example"));
        assert!(OriginRule::default().allows(&own, &plain("own.example")));
        let listed = rule(&["https://example.com", "null"]);
        assert!(allows(&listed, "https://example.com") && allows(&listed, "null"));
        assert!(!allows(&listed, "http://own.example") && !allows(&listed, "http://example.com"));
        assert_eq!(rule(&["https://example.com", "*"]), OriginRule::Any);
        assert!(allows(&OriginRule::Any, "null"));
        assert_eq!(rule(&[]), OriginRule::Listed(Vec::new()));
    }
}
