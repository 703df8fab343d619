//! Collects the sources that have changed and are not built yet.
//!
//! A build may write into its own sources. Such a file is built too, because it may be a generated source; but not
//! without end if every build writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::events::{DevEvent, EventSender};
use super::report::Reporter;
use crate::commands::watch::folders::FileEvent;
use crate::commands::watch::sources::{SourceWatcher, Sources};

/// Time from the first event of a file until it is read: editors save a file in several steps.
const SETTLED: Duration = Duration::from_millis(30);
/// A file that changed during this many builds is written by every build.
const WRITTEN_BY_EVERY_BUILD: u32 = 3;

/// The sources of a project, and which have changed.
pub struct Changes {
    watcher: SourceWatcher,
    sources: Sources,
    /// Real path of the config file.
    config: Option<PathBuf>,
    /// Whether a build may write sources. A build by cargo writes only Cargo.lock.
    may_build_write: bool,
    /// Changed, and in no build yet.
    pending: BTreeSet<PathBuf>,
    /// When to read the files with events.
    due: Option<Instant>,
    /// Files that changed during builds, and during how many. A change between builds removes the file.
    build_writes: BTreeMap<PathBuf, u32>,
}

impl Changes {
    /// Watches these sources and the config file. File events go to `events`.
    pub fn new(
        sources: Sources,
        config: Option<PathBuf>,
        may_build_write: bool,
        events: EventSender,
    ) -> Result<Self> {
        let watcher = SourceWatcher::new(move |event| _ = events.send(DevEvent::File(event)))?;
        let mut changes = Self {
            watcher,
            sources: Sources::default(),
            config,
            may_build_write,
            pending: BTreeSet::new(),
            due: None,
            build_writes: BTreeMap::new(),
        };
        changes.watch(sources)?;
        Ok(changes)
    }

    /// Watches exactly these sources and the config file.
    pub fn watch(&mut self, mut sources: Sources) -> Result<()> {
        sources.files.extend(self.config.clone());
        self.sources = sources;
        self.watcher.watch(self.sources.clone())
    }

    pub fn folders(&self) -> &BTreeSet<PathBuf> {
        &self.sources.folders
    }

    /// Schedules [`Changes::collect`] if the event may be a change of a source.
    pub fn handle(&mut self, event: &FileEvent) {
        if self.watcher.handle(event) {
            self.due.get_or_insert(Instant::now() + SETTLED);
        }
    }

    /// When to call [`Changes::collect`].
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time for [`Changes::collect`]. Clears the time.
    pub fn take_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// Reads the files with events. Returns true if one has changed and is pending now. `is_building`: the running
    /// build, or the one that has just ended, may have written the files.
    pub fn collect(&mut self, is_building: bool, reporter: &Reporter) -> bool {
        let mut changed = match self.watcher.changes() {
            Ok(changed) => changed,
            Err(error) => {
                reporter.note(&format!("{error:#}"));
                return false;
            }
        };
        changed.retain(|file| !is_building || !is_cargo_lock(file));
        if self.may_build_write {
            changed.retain(|file| self.needs_build(file, is_building, reporter));
        }
        let has_changed = !changed.is_empty();
        self.pending.extend(changed);
        has_changed
    }

    /// Collects the changes up to the end of a build, which may have written the files.
    pub fn collect_after_build(&mut self, reporter: &Reporter) {
        if self.may_build_write {
            self.watcher.touch_all();
        } else {
            for lock in self.sources.files.iter().filter(|file| is_cargo_lock(file)) {
                self.watcher.handle(&FileEvent::Written(lock.clone()));
            }
        }
        self.collect(true, reporter);
    }

    /// Returns false if every build writes the file.
    fn needs_build(&mut self, file: &Path, is_building: bool, reporter: &Reporter) -> bool {
        if !is_building {
            self.build_writes.remove(file);
            return true;
        }
        let builds = self.build_writes.entry(file.to_path_buf()).or_default();
        *builds += 1;
        if *builds == WRITTEN_BY_EVERY_BUILD {
            let file = reporter.shorten(file);
            reporter.note(&format!("each build writes {file}; no other build for that"));
        }
        *builds < WRITTEN_BY_EVERY_BUILD
    }

    /// The changed files that are in no build yet.
    pub fn pending(&self) -> &BTreeSet<PathBuf> {
        &self.pending
    }

    pub fn take_pending(&mut self) -> BTreeSet<PathBuf> {
        mem::take(&mut self.pending)
    }

    /// Makes the files of a cancelled build pending again.
    pub fn put_back(&mut self, files: &BTreeSet<PathBuf>) {
        self.pending.extend(files.iter().cloned());
    }

    pub fn includes_config(&self, files: &BTreeSet<PathBuf>) -> bool {
        self.config.as_ref().is_some_and(|config| files.contains(config))
    }

    /// Whether the config file is the only one of these files.
    pub fn are_config_only(&self, files: &BTreeSet<PathBuf>) -> bool {
        files.iter().all(|file| Some(file) == self.config.as_ref())
    }

    /// Whether builds may have written all of these files.
    pub fn are_build_writes(&self, files: &BTreeSet<PathBuf>) -> bool {
        files.iter().all(|file| self.build_writes.contains_key(file))
    }
}

/// Cargo writes Cargo.lock during a build.
fn is_cargo_lock(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "Cargo.lock")
}
