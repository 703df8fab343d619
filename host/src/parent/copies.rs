//! Copies of the plugins' libraries, in a folder of the parent's own. Workers load these: the operator's file can be
//! written to at any time, and a loader gives the old code again for a file that it knows.

#![forbid(unsafe_code)]

mod origin; // what a library brings along

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

use crate::plan::{Plan, PlannedPlugin};
use crate::plugin::image::Image;
use crate::settings::{PluginSource, Settings};

/// Tries to get a library that is whole, and the pause between two: a build may be writing it.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// The folder, which goes with this.
#[derive(Debug)]
pub struct Copies {
    folder: TempDir,
    made: Cell<u32>,
    /// Nobody loads these any more, but a backtrace may still be made of them.
    spent: RefCell<Vec<PathBuf>>,
    /// The folder, locked for as long as this process lives: against other servers' [`remove_abandoned`], and whatever
    /// cleans up temporary files (systemd-tmpfiles leaves out folders that are locked).
    _lock: File,
}

const PREFIX: &str = "callsign-";
const UNWRITABLE: &str = "the server's folder for its copies cannot be written (TMPDIR said where)";
/// Tells that a folder is one of these.
const MARK: &str = "lock";
/// Age from which a folder that nobody has locked is one that a server could not remove when it was killed.
const ABANDONED: Duration = Duration::from_secs(60);

impl Copies {
    /// An empty folder, in `TMPDIR` or `/tmp`.
    pub fn new() -> Result<Self> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        let mut builder = tempfile::Builder::new();
        // Workers may run as another user.
        builder.prefix(PREFIX).permissions(Permissions::from_mode(0o755));
        let why = "no folder for copies of the plugins (TMPDIR says where)";
        let folder = builder.tempdir_in(parent).context(why)?;
        // Whatever the umask is.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).context(why)?;
        File::create_new(folder.path().join(MARK)).context(why)?;
        let lock = File::open(folder.path()).context(why)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).context(why)?;
        Ok(Self { folder, made: Cell::new(0), spent: RefCell::default(), _lock: lock })
    }

    /// Removes them all. No worker runs any more.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(self.folder.path());
    }

    /// What a server begins with.
    pub fn first_plan(&self, settings: &Settings) -> Result<Plan> {
        let plan = |source: &PluginSource| {
            let (file, image) = take(&source.path, &self.next_folder()).with_context(|| source.label())?;
            let name = source.name.clone().unwrap_or(image.name);
            Ok(PlannedPlugin { name, source: source.clone(), file, generation: 1 })
        };
        let plugins = settings.plugins.iter().map(plan).collect::<Result<_>>()?;
        Ok(Plan { plugins, routes: settings.routes.clone() })
    }

    /// Copies a library as soon as it is whole; the copy, and what it says of itself.
    pub async fn take_whole(&self, path: &Path) -> Result<(PathBuf, Image)> {
        let mut tries = 1;
        loop {
            // A disk may be slow, and workers and broadcasts do not wait for it.
            let (path, folder) = (path.to_owned(), self.next_folder());
            let taken = tokio::task::spawn_blocking(move || take(&path, &folder)).await?;
            if taken.is_ok() || tries == TRIES {
                return taken;
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn next_folder(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        self.folder.path().join(self.made.get().to_string())
    }

    /// A copy that no process will load any more, nor has loaded since the last [`sweep`](Self::sweep).
    pub fn drop(&self, file: &Path) {
        let number = file.strip_prefix(self.folder.path()).ok().and_then(|file| file.components().next());
        if let Some(number) = number {
            let _ = fs::remove_dir_all(self.folder.path().join(number));
        }
    }

    /// The same of one that may have been loaded: it goes with the next [`sweep`](Self::sweep), for the parent reads
    /// the names of a crash out of it.
    pub fn drop_later(&self, file: &Path) {
        self.spent.borrow_mut().push(file.to_owned());
    }

    /// Removes what was to be dropped.
    pub fn sweep(&self) {
        self.spent.take().iter().for_each(|file| self.drop(file));
    }
}

/// Removes the folders of servers that were killed. What is not ours stays, and nothing of it is opened: anybody can
/// put something into a folder for temporary files.
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

/// Copies a library into a new folder.
fn take(path: &Path, folder: &Path) -> Result<(PathBuf, Image)> {
    // What is wrong with a file is said of the operator's.
    let before = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        _ => return Err(Image::read(path).err().unwrap_or_else(|| anyhow!("not a file"))),
    };
    let taken = copy(path, folder, &before);
    if taken.is_err() {
        let _ = fs::remove_dir_all(folder);
    }
    taken
}

fn copy(path: &Path, folder: &Path, before: &Metadata) -> Result<(PathBuf, Image)> {
    // Under the name that it has, which its own name may come from.
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
    let file = origin::settle(file, path, &image.dynamic.run_path).context(UNWRITABLE)?;
    Ok((file, image))
}

/// For copies, which workers may read as another user, whatever the umask is.
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}
