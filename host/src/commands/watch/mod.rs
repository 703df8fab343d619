//! Detects changed files. File events of the system enter; which library or source has new content leaves. Contents are
//! compared, so a file that is touched or saved unchanged is not reported.

pub mod folders; // events of the system, folder by folder

pub mod libraries; // libraries, reported when they are complete

pub mod auto_reload; // `serve --watch`: reloads changed libraries

pub mod ignored; // files that are no sources

pub mod sources; // source folders of `dev`

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::Path;

use crate::config::regular_file;

/// Hashes a file's content. Hashes of two processes must not be compared.
fn fingerprint(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}

/// Hashes the content of a file.
pub fn fingerprint_of(file: &Path) -> io::Result<u64> {
    Ok(fingerprint(&regular_file::read(file)?))
}
