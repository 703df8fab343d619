//! Where the control socket is, and how it gets there: readable by its owner alone from the first instant, never
//! in the place of one that somebody listens on, and gone when its server ends. What is said over it is the
//! business of others.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{Access, FlockOperation, Mode, OFlags, access, fcntl_setfl, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{geteuid, umask};

use super::Control;

/// The default, for the help.
pub const DEFAULT_NAMED: &str = "/run/callsign.sock for root, else $XDG_RUNTIME_DIR/callsign.sock";
/// The socket's name in whichever folder.
const NAME: &str = "callsign.sock";
/// Times to ask for the folder's lock, 10 ms apart: other servers hold it for the moment in which they start.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The socket's file; removed with this, if it is still the same.
#[derive(Debug)]
pub struct Place {
    /// Absolute.
    pub path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

/// Makes the socket. None: there is to be none, or the default one belongs to another server, which a warning says.
/// Err: the one that was asked for cannot be.
pub fn open(control: &Control) -> Result<Option<(UnixListener, Place)>> {
    match control {
        Control::Off => Ok(None),
        Control::Path(path) => {
            bind(path).with_context(|| format!("control socket {} (--control)", path.display())).map(Some)
        }
        Control::Default => {
            let bound = default_path(true)
                .and_then(|path| bind(&path).with_context(|| format!("control socket {}", path.display())));
            match bound {
                Ok(bound) => Ok(Some(bound)),
                Err(error) => {
                    log::warn!(
                        "`callsign reload` and `status` cannot reach this server: {error:#}. Give it a control socket \
                         of its own with --control PATH, or none with --control none"
                    );
                    Ok(None)
                }
            }
        }
    }
}

/// Where to look for the server that is meant.
pub fn find(control: &Control) -> Result<PathBuf> {
    match control {
        Control::Off => bail!("--control none is no server; name its socket"),
        Control::Path(path) => Ok(path.clone()),
        Control::Default => default_path(false),
    }
}

/// Where the socket of this user's server is if nobody says otherwise.
fn default_path(create: bool) -> Result<PathBuf> {
    let user = geteuid();
    let run = Path::new("/run");
    if user.is_root() && run.is_dir() && access(run, Access::WRITE_OK).is_ok() {
        return Ok(run.join(NAME));
    }
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    if let Some(folder) = own.filter(|folder| is_private(folder).is_ok_and(|private| private)) {
        return Ok(folder.join(NAME));
    }
    // Not the folder that TMPDIR names: server and asker may have been started from different places.
    let folder = PathBuf::from(format!("/tmp/callsign-{}", user.as_raw()));
    if create {
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make {}", folder.display()));
            }
            _ => {}
        }
    }
    match is_private(&folder) {
        Ok(false) => {
            bail!("{} is there and not this user's alone; somebody else may have made it", folder.display())
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(folder.join(NAME)),
    }
}

/// Whether it is a folder that only this user can reach into.
fn is_private(folder: &Path) -> io::Result<bool> {
    let about = fs::symlink_metadata(folder)?;
    Ok(about.is_dir() && about.uid() == geteuid().as_raw() && about.mode() & 0o077 == 0)
}

fn bind(path: &Path) -> Result<(UnixListener, Place)> {
    // The server may go to another folder.
    let path = std::path::absolute(path)?;
    let folder = path.parent().context("is no path of a file")?;
    // Two that start at once must not both find a stale one.
    let _locked = lock(folder)?;
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(about) if !about.file_type().is_socket() => {
            bail!("there is a file already, which is no socket; remove it, or choose another path");
        }
        Ok(_) if is_listened_on(&path)? => bail!("a server that runs already{} has it", who_listens(&path)),
        // Its server was killed.
        Ok(_) => fs::remove_file(&path).context("nobody listens on it, but it cannot be removed")?,
    }
    let before = umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(&path);
    umask(before);
    let listener = bound?;
    let about = fs::symlink_metadata(&path)?;
    Ok((listener, Place { file: (about.dev(), about.ino()), path }))
}

/// Locked until it is dropped. A lock that somebody keeps is done without.
fn lock(folder: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).context("its folder cannot be opened")?;
    for _ in 0..LOCK_TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
            _ => break,
        }
    }
    Ok(folder)
}

/// Whether a process listens on this socket. One that is too busy to answer does.
fn is_listened_on(path: &Path) -> Result<bool> {
    match try_connect(path) {
        Ok(_) | Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn try_connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    fcntl_setfl(&socket, OFlags::NONBLOCK)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// ` (process 4711)`, where the system tells.
fn who_listens(path: &Path) -> String {
    #[cfg(target_os = "linux")]
    if let Ok(peer) = try_connect(path).and_then(rustix::net::sockopt::socket_peercred) {
        return format!(" (process {})", peer.pid.as_raw_nonzero());
    }
    let _ = path;
    String::new()
}

impl Drop for Place {
    fn drop(&mut self) {
        let about = fs::symlink_metadata(&self.path);
        if about.is_ok_and(|about| (about.dev(), about.ino()) == self.file) {
            // Who has removed it in this moment has done the work.
            let _ = fs::remove_file(&self.path);
        }
    }
}
