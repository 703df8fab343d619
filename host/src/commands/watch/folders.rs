//! Watches a set of folders, each without its subfolders, and reports the events of the files in them.
//!
//! Events are a hint: where the system reports none, because a limit is reached or the file system is on another machine,
//! the caller finds changes by looking itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustix::io::Errno;

/// Device and inode. The system watches this folder, not whichever has its path later.
type FolderId = (u64, u64);

/// Differs from every folder's id: the folder has to be watched again.
const STALE: FolderId = (0, 0);
/// What happens instead, where the system reports no events.
const INSTEAD: &str = "looking for changes every second or two instead";

/// Watches a set of folders.
pub struct FolderWatcher {
    /// None: no events are reported.
    watcher: Option<RecommendedWatcher>,
    /// By real path, because the paths of events begin with it. Includes the folders without events.
    watched: BTreeMap<PathBuf, FolderId>,
    is_failure_logged: bool,
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
    /// Watches no folder yet. Calls `on_event` on a thread of the watcher. If the system can report no events, that is
    /// logged with the reason.
    pub fn new(mut on_event: impl FnMut(FileEvent) + Send + 'static) -> Self {
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
        });
        let watcher = watcher.map_err(|error| {
            log::warn!("the system cannot report changes of files: {}; {INSTEAD}", reason(&error));
        });
        Self { watcher: watcher.ok(), ..Self::without_events() }
    }

    /// Reports no events.
    pub fn without_events() -> Self {
        Self { watcher: None, watched: BTreeMap::new(), is_failure_logged: false }
    }

    pub fn has_events(&self) -> bool {
        self.watcher.is_some()
    }

    /// Watches exactly these folders. Watches the nearest existing parent of a folder that does not exist. Returns true
    /// if a watch was added: earlier events in that folder are unknown. The first folder that cannot be watched is
    /// logged.
    pub fn set(&mut self, folders: impl IntoIterator<Item = PathBuf>) -> bool {
        if self.watcher.is_none() {
            return false;
        }
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
            let Some(watcher) = &mut self.watcher else { continue };
            added = true;
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Err(_) if !folder.exists() => continue,
                Err(error) if !self.is_failure_logged => {
                    self.is_failure_logged = true;
                    let (folder, reason) = (folder.display(), reason(&error));
                    log::warn!("the system cannot report changes in {folder}: {reason}; {INSTEAD}");
                }
                _ => {}
            }
            self.watched.insert(folder, id);
        }
        added
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
        if self.watched.remove(folder).is_some()
            && let Some(watcher) = &mut self.watcher
        {
            // Fails if the folder was removed: the system has removed the watch too.
            let _ = watcher.unwatch(folder);
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

/// Why the system cannot report events. A limit is named, with its value and how to raise it.
fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => limit("watches", "max_user_watches", 524_288),
        // Linux has the same error for both limits.
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            match File::open("/") {
                Ok(_) => limit("inotify instances", "max_user_instances", 1024),
                Err(_) => {
                    "the server has reached its limit on open files; raise it with `ulimit -n`".to_owned()
                }
            }
        }
        notify::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

fn limit(what: &str, name: &str, enough: u32) -> String {
    let value = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
    format!(
        "all {what} of this user are in use (fs.inotify.{name} = {}); end programs that watch files, or run \
         `sysctl fs.inotify.{name}={enough}`",
        value.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_value() {
        let watches = reason(&notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        assert!(watches.contains("(fs.inotify.max_user_watches = "), "{watches}");
        let instances = std::io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        let instances = reason(&notify::Error::io(instances));
        assert!(instances.contains("(fs.inotify.max_user_instances = "), "{instances}");
    }

    #[test]
    fn without_events_nothing_is_watched_and_nothing_fails() {
        let mut folders = FolderWatcher::without_events();
        assert!(!folders.set([std::env::temp_dir()]));
        assert!(!folders.has_events());
    }
}
