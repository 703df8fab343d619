//! Watches the files of libraries. Reports a library with new content when its file is complete, however it was
//! replaced: written in place, renamed, linked, removed and created again, or through a symbolic link. Reads the
//! libraries, loads none.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io, mem};

use anyhow::{Context, Result};

use super::fingerprint_of;
use super::folders::{FileEvent, FolderWatcher};
use crate::plugin::image::Image;

/// Time without events after which a replaced file counts as complete: a rename has all its events at once.
const SETTLED_REPLACED: Duration = Duration::from_millis(20);
/// Time without events after which a written file counts as complete: linkers write in pieces.
const SETTLED_WRITTEN: Duration = Duration::from_millis(100);
/// A file that is no valid library for this long is reported as broken; until then a writer may be slow.
const BROKEN_AFTER: Duration = Duration::from_secs(1);
/// How often metadata is compared, for changes without events: a parent folder was moved, the file system is on another
/// machine, or the system cannot report events.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Symbolic links to follow. Linux has the same limit.
const LINKS_MAX: usize = 40;

/// What happened to the libraries. An index is a position in the list of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibraryChange {
    /// These libraries are complete and have new content.
    Changed(Vec<usize>),
    /// The file is no valid library, for this reason. Reported once until it is valid again.
    Broken(usize, String),
}

/// Watches these files on a thread of its own until `on_change` returns false. Changes during `on_change` are reported
/// after it.
pub fn watch(
    files: Vec<PathBuf>,
    mut on_change: impl FnMut(LibraryChange) -> bool + Send + 'static,
) -> Result<()> {
    let (sender, events) = mpsc::channel();
    // Keeps the channel open if the system cannot report events.
    let held = sender.clone();
    let folders = FolderWatcher::new(move |event| _ = sender.send(event));
    let libraries = files.into_iter().map(WatchedLibrary::new).collect();
    let mut watcher = LibraryWatcher { folders, libraries };
    watcher.watch_folders();
    for library in &mut watcher.libraries {
        library.metadata = library.read_metadata();
        library.reported = library.read_fingerprint().ok();
    }
    thread::Builder::new()
        .name("watch libraries".to_owned())
        .spawn(move || {
            let _held = held;
            loop {
                let due = watcher.libraries.iter().filter_map(|library| library.due).min();
                let due = due.unwrap_or_else(|| Instant::now() + POLL_INTERVAL);
                match events.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Ok(event) => watcher.handle(&event),
                    Err(RecvTimeoutError::Timeout) => watcher.poll_metadata(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if !watcher.check_due().into_iter().all(&mut on_change) {
                    return;
                }
            }
        })
        .context("cannot start the thread that watches libraries")?;
    Ok(())
}

struct LibraryWatcher {
    folders: FolderWatcher,
    libraries: Vec<WatchedLibrary>,
}

impl LibraryWatcher {
    /// Watches the folders of the files and of the symbolic links to them, as the links are now.
    fn watch_folders(&mut self) {
        // A link may have changed before its folder was watched.
        for _ in 0..LINKS_MAX {
            self.libraries.iter_mut().for_each(|library| library.paths = resolve(&library.file));
            let paths = self.libraries.iter().flat_map(|library| &library.paths);
            let folders: Vec<_> = paths.filter_map(|path| path.parent()).map(Path::to_path_buf).collect();
            if !self.folders.set(folders) {
                break;
            }
        }
    }

    /// Schedules a check of the libraries that the event may concern.
    fn handle(&mut self, event: &FileEvent) {
        self.folders.handle(event);
        for library in &mut self.libraries {
            let settled = match event {
                FileEvent::Written(path) if library.depends_on(path) => SETTLED_WRITTEN,
                FileEvent::Replaced(path) if library.depends_on(path) => SETTLED_REPLACED,
                FileEvent::Lost => SETTLED_WRITTEN,
                _ => continue,
            };
            library.due = library.due.max(Some(Instant::now() + settled));
            library.metadata = library.read_metadata();
        }
        let may_move_links = !matches!(event, FileEvent::Written(_));
        if may_move_links && self.libraries.iter().any(|library| library.due.is_some()) {
            // A missing file is reported as broken by the check.
            self.watch_folders();
        }
    }

    /// Schedules a check of all libraries if one has changed without an event.
    fn poll_metadata(&mut self) {
        let has_changed =
            |library: &WatchedLibrary| library.due.is_none() && library.metadata != library.read_metadata();
        if self.libraries.iter().any(has_changed) {
            self.handle(&FileEvent::Lost);
        }
    }

    /// Checks the libraries whose time has come.
    fn check_due(&mut self) -> Vec<LibraryChange> {
        let now = Instant::now();
        let (mut changed, mut changes) = (Vec::new(), Vec::new());
        for (index, library) in self.libraries.iter_mut().enumerate() {
            if library.due.take_if(|due| *due <= now).is_some() {
                match library.check() {
                    Check::Nothing => {}
                    Check::Changed => changed.push(index),
                    Check::Broken(reason) => changes.push(LibraryChange::Broken(index, reason)),
                }
            }
        }
        if !changed.is_empty() {
            changes.push(LibraryChange::Changed(changed));
        }
        changes
    }
}

/// Result of a check: what to report.
enum Check {
    Nothing,
    Changed,
    Broken(String),
}

struct WatchedLibrary {
    file: PathBuf,
    /// The file's real path, and the symbolic links to it.
    paths: BTreeSet<PathBuf>,
    /// Fingerprint of the content that was reported last, or was there at the start.
    reported: Option<u64>,
    /// When to check the file.
    due: Option<Instant>,
    /// The file's metadata at the last event.
    metadata: Option<Metadata>,
    /// Since when the file is no valid library.
    broken_since: Option<Instant>,
    broken_reported: bool,
}

/// Device, inode, size, and modification time in seconds and nanoseconds.
type Metadata = (u64, u64, u64, i64, i64);

impl WatchedLibrary {
    fn new(file: PathBuf) -> Self {
        Self {
            file,
            paths: BTreeSet::new(),
            reported: None,
            due: None,
            metadata: None,
            broken_since: None,
            broken_reported: false,
        }
    }

    /// Whether the path is the file, a link to it, or a folder above one of these.
    fn depends_on(&self, path: &Path) -> bool {
        self.paths.iter().any(|own| own.starts_with(path))
    }

    fn read_metadata(&self) -> Option<Metadata> {
        let file = fs::metadata(&self.file).ok()?;
        Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    }

    fn read_fingerprint(&self) -> io::Result<u64> {
        fingerprint_of(&self.file)
    }

    /// Compares the file with what was reported. Checks again later while the file is being written.
    fn check(&mut self) -> Check {
        let now = Instant::now();
        let metadata = self.read_metadata();
        if metadata != mem::replace(&mut self.metadata, metadata) {
            self.due = Some(now + SETTLED_WRITTEN);
            return Check::Nothing;
        }
        let content = self.read_fingerprint().ok();
        if content.is_some() && content == self.reported {
            (self.broken_since, self.broken_reported) = (None, false);
            return Check::Nothing;
        }
        match Image::read(&self.file) {
            Ok(_) => {
                (self.broken_since, self.broken_reported) = (None, false);
                self.reported = content;
                Check::Changed
            }
            Err(error) if now - *self.broken_since.get_or_insert(now) >= BROKEN_AFTER => {
                self.broken_since = None;
                match mem::replace(&mut self.broken_reported, true) {
                    true => Check::Nothing,
                    false => Check::Broken(format!("{error:#}")),
                }
            }
            Err(_) => {
                self.due = Some(now + SETTLED_WRITTEN);
                Check::Nothing
            }
        }
    }
}

/// The file's real path, and the symbolic links to it. A change of one of these may change the file.
fn resolve(file: &Path) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    let mut links = 0;
    let mut real = PathBuf::new();
    let mut rest = reversed_components(&std::path::absolute(file).unwrap_or(file.into()));
    while let Some(component) = rest.pop() {
        if component == ".." {
            real.pop();
            continue;
        }
        let next = real.join(component);
        match fs::read_link(&next) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                paths.insert(next);
                rest.extend(reversed_components(&target));
            }
            _ => real = next,
        }
    }
    paths.insert(real);
    paths
}

/// The path's components, the last one first. The root of an absolute path replaces what it is joined to.
fn reversed_components(path: &Path) -> Vec<OsString> {
    let components = path.components().rev().filter(|component| *component != Component::CurDir);
    components.map(|component| component.as_os_str().to_owned()).collect()
}
