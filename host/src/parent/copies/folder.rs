//! The folder of the copies: where it is, who can enter it, and how it is created again if something deletes it.
//!
//! Invariant: everything in the folder belongs to the parent's user, except that a copy belongs to the user that
//! workers run as. Workers cannot create, rename or replace anything in it, and other users can read nothing in it.

use std::fs::{self, DirBuilder, DirEntry, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::process::geteuid;

use crate::system::private_folder::{is_private, who_can_replace};
use crate::system::privileges::{self, Identity};

/// Start of the folder's name.
const PREFIX: &str = "callsign-";
/// A file that marks a folder as one of a server.
const MARK: &str = "lock";
/// Age from which an unlocked folder counts as one that a killed server has left behind.
const ABANDONED: Duration = Duration::from_secs(60);

/// Who may use the copies: the user and group that workers run as. None: they run as the parent does.
#[derive(Clone, Copy, Default)]
pub struct Access(pub Option<Identity>);

impl Access {
    /// Makes a folder that only the parent can list, independent of the umask. Workers of another user can enter it.
    pub fn make_folder(self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(folder)?;
        self.open_folder(folder)
    }

    /// `folder` was made just now. Opened, so that its group and mode are changed, whatever has its path by then.
    fn open_folder(self, folder: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = File::from(rustix::fs::open(folder, flags, Mode::empty())?);
        if folder.metadata()?.uid() != geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "somebody has replaced it"));
        }
        let Some(Identity { group, .. }) = self.0 else {
            return folder.set_permissions(Permissions::from_mode(0o700));
        };
        fchown(&folder, None, Some(group))?;
        folder.set_permissions(Permissions::from_mode(0o710))
    }

    /// Makes a file readable for the user that workers run as, and for nobody else.
    pub fn give_file(self, file: &File) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(0o400))?;
        match self.0 {
            Some(Identity { user, group, .. }) => fchown(file, Some(user), Some(group)),
            None => Ok(()),
        }
    }
}

/// The folder. Dropping this removes it.
pub struct Folder {
    path: PathBuf,
    pub access: Access,
    /// The folder, locked for as long as this process lives: against [`remove_abandoned`] in other servers, and against
    /// programs that clean up temporary files (systemd-tmpfiles leaves out locked folders).
    lock: Mutex<File>,
}

impl Folder {
    /// Creates the folder in the first place that workers can load libraries from.
    pub fn new(access: Access) -> Result<Self> {
        let places = Place::all();
        let is_ours = |place: &&Place| matches!(who_can_replace(&place.path), Ok(None));
        places.iter().filter(is_ours).for_each(|place| remove_abandoned(&place.path));
        let mut failures = Vec::new();
        for place in &places {
            match place.try_create(access) {
                Ok(folder) => {
                    let (path, why) = (folder.path.display(), failures.join("; "));
                    match places[0].is_chosen() && !failures.is_empty() {
                        true => log::warn!("the copies of the plugins are in {path}, because of {why}"),
                        false => log::debug!("the copies of the plugins are in {path}"),
                    }
                    return Ok(folder);
                }
                Err(why) => failures.push(format!("{}: {why}", place.label())),
            }
        }
        let enter = match access.0 {
            Some(Identity { user, .. }) => format!(", that user {user} can enter"),
            None => String::new(),
        };
        bail!(
            "no folder for copies of the plugins, which workers load ({}); set TMPDIR to a folder that the server can \
             write{enter} and that is not mounted noexec{}",
            failures.join("; "),
            if loses_tmpdir() { SETCAP } else { "" }
        )
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the folder again if it was deleted. Err: it cannot be at this path any more.
    pub fn restore(&self) -> Result<()> {
        let (path, mut lock) = (&self.path, self.lock());
        let shown = path.display();
        if path.symlink_metadata().is_err() {
            let why = || {
                format!("{shown}, the server's folder for copies, was deleted and cannot be created again")
            };
            self.access.make_folder(path).with_context(why)?;
            *lock = lock_folder(path).with_context(why)?;
        } else if !is_same(path, &lock) {
            bail!("{shown}, the server's folder for copies, was deleted, and something else is in its place");
        }
        if !path.join(MARK).exists() {
            let _ = File::create_new(path.join(MARK));
        }
        Ok(())
    }

    /// Removes the folder.
    pub fn remove(&self) {
        if is_same(&self.path, &self.lock()) {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whether the path leads to this open folder, and not to one that replaced it.
fn is_same(path: &Path, folder: &File) -> bool {
    let (Ok(found), Ok(ours)) = (path.symlink_metadata(), folder.metadata()) else { return false };
    (found.dev(), found.ino()) == (ours.dev(), ours.ino())
}

/// Creates the mark, and locks the folder.
fn lock_folder(folder: &Path) -> io::Result<File> {
    let _ = File::create_new(folder.join(MARK))?;
    let lock = File::open(folder)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

/// A place for the folder.
struct Place {
    /// The environment's variable that names the place.
    variable: Option<&'static str>,
    path: PathBuf,
}

impl Place {
    /// All places, the operator's choice first, and then those that are not cleaned up by age.
    fn all() -> Vec<Self> {
        let of = |variable| {
            let value = std::env::var_os(variable).unwrap_or_default();
            // systemd separates several folders by colons.
            let paths: Vec<_> = match variable {
                "RUNTIME_DIRECTORY" => std::env::split_paths(&value).collect(),
                _ => vec![PathBuf::from(value)],
            };
            let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
            paths.into_iter().filter(is_set).map(move |path| Self { variable: Some(variable), path })
        };
        let fixed = |path: &str| Self { variable: None, path: PathBuf::from(path) };
        let mut places: Vec<_> =
            ["TMPDIR", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"].into_iter().flat_map(of).collect();
        places.extend(geteuid().is_root().then(|| fixed("/run")));
        places.extend(["/tmp", "/var/tmp"].map(fixed));
        places
    }

    /// Whether the operator named the place, for this purpose.
    fn is_chosen(&self) -> bool {
        self.variable == Some("TMPDIR")
    }

    fn label(&self) -> String {
        match self.variable {
            Some(variable) => format!("{variable} {}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }

    /// Creates the folder there. Err: why workers could not load a library from there.
    fn try_create(&self, access: Access) -> Result<Folder, String> {
        let path = std::path::absolute(&self.path).map_err(text)?;
        let about = fs::metadata(&path).map_err(text)?;
        if !about.is_dir() {
            return Err("not a folder".to_owned());
        }
        if self.variable == Some("XDG_RUNTIME_DIR") && !is_private(&path).map_err(text)? {
            return Err("not a private folder of this user".to_owned());
        }
        if let Some(who) = who_can_replace(&path).map_err(text)? {
            return Err(who);
        }
        if is_noexec(&path) {
            return Err("mounted noexec".to_owned());
        }
        if let Some(identity) = access.0 {
            let real = path.canonicalize().map_err(text)?;
            let closed =
                path.ancestors().chain(real.ancestors()).filter(|folder| !can_enter(identity, folder));
            if let Some(closed) = closed.min_by_key(|folder| folder.components().count()) {
                return Err(format!("user {} (--user) cannot enter {}", identity.user, closed.display()));
            }
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700));
        let folder = builder.tempdir_in(path).map_err(|error| text(inner(error)))?;
        access.open_folder(folder.path()).map_err(text)?;
        let lock = Mutex::new(lock_folder(folder.path()).map_err(text)?);
        Ok(Folder { path: folder.keep(), access, lock })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: io::Error) -> String {
    error.to_string()
}

/// Without the path, which tempfile adds.
fn inner(error: io::Error) -> io::Error {
    let source = error.get_ref().and_then(std::error::Error::source);
    let code = source.and_then(|source| source.downcast_ref()).and_then(io::Error::raw_os_error);
    code.map_or(error, io::Error::from_raw_os_error)
}

/// Whether the loader cannot map code from there.
fn is_noexec(folder: &Path) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::statvfs(folder)
        .is_ok_and(|about| about.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC));
    #[cfg(not(target_os = "linux"))]
    return folder.as_os_str().is_empty();
}

/// Whether the folder's mode lets a process with these numbers, and no privileges, pass.
fn can_enter(identity: Identity, folder: &Path) -> bool {
    let Ok(about) = fs::metadata(folder) else { return false };
    let bit = match identity {
        Identity { user: 0, .. } => return true,
        Identity { user, .. } if user == about.uid() => 0o100,
        Identity { group, .. } if group == about.gid() => 0o010,
        _ => 0o001,
    };
    about.mode() & bit != 0
}

const SETCAP: &str = "; the program's file has capabilities (setcap), and the C library removes TMPDIR from the \
                      environment of such a program: set RUNTIME_DIRECTORY instead, or let systemd give the \
                      capabilities (AmbientCapabilities=)";

/// Whether the program's file has capabilities, and TMPDIR is not set.
fn loses_tmpdir() -> bool {
    std::env::var_os("TMPDIR").is_none() && privileges::has_file_capabilities()
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
