//! C strings that lie one behind the other.

use std::ffi::CStr;

/// The strings in `text`, which ends with the NUL of the last one.
pub fn split(text: &[u8]) -> impl Iterator<Item = &CStr> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let next = CStr::from_bytes_until_nul(rest).ok()?;
        rest = &rest[next.count_bytes() + 1..];
        Some(next)
    })
}
