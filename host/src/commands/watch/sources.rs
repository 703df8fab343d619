//! Watches sources: folders with everything below them, and single files. Reports the files whose content has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, mem};

use anyhow::Result;

use super::fingerprint;
use super::folders::{FileEvent, FolderWatcher};
use crate::config::regular_file;

/// Bytes. Larger files are compared by size and date, because reading them at each event takes too long.
const READ_MAX: u64 = 4 << 20;

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Folders with everything below them.
    pub folders: BTreeSet<PathBuf>,
    /// Files outside of these folders. They need not exist.
    pub files: BTreeSet<PathBuf>,
    /// Files and folders to ignore.
    pub ignored: BTreeSet<PathBuf>,
    /// Whether to ignore what compilers write: objects, libraries, programs.
    pub ignore_products: bool,
}

/// Watches sources.
pub struct SourceWatcher {
    folders: FolderWatcher,
    sources: Sources,
    /// The content of each source when it was reported, or when it was first seen.
    known: BTreeMap<PathBuf, ContentId>,
    /// Files with events since [`SourceWatcher::changes`].
    touched: BTreeSet<PathBuf>,
    /// Whether to read all files at the next [`SourceWatcher::changes`].
    all_touched: bool,
}

/// Differs between two contents of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContentId {
    Fingerprint(u64),
    SizeAndDate(u64, Option<SystemTime>),
}

impl SourceWatcher {
    /// Watches nothing yet. Calls `on_event` as [`FolderWatcher::new`] does.
    pub fn new(on_event: impl FnMut(FileEvent) + Send + 'static) -> Result<Self> {
        Ok(Self {
            folders: FolderWatcher::new(on_event)?,
            sources: Sources::default(),
            known: BTreeMap::new(),
            touched: BTreeSet::new(),
            all_touched: false,
        })
    }

    /// Watches exactly these sources. A file that becomes a source does not count as changed.
    pub fn watch(&mut self, mut sources: Sources) -> Result<()> {
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
            return Ok(());
        }
        self.sources = sources;
        for (file, content) in self.scan()? {
            self.known.entry(file).or_insert(content);
        }
        Ok(())
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
        let is_above_sources =
            self.sources.folders.iter().chain(&self.sources.files).any(|source| source.starts_with(path));
        let is_folder = path.is_dir() || self.known.keys().any(|file| file != path && file.starts_with(path));
        let is_source = self.sources.files.contains(path) || self.is_source(path, is_folder);
        match event {
            // The files in the folder have events of their own.
            FileEvent::Written(_) if is_folder => return false,
            FileEvent::Replaced(_) if (is_source && is_folder) || is_above_sources => self.all_touched = true,
            _ if is_source => _ = self.touched.insert(path.clone()),
            _ => return false,
        }
        true
    }

    /// Makes the next [`SourceWatcher::changes`] read all files.
    pub fn touch_all(&mut self) {
        self.all_touched = true;
    }

    /// Returns the files with new content since the last call, including new and removed files.
    pub fn changes(&mut self) -> Result<Vec<PathBuf>> {
        if mem::take(&mut self.all_touched) {
            let found = self.scan()?;
            self.touched.extend(found.keys().chain(self.known.keys()).cloned());
        }
        let mut changed = Vec::new();
        for path in mem::take(&mut self.touched) {
            let content = self.content_id(&path);
            if content != self.known.get(&path).copied() {
                match content {
                    Some(content) => _ = self.known.insert(path.clone(), content),
                    None => _ = self.known.remove(&path),
                }
                changed.push(path);
            }
        }
        Ok(changed)
    }

    /// Watches every folder of the sources, and reads all files.
    fn scan(&mut self) -> Result<BTreeMap<PathBuf, ContentId>> {
        loop {
            let (mut folders, mut files) = (BTreeSet::new(), self.sources.files.clone());
            for root in &self.sources.folders {
                // Reports when a missing folder appears.
                folders.extend(root.parent().filter(|_| !root.exists()).map(Path::to_path_buf));
                self.walk(root, &mut folders, &mut files);
            }
            folders.extend(self.sources.files.iter().filter_map(|file| file.parent()).map(Path::to_path_buf));
            // A new folder may have got files before it was watched.
            if !self.folders.set(folders)? {
                let contents = files
                    .into_iter()
                    .filter_map(|file| self.content_id(&file).map(|content| (file, content)));
                return Ok(contents.collect());
            }
        }
    }

    fn walk(&self, folder: &Path, folders: &mut BTreeSet<PathBuf>, files: &mut BTreeSet<PathBuf>) {
        // The folder may have been removed.
        let Ok(entries) = fs::read_dir(folder) else { return };
        folders.insert(folder.to_path_buf());
        for entry in entries.flatten() {
            // False for a symbolic link to a folder, which is not followed.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match self.is_ignored(&entry.path(), is_folder) {
                true => {}
                false if is_folder => self.walk(&entry.path(), folders, files),
                false => _ = files.insert(entry.path()),
            }
        }
    }

    /// Whether the path is in one of the folders, and neither it nor a folder between is ignored.
    fn is_source(&self, path: &Path, is_folder: bool) -> bool {
        self.sources.folders.iter().filter(|root| path.starts_with(root)).any(|root| {
            let between = path.ancestors().take_while(|ancestor| ancestor != root);
            between.enumerate().all(|(depth, ancestor)| !self.is_ignored(ancestor, depth > 0 || is_folder))
        })
    }

    /// None if the file does not exist, or is the product of a compiler to ignore.
    fn content_id(&self, file: &Path) -> Option<ContentId> {
        let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
        if metadata.len() > READ_MAX {
            return Some(ContentId::SizeAndDate(metadata.len(), metadata.modified().ok()));
        }
        let content = regular_file::read(file).ok()?;
        // Programs have no suffix.
        let is_product = self.sources.ignore_products && content.starts_with(b"\x7fELF");
        (!is_product).then(|| ContentId::Fingerprint(fingerprint(&content)))
    }

    fn is_ignored(&self, path: &Path, is_folder: bool) -> bool {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return false };
        self.sources.ignored.contains(path)
            || (name.starts_with('.') && name != ".cargo")
            || (is_folder && is_generated_folder(path, &name))
            || (!is_folder && is_editor_file(&name))
            || (!is_folder && self.sources.ignore_products && is_product(&name))
    }
}

fn is_generated_folder(path: &Path, name: &str) -> bool {
    // Tools mark folders that they can generate again with CACHEDIR.TAG.
    name == "node_modules"
        || path.join("CACHEDIR.TAG").exists()
        || (name == "target" && path.with_file_name("Cargo.toml").exists())
}

/// Whether editors create a file of this name beside the edited file. Names that begin with a dot are ignored anyway.
fn is_editor_file(name: &str) -> bool {
    let suffixes = ["~", "~tmp", ".tmp", ".bak", ".swp", "___jb_tmp___", "___jb_old___"];
    // vim creates 4913 to check whether the folder is writable.
    name == "4913"
        || (name.starts_with('#') && name.ends_with('#'))
        || suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// Whether compilers write files of this name.
fn is_product(name: &str) -> bool {
    let suffixes = [".o", ".lo", ".d", ".so", ".a", ".la", ".dylib", ".gch", ".obj"];
    suffixes.iter().any(|suffix| name.ends_with(suffix)) || name.contains(".so.")
}

/// Resolves the symbolic links of the path, except for its last component.
fn with_real_parent(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.canonicalize().unwrap_or_else(|_| path.to_path_buf()),
    }
}
