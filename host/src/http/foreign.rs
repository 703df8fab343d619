//! Clients that speak another protocol: their first bytes enter, a log line with a remedy leaves. They are often proxies
//! that are configured for it, and get no response that they understand.

use log::Level;

use super::Peer;
use crate::system::log::repeats::Repeats;

/// What the client does, and what helps.
const TLS: &str = "speaks TLS, and this address is for plain HTTP: use http:// and ws:// in place of https:// and \
                   wss://, or give the address a certificate (`tls` in [[listen]], --tls-certificate)";
const HTTP: &str =
    "speaks plain HTTP, and this address is for TLS: use https:// and wss:// in place of http:// and ws://";
const HTTP_2: &str = "speaks HTTP/2 where HTTP/1.1 is spoken: set the proxy or client to HTTP/1.1, or use https:// with \
                      `http2 = true` in the [[listen]] of an address with TLS (--http2)";
const PROXY: &str = "speaks the PROXY protocol, which is not on for this address: set proxy_protocol = true in its \
                     [[listen]], or turn it off in the proxy, such as `send-proxy` in HAProxy or `proxy_protocol on` \
                     in nginx";

thread_local! {
    /// Scanners try TLS on every port.
    static REPEATS: Repeats = Repeats::default();
}

/// Logs that a client speaks another protocol, if it does.
pub fn report(peer: Peer, beginning: &[u8]) {
    recognize(beginning).iter().for_each(|what| warn(peer, what));
}

/// Whether a client of an address for TLS speaks plain HTTP. Logs that, and other protocols.
pub fn report_without_tls(peer: Peer, beginning: &[u8]) -> bool {
    let is_http =
        beginning.first().is_some_and(u8::is_ascii_uppercase) && recognize(beginning) != Some(PROXY);
    let what = if is_http { Some(HTTP) } else { recognize(beginning).filter(|what| *what == PROXY) };
    what.iter().for_each(|what| warn(peer, what));
    is_http
}

fn warn(peer: Peer, what: &str) {
    REPEATS.with(|repeats| repeats.log(Level::Warn, what, format_args!("{peer} {what}")));
}

fn recognize(beginning: &[u8]) -> Option<&'static str> {
    match beginning {
        // A handshake record, RFC 8446 §5.1.
        [0x16, 3, ..] => Some(TLS),
        // RFC 9113 §3.4.
        _ if beginning.starts_with(b"PRI * HTTP/2.0") => Some(HTTP_2),
        _ if beginning.starts_with(b"PROXY ") || beginning.starts_with(b"\r\n\r\n\0\r\nQUIT\n") => {
            Some(PROXY)
        }
        _ => None,
    }
}
