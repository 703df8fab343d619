//! Where lines go: a file that is opened to append to it, or stdout. Writing may block.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, OFlags};

use crate::config::access_log::AccessLogTarget;
use crate::system::output::{ATOMIC, Output};

/// Permissions of a file that is created.
pub const MODE: u32 = 0o640;
/// Time between two looks at a pipe that has room for less than a line.
const PAUSE: Duration = Duration::from_millis(5);

/// Where lines go.
pub enum Sink {
    Stdout(Output),
    File { file: File, path: PathBuf },
}

impl Sink {
    /// Opens the target. None: there is none.
    ///
    /// # Errors
    /// The file cannot be opened, or is none.
    pub fn open(target: &AccessLogTarget) -> Result<Option<Self>> {
        Ok(match target {
            AccessLogTarget::Off => None,
            AccessLogTarget::Stdout => Some(Self::Stdout(Output::of(rustix::stdio::stdout()))),
            AccessLogTarget::File(path) => {
                // The same file at SIGHUP, in whatever folder the process then is.
                let path = std::path::absolute(path)?;
                Some(Self::File { file: open(&path)?, path })
            }
        })
    }

    /// Opens the path of a file again. Err: the file that is open stays.
    pub fn reopen(&mut self) -> Result<()> {
        if let Self::File { file, path } = self {
            *file = open(path)?;
            log::info!("the access log {} was opened again", path.display());
        }
        Ok(())
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Stdout(_) => "stdout".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// Writes at least one byte.
    pub fn write_some(&mut self, lines: &[u8]) -> io::Result<usize> {
        let (output, bytes) = match self {
            Self::File { file, .. } => {
                return match file.write(lines)? {
                    0 => Err(io::ErrorKind::WriteZero.into()),
                    n => Ok(n),
                };
            }
            Self::Stdout(output) => (output, first_lines(lines)),
        };
        let stdout = rustix::stdio::stdout();
        loop {
            match output.write_now(stdout, bytes) {
                Ok(n) if n > 0 => return Ok(n),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {
                    poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None)?;
                    // A pipe that has room for less than these lines is ready, too.
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Whole lines that a pipe takes all or not at all, because what plugins print goes to the same stdout; at least one.
fn first_lines(lines: &[u8]) -> &[u8] {
    let Some(start) = lines.get(..ATOMIC) else { return lines };
    let end = start.iter().rposition(|&byte| byte == b'\n');
    let end = end.or_else(|| lines.iter().position(|&byte| byte == b'\n'));
    &lines[..end.map_or(lines.len(), |end| end + 1)]
}

/// Whether the target could be opened now, without creating it.
pub fn check(target: &AccessLogTarget) -> Result<()> {
    let AccessLogTarget::File(path) = target else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|error| cannot_open(path, error.into()))
        }
        _ => open(path).map(drop),
    }
}

/// Opens the file to append to it.
fn open(path: &Path) -> Result<File> {
    // A FIFO that nobody reads would block.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| cannot_open(path, error))?;
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        bail!("the access log {} is no regular file; for stdout, name it `-`", path.display());
    }
    Ok(file)
}

fn cannot_open(path: &Path, error: io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "create its folder, or name another file",
        io::ErrorKind::PermissionDenied => {
            "the user who starts the server needs to write to it, and to its folder if it is not there"
        }
        io::ErrorKind::IsADirectory => "it is a folder; name a file in it",
        _ => "name another file, or `-` for stdout",
    };
    anyhow!("the access log {} cannot be opened: {error}; {remedy}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_an_error_with_a_remedy() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (path, remedy) in [
            (folder.path().join("none/access.log"), "create its folder"),
            (folder.path().to_owned(), "name a file in it"),
            ("/dev/null".into(), "for stdout, name it `-`"),
        ] {
            let target = AccessLogTarget::File(path);
            for error in [Sink::open(&target).map(drop), check(&target)] {
                let error = error.expect_err("it is no file").to_string();
                assert!(error.starts_with("the access log /") && error.contains(remedy), "{error}");
            }
        }
    }

    #[test]
    fn lines_for_a_pipe_are_whole_and_short() {
        let line = [vec![b'x'; 1500], vec![b'\n']].concat();
        assert_eq!(first_lines(&line.repeat(2)).len(), 3002);
        assert_eq!(first_lines(&line.repeat(5)).len(), 3002);
        let long = [vec![b'x'; 5000], b"\nshort\n".to_vec()].concat();
        assert_eq!(first_lines(&long).len(), 5001);
    }
}
