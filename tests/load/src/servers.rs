//! The contenders: how each is configured, started on its processor, known to be ready, and stopped. All
//! except callsign live in this binary, which starts itself as `callsign-load server NAME PORT`. Knows
//! nothing about the measurements.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Load, Message, Target};
use crate::measure::{Processors, pin};
use crate::tls::{self, Certificate};

/// Limit for a server's start, up to the first upgrade, and for its exit after the signal.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Limit for the exit of a server whose sockets have failed.
const DYING: Duration = Duration::from_secs(1);
/// Time between two checks of a server that starts or exits.
const INTERVAL: Duration = Duration::from_millis(5);

/// A contender.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// This project: the example plugin `echo`, loaded by name
    Callsign,
    /// An echo server of `tokio-tungstenite`
    Tungstenite,
    /// An echo server of `fastwebsockets`
    Fastwebsockets,
    /// One epoll, one recv, one send, no checks
    Floor,
    /// An echo server of `yawc`, in the rows with compression
    Yawc,
    /// The protocol engine of Callsign over `tokio-rustls`, in the rows with TLS
    TokioRustls,
}

/// How a server is started.
#[derive(Clone, Copy)]
pub enum Setup {
    /// With so many workers; only callsign has them, the other servers have one thread.
    Workers(usize),
    /// With TLS, and one worker.
    Tls,
    /// With one worker, and messages compressed, or not.
    Compressing(Compression),
}

impl Setup {
    /// One worker, with TLS or without.
    pub fn alone(is_tls: bool) -> Self {
        if is_tls { Self::Tls } else { Self::Workers(1) }
    }
}

/// Whether and how messages are compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Off,
    /// Each message by itself
    On,
    /// Messages may refer to earlier ones
    Context,
}

impl Compression {
    fn text(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Context => "context",
        }
    }
}

impl Server {
    /// All names, in the order of the tables.
    pub const NAMES: [&'static str; 6] =
        ["callsign", "tungstenite", "fastwebsockets", "floor", "yawc", "tokio-rustls"];

    /// The name as `--servers` accepts it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The configuration, as one line below the tables.
    pub fn configuration(self) -> &'static str {
        match self {
            Self::Callsign => {
                "example plugin `echo` loaded at run time, one worker unless the line says otherwise"
            }
            Self::Tungstenite => {
                "tokio-tungstenite 0.30, current-thread runtime, TCP_NODELAY, 4 KiB read buffer, send() per message"
            }
            Self::Fastwebsockets => {
                "fastwebsockets 0.10, current-thread runtime, TCP_NODELAY, its defaults, write_frame() per \
                 message, on the bare TcpStream after this program's own handshake"
            }
            Self::Floor => "one epoll, one recv and one send per event, frames unmasked, no checks",
            Self::Yawc => {
                "yawc 0.5 with flate2 and zlib-rs, current-thread runtime, TCP_NODELAY, level 6, UTF-8 checked; `on` with a \
                 pool of compressors, `context` with windows of 12 bits"
            }
            Self::TokioRustls => {
                "callsign's own protocol engine over tokio-rustls 0.26 (ring), current-thread runtime, TCP_NODELAY, one read \
                 buffer for all, one write per read"
            }
        }
    }
}

/// Builds callsign's command line; no other code knows it. `plugin` is the library's name without prefix and
/// suffix.
fn callsign(port: u16, workers: usize, plugin: &str, control: Option<&Path>) -> Result<Command> {
    let folder = build_folder()?;
    let mut command = Command::new(folder.join("callsign"));
    command.arg("serve").arg(folder.join(format!("{DLL_PREFIX}{plugin}{DLL_SUFFIX}")));
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--log", "error"]);
    command.arg("--control").arg(control.unwrap_or(Path::new("none")));
    command.args(["--workers", &workers.to_string()]);
    Ok(command)
}

/// `callsign` with these arguments.
///
/// # Errors
/// This binary is in no folder.
pub fn callsign_command(arguments: &[&OsStr]) -> Result<Command> {
    let mut command = Command::new(build_folder()?.join("callsign"));
    command.args(arguments);
    Ok(command)
}

/// The folder of this binary, where cargo also puts callsign.
///
/// # Errors
/// This binary is in no folder.
pub fn build_folder() -> Result<PathBuf> {
    let binary = std::env::current_exe()?;
    Ok(binary.parent().context("this binary is in no folder")?.to_owned())
}

/// Builds `callsign` and the measured plugins in the profile of this binary.
///
/// # Errors
/// cargo is missing or the build failed.
pub fn build_callsign() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let folder = build_folder()?;
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    eprintln!("building: cargo build --profile {profile} -p callsign -p echo -p test-session");
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--profile", profile]);
    build.args(["-p", "callsign", "-p", "echo", "-p", "test-session", "--manifest-path"]);
    build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    build.arg("--target-dir").arg(folder.with_file_name(""));
    let status = build.status().context("cannot start cargo to build callsign")?;
    ensure!(status.success(), "cargo could not build callsign and its plugins ({status})");
    Ok(())
}

/// Builds the server of yawc, which is a workspace of its own, in the profile of this binary.
///
/// # Errors
/// cargo is missing or the build failed.
pub fn build_yawc() -> Result<()> {
    let profile = if yawc_profile()? == "debug" { "dev" } else { "release" };
    eprintln!("building: cargo build --profile {profile} of tests/load/yawc");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--locked", "--profile", profile, "--manifest-path"]);
    build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/yawc/Cargo.toml"));
    build.arg("--target-dir").arg(yawc_folder()?);
    let status = build.status().context("cannot start cargo to build the server of yawc")?;
    ensure!(status.success(), "cargo could not build the server of yawc ({status})");
    Ok(())
}

/// The folder in which [`build_yawc`] builds.
fn yawc_folder() -> Result<PathBuf> {
    Ok(build_folder()?.with_file_name("load-yawc"))
}

fn yawc_profile() -> Result<&'static str> {
    let is_debug = build_folder()?.file_name().is_none_or(|name| name == "debug");
    Ok(if is_debug { "debug" } else { "release" })
}

/// A free port of the loopback.
///
/// # Errors
/// No port is free.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A server's process. Dropping it stops the server.
pub struct Running {
    child: Child,
    pub port: u16,
    /// None: the server does not speak TLS.
    certificate: Option<Certificate>,
}

impl Running {
    /// Starts a server on its processor and returns to the load's; waits until an upgrade has succeeded.
    ///
    /// # Errors
    /// The server has no such setup, cannot be started, exits at once, or does not upgrade a connection within 10 s.
    pub fn start(server: Server, setup: Setup, processors: Processors) -> Result<Self> {
        let port = free_port()?;
        let certificate = match setup {
            Setup::Tls => {
                let name = format!("load-tls-{}-{port}", std::process::id());
                Some(Certificate::create(build_folder()?.with_file_name(name))?)
            }
            Setup::Workers(_) | Setup::Compressing(_) => None,
        };
        let folder = certificate.as_ref().map(Certificate::folder);
        let command = match server {
            Server::Callsign => {
                let workers = if let Setup::Workers(workers) = setup { workers } else { 1 };
                let mut command = callsign(port, workers, "echo", None)?;
                if let Setup::Compressing(mode) = setup {
                    command.args(["--compression", mode.text()]);
                }
                if let Some(folder) = folder {
                    command.arg("--tls-certificate").arg(tls::certificate_in(folder));
                    command.arg("--tls-key").arg(tls::key_in(folder));
                }
                command
            }
            Server::Yawc => {
                let Setup::Compressing(mode) = setup else {
                    bail!("yawc is in the rows with compression alone")
                };
                let mut command =
                    Command::new(yawc_folder()?.join(yawc_profile()?).join("callsign-load-yawc"));
                command.args([&port.to_string(), mode.text()]);
                command
            }
            other => {
                if matches!(setup, Setup::Compressing(_)) {
                    bail!("{} does not compress messages", other.name());
                }
                if folder.is_some() != (other == Server::TokioRustls) {
                    bail!("{} is not in these rows", other.name());
                }
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["server", other.name(), &port.to_string()]).args(folder);
                command
            }
        };
        pin(processors.server)?; // inherited by the child and its children
        Self::spawn(command, port, certificate, processors)
    }

    /// Starts callsign with this plugin and a control socket on all processors and returns to the load's;
    /// waits like [`Self::start`].
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_callsign(
        plugin: &str,
        workers: usize,
        control: &Path,
        processors: Processors,
    ) -> Result<Self> {
        let port = free_port()?;
        let command = callsign(port, workers, plugin, Some(control))?;
        processors.use_all()?;
        Self::spawn(command, port, None, processors)
    }

    fn spawn(
        mut command: Command,
        port: u16,
        certificate: Option<Certificate>,
        processors: Processors,
    ) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        pin(processors.load)?;
        let child = child.with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut running = Self { child, port, certificate };
        running.wait_until_ready()?;
        Ok(running)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended before it accepted a connection ({status})");
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "the server does not accept connections on port {}",
                self.port
            );
            sleep(INTERVAL);
        }
        let upgraded = Load::open(self.target(), 1, Message::Echo { size: 20 }).context("first upgrade");
        self.unless_dead(upgraded).map(drop)
    }

    /// Returns `result`, unless the server has died.
    ///
    /// # Errors
    /// The server has died, which explains any other error.
    pub fn unless_dead<T>(&mut self, result: Result<T>) -> Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server died ({status})");
            }
            // The kernel closes a process's sockets shortly before it reports the exit.
            if result.is_ok() || begun.elapsed() > DYING {
                return result;
            }
            sleep(INTERVAL);
        }
    }

    /// Where the load connects.
    pub fn target(&self) -> Target {
        Target {
            port: self.port,
            tls: self.certificate.as_ref().map(|certificate| certificate.client.clone()),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let asked = Instant::now();
        // The process may already have exited.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        while let Ok(None) = self.child.try_wait() {
            if asked.elapsed() > PATIENCE {
                eprintln!("note: the server did not exit after SIGTERM; killing it");
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            sleep(INTERVAL);
        }
    }
}
