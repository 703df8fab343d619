//! The head of a stream as a client of HTTP/1.1 would have sent it: the host in the Host header, the path as target, and GET for
//! the CONNECT that opens a WebSocket (RFC 8441 §4).
//!
//! hyper and h2 have rejected what RFC 9113 §8 calls malformed: wrong pseudo-headers, headers of a connection, characters that a
//! header cannot have, a body of another length than announced.

use hyper::ext::Protocol;
use hyper::header::{HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Uri};

use crate::http::HEADERS_MAX;
use crate::http::upgrade::Upgrade;

/// Translates the head, and tells what it means to the WebSocket protocol. Err: status and reason for the client.
pub fn translate<B>(request: &mut Request<B>, max_head: usize) -> Result<Upgrade, (u16, &'static str)> {
    if head_size(request) > max_head {
        return Err((431, "the head of the request is too large"));
    }
    if request.headers().len() > HEADERS_MAX {
        return Err((431, "the request has too many headers"));
    }
    let upgrade = classify(request)?;
    name_host(request)?;
    let target = target(request.uri(), request.method())?;
    *request.uri_mut() = target.into();
    if upgrade != Upgrade::None && request.method() == Method::CONNECT {
        *request.method_mut() = Method::GET;
    }
    Ok(upgrade)
}

/// Bytes that the head would have in HTTP/1.1.
fn head_size<B>(request: &Request<B>) -> usize {
    let line =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    let first = request.uri().path().len() + request.uri().query().map_or(0, |query| query.len() + 1);
    first + request.headers().iter().map(line).sum::<usize>()
}

/// The same as [`crate::http::upgrade::classify`] for HTTP/2, which has neither Upgrade nor a key.
fn classify<B>(request: &Request<B>) -> Result<Upgrade, (u16, &'static str)> {
    let headers = request.headers();
    let refused = |status, reason| Ok(Upgrade::Refused { status, reason });
    if request.method() != Method::CONNECT {
        let has = |name| headers.contains_key(name);
        return match has(SEC_WEBSOCKET_KEY) || has(SEC_WEBSOCKET_VERSION) {
            true => refused(400, "a WebSocket over HTTP/2 is opened with CONNECT (RFC 8441)"),
            false => Ok(Upgrade::None),
        };
    }
    match request.extensions().get::<Protocol>() {
        None => return Err((501, "CONNECT is for WebSockets only (RFC 8441): it needs :protocol")),
        Some(protocol) if !protocol.as_str().eq_ignore_ascii_case("websocket") => {
            return Err((501, "the only :protocol that this server knows is websocket"));
        }
        Some(_) => {}
    }
    let mut versions = headers.get_all(SEC_WEBSOCKET_VERSION).iter();
    match (versions.next().map(HeaderValue::as_bytes), versions.next()) {
        // There is no key, and so nothing to accept.
        (Some(b"13"), None) => Ok(Upgrade::Valid { accept: String::new() }),
        _ => refused(426, "this server speaks Sec-WebSocket-Version 13"),
    }
}

/// Names the host in the Host header alone, as :authority does. A Host header that differs may have told a proxy
/// something else (RFC 9113 §8.3.1).
fn name_host<B>(request: &mut Request<B>) -> Result<(), (u16, &'static str)> {
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    let authority = authority.as_str();
    let is_same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    if !request.headers().get_all(HOST).iter().all(is_same) {
        return Err((400, "the Host header differs from :authority"));
    }
    let host = HeaderValue::from_str(authority).map_err(|_| (400, ":authority is no host"))?;
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// Path and query alone.
fn target(uri: &Uri, method: &Method) -> Result<PathAndQuery, (u16, &'static str)> {
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "https" | "http")) {
        return Err((400, "this server is for https"));
    }
    let target = uri.path_and_query().ok_or((400, "the request has no :path"))?;
    match target.as_str() {
        "*" if method == Method::OPTIONS => {}
        path if path.starts_with('/') => {}
        _ => return Err((400, ":path is no path")),
    }
    Ok(target.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_HEAD: usize = 64 * 1024;

    fn translate(request: &mut Request<()>) -> Result<Upgrade, (u16, &'static str)> {
        super::translate(request, MAX_HEAD)
    }

    #[test]
    fn a_head_has_the_size_that_it_would_have_in_another_version() {
        let with = |length: usize| {
            let value = "v".repeat(length);
            translate(&mut request("GET", "https://a/abc?d", &[("name", &value)]))
        };
        // "/abc?d", "name", ": " and the end of the line
        assert_eq!(with(MAX_HEAD - 14), Ok(Upgrade::None));
        assert_eq!(with(MAX_HEAD - 13).map_err(|(status, _)| status), Err(431));
    }

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    fn connect(protocol: &'static str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = request("CONNECT", "https://a.example/chat?room=1", headers);
        request.extensions_mut().insert(Protocol::from_static(protocol));
        request
    }

    #[test]
    fn a_request_gets_its_host_as_a_header_and_its_path_as_the_target() {
        let mut request = request("GET", "https://a.example:8443/x%2F?y=1", &[("x", "1")]);
        assert_eq!(translate(&mut request), Ok(Upgrade::None));
        assert_eq!(request.uri(), "/x%2F?y=1");
        assert_eq!(request.headers()[HOST], "a.example:8443");
    }

    #[test]
    fn a_host_header_has_to_say_the_same() {
        let with = |hosts: &[(&str, &str)]| translate(&mut request("GET", "https://a.example/", hosts));
        assert_eq!(with(&[("host", "A.Example")]), Ok(Upgrade::None));
        let differs = Err((400, "the Host header differs from :authority"));
        for hosts in
            [&[("host", "b.example")][..], &[("host", "a.example"), ("host", "b.example")], &[("host", "")]]
        {
            assert_eq!(with(hosts), differs, "{hosts:?}");
        }
        // Of several equal ones, one is left.
        let mut twice = request("GET", "https://a.example/", &[("host", "a.example"), ("host", "a.example")]);
        assert_eq!(translate(&mut twice), Ok(Upgrade::None));
        assert_eq!(twice.headers().get_all(HOST).iter().count(), 1);
    }

    #[test]
    fn a_websocket_is_a_get_request() {
        let mut request =
            connect("websocket", &[("sec-websocket-version", "13"), ("origin", "https://a.example")]);
        assert_eq!(translate(&mut request), Ok(Upgrade::Valid { accept: String::new() }));
        assert_eq!((request.method(), request.uri().to_string()), (&Method::GET, "/chat?room=1".to_owned()));
        assert_eq!(request.headers()[HOST], "a.example");
    }

    #[test]
    fn other_tunnels_and_other_versions_are_rejected() {
        assert_eq!(translate(&mut connect("connect-udp", &[])).map_err(|(status, _)| status), Err(501));
        let plain = translate(&mut request("CONNECT", "a.example:443", &[]));
        assert_eq!(plain.map_err(|(status, _)| status), Err(501));
        let refused = |request: &mut Request<()>| match translate(request) {
            Ok(Upgrade::Refused { status, .. }) => status,
            other => panic!("{other:?}"),
        };
        const VERSION: &str = "sec-websocket-version";
        for headers in [&[][..], &[(VERSION, "8")], &[(VERSION, "13"), (VERSION, "13")]] {
            assert_eq!(refused(&mut connect("websocket", headers)), 426, "{headers:?}");
        }
        for header in [(VERSION, "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")] {
            assert_eq!(refused(&mut request("GET", "https://a.example/", &[header])), 400, "{header:?}");
        }
    }

    #[test]
    fn a_target_is_a_path() {
        let status = |method, uri| translate(&mut request(method, uri, &[])).map_err(|(status, _)| status);
        assert_eq!(status("OPTIONS", "*"), Ok(Upgrade::None));
        assert_eq!(status("GET", "*"), Err(400));
        assert_eq!(
            status("GET", "http://a.example/"),
            Ok(Upgrade::None),
            "a proxy without TLS on its other side"
        );
        assert_eq!(status("GET", "ftp://a.example/"), Err(400));
    }

    #[test]
    fn a_request_has_a_thousand_headers_at_most() {
        let names: Vec<String> = (0..=HEADERS_MAX).map(|n| format!("x-{n}")).collect();
        let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        let status = |headers: &[_]| {
            translate(&mut request("GET", "https://a/", headers)).map_err(|(status, _)| status)
        };
        assert_eq!(status(&headers[..HEADERS_MAX]), Ok(Upgrade::None));
        assert_eq!(status(&headers), Err(431));
    }
}
