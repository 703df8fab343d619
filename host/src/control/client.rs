//! `callsign reload` and `callsign status`: asks a running server over its control socket, and says what it answered.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Control;
use super::place::find;
use super::socket::{Answer, Request};

/// Bytes of an answer that are read.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// Time for a status, which is made without asking any worker.
const STATUS_PATIENCE: Duration = Duration::from_secs(30);
/// Time for a reload: the server bounds each of its steps itself.
const RELOAD_PATIENCE: Duration = Duration::from_secs(300);
/// Silence after which somebody at a terminal is told what is waited for.
const SILENCE: Duration = Duration::from_secs(1);

/// Has the server load these plugins anew, all of them without a name, and prints what it has done.
pub fn reload(control: &Control, plugins: Vec<String>) -> Result<()> {
    let path = find(control)?;
    match ask(&path, &Request::Reload { plugins }, RELOAD_PATIENCE, "reloading")? {
        Answer::Reloaded(reloaded) => say(&format!("{reloaded}\n")),
        Answer::Refused(why) => bail!("not reloaded: {why}"),
        Answer::Status(_) => bail!("the server at {} answered something else", path.display()),
    }
}

/// Prints how the server goes.
pub fn status(control: &Control, json: bool) -> Result<()> {
    let path = find(control)?;
    match ask(&path, &Request::Status {}, STATUS_PATIENCE, "waiting for the server")? {
        Answer::Status(status) if json => say(&format!("{}\n", serde_json::to_string_pretty(&status)?)),
        Answer::Status(status) => say(&status.to_string()),
        Answer::Refused(why) => bail!("no status: {why}"),
        Answer::Reloaded(_) => bail!("the server at {} answered something else", path.display()),
    }
}

fn say(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write the answer"),
    }
}

fn ask(path: &Path, request: &Request, patience: Duration, doing: &str) -> Result<Answer> {
    let mut socket = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "no server listens on {}: start one, or name its socket with --control PATH",
            path.display()
        ),
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "the server at {} is another user's: only that user, and root, can ask it",
            path.display()
        ),
        _ => anyhow::Error::new(error).context(format!("cannot connect to {}", path.display())),
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    socket.set_write_timeout(Some(STATUS_PATIENCE))?;
    let lost = || format!("the server at {} has not answered", path.display());
    socket.write_all(&line).with_context(lost)?;
    let answer = read_line(&socket, patience, doing).with_context(lost)?;
    serde_json::from_slice(&answer).with_context(|| {
        format!("the answer of {} is not understood; is it another version of callsign?", path.display())
    })
}

/// One line; somebody at a terminal is told when it takes long.
fn read_line(socket: &UnixStream, patience: Duration, doing: &str) -> Result<Vec<u8>> {
    let mut read = BufReader::new(socket.take(ANSWER_MAX));
    let (begun, mut line) = (Instant::now(), Vec::new());
    let mut told = !io::stderr().is_terminal();
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            bail!("within {patience:?}");
        }
        socket.set_read_timeout(Some(if told { left } else { SILENCE.min(left) }))?;
        match read.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => return Ok(line),
            Ok(_) => bail!("and has closed the connection; it may have stopped"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if !told {
                    eprintln!("{doing} …");
                    told = true;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
