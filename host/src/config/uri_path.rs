//! Spellings of a path, and its beginning. A route and a request may spell the same path differently (RFC 3986 §6.2.2): `/café`, which a
//! browser sends as `/caf%C3%A9`. Paths are compared in one spelling.

use std::borrow::Cow;
use std::fmt::Write;

/// Rewrites a path so that all spellings of it become equal. Percent-encoded are exactly the bytes that a path cannot
/// contain otherwise, with upper-case digits, and reserved characters that are percent-encoded already, because `%2F` is
/// not a `/`. The result is ASCII, unless the path has a `%` that begins no percent-encoding: that one stays.
pub fn normalize(path: &str) -> Cow<'_, str> {
    if path.bytes().all(|byte| is_unreserved(byte) || is_delimiter(byte)) {
        return Cow::Borrowed(path);
    }
    let (mut normal, mut rest) = (String::with_capacity(path.len()), path.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match percent_encoded(byte, after) {
            Some(decoded) => {
                rest = &after[2..];
                match is_unreserved(decoded) {
                    true => normal.push(decoded.into()),
                    false => encode(&mut normal, decoded),
                }
            }
            None if is_unreserved(byte) || is_delimiter(byte) || byte == b'%' => normal.push(byte.into()),
            None => encode(&mut normal, byte),
        }
    }
    Cow::Owned(normal)
}

/// The path from this segment on, without the slash before it.
pub fn segments_from(path: &str, segment: usize) -> &str {
    path.match_indices('/').nth(segment).map_or("", |(at, _)| &path[at + 1..])
}

/// The bytes that a part of a path stands for. A `%` that begins no percent-encoding stands for itself.
pub fn decode(part: &str) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(part.len()), part.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        match percent_encoded(byte, after) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

/// The path without its first segments; `/` if nothing is left. The rest is spelled as before. All spellings of a path have
/// the same number of segments.
pub fn without_segments(path: &str, count: usize) -> &str {
    match count {
        0 => path,
        _ => path.match_indices('/').nth(count).map_or("/", |(at, _)| &path[at..]),
    }
}

/// Whether each `%` of a path begins a percent-encoding.
pub fn is_well_encoded(path: &str) -> bool {
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' && percent_encoded(byte, after).is_none() {
            return false;
        }
        rest = after;
    }
    true
}

/// The byte that `%` and the two digits after it stand for.
fn percent_encoded(byte: u8, after: &[u8]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    match after {
        [high, low, ..] if byte == b'%' => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    }
}

fn encode(out: &mut String, byte: u8) {
    // Writing to a String does not fail.
    let _ = write!(out, "%{byte:02X}");
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Reserved characters that a path contains as they are, RFC 3986 §3.3.
fn is_delimiter(byte: u8) -> bool {
    b"/!$&'()*+,;=:@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_the_same_path_are_equal() {
        for (path, normal) in [
            ("/a-b/", "/a-b/"),
            ("/%61%2Db%7e", "/a-b~"),
            ("/café", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/{id}|\"", "/%7Bid%7D%7C%22"),
            ("/my%20room", "/my%20room"),
            ("/a=b;c@d:e", "/a=b;c@d:e"),
            // Reserved characters mean something else when they are encoded.
            ("/a%2fb%3Bc%25", "/a%2Fb%3Bc%25"),
            ("/100%/%4", "/100%/%4"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normalize(path), normal, "{path}");
            assert_eq!(normalize(normal), normal, "{path}");
        }
    }

    #[test]
    fn segments_are_removed_in_any_spelling() {
        for (path, count, rest) in [
            ("/app/a", 0, "/app/a"),
            ("*", 0, "*"),
            ("/app", 1, "/"),
            ("/app/", 1, "/"),
            ("/app/a//b/", 1, "/a//b/"),
            ("/%61pp/%61%2Fb", 1, "/%61%2Fb"),
            ("/a%2Fb/c", 1, "/c"),
            ("/a/b/c", 2, "/c"),
            ("/a/b", 2, "/"),
            ("/app//", 1, "//"),
        ] {
            assert_eq!(without_segments(path, count), rest, "{path} {count}");
        }
    }

    #[test]
    fn each_percent_sign_begins_an_encoding() {
        for (path, is_fine) in [
            ("/a", true),
            ("/%20%C3%A9", true),
            ("/%", false),
            ("/%2", false),
            ("/%zz", false),
            ("/%é", false),
        ] {
            assert_eq!(is_well_encoded(path), is_fine, "{path}");
        }
    }
}
