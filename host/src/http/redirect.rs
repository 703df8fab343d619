//! The response of a listener with `redirect = "https"`: 308 to the same host and path on a listener with TLS. A request
//! that was validated enters.
//!
//! A WebSocket handshake is redirected too, to `wss://`. Browsers do not follow, and report the 308 to the page; clients
//! that follow redirects arrive.

use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode, Uri};

use super::answer::{HttpResponse, close, refused, text};

/// The port that URLs of `https` and `wss` leave out.
const DEFAULT_PORT: u16 = 443;

/// Redirects to the listener with TLS on this port.
pub fn to_https<B>(request: &Request<B>, is_upgrade: bool, port: u16) -> HttpResponse {
    let scheme = if is_upgrade { "wss" } else { "https" };
    let location = host(request).map(|host| location(scheme, host, port, request.uri()));
    let Some(Ok(location)) = location.map(|location| HeaderValue::from_str(&location)) else {
        return close(refused(400, "this address only redirects to https, and the request names no host"));
    };
    let mut response = text(StatusCode::PERMANENT_REDIRECT, "use https");
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn location(scheme: &str, host: &str, port: u16, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // The targets of CONNECT and of `OPTIONS *` have no path.
    let path = if path.starts_with('/') { path } else { "/" };
    match port {
        DEFAULT_PORT => format!("{scheme}://{host}{path}"),
        port => format!("{scheme}://{host}:{port}{path}"),
    }
}

/// The host that the client asks for, without a port. None: it names none.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let target = request.uri().authority().map(|authority| authority.as_str());
    let host = target.or_else(|| request.headers().get(header::HOST)?.to_str().ok())?;
    let end = match host.rfind(']') {
        Some(end) => end + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    Some(&host[..end]).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(target: &str, host: &str, is_upgrade: bool, port: u16) -> (u16, Option<String>) {
        let request = Request::get(target).header("Host", host).body(()).expect("a request");
        let response = to_https(&request, is_upgrade, port);
        let location = response.headers().get("Location");
        let location = location.map(|location| location.to_str().expect("it is text").to_owned());
        (response.status().as_u16(), location)
    }

    #[track_caller]
    fn redirects(target: &str, host: &str, port: u16, location: &str) {
        assert_eq!(redirect(target, host, false, port), (308, Some(location.to_owned())));
    }

    #[test]
    fn host_path_and_query_stay_and_the_port_is_that_of_the_listener_with_tls() {
        redirects("/", "a.example", 443, "https://a.example/");
        redirects("/a%2Fb?c=d&e", "a.example:8080", 443, "https://a.example/a%2Fb?c=d&e");
        redirects("//b.example/x", "a.example", 8443, "https://a.example:8443//b.example/x");
        redirects("/x", "[2001:db8::1]:80", 443, "https://[2001:db8::1]/x");
        redirects("/x", "[::1]", 8443, "https://[::1]:8443/x");
        redirects("http://b.example:80/x?y", "a.example", 443, "https://b.example/x?y");
        redirects("*", "a.example", 443, "https://a.example/");
    }

    #[test]
    fn a_websocket_handshake_is_redirected_to_wss() {
        let location = Some("wss://a.example:8443/chat?x".to_owned());
        assert_eq!(redirect("/chat?x", "a.example:80", true, 8443), (308, location));
    }

    #[test]
    fn a_request_that_names_no_host_is_rejected() {
        assert_eq!(redirect("/", "", false, 443), (400, None));
        let request = Request::get("/").body(()).expect("a request");
        assert_eq!(to_https(&request, false, 443).status(), 400);
    }
}
