//! Copies of the plugins' libraries, in a folder of the parent's own. Workers load the copies, because the operator's
//! file can be overwritten at any time, and because the loader returns the old code for a file that it has loaded
//! before. No copy is ever changed.

mod origin; // libraries that a plugin finds by $ORIGIN

use std::cell::{Cell, RefCell};
use std::fs::{self, DirEntry, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::config::plan::{Plan, PlannedPlugin};
use crate::config::settings::{PluginSource, Settings};
use crate::plugin::image::Image;
use crate::system::pool::Pool;

/// Attempts to copy a complete library, [`PAUSE`] apart: a build may be writing it.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// The folder of the copies. Dropping this removes it.
pub struct Copies {
    folder: TempDir,
    /// Copies made so far. Each has a folder, named by its number.
    copied_total: Cell<u32>,
    /// Copies off the event loop: a disk may be slow, and workers and broadcasts must not wait for it.
    pool: Pool,
    /// Copies that no worker loads any more. A backtrace may still need them.
    unused: RefCell<Vec<PathBuf>>,
    /// The folder, locked for as long as this process lives: against [`remove_abandoned`] in other servers, and against
    /// programs that clean up temporary files (systemd-tmpfiles leaves out locked folders).
    _lock: File,
}

const PREFIX: &str = "callsign-";
const UNWRITABLE: &str = "cannot write to the server's folder for copies of the plugins (in TMPDIR)";
/// A file that marks a folder as one of a server.
const MARK: &str = "lock";
/// Age from which an unlocked folder counts as one that a killed server has left behind.
const ABANDONED: Duration = Duration::from_secs(60);

impl Copies {
    /// An empty folder, in `TMPDIR` or `/tmp`.
    pub fn new() -> Result<Self> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        let mut builder = tempfile::Builder::new();
        // Workers may run as another user.
        builder.prefix(PREFIX).permissions(Permissions::from_mode(0o755));
        let why = "cannot create a folder for copies of the plugins (in TMPDIR)";
        let folder = builder.tempdir_in(parent).context(why)?;
        // Independent of the umask.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).context(why)?;
        File::create_new(folder.path().join(MARK)).context(why)?;
        let lock = File::open(folder.path()).context(why)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).context(why)?;
        Ok(Self {
            folder,
            copied_total: Cell::new(0),
            pool: Pool::new("copy", 1),
            unused: RefCell::default(),
            _lock: lock,
        })
    }

    /// Removes all copies. No worker runs any more.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(self.folder.path());
    }

    /// Copies the libraries that a server starts with.
    pub fn first_plan(&self, settings: &Settings) -> Result<Plan> {
        let plan = |source: &PluginSource| {
            let (file, image) =
                copy_library(&source.path, &self.next_folder()).with_context(|| source.label())?;
            let name = source.name.clone().unwrap_or(image.name);
            Ok(PlannedPlugin { name, source: source.clone(), file, generation: 1 })
        };
        let plugins = settings.plugins.iter().map(plan).collect::<Result<_>>()?;
        Ok(Plan { plugins, routes: settings.routes.clone() })
    }

    /// Copies a library as soon as it is complete.
    pub async fn copy_when_complete(&self, path: &Path) -> Result<(PathBuf, Image)> {
        let mut attempts = 1;
        loop {
            let (path, folder) = (path.to_owned(), self.next_folder());
            let copied = self.pool.call(move || copy_library(&path, &folder)).await;
            if copied.is_ok() || attempts == ATTEMPTS {
                return copied;
            }
            attempts += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn next_folder(&self) -> PathBuf {
        self.copied_total.set(self.copied_total.get() + 1);
        self.folder.path().join(self.copied_total.get().to_string())
    }

    /// Removes a copy that no worker has loaded, and none will load.
    pub fn remove_unused(&self, file: &Path) {
        let number = file.strip_prefix(self.folder.path()).ok().and_then(|file| file.components().next());
        if let Some(number) = number {
            let _ = fs::remove_dir_all(self.folder.path().join(number));
        }
    }

    /// Removes a copy that no worker will load at the next [`sweep`](Self::sweep). Until then the parent can read it
    /// for the backtrace of a worker that had loaded it.
    pub fn remove_at_sweep(&self, file: &Path) {
        self.unused.borrow_mut().push(file.to_owned());
    }

    /// Removes the copies passed to [`remove_at_sweep`](Self::remove_at_sweep).
    pub fn sweep(&self) {
        self.unused.take().iter().for_each(|file| self.remove_unused(file));
    }
}

/// Removes the folders of servers that were killed. Folders of other users stay, and are not opened: anybody can put
/// something into a folder for temporary files.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    let ours = |entry: &DirEntry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
    for folder in entries.flatten().filter(ours).map(|entry| entry.path()) {
        let (Ok(about), Ok(mark)) = (fs::symlink_metadata(&folder), fs::symlink_metadata(folder.join(MARK)))
        else {
            continue;
        };
        if !about.is_dir() || about.uid() != geteuid().as_raw() || !mark.is_file() {
            continue;
        }
        let age = mark.modified().ok().and_then(|at| at.elapsed().ok());
        if age.is_none_or(|age| age <= ABANDONED) {
            continue;
        }
        let Ok(lock) = File::open(&folder) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// Copies a library into a new folder. Returns the copy and its descriptor.
fn copy_library(path: &Path, folder: &Path) -> Result<(PathBuf, Image)> {
    // Errors name the operator's file, not the copy.
    let before = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        _ => return Err(Image::read(path).err().unwrap_or_else(|| anyhow!("not a file"))),
    };
    let copied = copy(path, folder, &before);
    if copied.is_err() {
        let _ = fs::remove_dir_all(folder);
    }
    copied
}

fn copy(path: &Path, folder: &Path, before: &Metadata) -> Result<(PathBuf, Image)> {
    // With the same file name: a plugin without a name of its own is named after its file.
    let file = folder.join(path.file_name().context("no file name")?);
    make_folder(folder).context(UNWRITABLE)?;
    fs::copy(path, &file).context("cannot be copied")?;
    fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    let after = fs::metadata(path)?;
    let stamp =
        |metadata: &Metadata| (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    if stamp(before) != stamp(&after) {
        bail!("it is being written to; is a build still running?");
    }
    let image = Image::read(&file)?;
    let file = origin::link_dependencies(file, path, &image.dynamic.run_path).context(UNWRITABLE)?;
    Ok((file, image))
}

/// Makes a folder that other users can read, independent of the umask: workers may run as another user.
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}
