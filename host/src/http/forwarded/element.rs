//! One element of the header Forwarded (RFC 7239 §4): what one proxy tells about its client and the request.

use std::borrow::Cow;
use std::iter;

use super::node::Node;
use crate::config::handshake::is_token;

/// What one proxy tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Element<'h> {
    /// Its client: `for`.
    pub node: Node<'h>,
    /// The Host header of the request: `host`.
    pub host: Option<Cow<'h, str>>,
    /// The scheme of the request: `proto`.
    pub proto: Option<Cow<'h, str>>,
}

impl Default for Element<'_> {
    fn default() -> Self {
        Self { node: Node::Hidden, host: None, proto: None }
    }
}

impl<'h> Element<'h> {
    /// Parses an element. One that is malformed tells nothing.
    pub fn parse(text: &'h [u8]) -> Self {
        let element = str::from_utf8(text).ok().and_then(Self::parse_pairs);
        element.unwrap_or(Self { node: Node::Malformed(text), ..Self::default() })
    }

    fn parse_pairs(text: &'h str) -> Option<Self> {
        let (mut client, mut host, mut proto, mut by) = (None, None, None, None);
        let mut rest = skip_separators(text);
        while !rest.is_empty() {
            let (name, value, after) = split_pair(rest)?;
            let known = match &*name.to_ascii_lowercase() {
                "for" => Some(&mut client),
                "host" => Some(&mut host),
                "proto" => Some(&mut proto),
                "by" => Some(&mut by),
                _ => None,
            };
            // No parameter may occur twice.
            if known.is_some_and(|known| known.replace(value).is_some()) {
                return None;
            }
            let next = after.trim_start_matches(is_space);
            if !next.is_empty() && !next.starts_with(';') {
                return None;
            }
            rest = skip_separators(next);
        }
        let node = match client {
            // An address has no characters that are escaped.
            Some(Cow::Owned(_)) => return None,
            Some(Cow::Borrowed(client)) => Node::parse(client.as_bytes()),
            None => Node::Hidden,
        };
        Some(Self { node, host, proto })
    }
}

/// The elements of a list, from the last one, without the space around them. The list is read from its end, so that a quote
/// that a client has opened does not extend into what a proxy has added behind it.
pub fn elements_from_end(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    iter::from_fn(move || {
        let (before, last) = split_last(rest?);
        rest = before;
        Some(last.trim_ascii())
    })
}

/// What is before the last comma that is not in a quoted string, and what is behind it.
fn split_last(list: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut is_quoted = false;
    for (at, byte) in list.iter().enumerate().rev() {
        match byte {
            b'"' if !is_quoted => is_quoted = true,
            b'"' if !ends_in_escape(&list[..at]) => is_quoted = false,
            b',' if !is_quoted => return (Some(&list[..at]), &list[at + 1..]),
            _ => {}
        }
    }
    (None, list)
}

/// Whether the next character is escaped. A quoted string begins behind a `=`, so that its first quote never is.
fn ends_in_escape(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Splits `NAME=VALUE`, and what follows it.
fn split_pair(text: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let (name, rest) = text.split_once('=').filter(|(name, _)| is_token(name.as_bytes()))?;
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => {
            // Proxies write addresses such as 192.0.2.1:80, which are no tokens, without quotes.
            let (value, rest) = rest.split_at(rest.find(|c| c == ';' || is_space(c)).unwrap_or(rest.len()));
            (Some(value).filter(|value| !value.is_empty() && !value.contains('"'))?.into(), rest)
        }
    };
    Some((name, value, rest))
}

/// Reads a quoted string behind its first quote (RFC 9110 §5.6.4), and what follows it.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    let (value, rest) = (&text[..end], &text[end + 1..]);
    if !value.contains('\\') {
        return Some((value.into(), rest));
    }
    let mut characters = value.chars();
    let unescaped =
        iter::from_fn(|| characters.next().and_then(|c| if c == '\\' { characters.next() } else { Some(c) }));
    Some((unescaped.collect::<String>().into(), rest))
}

fn skip_separators(text: &str) -> &str {
    text.trim_start_matches(|c| c == ';' || is_space(c))
}

fn is_space(c: char) -> bool {
    c == ' ' || c == '\t'
}
