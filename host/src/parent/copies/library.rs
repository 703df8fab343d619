//! One copied library. The operator's file is opened once, read as a plugin, and copied from the same descriptor, so
//! that nothing but a plugin is ever copied.
//!
//! Invariant: the parent keeps a descriptor of each copy. The content outlives a deleted file, and with the content's
//! hash the parent can make the copy again, whatever has become of the operator's file.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, Metadata};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::folder::Folder;
use super::siblings::{SIBLINGS_MAX, link_siblings};
use super::{origin, trim};
use crate::config::regular_file;
use crate::parent::deadline::Deadline;
use crate::plugin::image::{self, Image};
use crate::plugin::unique::Unique;
use crate::system::file_stamp::{Stamp, stamp};

/// Bytes that are copied at once.
const CHUNK: usize = 64 * 1024;
const UNREADABLE: &str = "cannot be copied";
/// Age of a file up to which two versions may have the same times: file systems count in ticks, or in seconds.
const YOUNG: Duration = Duration::from_secs(2);

/// A copy, as the parent knows it.
pub struct Copied {
    /// The file that workers load.
    pub file: PathBuf,
    /// The folder of this copy.
    folder: PathBuf,
    /// Copies are numbered in the order in which they are made.
    pub number: u32,
    /// The operator's file.
    pub original: PathBuf,
    run_path: Vec<String>,
    /// The copy, open.
    opened: File,
    pub content: Arc<Content>,
    /// State of everything in the folder of this copy.
    state: u64,
    /// Whether links lead to what is beside the original.
    has_siblings: bool,
}

impl Copied {
    /// Copies a library into a new folder of this number. Asks for the folder only if the library is a plugin. Stops at
    /// the deadline.
    pub fn new(
        original: &Path,
        folder: impl FnOnce() -> Result<Arc<Folder>>,
        number: u32,
        key: &RandomState,
        deadline: Option<Deadline>,
    ) -> Result<(Self, Image)> {
        // Errors name the operator's file, not the copy.
        let library = image::open_library(original)?;
        let before = library.metadata().context(UNREADABLE)?;
        let unique = Image::read_from(&library, original)?.unique;
        let folder = folder()?;
        let numbered = folder.path().join(number.to_string());
        let from = Source { file: &library, length: before.len(), unique: &unique, deadline };
        let copied = Self::copy(from, &before, original, &folder, number, key);
        if copied.is_err() {
            let _ = fs::remove_dir_all(numbered);
        }
        copied
    }

    fn copy(
        library: Source<'_>,
        before: &Metadata,
        original: &Path,
        folder: &Folder,
        number: u32,
        key: &RandomState,
    ) -> Result<(Self, Image)> {
        let numbered = folder.path().join(number.to_string());
        // With the same file name: a plugin without a name of its own is named after its file.
        let file = numbered.join(original.file_name().context("no file name")?);
        folder.access.make_folder(&numbered).with_context(|| unwritable(folder))?;
        let (opened, hash) = write_copy(library, &file, folder, key)?;
        let is_same = |after: &Metadata| stamp(before) == stamp(after);
        if !is_same(&library.file.metadata()?) || !fs::metadata(original).is_ok_and(|after| is_same(&after)) {
            bail!("it is being written to; is a build still running?");
        }
        let image = Image::read_from(&opened, original)?;
        let (original, run_path) = (original.to_owned(), image.dynamic.run_path.clone());
        let content = Arc::new(Content {
            version: Some(stamp(before)).filter(|_| is_old(before)),
            length: before.len(),
            hash,
            unique: library.unique.clone(),
        });
        let mut copied = Self {
            file,
            folder: numbered,
            number,
            original,
            run_path,
            opened,
            content,
            state: 0,
            has_siblings: false,
        };
        copied.finish(folder)?;
        if image.locates_itself && !copied.has_siblings {
            log::warn!(
                "plugin {} has more than {SIBLINGS_MAX} files beside it, or that folder cannot be read: it will not find \
                 them beside the copy that workers load; move it to a folder of its own",
                copied.original.display()
            );
        }
        Ok((copied, image))
    }

    /// Links what the library's run path leads to and what is beside the original, and remembers the state of the folder.
    fn finish(&mut self, folder: &Folder) -> Result<()> {
        let file = self.folder.join(self.file.file_name().unwrap_or_default());
        self.file = origin::link_dependencies(file, &self.original, &self.run_path, folder.access)
            .with_context(|| unwritable(folder))?;
        self.has_siblings = link_siblings(&self.file, &self.original).unwrap_or(false);
        self.state = state_of(&self.folder).context("the copy was deleted at once")?;
        Ok(())
    }

    /// Whether the copy, and everything beside it, is as the parent made it.
    pub fn is_intact(&self) -> bool {
        state_of(&self.folder).is_ok_and(|state| state == self.state)
    }

    /// Makes the copy again, in this folder.
    pub fn restore(&mut self, folder: &Folder, key: &RandomState) -> Result<()> {
        self.folder = folder.path().join(self.folder.file_name().unwrap_or_default());
        let _ = fs::remove_dir_all(&self.folder);
        folder.access.make_folder(&self.folder).with_context(|| unwritable(folder))?;
        let file = self.folder.join(self.file.file_name().unwrap_or_default());
        // The descriptor has the content of a deleted file. If the file was changed, the original may have it.
        let found = self
            .copy_same(&self.opened, &file, folder, key)
            .or_else(|| self.copy_same(&regular_file::open(&self.original).ok()?, &file, folder, key));
        if let Some(opened) = found {
            self.opened = opened;
            return self.finish(folder);
        }
        // Its error, if the folder cannot be written.
        drop(write_copy(self.content.source(&self.opened, None), &file, folder, key)?);
        let _ = fs::remove_dir_all(&self.folder);
        bail!(
            "the server's copy of it, {}, was deleted or changed, and the library has changed since: restart the \
             server, or use `callsign reload` while a worker serves, to load the library as it is now",
            self.file.display()
        )
    }

    /// Copies a file that has the content of this copy. None: it has another one, or cannot be copied.
    fn copy_same(&self, from: &File, to: &Path, folder: &Folder, key: &RandomState) -> Option<File> {
        let content = &self.content;
        if from.metadata().ok()?.len() != content.length {
            return None;
        }
        let copied = write_copy(content.source(from, None), to, folder, key).ok();
        let copied = copied.filter(|(_, hash)| *hash == content.hash);
        if copied.is_none() {
            let _ = fs::remove_file(to);
        }
        copied.map(|(opened, _)| opened)
    }

    /// Removes the copy. Workers may have it mapped.
    pub fn remove(self) {
        if let Err(error) = trim::trim(&self.file) {
            log::debug!(
                "{}: its space is freed when the last worker has ended: {error:#}",
                self.file.display()
            );
        }
        let _ = fs::remove_dir_all(self.folder);
    }
}

/// Identifies the content of a copy.
pub struct Content {
    /// The version of the operator's file. None: it was so young that a later version could look the same.
    version: Option<Stamp>,
    /// In bytes.
    length: u64,
    /// Hash of the content, under the server's key: the user that workers run as owns the copy, and can write to it.
    hash: u64,
    /// Symbols of the original that are weak in the copy.
    unique: Unique,
}

impl Content {
    /// Whether the file has this content. False also if it cannot be read by the deadline.
    pub fn is_in(&self, original: &Path, key: &RandomState, deadline: Deadline) -> bool {
        let read = || -> Result<bool> {
            let file = regular_file::open(original)?;
            let about = file.metadata()?;
            if self.version == Some(stamp(&about)) {
                return Ok(true);
            }
            let from = self.source(&file, Some(deadline));
            Ok(about.len() == self.length && read_all(from, key, |_| Ok(()))? == self.hash)
        };
        read().unwrap_or(false)
    }

    /// A file that may have this content.
    fn source<'f>(&'f self, file: &'f File, deadline: Option<Deadline>) -> Source<'f> {
        Source { file, length: self.length, unique: &self.unique, deadline }
    }
}

fn unwritable(folder: &Folder) -> String {
    format!(
        "cannot write to {}, the server's folder for copies of the plugins (TMPDIR sets its place)",
        folder.path().display()
    )
}

/// Whether nothing has changed the file for longer than [`YOUNG`].
fn is_old(about: &Metadata) -> bool {
    let time = u64::try_from(about.ctime()).ok().map(Duration::from_secs);
    let changed = time.and_then(|time| SystemTime::UNIX_EPOCH.checked_add(time));
    changed.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > YOUNG)
}

/// What is copied, and until when.
#[derive(Clone, Copy)]
struct Source<'f> {
    file: &'f File,
    /// Bytes that are copied at most, because workers own the copies and could make one endless.
    length: u64,
    /// Symbols that become weak in the copy.
    unique: &'f Unique,
    deadline: Option<Deadline>,
}

impl Source<'_> {
    /// Err: the deadline is over, and this many bytes are copied.
    fn check_deadline(self, copied: u64) -> Result<()> {
        let Some(deadline) = self.deadline.filter(Deadline::is_over) else { return Ok(()) };
        bail!("{} of its {} MiB were copied {}", copied >> 20, self.length >> 20, deadline.within())
    }
}

/// Copies an open file to a new one, which only workers can read, and makes its unique symbols weak: the copies of two
/// generations, and of two plugins, share no object. Returns the new file and the hash of its content.
fn write_copy(from: Source<'_>, to: &Path, folder: &Folder, key: &RandomState) -> Result<(File, u64)> {
    let why = || unwritable(folder);
    let mut copy = File::options().write(true).create_new(true).mode(0o600).open(to).with_context(why)?;
    // Before the file belongs to another user, whose files even root cannot open in some containers.
    let content = File::open(to).with_context(why)?;
    let hash = read_all(from, key, |chunk| copy.write_all(chunk).with_context(why))?;
    folder
        .access
        .give_file(&copy)
        .context("the copy cannot be given to the user that workers run as (--user)")?;
    Ok((content, hash))
}

/// Passes all of a file to `sink`, piece by piece, with its unique symbols made weak. Returns the hash of that content.
fn read_all(from: Source<'_>, key: &RandomState, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    let (mut chunk, mut hasher, mut at) = (vec![0; CHUNK], key.build_hasher(), 0);
    while at < from.length {
        let size = usize::try_from(from.length - at).map_or(CHUNK, |left| left.min(CHUNK));
        let size = read_chunk(from.file, &mut chunk[..size], at).context(UNREADABLE)?;
        if size == 0 {
            break;
        }
        from.check_deadline(at)?;
        from.unique.isolate(&mut chunk[..size], at);
        hasher.write(&chunk[..size]);
        sink(&chunk[..size])?;
        at += size as u64;
    }
    Ok(hasher.finish())
}

/// Fills the chunk, unless the file ends: the hash of a content must not depend on how much a read returns.
fn read_chunk(file: &File, chunk: &mut [u8], at: u64) -> io::Result<usize> {
    let mut size = 0;
    while size < chunk.len() {
        match file.read_at(&mut chunk[size..], at + size as u64) {
            Ok(0) => break,
            Ok(read) => size += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(size)
}

/// A number that differs after any change in a folder. Nobody can set the time of a file's last change.
fn state_of(folder: &Path) -> io::Result<u64> {
    fn add(path: &Path, hasher: &mut impl Hasher) -> io::Result<()> {
        let about = path.symlink_metadata()?;
        for number in [about.dev(), about.ino(), about.len()] {
            hasher.write_u64(number);
        }
        for number in [about.ctime(), about.ctime_nsec()] {
            hasher.write_i64(number);
        }
        if about.is_dir() {
            let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
            entries.sort_by_key(fs::DirEntry::file_name);
            entries.iter().try_for_each(|entry| add(&entry.path(), hasher))?;
        }
        Ok(())
    }
    let mut hasher = std::hash::DefaultHasher::new();
    add(folder, &mut hasher)?;
    Ok(hasher.finish())
}
