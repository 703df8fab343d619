//! Detects changed files. File events of the system enter; which library or source has new content leaves. Contents are
//! compared, so a file that is touched or saved unchanged is not reported.

pub mod folders; // events of the system, folder by folder

pub mod libraries; // libraries, reported when they are complete

pub mod auto_reload; // `serve --watch`: reloads changed libraries

pub mod ignored; // files that are no sources

pub mod sources; // source folders of `dev`

use std::hash::{DefaultHasher, Hasher};

/// Hashes a file's content. Hashes of two processes must not be compared.
fn fingerprint(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}
