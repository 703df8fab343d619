//! Which web pages may open WebSockets. The Origin header of a handshake enters, and the rule of its route; a verdict
//! leaves, and a log line that says what to set if the page may.
//!
//! Browsers let every page open a WebSocket to every host, with the cookies of that host, and name the page in the Origin
//! header (RFC 6455 §10.2). A client without the header is no browser.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Instant;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, ORIGIN};

use super::stream::Peer;
use crate::config::web_origin::{OriginRule, WebOrigin};
use crate::plugin::dispatch::{Dispatch, ResolvedRoute};
use crate::system::log::repeats::Repeats;
use crate::system::sanitize::excerpt;

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Characters of a client's text that a log line repeats.
const EXCERPT_MAX: usize = 100;

thread_local! {
    static REPEATS: Repeats = Repeats::default();
}

/// Whether the client may open a WebSocket on the route. If not, the log says which page it was, and what to set.
pub fn is_allowed(dispatch: &Dispatch, route: &ResolvedRoute, headers: &HeaderMap, peer: &Peer) -> bool {
    let Some(line) = headers.get(ORIGIN) else { return true };
    if route.origins.rule == OriginRule::Any {
        return true;
    }
    let count = headers.get_all(ORIGIN).iter().count();
    let origin = line.to_str().ok().and_then(WebOrigin::parse).filter(|_| count == 1);
    let handshake = Handshake { route, headers, peer, is_proxy: dispatch.is_trusted_proxy(address(peer)) };
    let is_allowed =
        origin.as_ref().is_some_and(|origin| route.origins.rule.allows(origin, handshake.host()));
    if !is_allowed {
        let sent = excerpt(&String::from_utf8_lossy(line.as_bytes()), EXCERPT_MAX);
        let what = match &origin {
            Some(origin) => handshake.rejection(origin, &sent),
            None if count > 1 => format!("it has {count} Origin headers"),
            None => format!("its Origin header is malformed: `{sent}`"),
        };
        let (path, now) = (&route.path, Instant::now());
        if let Some(held_back) = REPEATS.with(|repeats| repeats.admit(&format!("{path} {what}"), now)) {
            log::warn!("403 for a WebSocket from {peer} on route `{path}`: {what}{held_back}");
        }
    }
    is_allowed
}

/// A handshake of a page.
struct Handshake<'h> {
    route: &'h ResolvedRoute,
    headers: &'h HeaderMap,
    peer: &'h Peer,
    /// Whether the peer is a trusted reverse proxy.
    is_proxy: bool,
}

impl Handshake<'_> {
    /// The host that the page has asked for; "" if it is unknown.
    fn host(&self) -> &str {
        let forwarded = self.forwarded_host().filter(|_| self.is_proxy);
        forwarded.or_else(|| self.headers.get(HOST)?.to_str().ok()).unwrap_or_default()
    }

    /// Of several proxies in a row, the first one sees the page's host.
    fn forwarded_host(&self) -> Option<&str> {
        self.headers.get(X_FORWARDED_HOST)?.to_str().ok()?.split(',').next().map(str::trim)
    }

    /// Why the page is rejected, and what to set if it may open WebSockets.
    fn rejection(&self, origin: &WebOrigin, sent: &str) -> String {
        let rule = &self.route.origins;
        let host = excerpt(self.host(), EXCERPT_MAX);
        let page = match sent {
            "null" => "the page has no origin (null: a file, or a sandboxed frame of any page)".to_owned(),
            _ => format!("the page is from {sent}"),
        };
        let mut text = format!("{page}, and the request is for host `{host}`. If that page may, ");
        let place = rule.file.as_ref().map_or_else(
            || "in [http] of the config file".to_owned(),
            |place| format!("in the route ({place})"),
        );
        let _ = match (rule.is_own, rule.rule == OriginRule::SameHost) {
            (true, _) => write!(text, "add \"{sent}\" to `origins` {place}"),
            (false, true) => {
                write!(
                    text,
                    "start with --origin {sent}, or set origins = [\"{sent}\"] {place}; list the server's own \
                     pages too, if there are any"
                )
            }
            (false, false) => {
                write!(text, "add {sent} to --origin, or to `origins` in [http] of the config file")
            }
        };
        if rule.rule == OriginRule::SameHost && !self.is_proxy {
            let _ = match self.forwarded_host().filter(|host| origin.is_from(host)) {
                Some(forwarded) => {
                    let proxy = address(self.peer).map_or("unix:".to_owned(), |address| address.to_string());
                    let forwarded = excerpt(forwarded, EXCERPT_MAX);
                    write!(
                        text,
                        ". If {proxy} is your reverse proxy, start with --trusted-proxy {proxy}, or set \
                         trusted_proxies = [\"{proxy}\"] in [http]: it says X-Forwarded-Host: {forwarded}"
                    )
                }
                None => {
                    write!(text, ". If a reverse proxy has changed the host, have it pass on the Host header")
                }
            };
        }
        text
    }
}

fn address(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Address(address) => Some(address.ip().to_canonical()),
        Peer::Unix => None,
    }
}
