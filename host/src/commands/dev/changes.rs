//! Collects the sources that have changed and are not built yet.
//!
//! Not every changed file is worth a build. The plugin writes files, such as a log or a database: builds do not read
//! them. A build writes files: such a file is built too, because it may be a generated source, but not without end if
//! every build writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::inputs::{Inputs, Reads, is_code};
use super::report::Reporter;
use crate::commands::watch::folders::{FileEvent, FolderWatcher};
use crate::commands::watch::ignored::Patterns;
use crate::commands::watch::sources::{SourceWatcher, Sources};

/// Time from the first event of a file until it is read: editors save a file in several steps.
const SETTLED: Duration = Duration::from_millis(30);
/// A file that changed during this many builds in a row may be written by every build, or by a person who saves often.
/// The next build waits for [`QUIET`]; if the file changes during that one too, every build writes it.
const WRITTEN_BY_BUILDS: u32 = 3;
const QUIET: Duration = Duration::from_secs(2);
/// A file that was built this many times, each time with the same library, is data of the plugin.
const BUILT_IN_VAIN: u32 = 3;
/// Pause between questions whether a build would read a file.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// The sources of a project, and which have changed.
pub struct Changes {
    watcher: SourceWatcher,
    sources: Sources,
    patterns: Patterns,
    /// Real path of the config file.
    config: Option<PathBuf>,
    inputs: Inputs,
    /// Whether the last build succeeded, so that its inputs are known.
    has_built: bool,
    /// Changed, and in no build yet.
    pending: BTreeSet<PathBuf>,
    /// When to read the files with events.
    due: Option<Instant>,
    last_change: Option<Instant>,
    /// Files that changed during builds, and during how many in a row. A change between builds removes the file.
    build_writes: BTreeMap<PathBuf, u32>,
    /// Files that have changed during the running build.
    written: BTreeSet<PathBuf>,
    /// Files that builds do not read.
    data: BTreeSet<PathBuf>,
    /// Files of which the build tool said once that they need no build. They may have become inputs since.
    unread: BTreeSet<PathBuf>,
    /// Files that have changed since the start of the last build, and that the build before did not read.
    passed_over: BTreeSet<PathBuf>,
    /// How many builds of a file have made the same library.
    built_in_vain: BTreeMap<PathBuf, u32>,
    /// When to ask again whether a build would read a file.
    ask_at: Option<Instant>,
}

impl Changes {
    /// Watches these sources and the config file.
    pub fn new(
        folders: FolderWatcher,
        sources: Sources,
        patterns: Patterns,
        config: Option<PathBuf>,
    ) -> Self {
        let mut changes = Self {
            watcher: SourceWatcher::new(folders),
            sources: Sources::default(),
            patterns,
            config,
            inputs: Inputs::default(),
            has_built: false,
            pending: BTreeSet::new(),
            due: None,
            last_change: None,
            build_writes: BTreeMap::new(),
            written: BTreeSet::new(),
            data: BTreeSet::new(),
            unread: BTreeSet::new(),
            passed_over: BTreeSet::new(),
            built_in_vain: BTreeMap::new(),
            ask_at: None,
        };
        changes.watch(sources);
        changes
    }

    /// Watches exactly these sources and the config file.
    pub fn watch(&mut self, mut sources: Sources) {
        sources.files.extend(self.config.clone());
        sources.patterns = self.patterns.clone();
        self.sources = sources;
        self.watcher.watch(self.sources.clone());
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

    /// When to call [`Changes::poll`].
    pub fn next_poll(&self) -> Instant {
        self.watcher.next_poll()
    }

    /// Looks for changes without events.
    pub fn poll(&mut self) {
        if self.watcher.poll() {
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

    /// Reads the files with events. `is_building`: the running build, or the one that has just ended, may have written
    /// the files.
    pub fn collect(&mut self, is_building: bool) {
        for file in self.watcher.changes() {
            if (is_building && is_cargo_lock(&file)) || !self.needs_build(&file) {
                continue;
            }
            if is_building {
                self.written.insert(file.clone());
            } else {
                self.build_writes.remove(&file);
            }
            self.last_change = Some(Instant::now());
            self.pending.insert(file);
        }
    }

    /// Whether a change of the file needs a build.
    fn needs_build(&mut self, file: &Path) -> bool {
        match self.reads(file) {
            Reads::Yes => true,
            Reads::No if self.has_built => {
                if self.data.insert(file.to_path_buf()) || is_code(file) {
                    self.passed_over.insert(file.to_path_buf());
                }
                false
            }
            // A build that failed may have needed it.
            _ => {
                is_code(file) || !(self.data.contains(file) || !self.has_built && self.unread.contains(file))
            }
        }
    }

    /// Whether builds read the file, or the server does.
    fn reads(&self, file: &Path) -> Reads {
        if self.sources.files.contains(file) { Reads::Yes } else { self.inputs.reads(file) }
    }

    /// Whether the file may be data of the plugin.
    fn is_doubtful(&self, file: &Path) -> bool {
        self.reads(file) == Reads::Unknown && !is_code(file)
    }

    pub fn begin_build(&mut self) {
        self.written.clear();
        self.passed_over.clear();
    }

    /// Whether the running build has old sources: a file has changed since it began, and neither the build nor the
    /// plugin is likely to have written it.
    pub fn has_overtaken(&self) -> bool {
        let is_edit = |file: &&PathBuf| {
            !self.build_writes.contains_key(*file)
                && !self.is_doubtful(file)
                && Some(*file) != self.config.as_ref()
        };
        self.written.iter().any(|file| is_edit(&file))
    }

    /// Collects the changes up to the end of a build, which may have written the files.
    pub fn end_build(&mut self, reporter: &Reporter) {
        self.watcher.poll();
        self.collect(true);
        let written = mem::take(&mut self.written);
        self.build_writes.retain(|file, _| written.contains(file));
        for file in written {
            let builds = self.build_writes.entry(file.clone()).or_default();
            *builds += 1;
            if *builds == WRITTEN_BY_BUILDS + 1 {
                let file = reporter.shorten(&file);
                reporter.note(&format!("{file} changes during every build; no other build for that"));
            }
            if *builds > WRITTEN_BY_BUILDS {
                self.pending.remove(&file);
            }
        }
    }

    /// The build has succeeded and read these files.
    pub fn learn(&mut self, inputs: Inputs) {
        self.inputs = inputs;
        self.has_built = true;
        self.data.retain(|file| self.inputs.reads(file) != Reads::Yes);
    }

    /// The build has failed. It may have missed files that were of no use before.
    pub fn fail(&mut self) {
        self.has_built = false;
        self.pending.append(&mut self.passed_over);
    }

    /// A build of these files has made another library than the build before, or the same one.
    pub fn judge(&mut self, causes: &BTreeSet<PathBuf>, is_same: bool, reporter: &Reporter) {
        for file in causes {
            if !is_same {
                self.built_in_vain.remove(file);
            } else if self.is_doubtful(file) {
                let builds = self.built_in_vain.entry(file.clone()).or_default();
                *builds += 1;
                if *builds == BUILT_IN_VAIN && self.data.insert(file.clone()) {
                    self.pending.remove(file);
                    // Or the log says already that every build writes it.
                    if self.build_writes.get(file).is_some_and(|builds| *builds > WRITTEN_BY_BUILDS) {
                        continue;
                    }
                    let file = reporter.shorten(file);
                    reporter.note(&format!(
                        "{BUILT_IN_VAIN} builds of {file} have made the same library; no other build for that file \
                         (--ignore PATTERN says so from the start)"
                    ));
                }
            }
        }
    }

    /// Whether the build tool should be asked whether these files need a build.
    pub fn is_worth_asking(&self, files: &BTreeSet<PathBuf>) -> bool {
        self.has_built
            && files.iter().all(|file| self.is_doubtful(file) && !self.build_writes.contains_key(file))
    }

    /// The build tool says that these files need no build.
    pub fn pass_over(&mut self, files: &BTreeSet<PathBuf>) {
        self.unread.extend(files.iter().cloned());
        self.ask_at = Some(Instant::now() + ASK_PAUSE);
    }

    /// The changed files that are in no build yet.
    pub fn pending(&self) -> &BTreeSet<PathBuf> {
        &self.pending
    }

    /// When the pending files may be built. None: there are none.
    pub fn build_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let quiet_at = self.last_change.map_or(now, |change| change + QUIET);
        let at = |file: &PathBuf| match self.build_writes.get(file) {
            Some(&builds) if builds >= WRITTEN_BY_BUILDS => quiet_at,
            // Nothing says whether a build that fails needs it, and the plugin may write it all the time.
            _ if self.is_doubtful(file) && !self.has_built => quiet_at,
            None if self.is_doubtful(file) => self.ask_at.unwrap_or(now),
            _ => now,
        };
        self.pending.iter().map(at).min()
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

    /// Those of these files that changed during the build before.
    pub fn overtaken(&self, files: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
        files.iter().filter(|file| self.build_writes.contains_key(*file)).cloned().collect()
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
