//! Files that change: libraries that are built anew, sources that are edited. Says what has changed, once it is
//! whole; what is done about it is others' business.

#![forbid(unsafe_code)]

pub mod folders; // what the system says

pub mod libraries; // a library's file, when it is whole

pub mod reload; // `serve --watch`: a changed library is loaded

pub mod tree; // folders of sources, by content

use std::hash::{DefaultHasher, Hasher};

/// Tells contents apart. Only for this process: what it answers may be another in the next.
fn fingerprint(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}
