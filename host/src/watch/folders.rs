//! A set of folders, each watched without those below it, and what the system says of the files in them.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// What no folder is.
const GONE: (u64, u64) = (0, 0);

/// Folders that are watched.
pub struct Folders {
    watcher: RecommendedWatcher,
    /// By their real paths, which event paths begin with, and which folder (device, inode) it was then.
    watched: BTreeMap<PathBuf, (u64, u64)>,
}

/// Something has happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its content or its date was written, and may be written on.
    Written(PathBuf),
    /// It has come, gone, or taken another's place.
    Replaced(PathBuf),
    /// Anything may have happened: events were lost.
    Anything,
}

impl Folders {
    /// None yet. `tell` is called for each change, from a thread of the watcher.
    pub fn new(mut tell: impl FnMut(Change) + Send + 'static) -> Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => tell(Change::Anything),
            Ok(event) => {
                let change = match event.kind {
                    EventKind::Access(AccessKind::Close(AccessMode::Write))
                    | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => Change::Written,
                    EventKind::Access(_) => return,
                    _ => Change::Replaced,
                };
                event.paths.into_iter().for_each(|path| tell(change(path)));
            }
            Err(_) => tell(Change::Anything),
        })
        .map_err(|error| explained(error, None))?;
        Ok(Self { watcher, watched: BTreeMap::new() })
    }

    /// Watches these and no others; of one that is not there, the nearest above it that is. Answers whether one
    /// was added: what has happened there before is not told.
    pub fn set(&mut self, folders: impl IntoIterator<Item = PathBuf>) -> Result<bool> {
        let wanted: BTreeSet<_> = folders.into_iter().filter_map(existing).collect();
        let old: Vec<_> = self.watched.keys().filter(|folder| !wanted.contains(*folder)).cloned().collect();
        for folder in old {
            self.drop_watch(&folder);
        }
        let mut is_more = false;
        for folder in wanted {
            // It may go at any time; then the next change comes from above it.
            let Some(identity) = identity(&folder) else { continue };
            if self.watched.get(&folder) == Some(&identity) {
                continue;
            }
            // Another folder of that name: the system watches the one that it was.
            self.drop_watch(&folder);
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.watched.insert(folder, identity),
                Err(_) if !folder.exists() => {}
                Err(error) => return Err(explained(error, Some(&folder))),
            }
            is_more = true;
        }
        Ok(is_more)
    }

    /// Takes note of a change that was told: a folder that has gone or moved has to be watched anew, even if the
    /// one that comes in its place has its number.
    pub fn note(&mut self, change: &Change) {
        match change {
            Change::Written(_) => {}
            Change::Replaced(path) => _ = self.watched.get_mut(path).map(|identity| *identity = GONE),
            Change::Anything => self.watched.values_mut().for_each(|identity| *identity = GONE),
        }
    }

    fn drop_watch(&mut self, folder: &Path) {
        if self.watched.remove(folder).is_some() {
            // The system drops the watch of a folder that has gone by itself.
            let _ = self.watcher.unwatch(folder);
        }
    }
}

/// The real path of the folder, or of the nearest above it.
fn existing(folder: PathBuf) -> Option<PathBuf> {
    folder.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.canonicalize().ok().filter(|folder| folder.is_dir())
    })
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    folder.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn explained(error: notify::Error, folder: Option<&Path>) -> anyhow::Error {
    let what = match folder {
        Some(folder) => format!("cannot watch {} for changes", folder.display()),
        None => "cannot watch files for changes".to_owned(),
    };
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => anyhow!(
            "{what}: no more watches are left on this system; raise fs.inotify.max_user_watches with sysctl"
        ),
        notify::ErrorKind::Io(error) => Err::<(), _>(error).context(what).unwrap_err(),
        _ => anyhow!("{what}: {error}"),
    }
}
