//! Opens files that the operator, or a plugin, names. To open a pipe waits for a writer, a device may be endless, and to
//! open some devices has effects: only regular files are opened, and nothing here waits.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file. Other kinds are an error.
pub fn open(path: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    if let Some(result) = open_without_race(path) {
        return result;
    }
    check_kind(&fs::metadata(path)?)?;
    // The path may lead to a pipe by now.
    let file = File::options().read(true).custom_flags(FLAGS.bits().cast_signed()).open(path)?;
    check_kind(&file.metadata()?)?;
    Ok(file)
}

const FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// Finds the file, looks at it, and opens what it has found: whoever can change the path, such as the owner of a plugin
/// that root serves, cannot have a device opened. None: there is no `/proc`.
#[cfg(target_os = "linux")]
fn open_without_race(path: &Path) -> Option<io::Result<File>> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{CWD, Mode, openat};
    let found = match openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(found) => File::from(found),
        Err(error) => return Some(Err(error.into())),
    };
    if let Err(error) = found.metadata().and_then(|metadata| check_kind(&metadata)) {
        return Some(Err(error));
    }
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    match File::options().read(true).custom_flags(FLAGS.bits().cast_signed()).open(again) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        result => Some(result),
    }
}

/// Reads a regular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file of at most `max` bytes. The content is in one allocation, which was never moved.
pub fn read_at_most(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len().min(max);
    // A spare byte tells that the file has grown.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(usize::MAX).saturating_add(1));
    file.take(max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > max {
        true => Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {max} bytes"))),
        false => Ok(bytes),
    }
}

/// Reads a regular file that is text. The error says so if it is none.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let why = if is_utf_16(error.as_bytes()) { UTF_16 } else { "it is no text in UTF-8" };
        io::Error::new(ErrorKind::InvalidData, why)
    })
}

/// Some editors begin a text with it.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// What to do about [`is_utf_16`].
pub const UTF_16: &str = "it is in UTF-16; save it in UTF-8";

/// Whether the bytes are text as some programs on Windows write it.
pub fn is_utf_16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
}

fn check_kind(metadata: &Metadata) -> io::Result<()> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "it is a pipe, a socket or a device, and no file")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").expect("it is ours");
        symlink("file", at("link")).expect("it is ours");
        symlink("/dev/zero", at("device")).expect("it is ours");
        symlink("none", at("dangling")).expect("it is ours");
        let _listener = UnixListener::bind(at("socket")).expect("it is ours");
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).expect("it is ours");
        assert_eq!(read(&at("file")).expect("it is a file"), b"text");
        assert_eq!(read_to_string(&at("link")).expect("it leads to a file"), "text");
        for (name, kind) in [
            ("pipe", ErrorKind::InvalidInput),
            ("socket", ErrorKind::InvalidInput),
            ("device", ErrorKind::InvalidInput),
            ("dangling", ErrorKind::NotFound),
            ("none", ErrorKind::NotFound),
            ("", ErrorKind::IsADirectory),
        ] {
            assert_eq!(open(&at(name)).expect_err(name).kind(), kind, "{name}");
        }
    }
}
