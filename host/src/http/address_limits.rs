//! Limits of one address: which clients and requests are turned away, with which response, and what the log says. Trusted
//! proxies have no limits of their own: their clients' addresses count, once they are known.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode};
use log::Level;
use tokio::io::AsyncWriteExt;

use super::answer::{HttpResponse, text};
use super::recorded::record_unreadable;
use super::stream::{Peer, Stream};
use super::timed::discard;
use super::{Sender, forwarded};
use crate::config::trusted_proxies::TrustedProxies;
use crate::system::addresses::{CAPACITY, Seat};
use crate::system::scoreboard::Limit;
use crate::worker::Worker;
use crate::worker::address_limits::{AddressLimits, Reached, Seated};

/// Clients without TLS that were turned away and may read why, at the same time. Each has a descriptor; further ones are
/// disconnected at once.
const TOLD_MAX: usize = 32;

thread_local! {
    static TOLD: Cell<usize> = const { Cell::new(0) };
}

/// A client or a request that is not served, because its address has reached a limit.
pub struct TurnedAway(Reached);

/// Counts a client that has come, under its address. The proxies that are trusted, and clients of Unix sockets, do not count.
pub fn admit(worker: &Worker, client: Peer) -> Result<Option<Rc<Seat>>, TurnedAway> {
    let Some(limits) = worker.address_limits() else { return Ok(None) };
    let Some(address) = limited_address(&worker.dispatch().trusted_proxies, client) else { return Ok(None) };
    let seated = limits.connect(address);
    seat(worker, client, seated).map_err(|reached| {
        report(worker, &limits, client, reached, "disconnecting it");
        TurnedAway(reached)
    })
}

/// Closes the socket of a client that is turned away. One without TLS is told why.
pub fn turn_away(
    worker: &'static Worker,
    TurnedAway(reached): TurnedAway,
    mut stream: Stream,
    peer: Peer,
    is_tls: bool,
) {
    if is_tls || TOLD.get() >= TOLD_MAX {
        return;
    }
    TOLD.set(TOLD.get() + 1);
    tokio::task::spawn_local(async move {
        let response = written(reached);
        // A client that does not read it has left.
        if stream.write_all(response.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
            worker.access_log().iter().for_each(|log| {
                record_unreadable(log, peer, StatusCode::TOO_MANY_REQUESTS);
            });
            discard(&mut stream).await;
        }
        TOLD.set(TOLD.get() - 1);
    });
}

/// Counts a request under the address of its client. The seat of an upgrade stays with its connection.
pub fn count_request(
    sender: &mut Sender,
    request: &Request<Incoming>,
    is_handshake: bool,
) -> Result<(), TurnedAway> {
    let worker = sender.worker;
    let Some(limits) = worker.address_limits() else { return Ok(()) };
    let dispatch = worker.dispatch();
    let (client, _) = forwarded::find(sender.trusted_proxies(&dispatch), sender.peer, request.headers());
    let Some(address) = limited_address(&dispatch.trusted_proxies, client) else { return Ok(()) };
    // A WebSocket over HTTP/2 is one of several connections over that of its client.
    let has_seat = client == sender.peer && !(is_handshake && sender.stream.is_some());
    let counted = limits.request(address, is_handshake).and_then(|()| match has_seat {
        // Its connection has a seat since it was accepted.
        true => Ok(None),
        false => seat(worker, client, limits.seat(address)),
    });
    sender.seat = counted.map_err(|reached| {
        report(worker, &limits, client, reached, "answering with 429");
        TurnedAway(reached)
    })?;
    Ok(())
}

/// The address that counts. None: a trusted proxy, or a client of a Unix socket.
fn limited_address(proxies: &TrustedProxies, client: Peer) -> Option<IpAddr> {
    client.ip().filter(|address| !proxies.include(Some(*address)))
}

fn seat(worker: &Worker, client: Peer, seated: Result<Seated, Reached>) -> Result<Option<Rc<Seat>>, Reached> {
    match seated? {
        Seated::Counted(seat) => Ok(Some(seat)),
        Seated::Unlimited => Ok(None),
        Seated::Uncounted => {
            worker.hub.repeats.log(
                Level::Warn,
                "addresses",
                format_args!(
                    "{client} has no limit on its connections (--max-per-address): too many addresses have connections to \
                     count it in the table of {CAPACITY}"
                ),
            );
            Ok(None)
        }
    }
}

fn report(worker: &Worker, limits: &AddressLimits, client: Peer, reached: Reached, what: &str) {
    worker.count_limit(reached.limit);
    let option = reached.limit.key().replace('_', "-");
    let (kind, value) = match (reached.limit, reached.rate) {
        (Limit::ConnectionRate, Some((rate, _))) => ("new connections", rate.to_string()),
        (Limit::HandshakeRate, Some((rate, _))) => ("WebSocket handshakes", rate.to_string()),
        (_, Some((rate, _))) => ("requests", rate.to_string()),
        (_, None) => ("connections", limits.max_connections.unwrap_or_default().to_string()),
    };
    worker.hub.repeats.log(
        Level::Warn,
        reached.limit.key(),
        format_args!("{client}: more {kind} of its address than --{option} allows ({value}); {what}"),
    );
}

impl TurnedAway {
    /// The response to a request (RFC 6585 §4). Not 503: a load balancer would take the server for broken.
    pub fn response(&self) -> HttpResponse {
        let mut response = text(StatusCode::TOO_MANY_REQUESTS, &reason(self.0));
        let after = retry_after(self.0).map(HeaderValue::from);
        response.headers_mut().extend(after.map(|after| (RETRY_AFTER, after)));
        response
    }
}

/// The same as [`TurnedAway::response`], for a client whose request was not read.
fn written(reached: Reached) -> String {
    let body = reason(reached) + "\n";
    let after = retry_after(reached).map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         {after}Connection: close\r\nDate: {}\r\n\r\n{body}",
        body.len(),
        httpdate::fmt_http_date(SystemTime::now())
    )
}

fn reason(reached: Reached) -> String {
    let what = match reached.limit {
        Limit::ConnectionsPerAddress => "your address has too many connections; close one first".to_owned(),
        Limit::ConnectionRate => "too many connections from your address".to_owned(),
        Limit::HandshakeRate => "too many WebSocket handshakes from your address".to_owned(),
        _ => "too many requests from your address".to_owned(),
    };
    match retry_after(reached) {
        Some(seconds) => format!("{what}; try again in {seconds} s"),
        None => what,
    }
}

/// Seconds until the client may try again. None: nobody knows when one of its connections ends.
fn retry_after(reached: Reached) -> Option<u64> {
    let (_, wait) = reached.rate?;
    Some(wait.saturating_add(Duration::from_nanos(999_999_999)).as_secs().max(1))
}
