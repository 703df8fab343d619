//! The TLS handshake of an accepted client: a TCP socket enters, a [`Stream`] with TLS leaves.
//!
//! A flood of handshakes must not stop clients that are connected: what takes long in a handshake happens in turns
//! ([`Handshakes::in_turn`]). Where more clients come than can be served, the server signs only for those that it has time
//! to serve ([`QUEUE_PART`]).
//!
//! [`Handshakes::in_turn`]: crate::worker::handshakes::Handshakes::in_turn

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use callsign_tls::{Established, HTTP_2, Handshake, Progress, ServerConfig, Work};
use hyper::StatusCode;
use log::Level;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::recorded::record_unreadable;
use super::timed::discard;
use super::{Peer, Stream, foreign};
use crate::client::tls::Layer;
use crate::config::units::Time;
use crate::system::scoreboard::Limit;
use crate::worker::Worker;

/// Bytes of one read. A client's hello has 2 KiB at most.
const READ: usize = 4 * 1024;

/// A hello waits for its turn for this part of `handshake_timeout`. The rest is for the client's answer.
const QUEUE_PART: u32 = 3;

/// What a client gets that speaks plain HTTP.
const BAD_REQUEST: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 70\r\n\
    Connection: close\r\n\r\n\
    this address is for TLS: use https:// and wss:// in place of http, ws\n";

/// A client that has completed its handshake.
pub struct Accepted {
    /// What it sends and receives.
    pub stream: Stream,
    /// Its verified certificate, and those of its issuers. Empty: it was not asked for one.
    pub certificates: Vec<Vec<u8>>,
    /// Whether it speaks HTTP/2.
    pub is_http2: bool,
}

/// Completes the handshake. None: it has failed, which was logged; the socket is closed.
pub async fn accept(
    worker: &'static Worker,
    config: Arc<ServerConfig>,
    stream: TcpStream,
    peer: Peer,
    deadline: Instant,
) -> Option<Accepted> {
    let mut stream = stream;
    let handshake = tokio::select! {
        handshake = timeout_at(deadline, shake(worker, &config, &mut stream, peer)) => handshake,
        () = worker.begins_to_drain() => return None,
    };
    match handshake {
        Ok(Ok(Some(established))) => {
            let certificates = &established.client_certificates;
            let certificates = certificates.iter().map(|certificate| certificate.to_vec()).collect();
            let is_http2 = established.protocol.as_deref() == Some(HTTP_2);
            let layer = Box::new(Layer::new(*established));
            return Some(Accepted { stream: Stream::Tls { stream, layer }, certificates, is_http2 });
        }
        Ok(Ok(None)) => discard(&mut stream).await,
        Ok(Err(error)) => log::debug!("{peer}: no TLS handshake: {error:#}"),
        Err(_) => {
            worker.count_limit(Limit::HandshakeTimeout);
            let limit = Time(worker.hub.limits.get().handshake_timeout);
            log::debug!("{peer}: no TLS handshake within --handshake-timeout ({limit})");
        }
    }
    None
}

/// None: the client was told why not, and its socket is to be read until it closes its side.
async fn shake(
    worker: &'static Worker,
    config: &ServerConfig,
    stream: &mut TcpStream,
    peer: Peer,
) -> Result<Option<Box<Established>>> {
    let (mut begun, mut out) = (None, Vec::new());
    loop {
        stream.readable().await?;
        let handshake = match receive(config, stream, &mut begun, peer)? {
            Received::Part => continue,
            Received::Record(handshake) => handshake,
            Received::PlainHttp => {
                stream.write_all(BAD_REQUEST.as_bytes()).await?;
                worker
                    .access_log()
                    .iter()
                    .for_each(|log| record_unreadable(log, peer, StatusCode::BAD_REQUEST));
                stream.shutdown().await?;
                return Ok(None);
            }
        };
        let work = handshake.next_work();
        let mut advance = || handshake.advance(&mut out);
        let progress = match work {
            Work::Signature => {
                let patience = worker.hub.limits.get().handshake_timeout / QUEUE_PART;
                let Some(progress) = worker.handshakes.begin_in_turn(patience, advance).await else {
                    report_overload(worker, peer, patience);
                    bail!("its hello has waited longer than {}", Time(patience));
                };
                progress
            }
            Work::Rest => worker.handshakes.in_turn(advance).await,
            Work::Hashes => advance(),
        };
        stream.write_all(&out).await?;
        match progress {
            Ok(Progress::Established(established)) => return Ok(Some(established)),
            Ok(Progress::Waiting) => out.clear(),
            Err(error) if out.is_empty() => return Err(error.into()),
            // The client may have sent more, such as its request.
            Err(error) => {
                let line = format_args!("{peer}: no TLS handshake: {error}");
                match error.is_about_certificate() {
                    true => worker.hub.repeats.log(Level::Warn, "client_certificates", line),
                    false => log::debug!("{line}"),
                }
                stream.shutdown().await?;
                return Ok(None);
            }
        }
    }
}

/// What one read has brought.
enum Received<'h> {
    /// A part of a record, or nothing.
    Part,
    /// The end of a record of this handshake.
    Record(&'h mut Handshake),
    /// No TLS at all. That was logged.
    PlainHttp,
}

/// Reads once. The first bytes begin the handshake. Not a part of [`shake`], because a future contains the buffers that it
/// has while it waits.
fn receive<'h>(
    config: &ServerConfig,
    stream: &TcpStream,
    begun: &'h mut Option<Handshake>,
    peer: Peer,
) -> Result<Received<'h>> {
    let mut read = [0; READ];
    let received = match stream.try_read(&mut read) {
        Ok(0) => bail!("the client has closed the connection"),
        Ok(length) => &read[..length],
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Part),
        Err(error) => return Err(error.into()),
    };
    let handshake = match begun {
        Some(handshake) => handshake,
        None if foreign::report_without_tls(peer, received) => return Ok(Received::PlainHttp),
        none => none.insert(Handshake::new(config)?),
    };
    Ok(if handshake.receive(received)? { Received::Record(handshake) } else { Received::Part })
}

fn report_overload(worker: &Worker, peer: Peer, patience: Duration) {
    worker.hub.repeats.log(
        Level::Warn,
        "tls_overload",
        format_args!(
            "more TLS handshakes begin than this worker has time for: {peer} waited for {}, a third of \
             --handshake-timeout, and was disconnected; more workers serve more, and a certificate with ECDSA takes less \
             time than one with RSA",
            Time(patience)
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::BAD_REQUEST;

    #[test]
    fn the_response_has_the_length_that_it_says() {
        let (head, body) = BAD_REQUEST.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
