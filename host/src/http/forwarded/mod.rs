//! Who has sent a request that came through reverse proxies, and where to. The peer of the socket enters, with the headers
//! Forwarded (RFC 7239) and X-Forwarded-*; the client's address leaves, and the host that it has asked for.
//!
//! Invariant: an address counts only if a trusted proxy has written it. Each proxy adds the address of its own client to
//! the end of a list, so lists are read from their end, up to the first address that is not a trusted proxy's. What is
//! before that address may be invented, and has no effect on how the rest is read.

mod element; // one element of Forwarded

mod node; // an address, or what stands for one

use std::borrow::Cow;
use std::fmt;

use hyper::header::{FORWARDED, HOST, HeaderName};
use hyper::{HeaderMap, Request};
use log::Level;

use super::list;
use super::stream::Peer;
use crate::config::trusted_proxies::TrustedProxies;
use crate::config::web_origin::RequestTarget;
use crate::system::log::repeats::Repeats;
use crate::system::sanitize::excerpt;
use element::{Element, elements_from_end};
use node::Node;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Characters of a header that a log line repeats.
const EXCERPT_MAX: usize = 60;

thread_local! {
    static REPEATS: Repeats = Repeats::default();
}

/// The client that has sent a request: `nearest`, the peer of its socket, unless that is a trusted proxy.
pub fn client(proxies: &TrustedProxies, nearest: Peer, headers: &HeaderMap) -> Peer {
    let (client, problem) = find(proxies, nearest, headers);
    if let Some(problem) = problem.map(|problem| problem.to_string()) {
        let line = format_args!("trusted proxy {nearest}: {problem}");
        REPEATS.with(|repeats| repeats.log(Level::Warn, &problem, line));
    }
    client
}

/// Where a request was sent to. Of several proxies, the first one has seen that. Without one that tells, it is the Host
/// header.
pub fn target<'h>(proxies: &TrustedProxies, nearest: Peer, headers: &'h HeaderMap) -> RequestTarget<'h> {
    let RequestTarget { host, is_tls } = told_by_proxies(proxies, nearest, headers).unwrap_or_default();
    match host.is_empty() {
        true => RequestTarget { host: text(headers, HOST).unwrap_or_default().into(), is_tls },
        false => RequestTarget { host, is_tls },
    }
}

/// The host that a request was sent to, with its port, to select routes: as a trusted proxy says, else the authority of its
/// target (RFC 9112 §3.2.2), else the Host header.
pub fn host<'r, B>(proxies: &TrustedProxies, nearest: Peer, request: &'r Request<B>) -> Cow<'r, str> {
    let told = told_by_proxies(proxies, nearest, request.headers()).map(|target| target.host);
    match told.filter(|host| !host.is_empty()) {
        Some(host) => host,
        None => match request.uri().authority() {
            Some(authority) => authority.as_str().into(),
            None => text(request.headers(), HOST).unwrap_or_default().into(),
        },
    }
}

/// Whether what the client sends is encrypted on its way, to the server or to the first trusted proxy. `is_tls`: what
/// `nearest` sends is. A proxy may pass on a header of its client that it does not replace, so a scheme without TLS in any of
/// them decides, and behind a proxy that tells none nobody is secure.
pub fn is_secure(proxies: &TrustedProxies, nearest: Peer, headers: &HeaderMap, is_tls: bool) -> bool {
    if !proxies.include(nearest.ip()) {
        return is_tls;
    }
    let outermost = follow(proxies, nearest, forwarded(headers)).outermost;
    let names_a_client = outermost.is_some() || x_forwarded_for(headers).next().is_some();
    let proto = outermost.and_then(|element| element.proto);
    let listed = list::elements(headers, X_FORWARDED_PROTO).filter(|text| !text.is_empty());
    let mut told = proto.iter().map(|proto| proto.as_bytes()).chain(listed).map(is_tls_scheme).peekable();
    match told.peek() {
        Some(_) => {
            told.all(|is_tls| is_tls) && find(proxies, nearest, headers).1 != Some(Problem::Contradiction)
        }
        None => is_tls && !names_a_client,
    }
}

/// Where an untrusted proxy says that a request was sent to, for a hint to trust it.
pub fn untrusted_target(headers: &HeaderMap) -> Option<RequestTarget<'_>> {
    let target = told(forwarded(headers).next().unwrap_or_default(), headers);
    (!target.host.is_empty()).then_some(target)
}

/// Why the proxies do not tell the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// Two headers say different things. One of them may be the client's own.
    Contradiction,
    /// What a trusted proxy has sent is no address.
    Malformed(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction => f.write_str(
                "a request has both Forwarded and X-Forwarded-For, which name different clients, so the proxy counts as \
                 the client; have the proxy remove the header that it does not set",
            ),
            Self::Malformed(text) => write!(
                f,
                "`{text}` in Forwarded or X-Forwarded-For is no address, so the proxy that has sent it counts as the \
                 client"
            ),
        }
    }
}

/// The client, and why the proxies do not tell it, if so. Without a line in the log.
pub fn find(proxies: &TrustedProxies, nearest: Peer, headers: &HeaderMap) -> (Peer, Option<Problem>) {
    if !proxies.include(nearest.ip()) {
        return (nearest, None);
    }
    let forwarded = follow(proxies, nearest, forwarded(headers));
    let listed = follow(proxies, nearest, x_forwarded_for(headers));
    match (forwarded.outermost.is_some(), listed.outermost.is_some()) {
        (true, true) if forwarded.client.ip() != listed.client.ip() => {
            (nearest, Some(Problem::Contradiction))
        }
        (true, true) if matches!(listed.client, Peer::Address(address) if address.port() != 0) => {
            listed.result()
        }
        (true, _) => forwarded.result(),
        (false, _) => listed.result(),
    }
}

/// The way of a request, back from the nearest proxy.
struct Walk<'h> {
    client: Peer,
    /// The last element that a trusted proxy has written; None: there is no list.
    outermost: Option<Element<'h>>,
}

/// Goes from each trusted proxy to its client, for as long as that is a trusted proxy too.
fn follow<'h>(
    proxies: &TrustedProxies,
    nearest: Peer,
    elements: impl Iterator<Item = Element<'h>>,
) -> Walk<'h> {
    let mut walk = Walk { client: nearest, outermost: None };
    for element in elements {
        if !proxies.include(walk.client.ip()) {
            break;
        }
        let node = element.node;
        walk.outermost = Some(element);
        match node {
            Node::Address(address) => walk.client = Peer::Address(address),
            Node::Hidden | Node::Malformed(_) => break,
        }
    }
    walk
}

impl Walk<'_> {
    fn result(self) -> (Peer, Option<Problem>) {
        let problem = match self.outermost.map(|element| element.node) {
            Some(Node::Malformed(text)) => {
                Some(Problem::Malformed(excerpt(&String::from_utf8_lossy(text), EXCERPT_MAX)))
            }
            _ => None,
        };
        (self.client, problem)
    }
}

/// The elements of Forwarded, from the last one.
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Element<'_>> {
    let lines = headers.get_all(FORWARDED).iter().rev();
    lines
        .flat_map(|line| elements_from_end(line.as_bytes()))
        .filter(|text| !text.is_empty())
        .map(Element::parse)
}

/// Where trusted proxies say that a request was sent to.
fn told_by_proxies<'h>(
    proxies: &TrustedProxies,
    nearest: Peer,
    headers: &'h HeaderMap,
) -> Option<RequestTarget<'h>> {
    proxies.include(nearest.ip()).then(|| {
        let walk = follow(proxies, nearest, forwarded(headers));
        told(walk.outermost.unwrap_or_default(), headers)
    })
}

/// The addresses of X-Forwarded-For, from the last one.
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Element<'_>> {
    let addresses = list::elements(headers, X_FORWARDED_FOR).rev().filter(|text| !text.is_empty());
    addresses.map(|text| Element { node: Node::parse(text), ..Element::default() })
}

/// Where a request was sent to, by an element of Forwarded, else by the other headers.
fn told<'h>(element: Element<'h>, headers: &'h HeaderMap) -> RequestTarget<'h> {
    let first = |name| text(headers, name)?.split(',').next().map(str::trim);
    let host = element.host.or_else(|| first(X_FORWARDED_HOST).map(Cow::Borrowed));
    let proto = element.proto.or_else(|| first(X_FORWARDED_PROTO).map(Cow::Borrowed));
    let is_tls = proto.is_some_and(|proto| is_tls_scheme(proto.as_bytes()));
    RequestTarget { host: host.unwrap_or_default(), is_tls }
}

fn is_tls_scheme(scheme: &[u8]) -> bool {
    [&b"https"[..], b"wss"].iter().any(|tls| scheme.eq_ignore_ascii_case(tls))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
