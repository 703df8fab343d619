//! HTTP: hyper parses requests and writes answers; this decides what the answer is. After a 101 the bare
//! socket goes to the worker, and hyper is done with it.

pub mod handshake; // which requests are WebSocket upgrades, RFC 6455 §4.2.1

pub mod head; // what is kept of a request

pub mod exchange; // a request in the hands of a handler, and its answer

use std::cell::OnceCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::clients::Seat;
use crate::dispatch::{Answerer, ResolvedRoute};
use crate::http::exchange::{Exchange, Handshake, Owner};
use crate::http::handshake::{Upgrade, classify};
use crate::http::head::Head;
use crate::plugin::call;
use crate::plugin::handler::{Callbacks, HandlerRef};
use crate::plugin::loaded::{self, Plugin};
use crate::worker::{Expected, Worker};

type Answer = Response<Full<Bytes>>;

/// Whose request it is.
#[derive(Clone)]
struct Client {
    worker: &'static Worker,
    peer: SocketAddr,
    seat: Rc<Seat>,
    /// From the first request on the worker does not end before its answer is written.
    expected: Rc<OnceCell<Expected>>,
}

/// Serves one accepted socket until it is closed, or upgraded.
pub async fn serve(worker: &'static Worker, stream: TcpStream, peer: SocketAddr, seat: Rc<Seat>) {
    limit_unread(&stream, Some(worker.limits.handshake_timeout));
    let client = Client { worker, peer, seat, expected: Rc::default() };
    let service = service_fn(|request| {
        client.expected.get_or_init(|| worker.expect());
        let client = client.clone();
        async move { Ok::<_, Infallible>(answer(client, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(worker.limits.handshake_timeout)
        .max_buf_size(worker.limits.max_head)
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
        log::debug!("{peer}: {error}");
    }
}

/// Has the kernel give up a client that takes nothing of its answer for so long; None: never.
fn limit_unread(stream: &TcpStream, time: Option<Duration>) {
    #[cfg(target_os = "linux")]
    {
        let ms = time.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, ms) {
            log::debug!("an answer that is not read has no limit in time: {error}");
        }
    }
}

async fn answer(client: Client, request: Request<Incoming>) -> Answer {
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
    let dispatch = client.worker.dispatch();
    let Some(route) = dispatch.find(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "no route for this path");
    };
    match (route.answerer, accept) {
        (Answerer::Callbacks(callbacks), Some(accept)) => upgrade(client, request, &accept, callbacks),
        (Answerer::Callbacks(_), None) => refused(426, "this path is for WebSocket clients"),
        (Answerer::Handler(handler), accept) => ask(client, request, accept, route, handler).await,
    }
}

/// Has an onrequest handler answer.
async fn ask(
    client: Client,
    mut request: Request<Incoming>,
    accept: Option<String>,
    route: &ResolvedRoute,
    handler: HandlerRef,
) -> Answer {
    let Client { worker, peer, .. } = client;
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = match read_body(worker, body).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let mut exchange = Exchange::new(parts.method.as_str(), Head::new(&parts, peer), body, accept.is_some());
    // Of the copy that is asked, whatever is loaded when it is needed.
    let asked = worker.registry().plugin(handler.plugin).clone();
    let result = call::on_request(handler, &mut exchange);
    let is_bound =
        matches!((&result, &exchange.answer.get_mut().handshake), (Ok(true), Some(Handshake::Bound(_))));
    if !is_bound {
        loaded::release_owner(&asked, &mut exchange.owner);
    }
    let Exchange { owner, answer, .. } = exchange;
    let answer = answer.into_inner();
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
            hand_over(client, on_upgrade, owner, callbacks, Some(asked));
            let mut response = switching(accept.as_deref().unwrap_or_default());
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
async fn read_body(worker: &Worker, body: Incoming) -> Result<Bytes, Answer> {
    let max = worker.limits.max_body;
    let too_large =
        || close(text(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is longer than {max} bytes")));
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(worker.limits.handshake_timeout, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(close(text(StatusCode::BAD_REQUEST, "the body is broken"))),
        Err(_) => Err(close(text(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))),
    }
}

/// Answers 101 to a request whose route names the callbacks.
fn upgrade(client: Client, mut request: Request<Incoming>, accept: &str, callbacks: Callbacks) -> Answer {
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let head = Head::new(&parts, client.peer);
    hand_over(client, on_upgrade, head.into(), callbacks, None);
    switching(accept)
}

/// Waits until the 101 is written, then gives the socket to the worker. `asked`: the plugin whose handler has
/// seen `owner`.
fn hand_over(
    client: Client,
    on_upgrade: hyper::upgrade::OnUpgrade,
    mut owner: Owner,
    callbacks: Callbacks,
    asked: Option<Rc<Plugin>>,
) {
    let Client { worker, peer, seat, expected } = client;
    let promised = worker.promise(callbacks);
    tokio::task::spawn_local(async move {
        let (_expected, _promised) = (expected, promised);
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                log::debug!("{peer}: left before it was upgraded: {error}");
                return asked.iter().for_each(|asked| loaded::release_owner(asked, &mut owner));
            }
        };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => {
                let stream = parts.io.into_inner();
                // Slow WebSocket clients are bounded by their backlog instead.
                limit_unread(&stream, None);
                // Data of a copy that is not in use any more is of no use to the next.
                let old = asked
                    .filter(|asked| worker.registry().get(asked.index).is_none_or(|p| !Rc::ptr_eq(p, asked)));
                old.iter().for_each(|old| loaded::release_owner(old, &mut owner));
                worker.adopt(stream, parts.read_buf.to_vec(), owner, callbacks, seat);
            }
            Err(_) => log::error!("{peer}: hyper gave back another kind of socket than it was given"),
        }
    });
}

fn switching(accept: &str) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    // Base64 is always a header value.
    headers.extend(HeaderValue::from_str(accept).ok().map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    response
}

/// An upgrade that cannot be: 400, or 426 with what would be needed (RFC 6455 §4.4, RFC 9110 §15.5.22).
fn refused(status: u16, reason: &str) -> Answer {
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

fn text(status: StatusCode, reason: &str) -> Answer {
    let mut response = Response::new(Full::from(format!("{reason}\n")));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The same answer, after which the connection is of no use: the rest of the body is still on the way.
fn close(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
