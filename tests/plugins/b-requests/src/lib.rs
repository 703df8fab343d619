//! Test plugin: answers as the request says, fails on request, and logs its calls.

use std::sync::atomic::{AtomicUsize, Ordering};

use callsign_plugin::prelude::*;

callsign_plugin::plugin!();

/// Calls of `socket`.
static UPGRADES: AtomicUsize = AtomicUsize::new(0);

/// `?STATUS`: responds with this status, the request's body, and a header `NAME` for each request header
/// `answer-NAME`.
#[onrequest]
fn answer(request: &mut Request) -> Response {
    let status = request.query().parse().unwrap_or(200);
    with_headers(request, Response::new(status).body(request.body()))
}

/// `?BYTES`: responds with so many bytes.
#[onrequest]
fn large(request: &mut Request) -> Response {
    Response::new(200).body(vec![b'x'; request.query().parse().unwrap_or_default()])
}

/// `?COUNT`: looks up the header `x-last` so many times. Responds with its value and the number of headers.
#[onrequest]
fn lookups(request: &mut Request) -> Response {
    let count = request.query().parse().unwrap_or_default();
    let found = (0..count).filter_map(|_| request.header("X-Last")).last().unwrap_or_default();
    Response::text(format!("{found} {}", request.headers().count()))
}

/// Upgrades, with headers as in `answer`.
#[onrequest]
fn socket(request: &mut Request) -> Response {
    UPGRADES.fetch_add(1, Ordering::Relaxed);
    with_headers(request, request.handshake(None, "note", "left"))
}

/// Upgrades to connections that are told their subprotocol.
#[onrequest]
fn speaks(request: &mut Request) -> Response {
    request.handshake(None, "speak", None)
}

/// The same, and chooses the subprotocol `v3` or `v1`.
#[onrequest]
fn chooses(request: &mut Request) -> Response {
    let mut preferred = ["v3", "v1"].into_iter();
    match preferred.find(|name| request.protocols().any(|offered| offered == *name)) {
        Some(name) => speaks(request).protocol(name),
        None => speaks(request),
    }
}

/// Sends the connection's subprotocol.
#[onmessage]
fn speak(c: &Connection, _: Message<'_>) {
    c.send(c.protocol());
}

/// `?NAME,NAME`: responds with method, path and these parameters of the route.
#[onrequest]
fn params(request: &mut Request) -> Response {
    let values: Vec<_> =
        request.query().split(',').map(|name| format!("{:?}", request.param(name))).collect();
    Response::text(format!("{} {} {}", request.method(), request.path(), values.join(" ")))
}

/// Upgrades to connections that are told them.
#[onrequest]
fn parametric(request: &mut Request) -> Response {
    request.handshake(None, "param", None)
}

/// Sends the parameter that the message names.
#[onmessage]
fn param(c: &Connection, message: Message<'_>) {
    c.send(&format!("{:?}", message.as_text().map(|name| c.param(name))));
}

/// Responds with whether the client is secure, or upgrades to connections that are told it.
#[onrequest]
fn secure(request: &mut Request) -> Response {
    match request.is_upgrade() {
        true => request.handshake(None, "tell_secure", None),
        false => Response::text(request.is_secure().to_string()),
    }
}

#[onmessage]
fn tell_secure(c: &Connection, _: Message<'_>) {
    c.send(&c.is_secure().to_string());
}

/// Responds with what the client's certificate says.
#[onrequest]
fn identity(request: &mut Request) -> Response {
    Response::text(describe(request.certificate()))
}

/// Upgrades to connections that are told the same.
#[onrequest]
fn identified(request: &mut Request) -> Response {
    request.handshake(None, "identify", None)
}

#[onmessage]
fn identify(c: &Connection, _: Message<'_>) {
    c.send(&describe(c.certificate()));
}

fn describe(certificate: Option<ClientCertificate<'_>>) -> String {
    let Some(it) = certificate else { return "none".to_owned() };
    let names: Vec<_> = it.dns_names().chain(it.emails()).chain(it.uris()).chain(it.addresses()).collect();
    format!(
        "{} | {} | {:?} | {} | {} | {} | {}",
        it.subject(),
        it.issuer(),
        it.common_name(),
        it.serial(),
        it.fingerprint(),
        names.join(" "),
        it.der().len()
    )
}

/// Responds with the number of calls of `socket`.
#[onrequest]
fn upgrades(_: &mut Request) -> Response {
    Response::text(UPGRADES.load(Ordering::Relaxed).to_string())
}

#[onrequest]
fn refuses(_: &mut Request) -> Result<Response, &'static str> {
    Err("out of paper")
}

#[onrequest]
fn panics(_: &mut Request) -> Response {
    panic!("off the rails")
}

/// Logs each message. `close` makes the server close the connection.
#[onmessage]
fn note(c: &Connection, message: Message<'_>) {
    let text = message.as_text().unwrap_or("(binary)");
    log(Level::Info, format!("note: {text}"));
    if text == "close" {
        c.close(4000, "as you wish");
    }
}

/// Logs how the connection ended.
#[ondisconnect]
fn left(c: &Connection) {
    let side = c.closed_by().map_or("nobody".to_owned(), |side| format!("{side:?}"));
    log(Level::Info, format!("left: {} `{}` by {side}", c.close_code(), c.close_reason()));
}

fn with_headers(request: &Request, response: Response) -> Response {
    request.headers().fold(response, |response, (name, value)| match name.strip_prefix("answer-") {
        Some(name) => response.header(name, String::from_utf8_lossy(value)),
        None => response,
    })
}
