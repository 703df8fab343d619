//! Unix socket files: bound with their permissions from the first instant, never in the place of a socket that a
//! process listens on, and removed when their server ends.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{
    Access, AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Uid, access, chownat, fcntl_setfl, flock,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::getpid;

/// Most bytes of a socket's path: `sockaddr_un` has room for one more, a NUL.
const PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Attempts to lock the folder, [`LOCK_PAUSE`] apart. Other servers hold the lock only while they bind.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Clients that may wait for their accept: what the kernel allows by default.
const ACCEPT_QUEUE: i32 = 4096;
const NO_SOCKET: &str = "there is a file already, which is no socket; remove it, or choose another path";

/// Ends the path of a socket that was [set aside](SocketFile::set_aside).
const ASIDE: &str = ".draining";

/// The file of a bound Unix socket. Dropping it removes the file, unless another file has its path by then.
#[derive(Debug)]
pub struct SocketFile {
    /// Absolute.
    pub path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
    /// Who owns it.
    user: u32,
}

impl SocketFile {
    /// Frees the path for a successor, and keeps the socket reachable at the path [`aside`]. Removes the file if that is
    /// not possible.
    pub fn set_aside(&mut self) {
        let aside = aside(&self.path);
        if !self.is_ours() {
            return;
        }
        match check_path(&aside).is_ok() && fs::rename(&self.path, &aside).is_ok() {
            true => self.path = aside,
            false => _ = fs::remove_file(&self.path),
        }
    }

    /// Whether the file is still the bound socket.
    pub fn is_ours(&self) -> bool {
        let about = fs::symlink_metadata(&self.path);
        about.is_ok_and(|about| (about.dev(), about.ino()) == self.file)
    }

    /// Gives the file to another user and group. In a folder that others can write to, the path may lead elsewhere by
    /// now: only a socket that is still the bound one is given away.
    pub fn give_to(&mut self, user: u32, group: u32) -> Result<()> {
        let owner = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        #[cfg(target_os = "linux")]
        {
            let file = self.open()?;
            chownat(&file, c"", owner.0, owner.1, AtFlags::EMPTY_PATH)?;
        }
        #[cfg(not(target_os = "linux"))]
        chownat(rustix::fs::CWD, &self.path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        self.user = user;
        Ok(())
    }

    /// Changes the permission bits of the file, with the same care.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        let permissions = fs::Permissions::from_mode(mode & 0o777);
        #[cfg(target_os = "linux")]
        {
            // The kernel changes no mode through a descriptor that was opened without access to the file.
            let file = self.open()?;
            fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), permissions)?;
        }
        #[cfg(not(target_os = "linux"))]
        fs::set_permissions(&self.path, permissions)?;
        Ok(())
    }

    /// Opens the file, without access to what it stands for. Err: the path leads to another file by now.
    #[cfg(target_os = "linux")]
    fn open(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let about = rustix::fs::fstat(&file)?;
        let is_bound_socket = (about.st_dev, about.st_ino) == self.file
            && FileType::from_raw_mode(about.st_mode) == FileType::Socket
            && about.st_uid == self.user
            && about.st_nlink == 1;
        if !is_bound_socket {
            bail!("another program has replaced the socket's file; use a folder that only root can write to");
        }
        Ok(file)
    }
}

/// The path of the socket of a server that is stopping, and has left `path` to its successor.
pub fn aside(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ASIDE);
    path.into()
}

/// Whether a socket could be bound at `path`: as [`bind`] without a trace. A server that runs already may have it.
pub fn check(path: &Path) -> Result<()> {
    let path = std::path::absolute(path)?;
    let folder = check_path(&path)?;
    let about = fs::metadata(folder).context("its folder cannot be opened")?;
    if !about.is_dir() {
        bail!("{} is no folder", folder.display());
    }
    access(folder, Access::WRITE_OK | Access::EXEC_OK).context("its folder cannot be written")?;
    match fs::symlink_metadata(&path) {
        Ok(about) if !about.file_type().is_socket() => bail!(NO_SOCKET),
        _ => Ok(()),
    }
}

/// Returns the folder of a socket's absolute path.
fn check_path(path: &Path) -> Result<&Path> {
    let folder = path.parent().context("is no path of a file")?;
    let length = path.as_os_str().len();
    if length > PATH_MAX {
        bail!("{} has {length} bytes, and the path of a socket has at most {PATH_MAX}", path.display());
    }
    Ok(folder)
}

/// Binds a Unix socket at `path` with the permission bits `mode`, and listens. A socket file that nobody listens on is
/// replaced; a file of another kind, and a socket that a process listens on, are not.
pub fn bind(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile)> {
    bind_and(path, mode, |socket| rustix::net::listen(socket, ACCEPT_QUEUE))
}

/// The same, and does not listen yet: no client can connect.
pub fn reserve(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile)> {
    bind_and(path, mode, |_| Ok(()))
}

/// Binds a socket and finishes it while the folder is locked.
fn bind_and(
    path: &Path,
    mode: u32,
    finish: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
) -> Result<(UnixListener, SocketFile)> {
    // The server may change its working directory.
    let path = std::path::absolute(path)?;
    let folder = check_path(&path)?;
    // Two servers that start at once must not both replace the same stale socket.
    let _locked = lock(folder)?;
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(about) if !about.file_type().is_socket() => {
            bail!(NO_SOCKET);
        }
        Ok(_) if is_listened_on(&path)? => bail!("a server that runs already{} has it", who_listens(&path)),
        // Stale: its server was killed.
        Ok(_) => fs::remove_file(&path).context("nobody listens on it, but it cannot be removed")?,
    }
    let socket = bind_socket(&path, mode & 0o777)?;
    let about = fs::symlink_metadata(&path)?;
    // Removes the file if there is an error.
    let file = SocketFile { file: (about.dev(), about.ino()), user: about.uid(), path };
    if about.permissions().mode() & 0o777 != mode & 0o777 {
        file.set_mode(mode)?;
    }
    finish(&socket)?;
    Ok((socket.into(), file))
}

/// Binds a socket whose file has no more than this mode from the first instant: a mode set afterwards would leave a gap.
fn bind_socket(path: &Path, mode: u32) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrUnix::new(path)?;
    // The file gets the mode of the socket, less the umask. The umask itself is the process's: a worker that another
    // thread starts meanwhile would keep it.
    #[cfg(target_os = "linux")]
    {
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
        rustix::net::bind(&socket, &address)?;
    }
    #[cfg(not(target_os = "linux"))]
    {
        let before = rustix::process::umask(Mode::from_raw_mode(!mode as _) & Mode::from_raw_mode(0o777));
        let bound = rustix::net::bind(&socket, &address);
        rustix::process::umask(before);
        bound?;
    }
    Ok(socket)
}

/// Locks a folder until the result is dropped. Continues without the lock if another process keeps it.
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

/// Whether a process listens on this socket, even one with a full accept queue.
fn is_listened_on(path: &Path) -> Result<bool> {
    match try_connect(path) {
        Ok(_) | Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(Errno::PROTOTYPE) => bail!("there is a socket of another type already; choose another path"),
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
        if peer.pid == getpid() {
            return " (this one, for another purpose)".to_owned();
        }
        return format!(" (process {})", peer.pid.as_raw_nonzero());
    }
    let _ = path;
    String::new()
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
