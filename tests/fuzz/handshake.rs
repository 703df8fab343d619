//! Fuzzes `classify` with arbitrary request heads. It must not panic, and its verdict must equal that of a second, slow
//! implementation of RFC 6455 section 4.2.1. The response to a valid handshake must equal tungstenite's.
#![no_main]

use callsign::testing::{Upgrade, classify};
use hyper::{
    HeaderMap, Method, Version,
    header::{HeaderName, HeaderValue},
};
use libfuzzer_sys::{Corpus, fuzz_target};
use tungstenite::{handshake::server::create_response, http};

fuzz_target!(|input: &[u8]| -> Corpus {
    match parse(input) {
        Some((method, version, headers)) => check(method, version, headers),
        None => return Corpus::Reject,
    }
    Corpus::Keep
});

fn parse(input: &[u8]) -> Option<(Method, Version, HeaderMap)> {
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut lines);
    if !request.parse(input).ok()?.is_complete() {
        return None;
    }
    let method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    let version = if request.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::new();
    for line in request.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    Some((method, version, headers))
}

fn check(method: Method, version: Version, headers: HeaderMap) {
    let lines = |name: &str| -> Vec<&[u8]> { headers.get_all(name).iter().map(|v| v.as_bytes()).collect() };
    let lists = |name: &str, token: &str| {
        let joined = lines(name).join(&b","[..]).to_ascii_lowercase();
        joined.split(|&byte| byte == b',').any(|item| item.trim_ascii() == token.as_bytes())
    };
    let (key, number) = (lines("sec-websocket-key"), lines("sec-websocket-version"));
    let is_attempt = lists("upgrade", "websocket") || !key.is_empty() || !number.is_empty();
    let good_number = number == [b"13"];
    let good_key = matches!(key[..], [key] if decoded_length(key) == Some(16));
    let good_rest = method == Method::GET
        && version == Version::HTTP_11
        && !lines("host").is_empty()
        && lists("upgrade", "websocket")
        && lists("connection", "upgrade");

    match classify(&method, version, &headers) {
        Upgrade::None => assert!(!is_attempt),
        Upgrade::Valid { accept } => {
            assert!(is_attempt && good_rest && good_number && good_key);
            let mut request = http::Request::new(());
            *request.headers_mut() = headers;
            // tungstenite does not read lists over several lines, and rejects unused bits in the key.
            if let Ok(response) = create_response(&request) {
                assert_eq!(response.headers()["sec-websocket-accept"], accept);
            }
        }
        Upgrade::Refused { status: 426, .. } => assert!(is_attempt && good_rest && !good_number),
        Upgrade::Refused { status, reason } => {
            assert!(is_attempt && status == 400 && !reason.is_empty());
            assert!(!good_rest || good_number && !good_key);
        }
    }
}

/// The decoded length of base64 that ends in two padding characters. (data-encoding's padded formats also accept
/// several padded groups in a row, such as `dGhlIHNhbXBsZSjbB5Q=+Z2=`.)
fn decoded_length(base64: &[u8]) -> Option<usize> {
    let mut format = data_encoding::BASE64_NOPAD.specification();
    format.check_trailing_bits = false;
    Some(format.encoding().ok()?.decode(base64.strip_suffix(b"==")?).ok()?.len())
}
