//! Whether the messages of a connection are compressed (permessage-deflate, RFC 7692). The extensions that a client offers
//! enter, with the route's setting; what both sides do, and the answer for the 101, leave.

use callsign_deflate::{Agreement, Malformed, Policy, negotiate};
use hyper::HeaderMap;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use crate::client::Client;
use crate::client::compression::Compression;
use crate::config::compression::{Compression as Settings, CompressionMode};
use crate::worker::Worker;

/// What a handshake agrees on.
pub struct Negotiated {
    agreement: Agreement,
    settings: Settings,
    /// For the 101.
    pub answer: HeaderValue,
}

/// Answers the offers of a client. None: its messages are not compressed.
///
/// # Errors
/// The header is malformed, which nobody notices on a route without compression.
pub fn answer(
    worker: &Worker,
    settings: Settings,
    headers: &HeaderMap,
) -> Result<Option<Box<Negotiated>>, Malformed> {
    let context = match settings.mode {
        CompressionMode::Off => return Ok(None),
        CompressionMode::On => false,
        CompressionMode::Context => true,
    };
    let policy = Policy {
        server_context: context,
        client_context: context && worker.hub.has_room_for_window(1 << settings.window_bits),
        window_bits: settings.window_bits,
    };
    let lines = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().map(HeaderValue::as_bytes);
    let negotiated = negotiate(lines, policy)?;
    Ok(negotiated.and_then(|(agreement, answer)| {
        let answer = HeaderValue::try_from(answer).ok()?;
        Some(Box::new(Negotiated { agreement, settings, answer }))
    }))
}

impl Negotiated {
    /// Has the client's messages compressed once it is open.
    pub fn apply(&self, client: &Client) {
        let Settings { level, threshold, .. } = self.settings;
        client.set_compression(Compression::new(self.agreement, level, threshold));
    }
}
