//! The state of a server: JSON for programs, tables of 80 columns for people. Field names are part of the JSON, which
//! scripts read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table::Table;
use crate::link::inventory::requests;
use crate::serve::summary::url;

/// Limits in one line of a table.
const LIMITS_IN_LINE: usize = 2;

/// The state of a server. Workers report what it says about plugins and callbacks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// Process id of the parent.
    pub pid: u32,
    /// Since the server's start.
    pub uptime_ms: u64,
    /// For how long it has been closing its connections, to stop. None: it serves.
    pub draining_for_ms: Option<u64>,
    /// The config file, if there is one.
    pub config: Option<PathBuf>,
    /// What workers may do. None: they are not confined.
    pub sandbox: Option<SandboxStatus>,
    /// Where it listens: `HOST:PORT`, or `unix:PATH`.
    pub addresses: Vec<String>,
    /// The same, with the certificates.
    pub listeners: Vec<ListenerStatus>,
    /// By index.
    pub workers: Vec<WorkerStatus>,
    /// In load order, in the newest generation that a worker serves.
    pub plugins: Vec<PluginStatus>,
    /// In order. Without routes in the settings, those of the convention.
    pub routes: Vec<RouteStatus>,
    /// Routes beyond the first ones, which are not listed.
    pub routes_more: usize,
}

/// What confined workers may do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// `strict` or `best-effort`.
    pub level: String,
    /// What they may read because of the settings.
    pub read: Vec<PathBuf>,
    /// What any process may read.
    pub system: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    pub execute: Vec<PathBuf>,
    /// Whether they may open IP sockets.
    pub network: bool,
    /// System calls that the settings allow.
    pub system_calls: Vec<String>,
    /// What this kernel does not restrict.
    pub missing: Vec<String>,
}

/// A listening socket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `HOST:PORT`, or `unix:PATH`.
    pub address: String,
    /// Whether its clients have to use TLS.
    pub tls: bool,
    /// Whether it sends its clients to a listener with TLS.
    pub redirect: bool,
    /// Those that clients get, the first one if they do not name another.
    pub certificates: Vec<CertificateStatus>,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its file.
    pub path: PathBuf,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// As in RFC 3339.
    pub not_before: String,
    /// As in RFC 3339.
    pub not_after: String,
}

/// One worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// From 0.
    pub index: usize,
    /// None: it has died, and the next one has not been started yet, or it has ended because the server stops.
    pub pid: Option<u32>,
    /// Since the start of that process.
    pub uptime_ms: Option<u64>,
    /// Whether it serves already.
    pub serves: bool,
    pub clients: usize,
    /// Those of them whose messages are compressed.
    pub compressed: usize,
    /// Connections that this process has accepted.
    pub accepted: u64,
    /// Callbacks that this process has begun.
    pub callbacks: u64,
    /// Memory of incomplete messages, and of windows of compression for what clients send.
    pub receive_memory_bytes: u64,
    /// Memory of write queues of clients that are behind, and of windows of compression for what is sent.
    pub send_memory_bytes: u64,
    /// Clients closed because all together held too much memory, or because a message took too long.
    pub shed: u64,
    /// Messages that were dropped because their clients read too slowly.
    pub dropped: u64,
    /// How often clients have reached each limit, by the key of its setting.
    pub limits: BTreeMap<String, u64>,
    /// Memory of the process. None: it has ended, or the system does not tell.
    pub resident_bytes: Option<u64>,
    /// By how much reloads have grown the process.
    pub reload_growth_bytes: u64,
    pub running: Option<RunningStatus>,
    /// For how long its event loop has not run. None: it runs, or has not stalled for a second yet.
    pub stalled_for_ms: Option<u64>,
    pub plugins: Vec<WorkerPlugin>,
}

/// A running callback.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningStatus {
    /// Name of the plugin; empty if it is unknown.
    pub plugin: String,
    pub generation: u32,
    /// What kind of code, such as `onmessage handler`.
    pub kind: String,
    /// The handler's name; empty for code without one.
    pub name: String,
    /// For how long, as far as the watchdog has measured. None: it has just begun, or callbacks have no limit.
    pub running_for_ms: Option<u64>,
}

/// A plugin on one worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerPlugin {
    pub name: String,
    /// The generation that serves there.
    pub generation: u32,
    /// Other generations that are still in that worker's memory, rejected ones included.
    pub retained: u32,
}

/// A plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginStatus {
    pub name: String,
    /// As the plugin declares it; may be empty.
    pub version: String,
    /// The newest generation that a worker serves.
    pub generation: u32,
    /// The library.
    pub path: PathBuf,
}

/// A route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    pub path: String,
    /// Empty: all that no other route of the path lists.
    pub methods: Vec<String>,
    /// The first ones. Empty: all.
    pub hosts: Vec<String>,
    /// Hosts that are not listed.
    pub hosts_more: usize,
    pub handlers: Vec<RouteHandler>,
    /// The folder with its static files.
    pub files: Option<PathBuf>,
}

/// A handler of a route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteHandler {
    /// Such as `onmessage`.
    pub kind: String,
    pub plugin: String,
    /// The handler's name in the plugin.
    pub name: String,
    /// Of the plugin.
    pub generation: u32,
}

/// Tables.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, pid, config, sandbox, listeners, workers, plugins, routes, routes_more, .. } =
            self;
        writeln!(f, "callsign {version}, process {pid}, up {}", time(self.uptime_ms))?;
        if let Some(ms) = self.draining_for_ms {
            writeln!(f, "draining for {}: it accepts no clients, and stops when all have closed", time(ms))?;
        }
        if let Some(config) = config {
            writeln!(f, "config file {}", config.display())?;
        }
        sandbox.iter().try_for_each(|sandbox| write!(f, "{sandbox}"))?;
        for ListenerStatus { address, tls, redirect, certificates } in listeners {
            let redirect = if *redirect { ", which redirects to https" } else { "" };
            writeln!(f, "listening on {}{redirect}", url(address, *tls))?;
            for CertificateStatus { path, names, not_after, .. } in certificates {
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                let day = not_after.split('T').next().unwrap_or_default();
                writeln!(f, "  certificate of {names} until {day} ({})", path.display())?;
            }
        }
        let mut table = Table::new(
            ["WORKER", "PROCESS", "UP", "CLIENTS", "ACCEPTED", "CALLBACKS", "MEMORY", "GROWTH"],
            8,
        );
        for worker in workers {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            table.row([
                worker.index.to_string(),
                or_dash(worker.pid.map(|pid| pid.to_string())),
                or_dash(worker.uptime_ms.map(time)),
                worker.clients.to_string(),
                worker.accepted.to_string(),
                worker.callbacks.to_string(),
                or_dash(worker.resident_bytes.map(mebibytes)),
                or_dash(worker.pid.map(|_| mebibytes(worker.reload_growth_bytes))),
            ]);
            if let Some(ms) = worker.stalled_for_ms {
                table.note(format!("has not run its event loop for {:.1?}", Duration::from_millis(ms)));
            }
            let (received, queued, shed) =
                (worker.receive_memory_bytes, worker.send_memory_bytes, worker.shed);
            if received + queued + shed > 0 {
                let (received, queued) = (mebibytes(received), mebibytes(queued));
                let clients = if shed == 1 { "client" } else { "clients" };
                table.note(format!(
                    "{received} incomplete messages, {queued} write queues, {shed} {clients} shed"
                ));
            }
            match worker.dropped {
                0 => {}
                1 => table.note("1 message dropped for a client that reads too slowly".to_owned()),
                n => table.note(format!("{n} messages dropped for clients that read too slowly")),
            }
            match worker.compressed {
                0 => {}
                1 => table.note("1 connection with compression".to_owned()),
                n => table.note(format!("{n} connections with compression")),
            }
            let reached: Vec<_> = worker.limits.iter().filter(|(_, count)| **count > 0).collect();
            for limits in reached.chunks(LIMITS_IN_LINE) {
                let limits: Vec<_> = limits.iter().map(|(key, count)| format!("{count} {key}")).collect();
                table.note(format!("limits reached: {}", limits.join(", ")));
            }
            match (&worker.running, worker.pid) {
                (Some(running), _) => table.note(running.to_string()),
                (None, None) if self.draining_for_ms.is_some() => table.note("has ended".to_owned()),
                (None, None) => table.note("has died; the next one is about to start".to_owned()),
                (None, Some(_)) if !worker.serves => table.note("starts".to_owned()),
                (None, Some(_)) => {}
            }
        }
        write!(f, "\n{table}")?;
        let mut table = Table::new(["PLUGIN", "VERSION", "GENERATION", "RETAINED", "LIBRARY"], 0);
        for plugin in plugins {
            let on_workers =
                workers.iter().flat_map(|worker| &worker.plugins).filter(|p| p.name == plugin.name);
            table.row([
                plugin.name.clone(),
                if plugin.version.is_empty() { "-".to_owned() } else { plugin.version.clone() },
                span(on_workers.clone().map(|plugin| plugin.generation)),
                span(on_workers.map(|plugin| plugin.retained)),
                plugin.path.display().to_string(),
            ]);
        }
        write!(f, "\n{table}")?;
        let mut table = Table::new(["ROUTE", "HANDLER", "CODE", "GENERATION"], 0);
        for RouteStatus { path, methods, hosts, hosts_more, handlers, files } in routes {
            let mut path = requests(path, methods, hosts, *hosts_more);
            if let Some(folder) = files {
                let path = std::mem::take(&mut path);
                table.row([path, "files".to_owned(), folder.display().to_string(), "-".to_owned()]);
            }
            for RouteHandler { kind, plugin, name, generation } in handlers {
                table.row([
                    std::mem::take(&mut path),
                    kind.clone(),
                    format!("{plugin}:{name}"),
                    generation.to_string(),
                ]);
            }
        }
        if *routes_more > 0 {
            table.note(format!("and {routes_more} more"));
        }
        write!(f, "\n{table}")
    }
}

/// A line for each list that is not empty.
impl fmt::Display for SandboxStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, read, system: _, write, execute, network, system_calls, missing } = self;
        let network = if *network { "with" } else { "without" };
        writeln!(f, "sandbox {level}, {network} network")?;
        for (verb, paths) in [("read", read), ("write", write), ("execute", execute)] {
            paths.iter().try_for_each(|path| writeln!(f, "  may {verb} {}", path.display()))?;
        }
        if !system_calls.is_empty() {
            writeln!(f, "  may make the system calls {}", system_calls.join(", "))?;
        }
        missing.iter().try_for_each(|what| writeln!(f, "  does not restrict {what}"))
    }
}

/// `in onmessage chat:message (generation 4), for 3.2s`
impl fmt::Display for RunningStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, generation, kind, name, running_for_ms } = self;
        match (plugin.as_str(), name.as_str()) {
            ("", _) => f.write_str("in another handler")?,
            (plugin, "") => write!(f, "in {kind} of {plugin} (generation {generation})")?,
            (plugin, name) => write!(f, "in {kind} {plugin}:{name} (generation {generation})")?,
        }
        match running_for_ms {
            Some(ms) => write!(f, ", for {:.1?}", Duration::from_millis(*ms)),
            None => Ok(()),
        }
    }
}

/// The value of all workers, or `3 to 4` if they differ.
fn span(values: impl Iterator<Item = u32> + Clone) -> String {
    match (values.clone().min(), values.max()) {
        (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
        (Some(value), _) => value.to_string(),
        (None, _) => "-".to_owned(),
    }
}

/// `37.2 MiB`
fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

/// `3h 12m`: the two largest units.
fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests;
