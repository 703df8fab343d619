//! Watches sources: folders with everything below them, and single files. Reports the files whose content has changed.
//!
//! A symbolic link among the sources stands for the file or folder that it leads to, which is watched where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fingerprint;
use super::folders::{FileEvent, FolderWatcher};
use super::ignored::{Ignored, Patterns};
use crate::config::regular_file;
use crate::system::file_stamp::{Stamp, stamp};

/// Bytes. Larger files are compared by size and date, because reading them at each event takes too long.
const READ_MAX: u64 = 4 << 20;
/// Files and folders behind a link to a folder. A link to more, such as to `/`, is not followed.
const LINKED_MAX: usize = 2000;
/// How often [`SourceWatcher::poll`] looks for changes that the system has not reported.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The same, where the system reports none.
const POLL_INTERVAL_ALONE: Duration = Duration::from_secs(1);
/// Looking at a large tree takes at most one part in so many of the time.
const POLL_SHARE: u32 = 50;

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Folders with everything below them.
    pub folders: BTreeSet<PathBuf>,
    /// Files outside of these folders, or that are never ignored. They need not exist.
    pub files: BTreeSet<PathBuf>,
    /// Files and folders to ignore.
    pub ignored: BTreeSet<PathBuf>,
    /// Whether to ignore what compilers write: objects, libraries, programs.
    pub ignore_products: bool,
    /// More to ignore.
    pub patterns: Patterns,
}

/// Watches sources.
pub struct SourceWatcher {
    folders: FolderWatcher,
    sources: Sources,
    ignored: Ignored,
    links: Links,
    /// Each source when it was reported, or when it was first seen.
    known: BTreeMap<PathBuf, Known>,
    /// Files with events since [`SourceWatcher::changes`].
    touched: BTreeSet<PathBuf>,
    /// Whether to look at all files at the next [`SourceWatcher::changes`].
    all_touched: bool,
    next_poll: Instant,
    /// Links that are new or gone, or that lead elsewhere, since [`SourceWatcher::changes`].
    moved_links: BTreeSet<PathBuf>,
    /// Links that lead to too much, which the log names.
    skipped_links: BTreeSet<PathBuf>,
}

/// The symbolic links among the sources, and where they lead: real paths outside of the folders.
#[derive(Default)]
struct Links {
    /// Where each link leads. None: nowhere.
    links: BTreeMap<PathBuf, Option<PathBuf>>,
    files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

/// What a walk through the folders has found.
#[derive(Default)]
struct Found {
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    links: Links,
    /// Links to folders that are still to be walked through, and where they lead.
    to_follow: Vec<(PathBuf, PathBuf)>,
}

/// A file as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    stamp: Stamp,
    /// None: the product of a compiler, to be ignored.
    content: Option<ContentId>,
}

/// Differs between two contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentId {
    Fingerprint(u64),
    /// Size, and time of the last writing.
    SizeAndDate(u64, i64, i64),
}

impl SourceWatcher {
    /// Watches nothing yet.
    pub fn new(folders: FolderWatcher) -> Self {
        Self {
            folders,
            sources: Sources::default(),
            ignored: Ignored::new(BTreeSet::new(), false, &Patterns::default(), BTreeSet::new()),
            links: Links::default(),
            known: BTreeMap::new(),
            touched: BTreeSet::new(),
            all_touched: false,
            next_poll: Instant::now(),
            moved_links: BTreeSet::new(),
            skipped_links: BTreeSet::new(),
        }
    }

    /// Watches exactly these sources. A file that becomes a source does not count as changed.
    pub fn watch(&mut self, mut sources: Sources) {
        // Events have real paths. A file that is a symbolic link is watched under both paths.
        let folders = sources
            .folders
            .iter()
            .map(|folder| folder.canonicalize().unwrap_or_else(|_| with_real_parent(folder)));
        sources.folders = folders.collect();
        let targets: Vec<_> = sources.files.iter().filter_map(|file| file.canonicalize().ok()).collect();
        sources.files = sources.files.iter().map(|file| with_real_parent(file)).chain(targets).collect();
        sources.ignored = sources.ignored.iter().map(|path| with_real_parent(path)).collect();
        if sources == self.sources {
            return;
        }
        let Sources { folders, ignored, ignore_products, patterns, .. } = sources.clone();
        self.ignored = Ignored::new(ignored, ignore_products, &patterns, folders);
        self.sources = sources;
        let files = self.scan();
        self.moved_links.clear();
        self.known.retain(|file, _| files.contains(file));
        for file in files {
            if !self.known.contains_key(&file)
                && let Some(known) = self.read(&file)
            {
                self.known.insert(file, known);
            }
        }
        self.schedule_poll(Instant::now());
    }

    /// Records an event. Returns true if a source may have changed.
    pub fn handle(&mut self, event: &FileEvent) -> bool {
        self.folders.handle(event);
        let path = match event {
            FileEvent::Lost => {
                self.all_touched = true;
                return true;
            }
            FileEvent::Written(path) | FileEvent::Replaced(path) => path,
        };
        if path.file_name().is_some_and(|name| name == ".gitignore") {
            self.ignored.forget_git();
        }
        let is_above_sources =
            self.sources.folders.iter().chain(&self.sources.files).any(|source| source.starts_with(path));
        let is_folder = path.is_dir() || self.known.keys().any(|file| file != path && file.starts_with(path));
        let is_source = self.is_source(path, is_folder);
        let is_link = self.links.links.contains_key(path) || path.is_symlink();
        match event {
            // The files in the folder have events of their own.
            FileEvent::Written(_) if is_folder => return false,
            FileEvent::Replaced(_) if (is_source && (is_folder || is_link)) || is_above_sources => {
                self.all_touched = true;
            }
            _ if is_source => _ = self.touched.insert(path.clone()),
            _ => return false,
        }
        true
    }

    /// When to call [`SourceWatcher::poll`].
    pub fn next_poll(&self) -> Instant {
        self.next_poll
    }

    /// Looks for changes without events: the file system may be on another machine, or the events may still be on their
    /// way. Returns true if a source may have changed.
    pub fn poll(&mut self) -> bool {
        let begun = Instant::now();
        self.touch_changed();
        self.schedule_poll(begun);
        !self.touched.is_empty() || !self.moved_links.is_empty()
    }

    /// Returns the files with new content since the last call, including new and removed files.
    pub fn changes(&mut self) -> Vec<PathBuf> {
        if mem::take(&mut self.all_touched) {
            self.touch_changed();
        }
        let mut changed: Vec<_> = mem::take(&mut self.moved_links).into_iter().collect();
        for path in mem::take(&mut self.touched) {
            let new = self.read(&path);
            let old = match new {
                Some(new) => self.known.insert(path.clone(), new),
                None => self.known.remove(&path),
            };
            if content(old) != content(new) {
                changed.push(path);
            }
        }
        changed
    }

    fn schedule_poll(&mut self, begun: Instant) {
        let interval = if self.folders.has_events() { POLL_INTERVAL } else { POLL_INTERVAL_ALONE };
        self.next_poll = Instant::now() + interval.max(begun.elapsed() * POLL_SHARE);
    }

    /// Touches all files that look different from when they were read last.
    fn touch_changed(&mut self) {
        let found = self.scan();
        let is_touched = |file: &&PathBuf| {
            let stamp = fs::metadata(file).ok().filter(Metadata::is_file).map(|about| stamp(&about));
            stamp != self.known.get(*file).map(|known| known.stamp)
        };
        let gone = self.known.keys().filter(|file| !found.contains(*file));
        let touched: Vec<_> = found.iter().chain(gone).filter(is_touched).cloned().collect();
        self.touched.extend(touched);
    }

    /// Watches every folder of the sources. Returns all files.
    fn scan(&mut self) -> BTreeSet<PathBuf> {
        self.ignored.forget_git();
        loop {
            let mut found = Found::default();
            for root in &self.sources.folders {
                // Reports when a missing folder appears.
                found.folders.extend(root.parent().filter(|_| !root.exists()).map(Path::to_path_buf));
                self.walk(root, &mut found, usize::MAX);
            }
            self.follow_links(&mut found);
            found.files.extend(self.sources.files.iter().cloned());
            found.files.extend(found.links.files.iter().cloned());
            let single = self.sources.files.iter().chain(&found.links.files);
            found.folders.extend(single.filter_map(|file| file.parent()).map(Path::to_path_buf));
            let is_moved = |link: &&PathBuf| self.links.links.get(*link) != found.links.links.get(*link);
            let links = self.links.links.keys().chain(found.links.links.keys());
            self.moved_links.extend(links.filter(is_moved).cloned());
            self.links = found.links;
            // A new folder may have got files before it was watched.
            if !self.folders.set(found.folders) {
                return found.files;
            }
        }
    }

    /// Finds the files in a folder. `room`: how many files and folders may be found. Returns the rest; None: there were
    /// more.
    fn walk(&self, folder: &Path, found: &mut Found, mut room: usize) -> Option<usize> {
        if !found.folders.insert(folder.to_path_buf()) {
            return Some(room);
        }
        // The folder may have been removed.
        let Ok(entries) = fs::read_dir(folder) else { return Some(room) };
        for entry in entries.flatten() {
            room = room.checked_sub(1)?;
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_symlink() => self.resolve(path, found),
                Ok(kind) if self.ignored.contains(&path, kind.is_dir()) => {}
                Ok(kind) if kind.is_dir() => room = self.walk(&path, found, room)?,
                Ok(_) => _ = found.files.insert(path),
                Err(_) => {}
            }
        }
        Some(room)
    }

    /// Finds what a symbolic link leads to, if it is outside of the folders.
    fn resolve(&self, link: PathBuf, found: &mut Found) {
        let real = link.canonicalize().ok();
        let is_folder = real.as_ref().is_some_and(|real| real.is_dir());
        if self.ignored.contains(&link, is_folder) {
            return;
        }
        // The files there are found anyway, or the sources are only a part of the folder.
        let is_known = |real: &PathBuf| {
            self.sources.folders.iter().any(|root| real.starts_with(root) || root.starts_with(real))
        };
        match real.clone() {
            Some(real) if !is_folder => _ = found.links.files.insert(real),
            Some(real) if !is_known(&real) => found.to_follow.push((link.clone(), real)),
            _ => {}
        }
        found.links.links.insert(link, real);
    }

    /// Walks through the folders that links lead to.
    fn follow_links(&mut self, found: &mut Found) {
        let mut skipped = BTreeSet::new();
        while let Some((link, real)) = found.to_follow.pop() {
            if found.links.folders.iter().any(|folder| real.starts_with(folder)) {
                continue;
            }
            let mut behind = Found::default();
            if self.walk(&real, &mut behind, LINKED_MAX).is_none() {
                if !self.skipped_links.contains(&link) {
                    log::warn!(
                        "{} leads to more than {LINKED_MAX} files, and is not watched",
                        link.display()
                    );
                }
                skipped.insert(link);
                continue;
            }
            found.links.folders.insert(real);
            found.folders.append(&mut behind.folders);
            found.files.append(&mut behind.files);
            found.links.links.append(&mut behind.links.links);
            found.links.files.append(&mut behind.links.files);
            found.to_follow.append(&mut behind.to_follow);
        }
        self.skipped_links = skipped;
    }

    /// Whether the path is a source: named, behind a link, or in one of the folders, where neither it nor a folder
    /// between is ignored.
    fn is_source(&self, path: &Path, is_folder: bool) -> bool {
        if self.sources.files.contains(path) || self.links.files.contains(path) {
            return true;
        }
        let mut roots =
            self.sources.folders.iter().chain(&self.links.folders).filter(|root| path.starts_with(root));
        roots.any(|root| {
            let between = path.ancestors().take_while(|ancestor| ancestor != root);
            between.enumerate().all(|(depth, path)| !self.ignored.contains(path, depth > 0 || is_folder))
        })
    }

    /// None if the file does not exist.
    fn read(&self, file: &Path) -> Option<Known> {
        let metadata = fs::metadata(file).ok().filter(Metadata::is_file)?;
        let stamp = stamp(&metadata);
        if metadata.len() > READ_MAX {
            let content = ContentId::SizeAndDate(metadata.size(), metadata.mtime(), metadata.mtime_nsec());
            return Some(Known { stamp, content: Some(content) });
        }
        let content = regular_file::read(file).ok()?;
        // Programs have no suffix.
        let is_product = self.sources.ignore_products && content.starts_with(b"\x7fELF");
        let content = (!is_product).then(|| ContentId::Fingerprint(fingerprint(&content)));
        Some(Known { stamp, content })
    }
}

fn content(known: Option<Known>) -> Option<ContentId> {
    known.and_then(|known| known.content)
}

/// Resolves the symbolic links of the path, except for its last component.
fn with_real_parent(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.canonicalize().unwrap_or_else(|_| path.to_path_buf()),
    }
}
