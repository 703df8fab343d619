//! Time from saving a source file to an answer of the new code: the chat example under `callsign dev`, on one
//! open connection. Works on a copy of the sources in the folder `load-edit` beside the target folder, where
//! dependencies stay built. Owns the steps of this measurement; knows nothing about how `dev` works.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::measure::{Processors, median, pin};
use crate::servers::{build_folder, callsign_command, free_port};

/// Edits per measurement, by hand and under `dev` each.
const EDITS: usize = 3;
/// The workspace's folders that the chat example is built from.
const SOURCES: [&str; 2] = ["plugin-api", "example-plugins/chat"];
const CHAT: &str = "example-plugins/chat";
/// The constant that is edited, and the question whose answer contains it: a name that is too short.
const EDITED: &str = "const NAME_MAX: usize = ";
const QUESTION: &str = "/name ";
const ANSWER: &str = "* a name has 1 to ";
/// Limit for every build and start.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two questions.
const INTERVAL: Duration = Duration::from_millis(1);

/// Medians in milliseconds: from saving to the new answer; the build time that `dev` reports; the difference
/// of both; and the same build by hand, without a server.
///
/// # Errors
/// The example does not build, or the new code does not answer.
pub fn measure(processors: Processors) -> Result<[f64; 4]> {
    processors.use_all()?;
    let result = Scratch::new().and_then(|scratch| edits(&scratch));
    pin(processors.load)?;
    result
}

fn edits(scratch: &Scratch) -> Result<[f64; 4]> {
    scratch.build()?; // builds the dependencies too
    let mut by_hand = Vec::new();
    for number in 1..=EDITS {
        scratch.edit(number)?;
        by_hand.push(milliseconds(scratch.build()?));
    }
    let mut dev = Dev::start(scratch)?;
    let (mut totals, mut builds, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    for number in EDITS + 1..=2 * EDITS {
        let saved = Instant::now();
        scratch.edit(number)?;
        dev.wait_for_answer(number, saved)?;
        let total = saved.elapsed();
        let build = dev.build_time()?;
        totals.push(milliseconds(total));
        builds.push(build);
        beyond.push(milliseconds(total) - build);
    }
    let middle = |values| median(values).context("no edit");
    Ok([middle(totals)?, middle(builds)?, middle(beyond)?, middle(by_hand)?])
}

/// A workspace with copies of the sources.
struct Scratch {
    folder: PathBuf,
    /// The edited source file, and its original text.
    file: PathBuf,
    text: String,
}

impl Scratch {
    fn new() -> Result<Self> {
        let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let folder = build_folder()?.with_file_name("load-edit");
        for sources in SOURCES {
            // Removes the copies of an earlier run.
            let _ = fs::remove_dir_all(folder.join(sources));
            copy(&repository.join(sources), &folder.join(sources)).context(sources)?;
        }
        fs::copy(repository.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let manifest = fs::read_to_string(repository.join("Cargo.toml"))?;
        let (before, after) = manifest.split_once("\nmembers = [").context("no members in Cargo.toml")?;
        let (_, after) = after.split_once("\n[").context("nothing follows the members in Cargo.toml")?;
        let members = r#"members = ["plugin-api", "plugin-api/macros", "example-plugins/chat"]"#;
        fs::write(folder.join("Cargo.toml"), format!("{before}\n{members}\n\n[{after}"))?;
        let file = folder.join(CHAT).join("src/lib.rs");
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(EDITED), "the chat example has no `{EDITED}` to edit");
        Ok(Self { folder, file, text })
    }

    /// Saves the source with another number.
    fn edit(&self, number: usize) -> Result<()> {
        let (before, after) = self.text.split_once(EDITED).context("the source was checked")?;
        let (_, after) = after.split_once(';').context("no `;` after the edited number")?;
        Ok(fs::write(&self.file, format!("{before}{EDITED}{};{after}", limit(number)))?)
    }

    /// Builds with cargo; returns the time that it took.
    fn build(&self) -> Result<Duration> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        let begun = Instant::now();
        let status = self.inside(build.args(["build", "--quiet"])).status()?;
        ensure!(status.success(), "cargo could not build the chat example ({status})");
        Ok(begun.elapsed())
    }

    /// Runs a command in the example's folder, with one shared target folder and without the network.
    fn inside<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .current_dir(self.folder.join(CHAT))
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("CARGO_NET_OFFLINE", "true")
    }
}

/// A number that the sources contain nowhere else.
fn limit(number: usize) -> usize {
    1000 + number
}

/// `callsign dev`, and a client.
struct Dev {
    child: Child,
    log: Receiver<String>,
    client: Option<WebSocket<TcpStream>>,
}

impl Dev {
    fn start(scratch: &Scratch) -> Result<Self> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let options = ["--listen", &listen, "--control", "none", "--log", "error", "--workers", "2"];
        let mut command = callsign_command(&["dev", "."].map(OsStr::new))?;
        scratch.inside(command.args(options)).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().context("cannot start callsign")?;
        let lines = BufReader::new(child.stderr.take().context("stderr is a pipe")?).lines();
        let (sender, log) = mpsc::channel();
        // The thread ends with the process.
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut dev = Self { child, log, client: None };
        dev.wait_for_line("dev: watching ")?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let (client, _) = client(format!("ws://{listen}/"), stream).context("no upgrade")?;
        dev.client = Some(client);
        Ok(dev)
    }

    fn wait_for_line(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        let mut all = String::new();
        loop {
            let remaining = end.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(remaining);
            let line = line.with_context(|| format!("`callsign dev` did not log `{text}`, but {all:?}"))?;
            if line.contains(text) {
                return Ok(line);
            }
            all += &line;
        }
    }

    /// Asks until the answer contains this edit's number.
    fn wait_for_answer(&mut self, number: usize, saved: Instant) -> Result<()> {
        let client = self.client.as_mut().context("the client is connected")?;
        let new = format!("{ANSWER}{} ", limit(number));
        while saved.elapsed() < PATIENCE {
            client.send(Message::text(QUESTION))?;
            let answer = loop {
                match client.read()? {
                    Message::Text(text) if text.starts_with(ANSWER) => break text,
                    Message::Close(close) => bail!("the server closed the connection: {close:?}"),
                    _ => {} // other messages of the chat
                }
            };
            if answer.starts_with(&new) {
                return Ok(());
            }
            sleep(INTERVAL);
        }
        bail!("the new code does not answer within {PATIENCE:?}")
    }

    /// The duration of the last build, as `dev` reports it.
    fn build_time(&mut self) -> Result<f64> {
        let line = self.wait_for_line(": built in ")?;
        let seconds = line.split_once("built in ").and_then(|(_, rest)| rest.split_once(" s"));
        let seconds: Option<f64> = seconds.and_then(|(seconds, _)| seconds.parse().ok());
        Ok(seconds.with_context(|| format!("no time in {line:?}"))? * 1e3)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // The process may already have exited.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        match entry.file_type()?.is_dir() {
            true if name == "target" => {}
            true => copy(&path, &to.join(name))?,
            false => drop(fs::copy(&path, to.join(name))?),
        }
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
