//! HTTP/2 (RFC 9113) and WebSockets over it (RFC 8441), for clients that choose it in their TLS handshake. hyper speaks the
//! protocol; each stream is a request of this layer, or a connection of the worker, like those of HTTP/1.1.
//!
//! Invariant: only [`request`] and [`response`] know how the two protocols differ. What is between them gets a request that
//! a client of HTTP/1.1 could have sent.

mod request; // a stream's head, as HTTP/1.1 has it

mod response; // what HTTP/2 has in place of a 101

mod pieces; // the body of a response

mod socket; // what hyper reads and writes

mod tasks; // one for each stream

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::ext::Protocol;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use log::Level;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::answer::{HttpResponse, refused, text};
use super::recorded::OfStream;
use super::upgrade::Upgrade;
use super::{Sender, Stream, count_request, respond_counted};
use crate::config::settings::Limits;
use crate::system::scoreboard::Limit;
use response::Asked;
use socket::Socket;
use tasks::Tasks;
pub(super) use tasks::{Open, Waiting};

/// Requests and WebSockets that a client may have open at once: what RFC 9113 §6.5.2 recommends at least.
const STREAMS_MAX: u32 = 100;
/// Bytes that a client may send on a stream before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes that it may send on all streams: one that is not read from stops no other one.
const CONNECTION_WINDOW: u32 = STREAMS_MAX * STREAM_WINDOW;
/// Bytes of a response that wait for the client's window.
const SEND_BUFFER: usize = 64 * 1024;
/// Bodies that are read into memory at once.
const BODIES_MAX: usize = 8;
/// Time for a client without streams to leave when it was told that the connection ends.
const GOODBYE: Duration = Duration::from_secs(5);
/// The same while the server stops.
const GOODBYE_IN_DRAIN: Duration = Duration::from_secs(1);

/// Serves a client until its connection ends. The first request has to come until `deadline`.
pub(super) async fn serve(stream: Stream, sender: Sender, deadline: Instant) {
    let (worker, peer, permit) = (sender.worker, sender.peer, sender.permit.clone());
    // The pings of its WebSockets, if there are any, say nothing when there are no WebSockets.
    stream.keep_alive(peer);
    let (socket, tasks) = (Socket::new(stream), Tasks::new(worker, deadline));
    run(socket.clone(), sender, tasks).await;
    socket.linger().await;
    drop(permit);
}

/// Runs the connection to its end.
async fn run(socket: Socket, sender: Sender, tasks: Tasks) {
    let (worker, peer) = (sender.worker, sender.peer);
    let (bodies, of_streams) = (Rc::new(Semaphore::new(BODIES_MAX)), tasks.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let waits = of_streams.next();
        let recorded = OfStream::begin(&sender, &request);
        let entry = recorded.as_ref().map(OfStream::entry);
        let sender = Sender { pending: Rc::default(), entry, stream: Some(waits.clone()), ..sender.clone() };
        let (bodies, unanswered) = (bodies.clone(), of_streams.unanswered());
        async move {
            let response = answer(sender, request, &bodies).await;
            unanswered.end();
            recorded.iter().for_each(|recorded| recorded.answer(response.status()));
            Ok::<_, Infallible>(response.map(|body| pieces::Pieces::new(body, waits, recorded)))
        }
    });
    let builder = builder(tasks.clone(), &worker.hub.limits.get());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let mut drain = pin!(worker.begins_to_drain());
    let mut is_drained = None;
    let mut told_at = None;
    let mut check = pin!(sleep_until(tasks.end_of_idle(worker.hub.limits.get().keepalive_timeout, told_at)));
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    log::debug!("{peer}: HTTP/2: {:#}", anyhow::Error::new(error));
                }
                return;
            }
            () = tasks.cancels_too_often() => {
                log::debug!("{peer}: HTTP/2: the client cancels requests too often; dropping it");
                return;
            }
            () = &mut drain, if is_drained.is_none() => {
                // The server stops when the last bytes are written.
                is_drained = Some(worker.handshakes.begin());
                connection.as_mut().graceful_shutdown();
                told_at = Some(Instant::now());
                check.as_mut().reset(Instant::now() + GOODBYE_IN_DRAIN);
            }
            () = &mut check => {
                let patience = match (&told_at, &is_drained) {
                    (None, _) => worker.hub.limits.get().keepalive_timeout,
                    (Some(_), None) => GOODBYE,
                    (Some(_), Some(_)) => GOODBYE_IN_DRAIN,
                };
                let (now, end) = (Instant::now(), tasks.end_of_idle(patience, told_at));
                if end > now {
                    check.as_mut().reset(end);
                    continue;
                }
                if told_at.is_some() {
                    log::debug!("{peer}: HTTP/2: the client does not close its idle connection; dropping it");
                    return;
                }
                worker.count_limit(tasks.limit_of_idle());
                connection.as_mut().graceful_shutdown();
                told_at = Some(now);
                check.as_mut().reset(now + GOODBYE);
            }
        }
    }
}

fn builder(tasks: Tasks, limits: &Limits) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        // Above it the response is not ours; between, it is counted like any other.
        .max_header_list_size(u32::try_from(limits.max_head.saturating_mul(2)).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// The response to the request of a stream.
async fn answer(mut sender: Sender, mut request: Request<Incoming>, bodies: &Semaphore) -> HttpResponse {
    let asked = Asked::of(&request);
    let is_handshake = request.extensions().get::<Protocol>().is_some();
    if let Err(turned_away) = count_request(&mut sender, &request, is_handshake) {
        return response::translate(turned_away.response(), asked);
    }
    let response = match request::translate(&mut request, sender.worker.hub.limits.get().max_head) {
        Err((status, reason)) => {
            if status == 431 {
                sender.worker.count_limit(Limit::Head);
            }
            refused(status, reason)
        }
        Ok(upgrade @ Upgrade::Valid { .. }) => match sender.worker.admission.try_admit() {
            Some(permit) => {
                respond_counted(Sender { permit: Rc::new(permit), ..sender }, request, upgrade).await
            }
            None => no_room(&sender),
        },
        Ok(upgrade) => {
            // The semaphore is never closed.
            let _turn = match request.body().is_end_stream() {
                true => None,
                false => bodies.acquire().await.ok(),
            };
            respond_counted(sender, request, upgrade).await
        }
    };
    response::translate(response, asked)
}

/// A client of HTTP/1.1 waits in the system until there is room; here its connection is accepted already.
fn no_room(sender: &Sender) -> HttpResponse {
    sender.worker.count_limit(Limit::Connections);
    sender.worker.hub.repeats.log(
        Level::Warn,
        "http2_room",
        format_args!(
            "{}: 503 for a WebSocket over HTTP/2: connection limit reached (--max-connections, or the limit on open files)",
            sender.peer
        ),
    );
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the server has as many connections as it may have; try again later",
    )
}

/// Polls once, for its effect.
fn poll_once(cx: &mut std::task::Context<'_>, future: impl Future<Output = ()>) {
    let future: Pin<&mut _> = pin!(future);
    let _ = future.poll(cx);
}
