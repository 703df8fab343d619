//! Versions of a file, told apart by what the file system says of them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Identifies a version of a file: device, inode, size, time of the last write, and time of the last change.
pub type Stamp = ((u64, u64), u64, (i64, i64), (i64, i64));

/// The version of the file that these metadata describe.
pub fn stamp(about: &Metadata) -> Stamp {
    let (written, changed) = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
    ((about.dev(), about.ino()), about.len(), written, changed)
}
