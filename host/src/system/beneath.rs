//! Opens files below a folder, and nothing outside of it: neither `..` nor a symbolic link leads out, also while somebody
//! changes what is there.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// How often the system may say that the way to a file has changed while it was looked up.
#[cfg(target_os = "linux")]
const TRIES: usize = 8;

/// Does not wait for the writer of a pipe.
const READ: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A folder whose files can be opened.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Opens the folder, which may be a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens what these names lead to; a folder, if there are none. Symbolic links are followed if they are relative and stay
    /// in the folder. On a system without openat2(2) none is followed.
    pub fn file(&self, names: &[OsString]) -> io::Result<File> {
        #[cfg(target_os = "linux")]
        match self.resolve(names) {
            // ENOSYS: before Linux 5.6. EPERM: a filter of system calls that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            result => return Ok(File::from(result?)),
        }
        Ok(File::from(self.walk(names)?))
    }

    #[cfg(target_os = "linux")]
    fn resolve(&self, names: &[OsString]) -> Result<OwnedFd, Errno> {
        use rustix::fs::{ResolveFlags, openat2};
        let path = match names {
            [] => PathBuf::from("."),
            names => names.iter().collect(),
        };
        let limits = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let open = || openat2(&self.0, &path, OFlags::RDONLY | READ, Mode::empty(), limits);
        let mut result = open();
        for _ in 1..TRIES {
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
            result = open();
        }
        result
    }

    /// Opens one folder after the other, none through a symbolic link.
    fn walk(&self, names: &[OsString]) -> Result<OwnedFd, Errno> {
        let enter = |at: BorrowedFd<'_>, name: &OsString, flags| {
            openat(at, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        };
        let Some((last, folders)) = names.split_last() else {
            return openat(&self.0, ".", OFlags::RDONLY | READ, Mode::empty());
        };
        let mut at = None::<OwnedFd>;
        for name in folders {
            let here = at.as_ref().map_or(self.0.as_fd(), AsFd::as_fd);
            at = Some(enter(here, name, OFlags::PATH | OFlags::DIRECTORY)?);
        }
        enter(at.as_ref().map_or(self.0.as_fd(), AsFd::as_fd), last, OFlags::RDONLY | READ)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(path: &str) -> Vec<OsString> {
        path.split('/').map(OsString::from).collect()
    }

    #[test]
    fn nothing_outside_of_the_folder_is_opened() {
        let scratch = tempfile::tempdir().expect("a folder");
        let root = scratch.path().join("root");
        fs::create_dir_all(root.join("sub/deep")).expect("it is writable");
        fs::write(scratch.path().join("secret"), "secret").expect("it is writable");
        fs::write(root.join("sub/file"), "file").expect("it is writable");
        symlink("../secret", root.join("out")).expect("it is writable");
        symlink(scratch.path().join("secret"), root.join("absolute")).expect("it is writable");
        symlink("..", root.join("sub/up")).expect("it is writable");
        symlink("../..", root.join("sub/above")).expect("it is writable");
        symlink("sub/file", root.join("inside")).expect("it is writable");
        symlink("loop", root.join("loop")).expect("it is writable");
        let folder = Folder::open(&root).expect("it exists");
        let read = |file: Result<OwnedFd, Errno>| {
            let mut text = String::new();
            File::from(file.ok()?).read_to_string(&mut text).ok().map(|_| text)
        };
        let whole = |path: &str| {
            let opened = folder.file(&names(path)).map(OwnedFd::from);
            read(opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)))
        };
        for (path, resolved, walked) in [
            ("sub/file", Some("file"), Some("file")),
            ("inside", Some("file"), None),
            ("sub/up/sub/file", Some("file"), None),
            ("out", None, None),
            ("absolute", None, None),
            ("sub/above/secret", None, None),
            ("loop", None, None),
            ("sub/none", None, None),
            ("sub/file/x", None, None),
        ] {
            assert_eq!(read(folder.walk(&names(path))).as_deref(), walked, "{path}");
            let found = whole(path);
            assert!(found.as_deref() == resolved || found.as_deref() == walked, "{path}: {found:?}");
        }
        assert_eq!(whole("../secret"), None);
        assert!(folder.file(&[]).is_ok_and(|file| file.metadata().is_ok_and(|it| it.is_dir())));
        assert!(folder.walk(&[]).is_ok());
    }
}
