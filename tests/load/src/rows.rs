//! What is measured. Owns the rows of the benchmark and their lanes (a server and its work). Returns one figure per
//! column. Knows nothing about rounds and ratios.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::client::Scope;
use crate::columns::{
    Column, DEFLATE_COLUMNS, EDIT_COLUMNS, MEMORY_COLUMNS, MESSAGE_COLUMNS, RELOAD_COLUMNS,
    SCOREBOARD_COLUMNS,
};
use crate::edit;
use crate::measure::{Processors, pin};
use crate::reload;
use crate::scoreboard;
use crate::servers::{Compression, Running, Server, Setup};
use crate::steps::{self, CROWD};

/// Approximate overhead of a measurement: start, connections, warm-up, exit.
const BESIDES: Duration = Duration::from_secs(1);
/// Approximate duration of measurements without a window.
const RELOADS_TAKE: Duration = Duration::from_secs(10);
const EDITS_TAKE: Duration = Duration::from_secs(8);
/// Connections of the rows `idle` and `reload`, if the limit on open files allows it.
pub const MANY_CONNECTIONS: usize = 10_000;
/// Descriptors that a process needs besides its connections.
const OTHER_FILES: u64 = 64;

/// The rows, with the names that `--only` accepts.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RowName {
    /// 100 connections x 20 B, one message at a time
    Echo,
    /// 100 connections x 20 B, 32 messages at a time
    #[value(name = "echo-32")]
    Echo32,
    /// 50 connections x 16 KiB, one message at a time
    #[value(name = "echo-16k")]
    Echo16k,
    /// One of 1000 connections to all others, 64 B: single messages and bursts of 32 (callsign only)
    Broadcast,
    /// The same to all workers' clients with 1, 2 and 4 workers, and LOCAL on one worker (callsign only)
    FanOut,
    /// The same in bursts of 32
    #[value(name = "fan-out-32")]
    FanOut32,
    /// One connection x 1 KiB of JSON, compressed (callsign and yawc)
    #[value(name = "deflate-on")]
    DeflateOn,
    /// The same with 1000 connections
    #[value(name = "deflate-on-1000")]
    DeflateOn1000,
    /// One connection x 1 KiB of JSON, compressed with reference to earlier messages
    #[value(name = "deflate-context")]
    DeflateContext,
    /// The same with 1000 connections
    #[value(name = "deflate-context-1000")]
    DeflateContext1000,
    /// 100 connections x 64 B over TLS, one message at a time (callsign and tokio-rustls)
    #[value(name = "tls-echo")]
    TlsEcho,
    /// 50 connections x 16 KiB over TLS, one message at a time
    #[value(name = "tls-echo-16k")]
    TlsEcho16k,
    /// Memory per silent connection, with 10 000 of them
    Idle,
    /// The same over TLS
    #[value(name = "tls-idle")]
    TlsIdle,
    /// Cost of the scoreboard per callback (callsign only)
    Scoreboard,
    /// The longest gap that a client observes around a reload, with 10 000 connections (callsign only)
    Reload,
    /// Time from saving a source of the chat example to the new code's answer under `callsign dev` (callsign
    /// only)
    Edit,
}

impl RowName {
    /// All rows, in the order in which they are measured.
    pub const NAMES: [&'static str; 17] = [
        "echo",
        "echo-32",
        "echo-16k",
        "broadcast",
        "fan-out",
        "fan-out-32",
        "deflate-on",
        "deflate-on-1000",
        "deflate-context",
        "deflate-context-1000",
        "tls-echo",
        "tls-echo-16k",
        "idle",
        "tls-idle",
        "scoreboard",
        "reload",
        "edit",
    ];

    /// The name as `--only` accepts it.
    pub fn text(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Labels of lanes that ratios refer to.
const SINGLE: &str = "callsign x 1";
const LOCAL: &str = "LOCAL 1 worker";

/// One table: several servers doing the same work.
pub struct Row {
    pub name: RowName,
    pub title: String,
    pub columns: &'static [Column],
    pub lanes: Vec<Lane>,
    /// Label of the lane that the other lanes are compared with; empty if there is none.
    pub reference: &'static str,
}

/// One line of a table.
pub struct Lane {
    pub label: &'static str,
    pub server: Server,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    Echo {
        connections: usize,
        size: usize,
        depth: u64,
        is_tls: bool,
    },
    /// From one connection to all others in the scope, 64 B.
    Broadcast {
        scope: Scope,
        burst: u64,
        workers: usize,
    },
    /// JSON of 1 KiB.
    Deflate {
        connections: usize,
        mode: Compression,
    },
    Idle {
        connections: usize,
        is_tls: bool,
    },
    /// Needs no server.
    Scoreboard,
    /// Reloads the library of this plugin.
    Reload {
        connections: usize,
        plugin: &'static str,
        aim_ms: f64,
    },
    Edit,
}

const ALONE: &str = "by itself";
const TOGETHER: &str = "with windows of 12 bits (4 KiB)";

/// The goal for the time from saving to the answer, without the build.
const EDIT_AIM_MS: f64 = 100.0;

/// The selected rows, with a lane for each selected server.
pub fn rows(only: &[RowName], servers: &[Server], connections: usize, open_files: u64) -> Vec<Row> {
    let allowed = open_files.saturating_sub(OTHER_FILES) as usize;
    let many = connections.min(allowed);
    let limited = if many < connections { " (all that the limit of open files allows)" } else { "" };
    let row = |name, title: String, columns, reference, lanes| Row { name, title, columns, lanes, reference };
    let everybody = |work| -> Vec<Lane> {
        let servers = servers.iter().filter(|server| !matches!(server, Server::Yawc | Server::TokioRustls));
        servers.map(|&server| Lane { label: server.name(), server, work }).collect()
    };
    let deflate = |name, connections, mode, how: &str| {
        let lane = |label, server, mode| Lane { label, server, work: Work::Deflate { connections, mode } };
        let lanes = vec![
            lane("callsign", Server::Callsign, mode),
            lane("callsign, off", Server::Callsign, Compression::Off),
            lane("yawc", Server::Yawc, mode),
        ];
        let title = format!(
            "{connections} connection{} x 1 KiB of JSON, one message at a time, compressed {how}; KiB/conn: memory that the \
             server has gained in the end",
            if connections == 1 { "" } else { "s" }
        );
        row(name, title, DEFLATE_COLUMNS, "yawc", lanes)
    };
    let over_tls = |name, columns, title: String, work| {
        let lanes = [Server::Callsign, Server::TokioRustls];
        let lanes = lanes.map(|server| Lane { label: server.name(), server, work });
        row(name, title, columns, "tokio-rustls", lanes.into())
    };
    let tls_echo = |name, connections, size, title: &str| {
        over_tls(
            name,
            MESSAGE_COLUMNS,
            title.into(),
            Work::Echo { connections, size, depth: 1, is_tls: true },
        )
    };
    let echo = |name, connections, size, depth, title: &str| {
        row(
            name,
            title.into(),
            MESSAGE_COLUMNS,
            "floor",
            everybody(Work::Echo { connections, size, depth, is_tls: false }),
        )
    };
    let lane = |label, scope, burst, workers| Lane {
        label,
        server: Server::Callsign,
        work: Work::Broadcast { scope, burst, workers },
    };
    let fan_out = |name, burst, how: &str| {
        let title = format!(
            "from one of {CROWD} connections to all others of the scope, 64 B, {how}; msg = one delivery"
        );
        let lanes = vec![
            lane(LOCAL, Scope::Local, burst, 1),
            lane("GLOBAL 1 worker", Scope::Global, burst, 1),
            lane("GLOBAL 2 workers", Scope::Global, burst, 2),
            lane("GLOBAL 4 workers", Scope::Global, burst, 4),
        ];
        row(name, title, MESSAGE_COLUMNS, LOCAL, lanes)
    };

    let reloaded = |label, plugin, aim_ms| Lane {
        label,
        server: Server::Callsign,
        work: Work::Reload { connections: many, plugin, aim_ms },
    };

    let mut rows = vec![
        echo(RowName::Echo, 100, 20, 1, "100 connections x 20 B, one message at a time"),
        echo(
            RowName::Echo32,
            100,
            20,
            32,
            "100 connections x 20 B, 32 messages in one write, then wait for all 32",
        ),
        echo(RowName::Echo16k, 50, 16 << 10, 1, "50 connections x 16 KiB, one message at a time"),
        row(
            RowName::Broadcast,
            format!(
                "from one of {CROWD} connections to all others, 64 B, one at a time and in bursts of 32; \
                 msg = one delivery"
            ),
            MESSAGE_COLUMNS,
            SINGLE,
            vec![lane(SINGLE, Scope::Global, 1, 1), lane("callsign x 32", Scope::Global, 32, 1)],
        ),
        fan_out(RowName::FanOut, 1, "one at a time"),
        fan_out(RowName::FanOut32, 32, "in bursts of 32"),
        deflate(RowName::DeflateOn, 1, Compression::On, ALONE),
        deflate(RowName::DeflateOn1000, CROWD, Compression::On, ALONE),
        deflate(RowName::DeflateContext, 1, Compression::Context, TOGETHER),
        deflate(RowName::DeflateContext1000, CROWD, Compression::Context, TOGETHER),
        tls_echo(RowName::TlsEcho, 100, 64, "100 connections x 64 B over TLS, one message at a time"),
        tls_echo(
            RowName::TlsEcho16k,
            50,
            16 << 10,
            "50 connections x 16 KiB over TLS, one message at a time",
        ),
        row(
            RowName::Idle,
            format!("{many} silent connections{limited}: memory of the server's processes"),
            MEMORY_COLUMNS,
            "floor",
            everybody(Work::Idle { connections: many, is_tls: false }),
        ),
        over_tls(
            RowName::TlsIdle,
            MEMORY_COLUMNS,
            format!("{many} silent connections{limited} over TLS: memory of the server's processes"),
            Work::Idle { connections: many, is_tls: true },
        ),
        row(
            RowName::Scoreboard,
            "cost of the scoreboard per callback".into(),
            SCOREBOARD_COLUMNS,
            "",
            vec![Lane { label: "callsign", server: Server::Callsign, work: Work::Scoreboard }],
        ),
        row(
            RowName::Reload,
            format!(
                "{} reloads, 2 workers on all processors, {many} connections{limited} of which {} echo, each every \
                 10 ms; longest time from a message to its answer around each reload, and in the same time without",
                reload::RELOADS,
                reload::ECHOING.min(many)
            ),
            RELOAD_COLUMNS,
            "",
            vec![reloaded("no state", "echo", 25.0), reloaded("small states", "test_session", 100.0)],
        ),
        row(
            RowName::Edit,
            "from saving a source of the chat example to the new code's answer on an open connection, under \
             `callsign dev`; the rest is the total without the build"
                .into(),
            EDIT_COLUMNS,
            "",
            vec![Lane { label: "callsign", server: Server::Callsign, work: Work::Edit }],
        ),
    ];
    rows.retain(|row| only.contains(&row.name));
    rows.iter_mut().for_each(|row| row.lanes.retain(|lane| servers.contains(&lane.server)));
    rows.retain(|row| !row.lanes.is_empty());
    rows
}

impl Lane {
    /// The approximate duration of one measurement.
    pub fn takes(&self, duration: Duration) -> Duration {
        match self.work {
            Work::Reload { .. } => RELOADS_TAKE,
            Work::Edit => EDITS_TAKE,
            _ => duration + BESIDES,
        }
    }

    /// Runs the work on a new server for `duration`; returns one figure per column.
    ///
    /// # Errors
    /// The server did not start, died, disconnected, stalled, or gave a wrong answer.
    pub fn measure(&self, duration: Duration, processors: Processors) -> Result<Vec<f64>> {
        match self.work {
            Work::Echo { connections, size, depth, is_tls } => {
                self.serve(Setup::alone(is_tls), processors, |server| {
                    steps::echo(server, connections, size, depth, duration)
                })
            }
            Work::Broadcast { scope, burst, workers } => {
                self.serve(Setup::Workers(workers), processors, |server| {
                    steps::broadcast(server, scope, burst, workers, duration)
                })
            }
            Work::Deflate { connections, mode } => {
                self.serve(Setup::Compressing(mode), processors, |server| {
                    steps::deflate(server, connections, mode, duration)
                })
            }
            Work::Idle { connections, is_tls } => {
                self.serve(Setup::alone(is_tls), processors, |server| steps::idle(server, connections))
            }
            Work::Scoreboard => {
                pin(processors.server)?;
                Ok(vec![scoreboard::measure(duration)?])
            }
            Work::Reload { connections, plugin, aim_ms } => {
                let [gap, worst, paused, without] = reload::measure(plugin, connections, processors)?;
                Ok(vec![gap, aim_ms, worst, paused, without])
            }
            Work::Edit => {
                let [total, build, rest, by_hand] = edit::measure(processors)?;
                Ok(vec![total, build, rest, EDIT_AIM_MS, by_hand])
            }
        }
    }

    /// Runs a server for one measurement.
    fn serve(
        &self,
        setup: Setup,
        processors: Processors,
        measure: impl FnOnce(&Running) -> Result<Vec<f64>>,
    ) -> Result<Vec<f64>> {
        let mut server = Running::start(self.server, setup, processors)?;
        let result = measure(&server);
        server.unless_dead(result)
    }
}
