//! A probe: a throw-away process that loads plugins as a worker would, runs their onload hooks, resolves the
//! routes, and says how that went. A library that crashes or hangs when it is loaded takes only the probe with
//! it. Both ends are here; what is done about the answer is the caller's.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::banner::Loaded;
use crate::board::{self, Board, Crash, Slot};
use crate::crash;
use crate::dispatch::Dispatch;
use crate::link::{self, Decoder, Tag, orders};
use crate::plan::PlannedPlugin;
use crate::privileges::Identity;
use crate::readable::readable;
use crate::reload;
use crate::route::Route;
use crate::server::{block_on, end_with_parent, open_board, take_link};

/// Time in which plugins are to be loaded, if nobody says otherwise.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Time for a probe that hangs to write down where it is.
const ABORT_GRACE: Duration = Duration::from_millis(2500);
/// Time for the last words of a probe that has ended; a plugin may have left a process that holds its socket.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Time for a probe to take its orders, if they are longer than a socket holds.
const ORDERS_PATIENCE: Duration = Duration::from_secs(1);

/// What is tried out: all plugins of a server as they would be, in load order, and its routes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The plugins.
    pub plugins: Vec<PlannedPlugin>,
    /// The routes, none in it means the convention. None: nobody has said any; the convention may then have nothing.
    pub routes: Option<Vec<Route>>,
}

/// What the probe is told.
#[derive(Serialize, Deserialize)]
struct Orders {
    /// The asking process.
    parent: u32,
    trial: Trial,
}

/// Tries in another process whether these plugins can be loaded, with their routes, within that time. `identity`
/// is whom the probe runs as. Err: why not; the first line says what happened to which plugin, further lines, if
/// there are any, where a crash or hang was.
pub async fn probe(trial: Trial, identity: Option<Identity>, time_limit: Duration) -> Result<Loaded, String> {
    let plugins = trial.plugins.clone();
    match run(trial, identity, time_limit).await {
        Ok(Outcome::Loaded(loaded)) => Ok(loaded),
        Ok(Outcome::Refused(reason)) => Err(reason),
        Ok(Outcome::Broke { what, crash }) => {
            // Reading debug information takes its time.
            let describe = move || crash.map(|crash| crash::describe(&crash)).unwrap_or_default();
            let lines = tokio::task::spawn_blocking(describe).await.unwrap_or_default();
            Err(with_place(what, lines, &plugins))
        }
        Err(error) => Err(format!("no process to try the plugins in: {error:#}")),
    }
}

/// The probe's side: does as it is told over standard input.
pub fn run_probe() -> Result<()> {
    let socket = take_link().context("`callsign probe` is started by callsign itself, not by hand")?;
    let (Orders { parent, trial }, descriptors) = orders::receive::<Orders>(&socket)?;
    end_with_parent(parent)?;
    let board: &'static Board = Box::leak(Box::new(open_board(descriptors.into_iter().next())?));
    board::adopt(board.slot(0));
    crash::install(board.slot(0)).context("no handler for crashes")?;
    block_on(async {
        let answer = match load(&trial) {
            Ok(loaded) => link::message(Tag::Ready, link::text(&serde_json::to_string(&loaded)?)),
            Err(error) => link::message(Tag::Failed, link::text(&format!("{error:#}"))),
        };
        std::io::Write::write_all(&mut &socket, &answer)?;
        // Whoever asked ends it by force: what a library does at the end of its process is not tried out.
        std::future::pending().await
    })
}

fn load(trial: &Trial) -> Result<Loaded> {
    let registry = reload::first_plugins(&trial.plugins, true)?;
    let dispatch = match &trial.routes {
        Some(routes) => Dispatch::resolve(&registry, routes)?,
        None => Dispatch::resolve(&registry, &[]).unwrap_or_else(|_| Dispatch::nothing()),
    };
    Ok(Loaded::of_parts(&registry, &dispatch))
}

/// How it went.
enum Outcome {
    Loaded(Loaded),
    /// In the probe's own words.
    Refused(String),
    /// It died, or was ended.
    Broke {
        what: String,
        crash: Option<Crash>,
    },
}

async fn run(trial: Trial, identity: Option<Identity>, time_limit: Duration) -> Result<Outcome> {
    let (board, descriptor) = Board::create(1).context("no shared memory for the scoreboard")?;
    let slot = board.slot(0);
    let plugins = trial.plugins.clone();
    let (mut child, link) = spawn(trial, identity, &descriptor)?;
    let mut link = tokio::net::UnixStream::from_std(link)?;
    let first = async {
        tokio::select! {
            biased;
            Some(outcome) = read_answer(&mut link) => First::Answered(outcome),
            status = child.wait() => First::Ended(status),
        }
    };
    let first = tokio::time::timeout(time_limit, first).await;
    let outcome = match first {
        Ok(First::Answered(outcome)) => outcome,
        Ok(First::Ended(status)) => match tokio::time::timeout(LAST_WORDS, read_answer(&mut link)).await {
            Ok(Some(outcome)) => outcome,
            _ => Outcome::Broke { what: how_it_ended(slot, &plugins, status?), crash: slot.crash() },
        },
        Err(_) => {
            let what = format!("{} within {time_limit:?}", hangs(slot, &plugins));
            // The signal that makes it write down where it is.
            if let Some(pid) = pid(&child) {
                let _ = rustix::process::kill_process(pid, Signal::ABORT);
            }
            let _ = tokio::time::timeout(ABORT_GRACE, child.wait()).await;
            Outcome::Broke { what, crash: slot.crash() }
        }
    };
    // With what a plugin has started there. It may have ended by itself, and is reaped before anything is said of it.
    if let Some(pid) = pid(&child) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let _ = child.kill().await;
    Ok(outcome)
}

enum First {
    Answered(Outcome),
    Ended(std::io::Result<ExitStatus>),
}

fn spawn(trial: Trial, identity: Option<Identity>, board: &OwnedFd) -> Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    // Also good when the file has been replaced since.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    let mut command = Command::new(program);
    command.arg0("callsign: probe").arg("probe").stdin(OwnedFd::from(theirs));
    // What a plugin prints there is not part of any answer.
    command.stdout(Stdio::null()).process_group(0).kill_on_drop(true);
    if let Some(identity) = identity {
        command.uid(identity.user).gid(identity.group);
    }
    let child = command.spawn()?;
    // The child's end with it: if the child dies, so does the socket.
    drop(command);
    ours.set_write_timeout(Some(ORDERS_PATIENCE))?;
    let orders = Orders { parent: std::process::id(), trial };
    orders::send(&orders, &ours, &[board.as_fd()]).context("the process takes no orders")?;
    ours.set_nonblocking(true)?;
    Ok((child, ours))
}

/// None: the link has ended without an answer. Then the process has too, or soon will.
async fn read_answer(link: &mut tokio::net::UnixStream) -> Option<Outcome> {
    let mut decoder = Decoder::new(0);
    loop {
        // Its own word, and so only to be shown.
        match decoder.take().ok()? {
            Some((Tag::Ready, text)) => return Some(Outcome::Loaded(serde_json::from_slice(&text).ok()?)),
            Some((Tag::Failed, text)) => {
                return Some(Outcome::Refused(readable(&String::from_utf8_lossy(&text))));
            }
            Some(_) => return None,
            None => {}
        }
        if link.read_buf(&mut decoder.buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// ``plugin `chat` (libchat.so) crashes in its onload hook `configure`: SIGSEGV: no access to address 0x10``
fn how_it_ended(slot: &Slot, plugins: &[PlannedPlugin], status: ExitStatus) -> String {
    let (who, place) = whereabouts(slot, plugins);
    let crash = slot.crash().filter(|crash| Some(crash.signal) == status.signal());
    match (crash, status.signal(), status.code()) {
        (Some(crash), ..) => format!("{who} crashes {place}: {}", crash::cause(&crash)),
        (None, Some(signal), _) => format!("{who} dies {place}: {}", crash::signal_name(signal)),
        (None, None, Some(code)) => format!("{who} ends the process with status {code} {place}"),
        (None, None, None) => format!("{who} ends {place}: {status}"),
    }
}

fn hangs(slot: &Slot, plugins: &[PlannedPlugin]) -> String {
    let (who, place) = whereabouts(slot, plugins);
    format!("{who} hangs {place}: it did not return")
}

/// Who it was, and what that was doing.
fn whereabouts(slot: &Slot, plugins: &[PlannedPlugin]) -> (String, String) {
    let Some(running) = slot.running() else {
        return ("the process that loads the plugins".to_owned(), "outside of their code".to_owned());
    };
    let label = running.label;
    let place = match (label.kind.as_str(), label.name.as_str()) {
        (_, "") => "while the library is loaded, before its onload hook".to_owned(),
        (kind, name) => format!("in its {kind} `{name}`"),
    };
    let named = |plugin: &&PlannedPlugin| plugin.source.name.as_deref() == Some(label.plugin.as_str());
    let file = match plugins {
        [only] => Some(only),
        several => several.iter().find(named),
    };
    let file = file.map(|plugin| format!(" ({})", plugin.source.path.display())).unwrap_or_default();
    (format!("plugin `{}`{file}", label.plugin), place)
}

/// Adds the innermost call of a plugin's own code to the first line, and all calls behind it.
fn with_place(what: String, lines: Vec<String>, plugins: &[PlannedPlugin]) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files: Vec<(String, String)> =
        plugins.iter().map(|plugin| (name(&plugin.file), name(&plugin.source.path))).collect();
    let is_its_own = |line: &&String| {
        let mut files = files.iter();
        // Rust's own library is part of a plugin's file, and seldom to blame.
        !line.contains(" at library/") && files.any(|(file, _)| line.contains(&format!("({file}")))
    };
    let call = |line: &String| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).to_owned();
    let place = lines.iter().find(is_its_own).map(|line| format!("; at {}", call(line))).unwrap_or_default();
    let text = [what + &place].into_iter().chain(lines).collect::<Vec<_>>().join("\n");
    // The operator knows no copies.
    let copies = files.iter().filter(|(file, path)| file != path);
    copies.fold(text, |text, (file, path)| text.replace(file, path))
}

/// Its id, as long as it is not reaped: then it is nobody else's.
fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
}
