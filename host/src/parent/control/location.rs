//! The path of the control socket: the one that the operator gives, or the user's default. Server and client compute
//! the same default.

use std::env;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{Access, access};
use rustix::process::geteuid;

use crate::config::control_address::ControlAddress;
use crate::system::private_folder::is_private;
use crate::system::socket_file::{self, SocketFile};

/// Name of the socket's file in the default folder.
const NAME: &str = "callsign.sock";
/// Only the owner, and root, can connect.
const MODE: u32 = 0o600;

/// Binds the socket. None: it is turned off, or the default one cannot be bound, which is logged. Err: the path that
/// the operator gives cannot be bound.
pub fn open(control: &ControlAddress) -> Result<Option<(UnixListener, SocketFile)>> {
    match control {
        ControlAddress::Off => Ok(None),
        ControlAddress::Path(path) => socket_file::bind(path, MODE)
            .with_context(|| format!("control socket {} (--control)", path.display()))
            .map(Some),
        ControlAddress::Default => {
            let bound = default_path(true).and_then(|path| {
                socket_file::bind(&path, MODE).with_context(|| format!("control socket {}", path.display()))
            });
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

/// Whether [`open`] could succeed, without a trace. A server that runs already may have the path.
pub fn check(control: &ControlAddress) -> Result<()> {
    match control {
        ControlAddress::Path(path) => {
            socket_file::check(path).with_context(|| format!("control socket {} (--control)", path.display()))
        }
        // Without the default one the server starts all the same.
        ControlAddress::Off | ControlAddress::Default => Ok(()),
    }
}

/// The socket of the server to ask. A server that is stopping has left its path, and is found if no other one has it.
pub fn find(control: &ControlAddress) -> Result<PathBuf> {
    let path = match control {
        ControlAddress::Off => bail!("--control none is no server; name its socket"),
        ControlAddress::Path(path) => path.clone(),
        ControlAddress::Default => default_path(false)?,
    };
    let aside = socket_file::aside(&path);
    Ok(if !path.exists() && aside.exists() { aside } else { path })
}

/// The default path for this user: in `/run` for root, else in `XDG_RUNTIME_DIR` or a private folder in `/tmp`.
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
    // Not the folder that TMPDIR names: server and client may have different environments.
    let folder = PathBuf::from(format!("/tmp/callsign-{}", user.as_raw()));
    if create {
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot create {}", folder.display()));
            }
            _ => {}
        }
    }
    match is_private(&folder) {
        Ok(false) => {
            bail!(
                "{} exists and is not private to this user; another user may have created it",
                folder.display()
            )
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(folder.join(NAME)),
    }
}
