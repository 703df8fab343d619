//! A handshake that is accepted: its 101, and whether the messages of the connection are compressed (permessage-deflate, RFC
//! 7692). The extensions that a client offers enter, with the route's setting.

use callsign_deflate::{Agreement, Malformed, Policy, negotiate};
use hyper::HeaderMap;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use super::answer::{HttpResponse, switching};
use crate::client::Client;
use crate::client::compression::Compression;
use crate::config::compression::{Compression as Settings, CompressionMode};
use crate::plugin::dispatch::ResolvedRoute;
use crate::worker::{Worker, now};

/// A request that is a valid handshake.
pub struct Accepted {
    /// The value for `Sec-WebSocket-Accept`.
    accept: String,
    /// None: messages are not compressed.
    compression: Option<Box<Negotiated>>,
}

struct Negotiated {
    agreement: Agreement,
    settings: Settings,
    /// For the 101.
    answer: HeaderValue,
}

impl Accepted {
    /// Answers the extensions that the client offers.
    ///
    /// # Errors
    /// The header is malformed, which nobody notices on a route without compression.
    pub fn new(
        accept: String,
        worker: &Worker,
        settings: Settings,
        headers: &HeaderMap,
    ) -> Result<Self, Malformed> {
        Ok(Self { accept, compression: compression(worker, settings, headers)? })
    }

    /// Gives the client what holds for it once it is open: the limits of the route, and compression if that was agreed on.
    pub fn apply(&self, route: &ResolvedRoute, client: &Client) {
        route.limits.iter().for_each(|limits| client.set_limits(limits.clone(), now()));
        if let Some(Negotiated { agreement, settings: Settings { level, threshold, .. }, .. }) =
            self.compression.as_deref()
        {
            client.set_compression(Compression::new(*agreement, *level, *threshold));
        }
    }

    /// The 101.
    pub fn response(&self, protocol: Option<HeaderValue>) -> HttpResponse {
        let extensions = self.compression.as_ref().map(|it| it.answer.clone());
        switching(&self.accept, protocol, extensions)
    }
}

fn compression(
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
