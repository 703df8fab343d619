//! Frees the space of a copy that is removed. Workers have the file mapped until they end, because libraries are never
//! unloaded, so the file system keeps all of it: on tmpfs, in memory. Only what the loader maps is needed; the rest, most
//! of it debug information, is replaced by holes.
//!
//! Invariant: bytes that a process has mapped stay as they are.

use std::fs::{self, File, Permissions};
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Result;
use object::{Object, ObjectSegment, ReadCache};
use rustix::fs::OFlags;

/// A multiple of every page size: the loader maps whole pages.
const ALIGN: u64 = 64 * 1024;

/// Makes holes where the loader maps nothing. Does nothing on a file system without holes.
pub fn trim(copy: &Path) -> Result<()> {
    let content = File::open(copy)?;
    let size = content.metadata()?.len();
    let mapped = {
        let bytes = ReadCache::new(&content);
        let file = object::File::parse(&bytes)?;
        file.segments().map(|segment| segment.file_range()).map(|(start, size)| start..start + size).collect()
    };
    // A copy is read-only, and belongs to the user that workers run as.
    fs::set_permissions(copy, Permissions::from_mode(0o600))?;
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let writable = File::options().write(true).custom_flags(flags).open(copy)?;
    for hole in holes(mapped, size) {
        make_hole(&writable, hole)?;
    }
    Ok(())
}

/// The parts of a file of this size that are in no page of these ranges.
fn holes(mut mapped: Vec<Range<u64>>, size: u64) -> Vec<Range<u64>> {
    mapped.sort_by_key(|range| range.start);
    let (mut holes, mut at) = (Vec::new(), 0);
    for range in mapped {
        let start = range.start / ALIGN * ALIGN;
        if at < start {
            holes.push(at..start.min(size));
        }
        at = at.max(range.end.next_multiple_of(ALIGN));
    }
    if at < size {
        holes.push(at..size);
    }
    holes
}

#[cfg(target_os = "linux")]
fn make_hole(file: &File, hole: Range<u64>) -> Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, hole.start, hole.end - hole.start)?)
}

#[cfg(not(target_os = "linux"))]
fn make_hole(_: &File, _: Range<u64>) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start and end of each hole, and of each mapped part.
    fn holes_of(mapped: &[(u64, u64)], size: u64) -> Vec<(u64, u64)> {
        let holes = holes(mapped.iter().map(|&(start, end)| start..end).collect(), size);
        holes.into_iter().map(|hole| (hole.start, hole.end)).collect()
    }

    #[test]
    fn holes_are_whole_pages_that_nothing_maps() {
        assert_eq!(holes_of(&[(0, 10)], 5), []);
        assert_eq!(holes_of(&[(0, 10)], 200_000), [(ALIGN, 200_000)]);
        let mapped = [(3 * ALIGN + 1, 4 * ALIGN), (0, ALIGN - 1), (0, 7)];
        assert_eq!(holes_of(&mapped, 6 * ALIGN), [(ALIGN, 3 * ALIGN), (4 * ALIGN, 6 * ALIGN)]);
        assert_eq!(holes_of(&[], 7), [(0, 7)]);
    }
}
