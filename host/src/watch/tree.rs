//! Sources: folders with all that is below them, and single files. Tells which of their files have another
//! content than before; a file that was only touched, or saved as it was, has not changed.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use super::fingerprint;
use super::folders::{Change, Folders};

/// Larger files are told apart by size and date: reading them at each change would take its time.
const READ_MAX: u64 = 4 << 20;

/// What is watched, and what not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Folders, with all that is below them.
    pub folders: BTreeSet<PathBuf>,
    /// Files elsewhere, which need not be there.
    pub files: BTreeSet<PathBuf>,
    /// Files and folders that are no sources.
    pub except: BTreeSet<PathBuf>,
    /// Whether what compilers make (objects, libraries) is left out, too.
    pub without_products: bool,
}

/// Files of sources, as they are known.
pub struct Tree {
    folders: Folders,
    sources: Sources,
    known: BTreeMap<PathBuf, Print>,
    touched: BTreeSet<PathBuf>,
    is_all_touched: bool,
}

/// Tells contents of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Print {
    Content(u64),
    Large(u64, Option<SystemTime>),
}

impl Tree {
    /// Nothing yet; the way is that of [`Folders::new`].
    pub fn new(tell: impl FnMut(Change) + Send + 'static) -> Result<Self> {
        Ok(Self {
            folders: Folders::new(tell)?,
            sources: Sources::default(),
            known: BTreeMap::new(),
            touched: BTreeSet::new(),
            is_all_touched: false,
        })
    }

    /// Watches these from now on. A file that was not among the sources before has not changed.
    pub fn watch(&mut self, mut sources: Sources) -> Result<()> {
        // As the system tells them; a file also as what it is a link to.
        let folders = sources.folders.iter().map(|folder| folder.canonicalize().unwrap_or(real(folder)));
        sources.folders = folders.collect();
        let targets: Vec<_> = sources.files.iter().filter_map(|file| file.canonicalize().ok()).collect();
        sources.files = sources.files.iter().map(|file| real(file)).chain(targets).collect();
        sources.except = sources.except.iter().map(|path| real(path)).collect();
        if sources == self.sources {
            return Ok(());
        }
        self.sources = sources;
        let found = self.scan()?;
        for (file, print) in found {
            self.known.entry(file).or_insert(print);
        }
        Ok(())
    }

    /// Takes note of something that has happened. Answers whether a file may have changed.
    pub fn note(&mut self, change: &Change) -> bool {
        self.folders.note(change);
        let path = match change {
            Change::Anything => {
                self.is_all_touched = true;
                return true;
            }
            Change::Written(path) | Change::Replaced(path) => path,
        };
        let is_above =
            self.sources.folders.iter().chain(&self.sources.files).any(|own| own.starts_with(path));
        let is_folder = path.is_dir() || self.known.keys().any(|file| file != path && file.starts_with(path));
        let is_ours = self.sources.files.contains(path) || self.is_source(path, is_folder);
        match change {
            // What is in a folder tells of itself.
            Change::Written(_) if is_folder => return false,
            Change::Replaced(_) if (is_ours && is_folder) || is_above => self.is_all_touched = true,
            _ if is_ours => _ = self.touched.insert(path.clone()),
            _ => return false,
        }
        true
    }

    /// Has every file looked at the next time.
    pub fn note_all(&mut self) {
        self.is_all_touched = true;
    }

    /// Files that have another content than when this was asked last, that are new, or gone.
    pub fn changes(&mut self) -> Result<Vec<PathBuf>> {
        if std::mem::take(&mut self.is_all_touched) {
            let found = self.scan()?;
            self.touched.extend(found.keys().chain(self.known.keys()).cloned());
        }
        let mut changed = Vec::new();
        for path in std::mem::take(&mut self.touched) {
            let print = self.print(&path);
            if print != self.known.get(&path).copied() {
                match print {
                    Some(print) => _ = self.known.insert(path.clone(), print),
                    None => _ = self.known.remove(&path),
                }
                changed.push(path);
            }
        }
        Ok(changed)
    }

    /// Watches every folder that there is, and reads all sources.
    fn scan(&mut self) -> Result<BTreeMap<PathBuf, Print>> {
        loop {
            let (mut folders, mut files) = (BTreeSet::new(), self.sources.files.clone());
            for root in &self.sources.folders {
                // So that its return is seen.
                folders.extend(root.parent().filter(|_| !root.exists()).map(Path::to_path_buf));
                self.walk(root, &mut folders, &mut files);
            }
            folders.extend(self.sources.files.iter().filter_map(|file| file.parent()).map(Path::to_path_buf));
            // A folder that is new may have got files before it was watched.
            if !self.folders.set(folders)? {
                return Ok(files
                    .into_iter()
                    .filter_map(|file| self.print(&file).map(|it| (file, it)))
                    .collect());
            }
        }
    }

    fn walk(&self, folder: &Path, folders: &mut BTreeSet<PathBuf>, files: &mut BTreeSet<PathBuf>) {
        // It may have gone since.
        let Ok(entries) = fs::read_dir(folder) else { return };
        folders.insert(folder.to_path_buf());
        for entry in entries.flatten() {
            // A link to a folder is not followed.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match self.is_left_out(&entry.path(), is_folder) {
                true => {}
                false if is_folder => self.walk(&entry.path(), folders, files),
                false => _ = files.insert(entry.path()),
            }
        }
    }

    /// Whether the path is in one of the folders, and nothing on the way from there is left out.
    fn is_source(&self, path: &Path, is_folder: bool) -> bool {
        self.sources.folders.iter().filter(|root| path.starts_with(root)).any(|root| {
            let below = path.ancestors().take_while(|above| above != root);
            below.enumerate().all(|(up, above)| !self.is_left_out(above, up > 0 || is_folder))
        })
    }

    /// None: there is no such source.
    fn print(&self, file: &Path) -> Option<Print> {
        let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
        if metadata.len() > READ_MAX {
            return Some(Print::Large(metadata.len(), metadata.modified().ok()));
        }
        let content = fs::read(file).ok()?;
        // A program, whatever it is called.
        let is_product = self.sources.without_products && content.starts_with(b"\x7fELF");
        (!is_product).then(|| Print::Content(fingerprint(&content)))
    }

    fn is_left_out(&self, path: &Path, is_folder: bool) -> bool {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return false };
        self.sources.except.contains(path)
            || (name.starts_with('.') && name != ".cargo")
            || (is_folder && is_no_sources_folder(path, &name))
            || (!is_folder && is_editors(&name))
            || (!is_folder && self.sources.without_products && is_product(&name))
    }
}

fn is_no_sources_folder(path: &Path, name: &str) -> bool {
    // The second line is how tools mark what they can make again.
    name == "node_modules"
        || path.join("CACHEDIR.TAG").exists()
        || (name == "target" && path.with_file_name("Cargo.toml").exists())
}

/// What editors write beside the file that is edited. Those that begin with a dot are left out anyway.
fn is_editors(name: &str) -> bool {
    let ends = ["~", "~tmp", ".tmp", ".bak", ".swp", "___jb_tmp___", "___jb_old___"];
    // vim tries whether it can write a folder with a file called 4913.
    name == "4913"
        || (name.starts_with('#') && name.ends_with('#'))
        || ends.iter().any(|end| name.ends_with(end))
}

/// What compilers make.
fn is_product(name: &str) -> bool {
    let ends = [".o", ".lo", ".d", ".so", ".a", ".la", ".dylib", ".gch", ".obj"];
    ends.iter().any(|end| name.ends_with(end)) || name.contains(".so.")
}

/// The path with all links on the way resolved, not the last one.
fn real(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.canonicalize().unwrap_or_else(|_| path.to_path_buf()),
    }
}
