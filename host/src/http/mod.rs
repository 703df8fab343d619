//! HTTP: hyper parses requests and writes responses; this layer decides what the response is. After a 101 the worker
//! takes over the socket, or the stream of HTTP/2.

pub mod upgrade; // which requests are WebSocket upgrades, RFC 6455 §4.2.1

mod sender; // who sent a request

mod list; // headers that are lists

mod validate; // rules for every request

mod body; // the body of a request

mod outgoing; // the body of a response

mod recorded; // requests for the access log

mod answer; // responses of the host itself

mod files; // static files

mod hand_over; // from a 101 to the worker

mod stream; // an accepted socket

mod request_end; // where a request ends

mod timed; // its time limits

mod tls; // the TLS handshake

mod foreign; // other protocols

mod address_limits; // clients that come too often

mod forwarded; // clients behind reverse proxies

mod proxy_protocol; // clients that a proxy names before they speak

mod redirect; // from http to https

mod origin; // which pages may open WebSockets

mod protocol; // which subprotocol a connection has

mod accepted; // its 101, and whether its messages are compressed

mod http2; // several requests and WebSockets over one connection

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::bridge::exchange::{Exchange, Handshake};
use crate::client::Client;
use crate::client::certificate::ClientCertificate;
use crate::client::head::Head;
use crate::config::route::Params;
use crate::plugin::call;
use crate::plugin::dispatch::{Answerer, Found, ResolvedRoute};
use crate::plugin::handler::{Callbacks, HandlerRef};
use crate::worker::Worker;
use crate::worker::admission::Permit;
use crate::worker::callbacks::{log_failure, release_request};
use crate::worker::listening::Listening;
use accepted::Accepted;
use address_limits::count_request;
pub use address_limits::{admit, turn_away};
use answer::{HttpResponse, add, close, other_methods, refused, spell, text};
use hand_over::hand_over;
use proxy_protocol::ProxiedPeer;
use recorded::Recorder;
use sender::Sender;
pub use stream::{Peer, Stream};
use timed::{Phase, Timed};
use upgrade::{Upgrade, classify};
use validate::validate;

/// Most headers of a request, as many as of a response. hyper makes room for so many to parse a request, which takes
/// 4 us for 1000 and 2 ms for 20,000.
const HEADERS_MAX: usize = 1000;

/// Serves one accepted socket of a listener until it is closed, or upgraded. What the listener says comes in this order:
/// the PROXY header of a trusted proxy, the TLS handshake, requests. Each client keeps the memory of this future, so what
/// not all of them need is boxed.
pub async fn serve(
    worker: &'static Worker,
    listener: Rc<Listening>,
    stream: Stream,
    peer: Peer,
    permit: Permit,
) {
    // For all that comes before the first request has arrived.
    let deadline = Instant::now() + worker.hub.limits.get().handshake_timeout;
    let peer = match listener.settings.proxy_protocol {
        true => Box::pin(proxy_protocol::client(worker, &stream, peer, deadline)).await,
        false => Some(ProxiedPeer { peer, is_named: true, is_tls: None }),
    };
    let Some(ProxiedPeer { peer, is_named, is_tls: is_proxied_tls }) = peer else { return };
    let permit = match listener.settings.proxy_protocol.then(|| admit(worker, peer)).transpose() {
        Ok(seat) => permit.seated(seat.flatten()),
        Err(turned_away) => return turn_away(worker, turned_away, stream, peer, listener.tls.is_some()),
    };
    let mut is_http2 = false;
    let (stream, certificate) = match (&listener.tls, stream) {
        (Some(config), Stream::Tcp(stream)) => {
            let accepted = Box::pin(tls::accept(worker, config.clone(), stream, peer, deadline)).await;
            let Some(accepted) = accepted else { return };
            is_http2 = accepted.is_http2;
            let certificate = accepted.certificates.first();
            (accepted.stream, certificate.map(|der| Rc::new(ClientCertificate::new(der))))
        }
        (_, stream) => (stream, None),
    };
    // A proxy may speak TLS with the server for a client that does not: what it says counts.
    let is_secure = is_proxied_tls.unwrap_or(listener.tls.is_some());
    let max_head = worker.hub.limits.get().max_head;
    let (permit, phase) = (Rc::new(permit), Phase::default());
    let (pending, entry, recorder) = (Rc::default(), None, Recorder::new(worker, &phase));
    let requests = recorder.clone();
    let sender = Sender {
        worker,
        peer,
        is_named,
        permit: permit.clone(),
        seat: None,
        is_secure,
        certificate,
        listener,
        pending,
        entry,
        stream: None,
    };
    if is_http2 {
        return Box::pin(http2::serve(stream, sender, deadline)).await;
    }
    let stream = Timed::new(stream, phase.clone(), &worker.hub.limits.get(), deadline);
    let service = service_fn(move |request: Request<Incoming>| {
        phase.begin_request(request.body().size_hint().exact());
        sender.pending.get_or_init(|| worker.handshakes.begin());
        let entry = requests.begin(&sender, &request);
        let (sender, phase) = (Sender { entry: entry.clone(), ..sender.clone() }, phase.clone());
        let requests = requests.clone();
        async move {
            let upgrade = classify(request.method(), request.version(), request.headers());
            let mut response = requests.answer(entry, respond(sender, request, upgrade).await);
            spell(&mut response);
            phase.end_request();
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None) // `Timed` has one that is not for idle clients too
        .max_headers(HEADERS_MAX)
        .max_header_size(max_head)
        .max_buf_size(max_head)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let result = tokio::select! {
        result = recorder.follow(&mut connection) => result,
        () = worker.begins_to_drain() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            recorder.follow(&mut connection).await
        }
    };
    recorder.finish();
    // None: the worker has the socket.
    let Some(parts) = connection.into_parts() else { return };
    let stream = parts.io.into_inner();
    stream.reached(&result).into_iter().for_each(|limit| worker.count_limit(limit));
    if let Err(error) = result {
        recorder.finish_unreadable(peer, &error, stream.beginning());
        log::debug!("{peer}: {:#}", anyhow::Error::new(error));
        foreign::report(peer, stream.beginning());
    }
    // A drain does not wait for this client any more.
    drop(parts.service);
    stream.linger().await;
    drop(permit);
}

/// The response to a request that means `upgrade` to the WebSocket protocol.
async fn respond(mut sender: Sender, request: Request<Incoming>, upgrade: Upgrade) -> HttpResponse {
    if let Err(turned_away) = count_request(&mut sender, &request, matches!(upgrade, Upgrade::Valid { .. })) {
        return turned_away.response();
    }
    respond_counted(sender, request, upgrade).await
}

/// The same for a request that counts under its address.
async fn respond_counted(mut sender: Sender, request: Request<Incoming>, upgrade: Upgrade) -> HttpResponse {
    if let Some(to) = &sender.listener.settings.redirect {
        return match (validate(&request), upgrade) {
            (Err((status, reason)), _) => close(refused(status, reason)),
            (Ok(()), Upgrade::Refused { status, reason }) => refused(status, reason),
            (Ok(()), upgrade) => redirect::to_https(&request, upgrade != Upgrade::None, to),
        };
    }
    let accept = match upgrade {
        Upgrade::None => None,
        Upgrade::Valid { accept } => Some(accept),
        Upgrade::Refused { status, reason } => return refused(status, reason),
    };
    if let Err((status, reason)) = validate(&request) {
        return close(refused(status, reason));
    }
    let dispatch = sender.worker.dispatch();
    let headers = request.headers();
    let trusted = sender.trusted_proxies(&dispatch);
    let host = if dispatch.has_hosts() { forwarded::host(trusted, sender.peer, &request) } else { "".into() };
    let route = match dispatch.find(&host, request.method().as_str(), request.uri().path()) {
        Found::Route(route) => route,
        Found::Nothing => return text(StatusCode::NOT_FOUND, "no route for this path"),
        Found::OtherMethods(allow) => return other_methods(request.method(), &allow),
    };
    sender.entry.iter().for_each(|entry| entry.set_route(route));
    let client = forwarded::client(trusted, sender.peer, headers);
    let is_secure = forwarded::is_secure(trusted, sender.peer, headers, sender.is_secure);
    let is_tls = sender.is_secure || sender.listener.tls.is_some();
    let is_allowed = route.files.is_some()
        || accept.is_none()
        || origin::is_allowed(trusted, route, headers, sender.peer, client, is_tls);
    (sender.peer, sender.is_secure) = (client, is_secure);
    let mut response = match is_allowed {
        true => respond_on(route, sender, request, accept).await,
        false => text(StatusCode::FORBIDDEN, "this page may not open a WebSocket here"),
    };
    add(&mut response, &route.headers);
    response
}

/// The response of a route.
async fn respond_on(
    route: &ResolvedRoute,
    sender: Sender,
    request: Request<Incoming>,
    accept: Option<String>,
) -> HttpResponse {
    let Some(params) = route.params(request.uri().path()) else {
        return text(StatusCode::BAD_REQUEST, "a parameter in the path is not UTF-8, or has a NUL (%00)");
    };
    if let Some(served) = &route.files {
        let (parts, _) = request.into_parts();
        // In a box, because each client keeps the memory of this future until it is upgraded.
        return Box::pin(files::respond(served, &parts, route.visible(parts.uri.path()))).await;
    }
    let accepted = |accept| Accepted::new(accept, sender.worker, route.compression, request.headers());
    let accepted = match accept.map(accepted).transpose() {
        Ok(accepted) => accepted,
        Err(malformed) => return refused(400, &malformed.to_string()),
    };
    match (route.answerer, accepted) {
        (Answerer::Callbacks(callbacks), Some(accepted)) => {
            switch(sender, request, &accepted, (route, params), callbacks)
        }
        (Answerer::Callbacks(_), None) => refused(426, "this path is for WebSocket clients"),
        (Answerer::Files, _) => text(StatusCode::NOT_FOUND, "there is no such file"),
        (Answerer::Handler(handler), accepted) => {
            call_handler(sender, request, accepted, (route, params), handler).await
        }
    }
}

/// Has an onrequest handler respond.
async fn call_handler(
    sender: Sender,
    mut request: Request<Incoming>,
    accepted: Option<Accepted>,
    (route, params): (&ResolvedRoute, Params),
    handler: HandlerRef,
) -> HttpResponse {
    let Sender { worker, peer, .. } = sender;
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = match body::read(worker, body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let path = route.visible(parts.uri.path());
    let head = Head::new(&parts, path, peer);
    let mut exchange = Exchange::new(parts.method.as_str(), head, body, accepted.is_some());
    sender.describe(&exchange.client, params);
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
    let failed = |reason: &str| {
        let method = &parts.method;
        log_failure(
            handler,
            reason,
            format_args!(" (500 for {method} {path} from {peer}, route `{}`)", route.path),
        );
        text(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed")
    };
    match (result, answer.handshake) {
        (Err(reason), _) => failed(&reason),
        (Ok(_), Some(Handshake::Unresolved(unresolved))) => failed(&format!("its handshake: {unresolved}")),
        (Ok(false), _) => failed("it gave no reason"),
        (Ok(true), Some(Handshake::NotUpgrade)) => refused(426, "this path is for WebSocket clients"),
        (Ok(true), Some(Handshake::Bound(callbacks))) => {
            let chosen = answer.headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
            let protocol = protocol::select(route, &parts.headers, chosen, peer);
            protocol.iter().for_each(|name| client.set_subprotocol(name.as_bytes()));
            // Only a valid handshake can be bound.
            let Some(accepted) = accepted else { return refused(426, "this path is for WebSocket clients") };
            accepted.apply(route, &client);
            hand_over(sender.clone(), on_upgrade, client, callbacks, Some(called));
            let mut response = accepted.response(protocol);
            response.headers_mut().extend(answer.headers);
            response
        }
        (Ok(true), None) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
            // RFC 9110 §15.3.6.
            let body = if status == StatusCode::RESET_CONTENT { Bytes::new() } else { answer.body };
            let mut response = Response::new(body.into());
            *response.status_mut() = status;
            *response.headers_mut() = answer.headers;
            response
        }
    }
}

/// Answers 101 to a request whose route names the callbacks.
fn switch(
    sender: Sender,
    mut request: Request<Incoming>,
    accepted: &Accepted,
    (route, params): (&ResolvedRoute, Params),
    callbacks: Callbacks,
) -> HttpResponse {
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let protocol = protocol::select(route, &parts.headers, None, sender.peer);
    let client = Rc::new(Client::requested(Head::new(&parts, route.visible(parts.uri.path()), sender.peer)));
    protocol.iter().for_each(|name| client.set_subprotocol(name.as_bytes()));
    sender.describe(&client, params);
    accepted.apply(route, &client);
    hand_over(sender, on_upgrade, client, callbacks, None);
    accepted.response(protocol)
}

#[cfg(test)]
mod tests;
