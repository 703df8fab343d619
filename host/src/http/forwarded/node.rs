//! What identifies a client or proxy in a list (RFC 7239 §6). Text enters, an address leaves, if there is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A client or proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'h> {
    /// Its address. The port is 0 if it is not told.
    Address(SocketAddr),
    /// The proxy does not know or tell the address.
    Hidden,
    /// The text is nothing of this.
    Malformed(&'h [u8]),
}

impl<'h> Node<'h> {
    /// Parses an address, with a port or without. An IPv6 address may lack its brackets, as in X-Forwarded-For.
    pub fn parse(text: &'h [u8]) -> Self {
        str::from_utf8(text).ok().and_then(parse).unwrap_or(Self::Malformed(text))
    }
}

fn parse<'h>(text: &str) -> Option<Node<'h>> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(node(address, 0));
    }
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let address = address.parse::<Ipv6Addr>().ok()?;
        return Some(node(address.into(), port_or_none(port)?));
    }
    let (name, port) = text.find(':').map_or((text, ""), |colon| text.split_at(colon));
    let port = port_or_none(port)?;
    match name.parse::<Ipv4Addr>() {
        Ok(address) => Some(node(address.into(), port)),
        Err(_) if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) => Some(Node::Hidden),
        Err(_) => None,
    }
}

fn node<'h>(address: IpAddr, port: u16) -> Node<'h> {
    Node::Address(SocketAddr::new(address.to_canonical(), port))
}

/// The port in `:PORT`; 0 if it is not told. None: it is malformed.
fn port_or_none(text: &str) -> Option<u16> {
    match text.strip_prefix(':') {
        Some(port) if is_obfuscated(port) => Some(0),
        Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => port.parse().ok(),
        None if text.is_empty() => Some(0),
        _ => None,
    }
}

/// RFC 7239 §6.3.
fn is_obfuscated(text: &str) -> bool {
    text.strip_prefix('_').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    })
}
