//! `callsign reload` and `callsign status`: clients of a server's control socket.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::output::print;
use crate::config::control_address::ControlAddress;
use crate::parent::control::{WireRequest, WireResponse, find};
use crate::system::sanitize::sanitize;

/// Bytes. The status of the largest server is far below.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// The parent answers without asking a worker.
const STATUS_TIMEOUT: Duration = Duration::from_secs(30);
/// The server limits a reload itself (`--reload-timeout`).
const RELOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// A user at a terminal sees a progress message if the answer takes longer.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// Options of `reload` and `status`.
#[derive(Debug, Clone, Default, Args)]
pub struct ControlOptions {
    /// Control socket of the server
    ///
    /// The same path as in the server's --control or config file. Without XDG_RUNTIME_DIR, the default is in
    /// /tmp/callsign-UID.
    #[arg(long, value_name = "PATH", env = "CALLSIGN_CONTROL", value_parser = ControlAddress::parse)]
    control: Option<ControlAddress>,
}

/// Options of `reload`.
#[derive(Debug, Clone, Default, Args)]
pub struct ReloadOptions {
    /// Names of the plugins to reload; none means all
    #[arg(value_name = "PLUGIN")]
    plugins: Vec<String>,

    /// Read the config file of the server again first
    ///
    /// The server reads the file that it was started with, with the same options and environment variables, and puts
    /// everything into effect that can change while it runs. It names the settings that need a restart. Plugins that the
    /// file has no more are not served any more. Warns if the server could not start with the file. Not together with
    /// names of plugins.
    #[arg(long, conflicts_with = "plugins")]
    config: bool,

    /// Reload plugins that have not changed too
    ///
    /// Runs the onload hook again, for example if it reads files.
    #[arg(long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ControlOptions,
}

/// Reloads plugins, and prints the new generations.
pub fn reload(options: ReloadOptions) -> Result<()> {
    let ReloadOptions { plugins, config, force, json, server } = options;
    let path = find(&server.control.unwrap_or_default())?;
    match request(&path, &WireRequest::Reload { plugins, force, config }, RELOAD_TIMEOUT, "reloading")? {
        WireResponse::Reloaded(reloaded) => {
            for warning in &reloaded.warnings {
                eprintln!("callsign: warning: {}", sanitize(warning));
            }
            match json {
                true => print(&format!("{}\n", serde_json::to_string_pretty(&reloaded)?)),
                false => print(&format!("{reloaded}\n")),
            }
        }
        WireResponse::Refused(why) => bail!("not reloaded: {why}"),
        WireResponse::Status(_) => Err(unexpected_answer(&path)),
    }
}

/// Prints the status of the server, as tables or JSON.
pub fn status(options: ControlOptions, json: bool) -> Result<()> {
    let path = find(&options.control.unwrap_or_default())?;
    match request(&path, &WireRequest::Status {}, STATUS_TIMEOUT, "waiting for the server")? {
        WireResponse::Status(status) if json => {
            print(&format!("{}\n", serde_json::to_string_pretty(&status)?))
        }
        WireResponse::Status(status) => print(&status.to_string()),
        WireResponse::Refused(why) => bail!("no status: {why}"),
        WireResponse::Reloaded(_) => Err(unexpected_answer(&path)),
    }
}

fn unexpected_answer(path: &Path) -> anyhow::Error {
    anyhow!("the server at {} answered another request", path.display())
}

/// Sends a request and reads the answer, one line of JSON each. `activity` is the progress message.
fn request(path: &Path, request: &WireRequest, timeout: Duration, activity: &str) -> Result<WireResponse> {
    let also = match request {
        WireRequest::Reload { .. } => "; a server with --workers 0 has none, and cannot reload",
        WireRequest::Status {} => "",
    };
    let mut socket = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
            "no server listens on {}: start one, or name its socket with --control PATH{also}",
            path.display()
        ),
        io::ErrorKind::PermissionDenied => anyhow!(
            "the server at {} belongs to another user: only that user and root can connect to it",
            path.display()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot connect to {}", path.display())),
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    socket.set_write_timeout(Some(STATUS_TIMEOUT))?;
    let no_answer = || format!("no answer from the server at {}", path.display());
    socket.write_all(&line).with_context(no_answer)?;
    let answer = read_line(&socket, timeout, activity).with_context(no_answer)?;
    serde_json::from_slice(&answer).with_context(|| {
        format!(
            "invalid answer from the server at {}; does it run another version of callsign?",
            path.display()
        )
    })
}

/// Reads one line. Prints the activity to a terminal if it takes longer than [`PROGRESS_AFTER`].
fn read_line(socket: &UnixStream, timeout: Duration, activity: &str) -> Result<Vec<u8>> {
    let mut reader = BufReader::new(socket.take(ANSWER_MAX));
    let (started, mut line) = (Instant::now(), Vec::new());
    let mut progress_due = io::stderr().is_terminal();
    loop {
        let remaining = timeout.saturating_sub(started.elapsed());
        if remaining.is_zero() {
            bail!("timed out after {timeout:?}");
        }
        socket.set_read_timeout(Some(if progress_due {
            PROGRESS_AFTER.min(remaining)
        } else {
            remaining
        }))?;
        match reader.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => return Ok(line),
            Ok(_) => bail!("it closed the connection; it may have stopped"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if progress_due {
                    eprintln!("{activity} …");
                    progress_due = false;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
