//! Responses of the host itself, and how all responses spell the names of their headers.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::Extensions;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::outgoing::Outgoing;

/// What hyper writes.
pub type HttpResponse = Response<Outgoing>;

/// A 101 with this value of `Sec-WebSocket-Accept`, and the subprotocol and the extensions that were selected.
pub fn switching(
    accept: &str,
    protocol: Option<HeaderValue>,
    extensions: Option<HeaderValue>,
) -> HttpResponse {
    let mut response = HttpResponse::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    // Base64 is always a header value.
    headers.extend(HeaderValue::from_str(accept).ok().map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    headers.extend(protocol.map(|protocol| (header::SEC_WEBSOCKET_PROTOCOL, protocol)));
    headers.extend(extensions.map(|extensions| (header::SEC_WEBSOCKET_EXTENSIONS, extensions)));
    response
}

/// A rejection: 400, or 426 with what would be needed (RFC 6455 §4.4, RFC 9110 §15.5.22).
pub fn refused(status: u16, reason: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = text(status, reason);
    if status == StatusCode::UPGRADE_REQUIRED {
        let headers = response.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    response
}

/// The response to a method that no route of the path takes, with those that they do: to OPTIONS (RFC 9110 §9.3.7), or 405
/// (RFC 9110 §15.5.6).
pub fn other_methods(method: &Method, allow: &str) -> HttpResponse {
    let mut response = match *method {
        Method::OPTIONS => {
            let mut response = HttpResponse::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        _ => text(StatusCode::METHOD_NOT_ALLOWED, &format!("this path is for {allow}")),
    };
    // Methods are tokens.
    response.headers_mut().extend(HeaderValue::from_str(allow).ok().map(|allow| (header::ALLOW, allow)));
    response
}

/// A response with one line of text.
pub fn text(status: StatusCode, reason: &str) -> HttpResponse {
    let mut response = HttpResponse::new(format!("{reason}\n").into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Adds the headers of which the response has none of that name.
pub fn add(response: &mut HttpResponse, headers: &[(HeaderName, HeaderValue)]) {
    for (name, value) in headers {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
}

/// The same response, after which the connection is closed: the rest of the request cannot be read.
pub fn close(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Headers whose usual spelling is not one capital letter at the start of each word, with that spelling.
const SPELLED: [(HeaderName, &str); 6] = [
    (header::SEC_WEBSOCKET_ACCEPT, "Sec-WebSocket-Accept"),
    (header::SEC_WEBSOCKET_EXTENSIONS, "Sec-WebSocket-Extensions"),
    (header::SEC_WEBSOCKET_PROTOCOL, "Sec-WebSocket-Protocol"),
    (header::SEC_WEBSOCKET_VERSION, "Sec-WebSocket-Version"),
    (header::WWW_AUTHENTICATE, "WWW-Authenticate"),
    (header::ETAG, "ETag"),
];

thread_local! {
    static SPELLING: Extensions = spelling();
}

/// Has hyper write the names of the response's headers as RFC 6455 and RFC 9110 do, because some clients compare them
/// byte by byte. hyper's `title_case_headers` writes all others so.
pub fn spell(response: &mut HttpResponse) {
    if SPELLED.iter().any(|(name, _)| response.headers().contains_key(name)) {
        response.extensions_mut().extend(SPELLING.with(Clone::clone));
    }
}

/// With `preserve_header_case`, hyper attaches the spelling of a request's headers to it, and writes a response that has
/// the same attachment in the same spelling. The type is private to hyper, so a request that has the headers is parsed.
fn spelling() -> Extensions {
    let names: String = SPELLED.iter().map(|(_, name)| format!("{name}: -\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\n{names}\r\n");
    let found = Rc::new(OnceCell::new());
    let service = service_fn(|request: Request<Incoming>| {
        let _ = found.set(request.extensions().clone());
        ready(Ok::<_, Infallible>(HttpResponse::default()))
    });
    let io = tokio::io::join(request.as_bytes(), tokio::io::sink());
    let mut builder = http1::Builder::new();
    builder.preserve_header_case(true).header_read_timeout(None);
    // The first poll does everything, because nothing waits.
    let _ = pin!(builder.serve_connection(TokioIo::new(io), service))
        .poll(&mut Context::from_waker(Waker::noop()));
    found.get().cloned().unwrap_or_default()
}
