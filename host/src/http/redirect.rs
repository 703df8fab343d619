//! The response of a listener with `redirect`: 308 to the same host and path with TLS, or to the host that the operator
//! names. A request that was validated enters.
//!
//! A WebSocket handshake is redirected too, to `wss://`. Browsers do not follow, and report the 308 to the page; clients
//! that follow redirects arrive.

use std::borrow::Cow;
use std::fmt::Write as _;

use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};

use super::answer::{HttpResponse, close, refused, text};
use crate::config::redirect::{HTTPS_PORT, RedirectTarget, is_host, split_port};

/// Redirects to that place.
pub fn to_https<B>(request: &Request<B>, is_upgrade: bool, to: &RedirectTarget) -> HttpResponse {
    let scheme = if is_upgrade { "wss" } else { "https" };
    let location = location(request, scheme, to);
    let location = location.and_then(|location| {
        HeaderValue::from_str(&location).map_err(|_| "the target is not that of a request")
    });
    match location {
        Ok(location) => {
            let mut response = text(StatusCode::PERMANENT_REDIRECT, "use https");
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(reason) => close(refused(400, &format!("this address only redirects to https, and {reason}"))),
    }
}

/// The URL of the same resource. Err: why there is none.
fn location<B>(request: &Request<B>, scheme: &str, to: &RedirectTarget) -> Result<String, &'static str> {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        return Err("CONNECT asks for a tunnel");
    }
    // RFC 9112 §3.2.2: such a request is for a proxy.
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err("the target has another scheme than http");
    }
    let path = path(request.method(), uri)?;
    let host = match &to.host {
        Some(host) => host,
        None => host(request)?,
    };
    Ok(match to.port {
        HTTPS_PORT => format!("{scheme}://{host}{path}"),
        port => format!("{scheme}://{host}:{port}{path}"),
    })
}

/// Path and query of the target, as a URL writes them. Empty for `*`, which stands for a server (RFC 9112 §3.3).
fn path<'r>(method: &Method, uri: &'r Uri) -> Result<Cow<'r, str>, &'static str> {
    let path = uri.path_and_query().map(|path| path.as_str()).ok_or("the target has no path")?;
    match path.as_bytes().first() {
        Some(b'/') => Ok(escaped(path)),
        // Of an absolute target with an empty path.
        Some(b'?') => Ok(format!("/{}", escaped(path)).into()),
        // RFC 9112 §3.2.4.
        Some(b'*') if path == "*" && method == Method::OPTIONS => Ok("".into()),
        _ => Err("the target is no path"),
    }
}

/// The text with all characters escaped that a URL cannot have (RFC 3986 §3.3, §3.4). hyper accepts some of them.
fn escaped(path: &str) -> Cow<'_, str> {
    let may_be = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(byte);
    if path.as_bytes().iter().all(may_be) {
        return path.into();
    }
    let mut url = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        match may_be(&byte) {
            true => url.push(char::from(byte)),
            // Writing to a string does not fail.
            false => _ = write!(url, "%{byte:02X}"),
        }
    }
    url.into()
}

/// The host that the client asks for, without a port. That of an absolute target precedes the header (RFC 9112 §3.2.2).
fn host<B>(request: &Request<B>) -> Result<&str, &'static str> {
    let target = request.uri().authority().map(|authority| authority.as_str());
    let named = target.or_else(|| request.headers().get(header::HOST)?.to_str().ok()).unwrap_or_default();
    match split_port(named).0 {
        "" => Err("the request names no host"),
        host if is_host(host) => Ok(host),
        _ => Err("the host is neither a name of DNS nor an address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(request: &Request<()>, is_upgrade: bool, to: &RedirectTarget) -> (u16, Option<String>) {
        let response = to_https(request, is_upgrade, to);
        let location = response.headers().get("Location");
        let location = location.map(|location| location.to_str().expect("it is text").to_owned());
        (response.status().as_u16(), location)
    }

    fn port(port: u16) -> RedirectTarget {
        RedirectTarget { host: None, port }
    }

    fn request(method: &str, target: &str, host: &str) -> Request<()> {
        Request::builder().method(method).uri(target).header("Host", host).body(()).expect("a request")
    }

    #[track_caller]
    fn redirects(request: &Request<()>, to: &RedirectTarget, location: &str) {
        assert_eq!(send(request, false, to), (308, Some(location.to_owned())));
    }

    #[test]
    fn host_path_and_query_stay_and_the_port_is_that_of_the_listener_with_tls() {
        for (target, host, to, location) in [
            ("/", "a.example", 443, "https://a.example/"),
            ("/a%2Fb?c=d&e", "a.example:8080", 443, "https://a.example/a%2Fb?c=d&e"),
            ("//b.example/x", "a.example", 8443, "https://a.example:8443//b.example/x"),
            ("/x", "[2001:db8::1]:80", 443, "https://[2001:db8::1]/x"),
            ("/x", "[::1]", 8443, "https://[::1]:8443/x"),
            ("/x", "a.example:", 443, "https://a.example/x"),
            ("http://b.example:80/x?y", "a.example", 443, "https://b.example/x?y"),
            ("http://b.example", "a.example", 443, "https://b.example/"),
            ("http://b.example?y=1", "a.example", 443, "https://b.example/?y=1"),
            ("/{\"caf\u{e9}\"}", "a.example", 443, "https://a.example/%7B%22caf%C3%A9%22%7D"),
        ] {
            redirects(&request("GET", target, host), &port(to), location);
        }
    }

    #[test]
    fn the_operator_may_name_the_host() {
        let to = RedirectTarget { host: Some("chat.example".to_owned()), port: 8443 };
        redirects(&request("GET", "/x", "a,b"), &to, "https://chat.example:8443/x");
        redirects(&request("GET", "/x", ""), &to, "https://chat.example:8443/x");
        redirects(&request("GET", "http://a.example/x", "b"), &to, "https://chat.example:8443/x");
    }

    #[test]
    fn a_websocket_handshake_is_redirected_to_wss() {
        let location = Some("wss://a.example:8443/chat?x".to_owned());
        assert_eq!(send(&request("GET", "/chat?x", "a.example:80"), true, &port(8443)), (308, location));
    }

    #[test]
    fn options_of_the_whole_server_is_redirected_without_a_path() {
        redirects(&request("OPTIONS", "*", "a.example"), &port(443), "https://a.example");
        redirects(&request("OPTIONS", "*", "a.example"), &port(8443), "https://a.example:8443");
    }

    #[test]
    fn what_has_no_url_with_tls_is_rejected() {
        for (method, target, host) in [
            ("GET", "/", ""),
            ("GET", "*", "a.example"),
            ("CONNECT", "a.example:80", "a.example:80"),
            ("GET", "a.example:80", "a.example:80"),
            ("GET", "ftp://a.example/x", "a.example"),
            ("GET", "/", "a,b"),
            ("GET", "/", "a%2fb"),
            ("GET", "/", "a..b"),
            ("GET", "http://a,b/", "a.example"),
        ] {
            assert_eq!(
                send(&request(method, target, host), false, &port(443)),
                (400, None),
                "{method} {target}"
            );
        }
        let request = Request::get("/").body(()).expect("a request");
        assert_eq!(send(&request, false, &port(443)), (400, None));
    }
}
