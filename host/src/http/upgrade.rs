//! Classifies requests: which are WebSocket handshakes, and whether they follow RFC 6455 §4.2.1. A request's head
//! enters, an [`Upgrade`] leaves.
//!
//! Invariant: the result depends on the head alone, not on routes or handlers.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{HeaderMap, Method, Version};
use tungstenite::handshake::derive_accept_key;

use super::list;

/// What a request means to the WebSocket protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// An ordinary request.
    None,
    /// A handshake that can be answered with 101.
    Valid {
        /// The value for `Sec-WebSocket-Accept`.
        accept: String,
    },
    /// A handshake that is refused before any handler is called.
    Refused {
        /// 400; or 426, whose response needs `Sec-WebSocket-Version: 13` (RFC 6455 §4.4).
        status: u16,
        /// What is missing or wrong, for the client.
        reason: &'static str,
    },
}

/// Classifies the head of a request. A request that asks for the protocol `websocket`, or carries one of its headers,
/// is a handshake and must be valid. Any other request, such as one with `Upgrade: h2c`, is an ordinary request.
pub fn classify(method: &Method, version: Version, headers: &HeaderMap) -> Upgrade {
    let upgrade = lists(headers, UPGRADE, "websocket");
    if !upgrade && !headers.contains_key(SEC_WEBSOCKET_KEY) && !headers.contains_key(SEC_WEBSOCKET_VERSION) {
        return Upgrade::None;
    }
    let refused = |status, reason| Upgrade::Refused { status, reason };
    if method != Method::GET {
        return refused(400, "a WebSocket handshake must be a GET request");
    }
    if version < Version::HTTP_11 {
        return refused(400, "a WebSocket handshake needs HTTP/1.1");
    }
    // A body would be mistaken for frames, which follow the head of a handshake.
    let is_empty = |length: &HeaderValue| length.as_bytes() == b"0";
    if headers.contains_key(TRANSFER_ENCODING) || !headers.get_all(CONTENT_LENGTH).iter().all(is_empty) {
        return refused(400, "a WebSocket handshake has no body");
    }
    if !headers.contains_key(HOST) {
        return refused(400, "missing header: Host");
    }
    if !upgrade {
        return refused(400, "missing header: Upgrade: websocket");
    }
    if !lists(headers, CONNECTION, "upgrade") {
        return refused(400, "missing header: Connection: Upgrade");
    }
    // Checked before the key, because another version may have other rules for the key.
    if only(headers, SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return refused(426, "this server speaks Sec-WebSocket-Version 13");
    }
    match only(headers, SEC_WEBSOCKET_KEY) {
        Some(key) if is_nonce(key) => Upgrade::Valid { accept: derive_accept_key(key) },
        Some(_) => refused(400, "Sec-WebSocket-Key is not 16 bytes in base64"),
        None => refused(400, "missing header, or more than one: Sec-WebSocket-Key"),
    }
}

/// Whether a list contains `token` in any case.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    list::elements(headers, name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// The value of a header that occurs exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| line.as_bytes())
}

/// Whether `key` is base64 of 16 bytes. The last character has four unused bits, which may be set: other servers accept
/// that too.
fn is_nonce(key: &[u8]) -> bool {
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|key| key.len() == 22 && key.iter().all(alphabet))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    const GOOD: [(&str, &str); 5] = [
        ("Host", "server.example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        KEY,
        ("Sec-WebSocket-Version", "13"),
    ];

    fn judge(headers: &[(&'static str, &'static str)]) -> Upgrade {
        judge_request(Method::GET, Version::HTTP_11, headers)
    }

    fn judge_request(method: Method, version: Version, headers: &[(&'static str, &'static str)]) -> Upgrade {
        let mut map = HeaderMap::new();
        for &(name, value) in headers {
            map.append(name.to_lowercase().parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        classify(&method, version, &map)
    }

    /// The good request with `name` replaced by these lines.
    fn with(name: &'static str, lines: &[&'static str]) -> Upgrade {
        let others = GOOD.iter().copied().filter(|header| header.0 != name);
        judge(&others.chain(lines.iter().map(|&line| (name, line))).collect::<Vec<_>>())
    }

    fn accepted(verdict: &Upgrade) -> bool {
        *verdict == Upgrade::Valid { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into() }
    }

    fn refused(verdict: Upgrade) -> (u16, &'static str) {
        match verdict {
            Upgrade::Refused { status, reason } => (status, reason),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn the_example_of_rfc_6455_section_1_3_is_accepted() {
        assert!(accepted(&judge(&GOOD)));
    }

    #[test]
    fn token_lists_may_hold_more_in_any_case_over_several_lines() {
        assert!(accepted(&with("Connection", &["keep-alive, Upgrade"])));
        assert!(accepted(&with("Connection", &["keep-alive", ",\tUPGRADE ,x"])));
        assert!(accepted(&with("Upgrade", &["h2c, WebSocket"])));
        assert!(accepted(&with("Upgrade", &["h2c", "WEBSOCKET"])));
    }

    #[test]
    fn a_request_that_does_not_ask_for_websocket_is_ordinary() {
        assert_eq!(judge(&[("Host", "a")]), Upgrade::None);
        assert_eq!(judge(&[]), Upgrade::None);
        for other in ["h2c", "websocket2", "web socket", "websocket/13"] {
            assert_eq!(judge(&[("Host", "a"), ("Connection", "upgrade"), ("Upgrade", other)]), Upgrade::None);
        }
        let post = judge_request(Method::POST, Version::HTTP_10, &[("Connection", "upgrade")]);
        assert_eq!(post, Upgrade::None);
    }

    #[test]
    fn any_part_of_a_handshake_makes_it_an_attempt() {
        for part in [("Upgrade", "websocket"), KEY, ("Sec-WebSocket-Version", "13")] {
            assert_eq!(refused(judge(&[part])), (400, "missing header: Host"));
        }
    }

    #[test]
    fn each_missing_part_is_named() {
        for (name, status) in [
            ("Host", 400),
            ("Upgrade", 400),
            ("Connection", 400),
            ("Sec-WebSocket-Key", 400),
            ("Sec-WebSocket-Version", 426),
        ] {
            let (found, reason) = refused(with(name, &[]));
            assert_eq!(found, status);
            assert!(reason.contains(name), "{name}: {reason}");
        }
        assert_eq!(refused(with("Connection", &["keep-alive"])).0, 400);
        assert_eq!(refused(with("Connection", &["upgraded"])).0, 400);
    }

    #[test]
    fn only_get_over_http_1_1_or_later() {
        for method in [Method::POST, Method::HEAD, Method::OPTIONS] {
            assert_eq!(refused(judge_request(method, Version::HTTP_11, &GOOD)).0, 400);
        }
        assert_eq!(refused(judge_request(Method::GET, Version::HTTP_10, &GOOD)).0, 400);
    }

    #[test]
    fn only_version_13() {
        for lines in [&["8"][..], &["013"], &["14"], &["13, 8"], &["13", "13"], &[""]] {
            assert_eq!(refused(with("Sec-WebSocket-Version", lines)).0, 426, "{lines:?}");
        }
    }

    #[test]
    fn the_key_is_one_line_of_16_bytes_in_base64() {
        for lines in [
            &[""][..],
            &["dGhlIHNhbXBsZSBub25jZQ"],
            &["dGhlIHNhbXBsZSBub25jZQ=A"],
            &["dGhlIHNhbXBsZSBub25j"],
            &["dGhlIHNhbXBsZSBub25jZWQ="],
            &["dGhlIHNhbXBsZSBub25jZWVl"],
            &["dGhlIHNhbXBs-SBub25jZQ=="],
            &["dGhlIHNhbXBsZSBub25jZQ====="],
            &["dGhlIHNhbXBsZSjbB5Q=+Z2="], // padded twice
            &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="],
        ] {
            assert_eq!(refused(with("Sec-WebSocket-Key", lines)).0, 400, "{lines:?}");
        }
    }
}
