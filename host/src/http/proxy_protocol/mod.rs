//! Clients of a listener with `proxy_protocol`: a trusted proxy says in a header, before anything else, who its client is.
//! An accepted socket enters; the address of the client leaves, or a log line that says why the socket is closed.
//!
//! Invariant: not a byte is read behind the header, so that TLS and HTTP find all of theirs in the socket.

mod fields; // what follows the addresses

mod header; // its two versions

use std::io;

use log::Level;
use rustix::net::RecvFlags;
use tokio::time::Instant;

use super::stream::{Peer, Stream};
use crate::config::units::Time;
use crate::system::log::repeats::Repeats;
use crate::system::scoreboard::Limit;
use crate::worker::Worker;
use header::{Header, Wrong};

/// Bytes that are looked at together. Nearly all headers are shorter.
const LOOK: usize = 512;
/// First bytes of a client that a log line repeats.
const EXCERPT: usize = 16;

thread_local! {
    static REPEATS: Repeats = Repeats::default();
}

/// Who a connection is from.
pub struct ProxiedPeer {
    /// The client that the proxy names, or the proxy.
    pub peer: Peer,
    /// Whether the proxy names a client. If not, `peer` is the proxy, which may pass on the bytes of any client.
    pub is_named: bool,
    /// Whether the client speaks TLS with the proxy. None: the proxy does not tell.
    pub is_tls: Option<bool>,
}

/// The client that the proxy at the other end of the socket names. None: the socket has to be closed.
pub async fn client(worker: &Worker, stream: &Stream, proxy: Peer, deadline: Instant) -> Option<ProxiedPeer> {
    if !worker.dispatch().trusted_proxies.include(proxy.ip()) {
        let address = proxy.ip().map_or("unix:".to_owned(), |address| address.to_string());
        return reject(
            proxy,
            &format!(
                "{address} is not in trusted_proxies, and this listener has proxy_protocol; if it is your proxy, add it"
            ),
        );
    }
    let result = tokio::select! {
        result = read(stream) => result,
        () = tokio::time::sleep_until(deadline) => Err(Failure::Late),
        () = worker.begins_to_drain() => return None,
    };
    match result {
        Ok(Header { client, is_tls, .. }) => Some(ProxiedPeer {
            peer: client.map_or(proxy, Peer::Address),
            is_named: client.is_some(),
            is_tls,
        }),
        Err(Failure::Lost(error)) => {
            log::debug!("{proxy}: left before its PROXY header was complete: {error}");
            None
        }
        Err(Failure::Late) => {
            worker.count_limit(Limit::HandshakeTimeout);
            let limit = Time(worker.hub.limits.get().handshake_timeout);
            reject(proxy, &format!("its PROXY header was not complete within handshake_timeout ({limit})"))
        }
        Err(Failure::Wrong { wrong, beginning }) => {
            let beginning = beginning.escape_ascii();
            let why = match wrong {
                Wrong::NoHeader => format!(
                    "no PROXY header, which proxy_protocol of this listener requires: it begins with `{beginning}`; turn \
                     it on in the proxy, such as `send-proxy-v2` in HAProxy or `proxy_protocol on` in nginx"
                ),
                Wrong::Malformed(fault) => format!("its PROXY header is malformed: {fault} (`{beginning}`)"),
            };
            reject(proxy, &why)
        }
    }
}

/// Why there is no client.
#[derive(Debug)]
enum Failure {
    /// The socket has failed or ended.
    Lost(io::Error),
    /// The time is up.
    Late,
    /// The first bytes are no valid header.
    Wrong { wrong: Wrong, beginning: Vec<u8> },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Reads the header. Everything that is looked at before it is complete belongs to it.
async fn read(stream: &Stream) -> Result<Header, Failure> {
    let (mut seen, mut look) = (Vec::new(), [0; LOOK]);
    loop {
        let count = receive(stream, &mut look, RecvFlags::PEEK).await?;
        let before = seen.len();
        seen.extend_from_slice(&look[..count]);
        let header = header::parse(&seen).map_err(|wrong| {
            let beginning = seen[..seen.len().min(EXCERPT)].to_vec();
            Failure::Wrong { wrong, beginning }
        })?;
        let mut rest = header.map_or(count, |header| header.length - before);
        while rest > 0 {
            rest -= receive(stream, &mut look[..rest], RecvFlags::empty()).await?;
        }
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

/// At least one byte.
async fn receive(stream: &Stream, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    match stream.receive(buffer, flags).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}

fn reject(proxy: Peer, why: &str) -> Option<ProxiedPeer> {
    REPEATS.with(|repeats| repeats.log(Level::Warn, why, format_args!("{proxy} is disconnected: {why}")));
    None
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use std::net::SocketAddr;

    use super::*;

    const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 51314 80\r\n";

    /// A header of version 2 for the same client, with a further field of so many bytes; 0: without it.
    fn binary(more: usize) -> Vec<u8> {
        let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
        let length = (12 + more as u16).to_be_bytes();
        let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x72, 0, 80];
        let field = match more as u16 {
            0 => Vec::new(),
            more => [&[4][..], &(more - 3).to_be_bytes(), &vec![b'\n'; usize::from(more) - 3]].concat(),
        };
        [&fixed[..], &length, &addresses, &field].concat()
    }

    /// What is read of these segments, and what is left in the socket.
    async fn read_segments(segments: &[&[u8]]) -> (Result<Option<SocketAddr>, Failure>, Vec<u8>) {
        let (mut proxy, server) = UnixStream::pair().expect("a pair of sockets");
        let mut server = Stream::from(server);
        let send = async {
            for segment in segments {
                proxy.write_all(segment).await.expect("the socket has room");
                // The reader takes what is there.
                tokio::task::yield_now().await;
            }
            drop(proxy);
        };
        let (result, ()) = tokio::join!(read(&server), send);
        let result = result.map(|header| header.client);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.expect("the proxy has closed its side");
        (result, rest)
    }

    #[tokio::test]
    async fn a_header_arrives_in_any_segments_and_nothing_behind_it_is_read() {
        const BEHIND: &[u8] = b"GET / HTTP/1.1\r\n\r\n\0\r\nPROXY ";
        let expected = Some("192.0.2.7:51314".parse().expect("an address"));
        for header in [LINE.to_vec(), binary(0), binary(3), binary(500), binary(4000)] {
            let whole = [&header, BEHIND].concat();
            let cuts = (0..=header.len().min(60)).chain([header.len() - 1, header.len(), whole.len()]);
            for cut in cuts {
                let (result, rest) = read_segments(&[&whole[..cut], &whole[cut..]]).await;
                assert_eq!(result.expect("a header"), expected, "{cut}");
                assert_eq!(rest, BEHIND, "{cut}");
            }
            let bytes: Vec<&[u8]> = whole.chunks(1).collect();
            let (result, rest) = read_segments(&bytes).await;
            assert_eq!((result.expect("a header"), &rest[..]), (expected, BEHIND));
        }
    }

    #[tokio::test]
    async fn what_is_no_header_fails_as_soon_as_that_is_clear() {
        for segments in [&[&b"GET"[..]][..], &[b"P", b"O"], &[b"\r\n", b"\r\nx"]] {
            let (result, _) = read_segments(segments).await;
            assert!(matches!(result, Err(Failure::Wrong { .. })), "{result:?}");
        }
        for segments in [&[][..], &[&LINE[..20]], &[&LINE[..20], &LINE[20..LINE.len() - 1]]] {
            let (result, _) = read_segments(segments).await;
            assert!(matches!(result, Err(Failure::Lost(_))), "{result:?}");
        }
    }
}
