//! Which subprotocol a connection has (RFC 6455 §4.2.2). The protocols that a client offers enter, with the route's list
//! and the handler's choice; the selected one leaves.
//!
//! Invariant: only a protocol that the client offers is selected, because a client must end the connection otherwise
//! (RFC 6455 §4.1).

use hyper::HeaderMap;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use log::Level;

use super::list;
use super::stream::Peer;
use crate::config::handshake::is_token;
use crate::plugin::dispatch::{Answerer, ResolvedRoute};
use crate::system::log::repeats::Repeats;
use crate::system::sanitize::excerpt;

/// Names of a client's offer that a log line repeats, and characters of each. Some applications put a secret there.
const NAMES_MAX: usize = 3;
const NAME_MAX: usize = 24;

thread_local! {
    static REPEATS: Repeats = Repeats::default();
}

/// Selects the subprotocol: that of the handler, else the first one of the route's that the client offers. A log line
/// says so if the client will not accept the result.
pub fn select(
    route: &ResolvedRoute,
    headers: &HeaderMap,
    of_handler: Option<HeaderValue>,
    peer: Peer,
) -> Option<HeaderValue> {
    let is_offered = |name: &[u8]| offered(headers).any(|other| other == name);
    let of_route = || route.protocols.iter().find(|name| is_offered(name.as_bytes()));
    match of_handler {
        Some(name) if is_offered(name.as_bytes()) => Some(name),
        Some(name) => {
            let name = shorten(name.as_bytes());
            let Answerer::Handler(handler) = route.answerer else { return None };
            warn(
                peer,
                &format!(
                    "{handler} selects the subprotocol `{name}`, which the client does not offer{}; the 101 has none",
                    offer(headers)
                ),
            );
            None
        }
        None if offered(headers).next().is_none() => None,
        None => of_route().and_then(|name| HeaderValue::from_str(name).ok()).or_else(|| {
            warn(peer, &unselected(route, headers));
            None
        }),
    }
}

/// The subprotocols that a client offers, in its order.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    list::elements(headers, SEC_WEBSOCKET_PROTOCOL).filter(|name| !name.is_empty())
}

/// Why nothing is selected, and what to set.
fn unselected(route: &ResolvedRoute, headers: &HeaderMap) -> String {
    let problem = format!(
        "route `{}` selects none of the subprotocols that the client offers{}; browsers then close the connection.",
        route.path,
        offer(headers)
    );
    let Some(first) = offered(headers).find(|name| is_token(name)) else {
        return format!("{problem} None can be selected: a name has no spaces, quotes or other separators");
    };
    let file = route.origins.file.as_ref();
    let place = file.map_or_else(
        || format!("in a [[route]] for `{}` in the config file", route.path),
        |place| format!("in the route ({place})"),
    );
    let or = match route.answerer {
        Answerer::Handler(handler) => {
            format!(", or select one in `{}:{}`", handler.plugin_name, handler.name)
        }
        Answerer::Callbacks(_) | Answerer::Files => String::new(),
    };
    let name = shorten(first);
    let remedy = match (name.as_bytes() == first, route.protocols.is_empty()) {
        // A snippet with a shortened name would not work.
        (false, _) => format!("add its full name to `protocols` {place}{or}"),
        (true, true) => format!("set protocols = [\"{name}\"] {place}{or}"),
        (true, false) => format!("add \"{name}\" to `protocols` {place}{or}"),
    };
    format!("{problem} To accept one, {remedy}")
}

/// `` (`mqtt`, `a b`: no subprotocol name and 2 more)``, or "".
fn offer(headers: &HeaderMap) -> String {
    let quoted = |name: &[u8]| match is_token(name) {
        true => format!("`{}`", shorten(name)),
        false => format!("`{}`: no subprotocol name", shorten(name)),
    };
    let names: Vec<String> = offered(headers).take(NAMES_MAX).map(quoted).collect();
    match offered(headers).count() {
        0 => String::new(),
        count if count > NAMES_MAX => format!(" ({} and {} more)", names.join(", "), count - NAMES_MAX),
        _ => format!(" ({})", names.join(", ")),
    }
}

fn shorten(name: &[u8]) -> String {
    excerpt(&String::from_utf8_lossy(name), NAME_MAX)
}

fn warn(peer: Peer, text: &str) {
    REPEATS.with(|repeats| repeats.log(Level::Warn, text, format_args!("{peer}: {text}")));
}
