//! Copies of the plugins' libraries, in a private folder of the parent's. Workers load the copies, because the
//! operator's file can be overwritten at any time, and because the loader returns the old code for a file that it has
//! loaded before. No copy is ever changed. A copy that something deletes is made again for the next worker.

mod folder; // where the copies are, and who can read them

mod library; // one copied library

mod siblings; // files beside a plugin's library

mod origin; // libraries that a plugin finds by $ORIGIN

mod complete; // whether a build may still be writing a library

mod trim; // the space of removed copies

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::config::plan::{Plan, PlannedPlugin};
use crate::config::settings::{PluginSource, Settings};
use crate::parent::deadline::Deadline;
use crate::plugin::advice;
use crate::plugin::image::Image;
use crate::system::pool::Pool;
use crate::system::privileges::Identity;
use complete::{LOOK_INTERVAL, Looks, Next};
use folder::{Access, Folder};
use library::Copied;

/// Copies of a library that are kept, beside those in use.
const KEPT: usize = 2;
/// Time beyond the deadline of a reload for a copy that stops there.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// The copies. Dropping this removes them.
pub struct Copies {
    store: Arc<Store>,
    /// Copies made so far. Each has a folder, named by its number.
    copied_total: Cell<u32>,
    /// Copies off the event loop: a disk may be slow, and workers and broadcasts must not wait for it.
    pool: Pool,
}

/// The part that the pool's thread uses.
struct Store {
    folder: Mutex<Arc<Folder>>,
    /// Key of the copies' hashes.
    key: RandomState,
    /// By the file in the plan. If the folder has to move, the copy is in another file.
    copies: Mutex<HashMap<PathBuf, Copied>>,
}

impl Copies {
    /// An empty folder that workers with this identity can use.
    pub fn new(identity: Option<Identity>) -> Result<Self> {
        let folder = Mutex::new(Arc::new(Folder::new(Access(identity))?));
        let store = Arc::new(Store { folder, key: RandomState::new(), copies: Mutex::default() });
        Ok(Self { store, copied_total: Cell::new(0), pool: Pool::new("copy", 1) })
    }

    /// The folder with all copies.
    pub fn folder(&self) -> PathBuf {
        lock(&self.store.folder).path().to_owned()
    }

    /// Removes all copies. No worker runs any more.
    pub fn remove(&self) {
        lock(&self.store.copies).clear();
        lock(&self.store.folder).remove();
    }

    /// Copies the libraries that a server starts with. The plan has no listeners.
    pub fn first_plan(&self, settings: &Settings) -> Result<Plan> {
        let plan = |source: &PluginSource| {
            let copied = self.first_copy(&source.path, settings.limits.reload_timeout);
            let (file, image) = copied.with_context(|| source.located_label())?;
            let name = source.name.clone().unwrap_or(image.name);
            Ok(PlannedPlugin { name, source: source.clone(), file, generation: 1 })
        };
        let plugins = settings.plugins.iter().map(plan).collect::<Result<_>>()?;
        Ok(Plan { plugins, ..Plan::of_settings(settings) })
    }

    /// Copies a library before there is an event loop, as [`Self::copy_when_complete`] does: `dev` may be building it
    /// again.
    fn first_copy(&self, path: &Path, limit: Duration) -> Result<(PathBuf, Image)> {
        let (mut looks, end) = (Looks::default(), Instant::now() + limit);
        loop {
            let seen = complete::look(path);
            match looks.next(seen) {
                Next::Wait => {}
                Next::GiveUp(error) => return Err(error),
                Next::Copy => match self.store.copy(path, self.next_number(), None) {
                    Err(error) if Instant::now() < end => looks.failed(seen, error),
                    copied => return copied,
                },
            }
            if Instant::now() >= end {
                return Err(looks.error().unwrap_or_else(|| anyhow!("it is being written to")));
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Copies a library as soon as it is complete. What cannot be copied is looked at again only if it changes.
    pub async fn copy_when_complete(&self, path: &Path, deadline: Deadline) -> Result<(PathBuf, Image)> {
        let mut looks = Looks::default();
        loop {
            let file = path.to_owned();
            let seen = in_time(deadline, self.pool.call(move || complete::look(&file))).await?;
            match looks.next(seen) {
                Next::Wait => {}
                Next::GiveUp(error) => return Err(error),
                Next::Copy => match self.copy(path, deadline).await {
                    Err(error) if !deadline.is_over() => looks.failed(seen, error),
                    copied => return copied,
                },
            }
            if deadline.is_over() {
                let why = looks.error().unwrap_or_else(|| anyhow!("it is being written to"));
                return Err(why.context(format!("it was not complete {}", deadline.within())));
            }
            tokio::time::sleep(LOOK_INTERVAL.min(deadline.remaining())).await;
        }
    }

    async fn copy(&self, path: &Path, deadline: Deadline) -> Result<(PathBuf, Image)> {
        let (store, path, number) = (self.store.clone(), path.to_owned(), self.next_number());
        // Ends itself at the deadline, and says how far it came, unless a system call blocks.
        in_time(deadline, self.pool.call(move || store.copy(&path, number, Some(deadline)))).await?
    }

    fn next_number(&self) -> u32 {
        self.copied_total.set(self.copied_total.get() + 1);
        self.copied_total.get()
    }

    /// Makes the copies that a plan needs again if something has deleted them. A worker is about to load them. Returns
    /// the plan with the files that the worker loads.
    pub async fn restore(&self, plan: &Plan) -> Result<Plan> {
        // Usually there is nothing to do, and the worker starts at once: this takes a call of `stat` for each file beside
        // the library.
        if let Some(plan) = self.store.intact(plan) {
            return Ok(plan);
        }
        let (store, mut plan) = (self.store.clone(), plan.clone());
        let restore = move || {
            for planned in &mut plan.plugins {
                let label = planned.source.label();
                planned.file = store.restore(&label, &planned.file).context(label)?;
            }
            Ok(plan)
        };
        self.pool.call(restore).await
    }

    /// Removes a copy that no worker has loaded, and none will load.
    pub fn remove_unused(&self, file: &Path) {
        let copied = lock(&self.store.copies).remove(file);
        if let Some(copied) = copied {
            copied.remove();
        }
    }

    /// Whether the operator's file still has the content of the plugin's copy. One that cannot be read has changed:
    /// copying it says why not.
    pub async fn is_unchanged(&self, planned: &PlannedPlugin, deadline: Deadline) -> bool {
        let content = lock(&self.store.copies).get(&planned.file).map(|copied| copied.content.clone());
        let Some(content) = content else { return false };
        let (store, original) = (self.store.clone(), planned.source.path.clone());
        let compared = self.pool.call(move || content.is_in(&original, &store.key, deadline));
        in_time(deadline, compared).await.unwrap_or(false)
    }

    /// Removes the copies that are not in the plan, except the last [`KEPT`] of each library: backtraces need them.
    pub fn sweep(&self, plan: &Plan) {
        let old = self.store.take_old(plan);
        if let Err((job, _)) = self.pool.run(Box::new(|| old.into_iter().for_each(Copied::remove))) {
            job();
        }
    }
}

/// The folder of a library. An empty parent is the server's working directory.
fn folder_of(original: &Path) -> PathBuf {
    Path::new(".").join(original.parent().unwrap_or(Path::new("")))
}

impl Store {
    fn copy(&self, original: &Path, number: u32, deadline: Option<Deadline>) -> Result<(PathBuf, Image)> {
        let (copied, image) = Copied::new(original, || self.folder(), number, &self.key, deadline)?;
        let file = copied.file.clone();
        lock(&self.copies).insert(file.clone(), copied);
        if let Some(preempted) = advice::preempted(&image) {
            log::warn!("plugin {}: {preempted}", original.display());
        }
        Ok((file, image))
    }

    fn take_old(&self, plan: &Plan) -> Vec<Copied> {
        let mut copies = lock(&self.copies);
        let is_planned = |file: &PathBuf| plan.plugins.iter().any(|planned| planned.file == *file);
        let unused = copies.iter().filter(|(file, _)| !is_planned(file));
        let mut unused: Vec<_> =
            unused.map(|(file, copied)| (copied.original.clone(), copied.number, file.clone())).collect();
        unused.sort();
        let of_one_library = unused.chunk_by(|(original, ..), (next, ..)| original == next);
        let old = of_one_library.flat_map(|copies| &copies[..copies.len().saturating_sub(KEPT)]);
        old.filter_map(|(.., file)| copies.remove(file)).collect()
    }

    /// The plan with the files to load. None: a copy is deleted or changed, or is being made again.
    fn intact(&self, plan: &Plan) -> Option<Plan> {
        let (copies, mut plan) = (lock(&self.copies), plan.clone());
        for planned in &mut plan.plugins {
            let copied = copies.get(&planned.file).filter(|copied| copied.is_intact())?;
            planned.file.clone_from(&copied.file);
        }
        Some(plan)
    }

    /// Returns the file to load for a file of the plan.
    fn restore(&self, label: &str, planned: &Path) -> Result<PathBuf> {
        // The event loop must not wait for the lock. Nobody else uses the copy now: a reload waits for the worker.
        let Some(mut copied) = lock(&self.copies).remove(planned) else { return Ok(planned.to_owned()) };
        let (was_intact, old) = (copied.is_intact(), copied.file.clone());
        let restored = match was_intact {
            true => Ok(()),
            false => self.folder().and_then(|folder| copied.restore(&folder, &self.key)),
        };
        let file = copied.file.clone();
        lock(&self.copies).insert(planned.to_owned(), copied);
        restored?;
        if !was_intact {
            log::warn!(
                "{label}: the server's copy, {}, was deleted or changed, and is made again; if something cleans up \
                 that folder, exclude callsign-*, or set TMPDIR to a folder that stays",
                old.display()
            );
        }
        Ok(file)
    }

    /// The folder, which may be a new one.
    fn folder(&self) -> Result<Arc<Folder>> {
        let mut folder = lock(&self.folder);
        if let Err(error) = folder.restore() {
            // Such as `$XDG_RUNTIME_DIR` after the user has logged out.
            *folder = Arc::new(Folder::new(folder.access).with_context(|| format!("{error:#}"))?);
            log::warn!("{error:#}; from now on the copies of the plugins are in {}", folder.path().display());
        }
        Ok(folder.clone())
    }
}

/// The result of `f`, which should end at the deadline.
async fn in_time<T>(deadline: Deadline, f: impl Future<Output = T>) -> Result<T> {
    let result = tokio::time::timeout_at(deadline.at + STOP_GRACE, f).await;
    result.with_context(|| format!("it was not copied {}; does its disk respond?", deadline.within()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
