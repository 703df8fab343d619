//! Headers whose value is a list (RFC 9110 §5.6.1).

use hyper::HeaderMap;
use hyper::header::HeaderName;

/// The elements of a comma-separated list, perhaps over several header lines. Empty ones are included.
pub fn elements(headers: &HeaderMap, name: HeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}
