//! Watches a set of folders, each without its subfolders, and reports the events of the files in them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// Device and inode. The system watches this folder, not whichever has its path later.
type FolderId = (u64, u64);

/// Differs from every folder's id: the folder has to be watched again.
const STALE: FolderId = (0, 0);

/// Watches a set of folders.
pub struct FolderWatcher {
    watcher: RecommendedWatcher,
    /// By real path, because the paths of events begin with it.
    watched: BTreeMap<PathBuf, FolderId>,
}

/// What happened to a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// Content or metadata was written. More writes may follow.
    Written(PathBuf),
    /// Created, removed, or replaced by a rename.
    Replaced(PathBuf),
    /// Events were lost: any file may have changed.
    Lost,
}

impl FolderWatcher {
    /// Watches no folder yet. Calls `on_event` on a thread of the watcher.
    pub fn new(mut on_event: impl FnMut(FileEvent) + Send + 'static) -> Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if event.need_rescan() => on_event(FileEvent::Lost),
            Ok(event) => {
                let file_event = match event.kind {
                    EventKind::Access(AccessKind::Close(AccessMode::Write))
                    | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => FileEvent::Written,
                    EventKind::Access(_) => return,
                    _ => FileEvent::Replaced,
                };
                event.paths.into_iter().for_each(|path| on_event(file_event(path)));
            }
            Err(_) => on_event(FileEvent::Lost),
        })
        .map_err(|error| with_advice(error, None))?;
        Ok(Self { watcher, watched: BTreeMap::new() })
    }

    /// Watches exactly these folders. Watches the nearest existing parent of a folder that does not exist. Returns true
    /// if a watch was added: earlier events in that folder are unknown.
    pub fn set(&mut self, folders: impl IntoIterator<Item = PathBuf>) -> Result<bool> {
        let wanted: BTreeSet<_> = folders.into_iter().filter_map(nearest_existing).collect();
        let unwanted: Vec<_> =
            self.watched.keys().filter(|folder| !wanted.contains(*folder)).cloned().collect();
        for folder in unwanted {
            self.unwatch(&folder);
        }
        let mut added = false;
        for folder in wanted {
            // The folder may be removed at any time. Then its parent has an event.
            let Some(id) = folder_id(&folder) else { continue };
            if self.watched.get(&folder) == Some(&id) {
                continue;
            }
            self.unwatch(&folder);
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.watched.insert(folder, id),
                Err(_) if !folder.exists() => {}
                Err(error) => return Err(with_advice(error, Some(&folder))),
            }
            added = true;
        }
        Ok(added)
    }

    /// Marks folders that were removed or moved, so that [`FolderWatcher::set`] watches their successors. A successor
    /// may have the same inode number.
    pub fn handle(&mut self, event: &FileEvent) {
        match event {
            FileEvent::Written(_) => {}
            FileEvent::Replaced(path) => _ = self.watched.get_mut(path).map(|id| *id = STALE),
            FileEvent::Lost => self.watched.values_mut().for_each(|id| *id = STALE),
        }
    }

    fn unwatch(&mut self, folder: &Path) {
        if self.watched.remove(folder).is_some() {
            // Fails if the folder was removed: the system has removed the watch too.
            let _ = self.watcher.unwatch(folder);
        }
    }
}

/// The real path of the folder, or of its nearest existing parent.
fn nearest_existing(folder: PathBuf) -> Option<PathBuf> {
    folder.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.canonicalize().ok().filter(|folder| folder.is_dir())
    })
}

fn folder_id(folder: &Path) -> Option<FolderId> {
    folder.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn with_advice(error: notify::Error, folder: Option<&Path>) -> anyhow::Error {
    let what = match folder {
        Some(folder) => format!("cannot watch {} for changes", folder.display()),
        None => "cannot watch files for changes".to_owned(),
    };
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => anyhow!(
            "{what}: the system's limit on watches is reached; raise fs.inotify.max_user_watches with sysctl"
        ),
        notify::ErrorKind::Io(error) => Err::<(), _>(error).context(what).unwrap_err(),
        _ => anyhow!("{what}: {error}"),
    }
}
