//! Which web pages may open WebSockets. The Origin header of a handshake enters, with the rule of its route; a verdict
//! leaves, and a log line that says what to set if the page may.
//!
//! Browsers let every page open a WebSocket to every host, with the cookies of that host, and name the page in the Origin
//! header (RFC 6455 §10.2). A client without the header is no browser.

use std::fmt::Write as _;

use hyper::HeaderMap;
use hyper::header::ORIGIN;
use log::Level;

use super::forwarded;
use super::stream::Peer;
use crate::config::trusted_proxies::TrustedProxies;
use crate::config::web_origin::{OriginRule, RequestTarget, WebOrigin};
use crate::plugin::dispatch::ResolvedRoute;
use crate::system::log::repeats::Repeats;
use crate::system::sanitize::excerpt;

/// Characters of a client's text that a log line repeats.
const EXCERPT_MAX: usize = 100;

thread_local! {
    static REPEATS: Repeats = Repeats::default();
}

/// Whether the client may open a WebSocket on the route. If not, the log says which page it was, and what to set.
/// `nearest` is the client, or the proxy that its request came from.
pub fn is_allowed(
    trusted: &TrustedProxies,
    route: &ResolvedRoute,
    headers: &HeaderMap,
    nearest: Peer,
    client: Peer,
    is_tls: bool,
) -> bool {
    let Some(line) = headers.get(ORIGIN) else { return true };
    if route.origins.rule == OriginRule::Any {
        return true;
    }
    let count = headers.get_all(ORIGIN).iter().count();
    let origin = line.to_str().ok().and_then(WebOrigin::parse).filter(|_| count == 1);
    let mut target = forwarded::target(trusted, nearest, headers);
    // Of its own clients a trusted proxy tells that.
    target.is_tls |= is_tls && !trusted.include(nearest.ip());
    let is_allowed = origin.as_ref().is_some_and(|origin| route.origins.rule.allows(origin, &target));
    if !is_allowed {
        let sent = excerpt(&String::from_utf8_lossy(line.as_bytes()), EXCERPT_MAX);
        let is_proxy = trusted.include(nearest.ip());
        let handshake = Handshake { route, headers, nearest, target, is_proxy };
        let what = match &origin {
            Some(origin) => handshake.rejection(origin, &sent),
            None if count > 1 => format!("it has {count} Origin headers"),
            None => format!("its Origin header is malformed: `{sent}`"),
        };
        let path = &route.path;
        let line = format_args!("403 for a WebSocket from {client} on route `{path}`: {what}");
        REPEATS.with(|repeats| repeats.log(Level::Warn, &format!("{path} {what}"), line));
    }
    is_allowed
}

/// A handshake of a page.
struct Handshake<'h> {
    route: &'h ResolvedRoute,
    headers: &'h HeaderMap,
    /// The client, or the proxy that its request came from.
    nearest: Peer,
    target: RequestTarget<'h>,
    /// Whether `nearest` is a trusted reverse proxy.
    is_proxy: bool,
}

impl Handshake<'_> {
    /// Why the page is rejected, and what to set if it may open WebSockets.
    fn rejection(&self, origin: &WebOrigin, sent: &str) -> String {
        let rule = &self.route.origins;
        let host = excerpt(&self.target.host, EXCERPT_MAX);
        let tls = if self.target.is_tls { " over TLS" } else { "" };
        let page = match sent {
            "null" => "the page has no origin (null: a file, or a sandboxed frame of any page)".to_owned(),
            _ => format!("the page is from {sent}"),
        };
        let mut text = format!("{page}, and the request is for host `{host}`{tls}. If that page may, ");
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
            let told = forwarded::untrusted_target(self.headers).filter(|target| origin.is_from(target));
            let _ = match told {
                Some(told) => {
                    let proxy = self.nearest.ip().map_or("unix:".to_owned(), |address| address.to_string());
                    let host = excerpt(&told.host, EXCERPT_MAX);
                    write!(
                        text,
                        ". If {proxy} is your reverse proxy, start with --trusted-proxy {proxy}, or set \
                         trusted_proxies = [\"{proxy}\"] in [http]: it says that the request is for host `{host}`"
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
