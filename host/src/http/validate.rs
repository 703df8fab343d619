//! Rules for every request that hyper does not check: the host that it names (RFC 9110 §7.2, RFC 9112 §3.2) and how its
//! body is encoded (RFC 9112 §6.1). A request that breaks one is rejected before its route is looked up.

use std::net::Ipv6Addr;

use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::http::Request;
use hyper::{HeaderMap, Version};

use super::list;

/// Checks the head of a request. Err: the status and the reason for the client.
pub fn validate<B>(request: &Request<B>) -> Result<(), (u16, &'static str)> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        // A second one may have told a proxy something else.
        (_, Some(_)) => return Err((400, "a request needs one Host header")),
        (None, _) if request.version() >= Version::HTTP_11 => {
            return Err((400, "a request needs one Host header"));
        }
        (Some(host), _) if !is_host(host.as_bytes()) => {
            return Err((400, "the Host header is not a host with an optional port"));
        }
        _ => {}
    }
    if request.uri().authority().is_some_and(|authority| !is_host(authority.as_str().as_bytes())) {
        return Err((400, "the target's authority is not a host with an optional port"));
    }
    match is_only_chunked(request.headers()) {
        true => Ok(()),
        false => Err((501, "the only transfer coding that this server knows is chunked")),
    }
}

/// Whether the text is `uri-host [":" port]`. An empty one stands for a target without a host.
fn is_host(text: &[u8]) -> bool {
    let (name, port) = match text {
        [] => return true,
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            let (address, port) = (&rest[..end], &rest[end + 1..]);
            let is_address = str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok());
            return is_address && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port));
        }
        _ => match text.iter().position(|&byte| byte == b':') {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &b""[..]),
        },
    };
    !name.is_empty() && is_registered_name(name) && is_port(port)
}

/// RFC 3986 §3.2.2. Names in other scripts are sent in Punycode.
fn is_registered_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'%' => match after {
                [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
                _ => return false,
            },
            byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) => after,
            _ => return false,
        };
    }
    true
}

/// A port may be empty, after its colon too.
fn is_port(port: &[u8]) -> bool {
    port.iter().all(u8::is_ascii_digit)
        && (port.is_empty() || str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok()))
}

/// Whether there is no transfer coding, or chunked alone. hyper requires only that chunked is the last one.
fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = list::elements(headers, TRANSFER_ENCODING);
    codings.next().is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for good in [
            "",
            "a",
            "localhost:8080",
            "example.org.",
            "xn--bcher-kva.example",
            "1.2.3.4:80",
            "[::1]",
            "[::1]:8080",
            "a_b",
            "a:",
            "%c3%bc:1",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a/b@c:d", "a b", "user@a", "a:b", "a:65536", "a:-1", ":80", "[::1", "[::1]8", "[a]", "::1",
            "a?", "a#b", "a%", "a%zz", "a\\b", "büro", "a,b/", "http://a",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn the_only_transfer_coding_is_chunked_once() {
        let headers = |lines: &[&'static str]| {
            lines
                .iter()
                .map(|line| (TRANSFER_ENCODING, line.parse().expect("a value")))
                .collect::<HeaderMap>()
        };
        for good in [&[][..], &["chunked"], &[" Chunked "]] {
            assert!(is_only_chunked(&headers(good)), "{good:?}");
        }
        for bad in
            [&["gzip, chunked"][..], &["gzip", "chunked"], &["chunked, chunked"], &["gzip"], &[",chunked"]]
        {
            assert!(!is_only_chunked(&headers(bad)), "{bad:?}");
        }
    }
}
