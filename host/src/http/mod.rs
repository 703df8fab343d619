//! HTTP: hyper parses requests and writes responses; this layer decides what the response is. After a 101 the worker
//! takes over the socket.

pub mod upgrade; // which requests are WebSocket upgrades, RFC 6455 §4.2.1

mod stream; // an accepted socket

mod origin; // which pages may open WebSockets

mod protocol; // which subprotocol a connection has

use std::cell::OnceCell;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::bridge::exchange::{Exchange, Handshake};
use crate::client::Client;
use crate::client::head::Head;
use crate::plugin::call;
use crate::plugin::dispatch::{Answerer, ResolvedRoute};
use crate::plugin::generation::Generation;
use crate::plugin::handler::{Callbacks, HandlerRef};
use crate::worker::Worker;
use crate::worker::admission::Permit;
use crate::worker::callbacks::release_request;
use crate::worker::handshakes::Pending;
pub use stream::{Peer, Stream};
use upgrade::{Upgrade, classify};

type HttpResponse = Response<Full<Bytes>>;

/// Who sent a request.
#[derive(Clone)]
struct Sender {
    worker: &'static Worker,
    peer: Peer,
    permit: Rc<Permit>,
    /// From the first request on, a drain waits until its response is written.
    pending: Rc<OnceCell<Pending>>,
}

/// Serves one accepted socket until it is closed, or upgraded.
pub async fn serve(worker: &'static Worker, mut stream: Stream, peer: Peer, permit: Permit) {
    let limits = &worker.hub.limits;
    stream.limit_unread(limits.handshake_timeout);
    let sender = Sender { worker, peer: peer.clone(), permit: Rc::new(permit), pending: Rc::default() };
    let service = service_fn(move |request| {
        sender.pending.get_or_init(|| worker.handshakes.begin());
        let sender = sender.clone();
        async move { Ok::<_, Infallible>(respond(sender, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(worker.hub.limits.handshake_timeout)
        .max_buf_size(worker.hub.limits.max_head)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = worker.begins_to_drain() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        log::debug!("{peer}: {:#}", anyhow::Error::new(error));
    }
}

async fn respond(sender: Sender, request: Request<Incoming>) -> HttpResponse {
    let accept = match classify(request.method(), request.version(), request.headers()) {
        Upgrade::None => None,
        Upgrade::Valid { accept } => Some(accept),
        Upgrade::Refused { status, reason } => return refused(status, reason),
    };
    // RFC 9112 §3.2; a second one may have told a proxy something else.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return refused(400, "a request needs one Host header");
    }
    let dispatch = sender.worker.dispatch();
    let Some(route) = dispatch.find(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "no route for this path");
    };
    if accept.is_some() && !origin::is_allowed(&dispatch, route, request.headers(), &sender.peer) {
        return text(StatusCode::FORBIDDEN, "this page may not open a WebSocket here");
    }
    match (route.answerer, accept) {
        (Answerer::Callbacks(callbacks), Some(accept)) => switch(sender, request, &accept, route, callbacks),
        (Answerer::Callbacks(_), None) => refused(426, "this path is for WebSocket clients"),
        (Answerer::Handler(handler), accept) => call_handler(sender, request, accept, route, handler).await,
    }
}

/// Has an onrequest handler respond.
async fn call_handler(
    sender: Sender,
    mut request: Request<Incoming>,
    accept: Option<String>,
    route: &ResolvedRoute,
    handler: HandlerRef,
) -> HttpResponse {
    let Sender { worker, ref peer, .. } = sender;
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = match read_body(worker, body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let mut exchange = Exchange::new(parts.method.as_str(), Head::new(&parts, peer), body, accept.is_some());
    // The generation that is called now, whatever is in use when its data is released.
    let called = worker.registry().plugin(handler.plugin).clone();
    let result = call::on_request(handler, &mut exchange);
    let is_bound =
        matches!((&result, &exchange.response.get_mut().handshake), (Ok(true), Some(Handshake::Bound(_))));
    if !is_bound {
        release_request(&called, &exchange.client);
    }
    let Exchange { client, response, .. } = exchange;
    let mut answer = response.into_inner();
    let failed = |reason: &dyn std::fmt::Display| {
        log::error!(
            "{handler} failed: {reason} (500 for {} {} from {peer}, route `{}`)",
            parts.method,
            parts.uri.path(),
            route.path
        );
        text(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed")
    };
    match (result, answer.handshake) {
        (Err(reason), _) => failed(&reason),
        (Ok(_), Some(Handshake::Unresolved(unresolved))) => {
            failed(&format_args!("its handshake: {unresolved}"))
        }
        (Ok(false), _) => failed(&"it gave no reason"),
        (Ok(true), Some(Handshake::NotUpgrade)) => refused(426, "this path is for WebSocket clients"),
        (Ok(true), Some(Handshake::Bound(callbacks))) => {
            let chosen = answer.headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
            let protocol = protocol::select(route, &parts.headers, chosen, peer);
            protocol.iter().for_each(|name| client.set_subprotocol(name.as_bytes()));
            hand_over(sender.clone(), on_upgrade, client, callbacks, Some(called));
            let mut response = switching(accept.as_deref().unwrap_or_default(), protocol);
            response.headers_mut().extend(answer.headers);
            response
        }
        (Ok(true), None) => {
            let mut response = Response::new(Full::new(answer.body));
            *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
            *response.headers_mut() = answer.headers;
            response
        }
    }
}

/// The whole body, within its bounds of size and time.
async fn read_body(worker: &Worker, body: Incoming) -> Result<Bytes, HttpResponse> {
    let max = worker.hub.limits.max_body;
    let too_large =
        || close(text(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is longer than {max} bytes")));
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(worker.hub.limits.handshake_timeout, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(close(text(StatusCode::BAD_REQUEST, "the body is broken"))),
        Err(_) => Err(close(text(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))),
    }
}

/// Answers 101 to a request whose route names the callbacks.
fn switch(
    sender: Sender,
    mut request: Request<Incoming>,
    accept: &str,
    route: &ResolvedRoute,
    callbacks: Callbacks,
) -> HttpResponse {
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let protocol = protocol::select(route, &parts.headers, None, &sender.peer);
    let client = Rc::new(Client::requested(Head::new(&parts, &sender.peer)));
    protocol.iter().for_each(|name| client.set_subprotocol(name.as_bytes()));
    hand_over(sender, on_upgrade, client, callbacks, None);
    switching(accept, protocol)
}

/// Waits until the 101 is written, then has the worker take over the socket. `called`: the generation whose handler may
/// have put data into the client.
fn hand_over(
    sender: Sender,
    on_upgrade: hyper::upgrade::OnUpgrade,
    client: Rc<Client>,
    handlers: Callbacks,
    called: Option<Rc<Generation>>,
) {
    let Sender { worker, peer, permit, pending } = sender;
    let promised = worker.handshakes.promise(handlers);
    tokio::task::spawn_local(async move {
        let (_pending, _promised) = (pending, promised);
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                log::debug!("{peer}: left before it was upgraded: {:#}", anyhow::Error::new(error));
                return called.iter().for_each(|called| release_request(called, &client));
            }
        };
        let transport = upgraded
            .downcast::<TokioIo<Stream>>()
            .map_err(|_| io::Error::other("hyper returned another kind of socket than it was given"))
            .and_then(|parts| Ok((parts.io.into_inner().into_transport()?, parts.read_buf)));
        let (transport, early) = match transport {
            Ok(transport) => transport,
            Err(error) => {
                log::error!("{peer}: its socket cannot be used: {error}");
                return called.iter().for_each(|called| release_request(called, &client));
            }
        };
        // A generation that is not in use any more cannot pass its data on to the next.
        let in_use = worker.registry();
        let old =
            called.filter(|called| in_use.get(called.index).is_none_or(|plugin| !Rc::ptr_eq(plugin, called)));
        old.iter().for_each(|old| release_request(old, &client));
        worker.open(client, transport, handlers, Permit::take(permit), early.to_vec());
    });
}

fn switching(accept: &str, protocol: Option<HeaderValue>) -> HttpResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    // Base64 is always a header value.
    headers.extend(HeaderValue::from_str(accept).ok().map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    headers.extend(protocol.map(|protocol| (header::SEC_WEBSOCKET_PROTOCOL, protocol)));
    response
}

/// An upgrade that cannot be: 400, or 426 with what would be needed (RFC 6455 §4.4, RFC 9110 §15.5.22).
fn refused(status: u16, reason: &str) -> HttpResponse {
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

fn text(status: StatusCode, reason: &str) -> HttpResponse {
    let mut response = Response::new(Full::from(format!("{reason}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The same answer, after which the connection is of no use: the rest of the body is still on the way.
fn close(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
