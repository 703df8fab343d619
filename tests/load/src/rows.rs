//! What is measured. Owns the rows of the benchmark, the lanes of each (a server at a work) and the course of
//! one measurement: fresh server, warm-up, window. Figures leave, one per column of the row.
//! It knows nothing about rounds and ratios.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::client::{Load, Message, Scope, Window};
use crate::measure::{Processors, Tree, percentile, pin};
use crate::scoreboard;
use crate::servers::{PATIENCE, Running, Server};

/// Long enough for buffers to grow to their size and for the processor to leave its sleep.
const WARM_UP: Duration = Duration::from_millis(300);
/// After the last upgrade, before memory is read: servers finish what they do after the answer.
const SETTLE: Duration = Duration::from_millis(300);
/// Connections of the row `idle`, where the limit of open files allows it.
const IDLE_CONNECTIONS: usize = 10_000;
/// Descriptors that a process needs besides its connections.
const OTHER_FILES: u64 = 64;

/// The rows by the names that `--only` takes.
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
    /// One of 1000 connections x 64 B to all others: single messages beside bursts of 32 (callsign alone)
    Broadcast,
    /// The same to all workers' clients with 1, 2 and 4 workers, beside one worker's LOCAL (callsign alone)
    FanOut,
    /// The same in bursts of 32
    #[value(name = "fan-out-32")]
    FanOut32,
    /// Memory per connection of 10 000 silent ones
    Idle,
    /// What each callback pays for being on the scoreboard (callsign alone)
    Scoreboard,
}

impl RowName {
    /// All rows, in the order in which they are measured.
    pub const NAMES: [&'static str; 8] =
        ["echo", "echo-32", "echo-16k", "broadcast", "fan-out", "fan-out-32", "idle", "scoreboard"];

    /// The name as `--only` takes it.
    pub fn text(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// One figure of a row: the first is the cost that ratios are made of.
pub struct Column {
    pub title: &'static str,
    pub key: &'static str,
    pub decimals: usize,
}

const MESSAGE_COLUMNS: &[Column] = &[
    Column { title: "CPU us/msg", key: "cpu_us_per_message", decimals: 3 },
    Column { title: "msg/s", key: "messages_per_second", decimals: 0 },
    Column { title: "p50 us", key: "p50_us", decimals: 0 },
    Column { title: "p99 us", key: "p99_us", decimals: 0 },
    Column { title: "p99.9 us", key: "p999_us", decimals: 0 },
];
const MEMORY_COLUMNS: &[Column] = &[Column { title: "KiB/conn", key: "kib_per_connection", decimals: 2 }];

/// One table: a work, and who does it.
pub struct Row {
    pub name: RowName,
    pub title: String,
    pub columns: &'static [Column],
    pub lanes: Vec<Lane>,
    /// Label of the lane that the others are divided by.
    pub reference: &'static str,
}

/// One line of a table.
pub struct Lane {
    pub label: &'static str,
    server: Server,
    work: Work,
}

#[derive(Clone, Copy)]
enum Work {
    Echo { connections: usize, size: usize, depth: u64 },
    /// From one of 1000 connections to all others of the scope, 64 B.
    Broadcast { scope: Scope, burst: u64, workers: usize },
    Idle { connections: usize },
    /// Needs no server.
    Scoreboard,
}

/// The rows that were asked for, with a lane for each server that can do the work.
pub fn rows(only: &[RowName], servers: &[Server], open_files: u64) -> Vec<Row> {
    let allowed = open_files.saturating_sub(OTHER_FILES) as usize;
    let idle = IDLE_CONNECTIONS.min(allowed);
    let limited = if idle < IDLE_CONNECTIONS { " (all that the limit of open files allows)" } else { "" };
    let row = |name, title: String, columns, reference, lanes| Row { name, title, columns, lanes, reference };
    let everybody = |work| -> Vec<Lane> {
        servers.iter().map(|&server| Lane { label: server.name(), server, work }).collect()
    };
    let echo = |name, connections, size, depth, title: &str| {
        row(name, title.into(), MESSAGE_COLUMNS, "floor", everybody(Work::Echo { connections, size, depth }))
    };
    let lane = |label, burst| {
        let work = Work::Broadcast { connections: 1000, size: 64, burst };
        Lane { label, server: Server::Callsign, work }
    };
    let broadcast = vec![lane("callsign x 32", 32), lane("callsign x 1", 1)];

    let mut rows = vec![
        echo(RowName::Echo, 100, 20, 1, "100 connections x 20 B, one message at a time"),
        echo(RowName::Echo32, 100, 20, 32, "100 connections x 20 B, 32 messages in one write, then wait for all 32"),
        echo(RowName::Echo16k, 50, 16 << 10, 1, "50 connections x 16 KiB, one message at a time"),
        row(
            RowName::Broadcast,
            "from one of 1000 connections to all others, 64 B, in bursts of 32 and one at a time; msg = delivery".into(),
            MESSAGE_COLUMNS,
            "callsign x 1",
            broadcast,
        ),
        row(
            RowName::Idle,
            format!("{idle} silent connections{limited}: memory of the server's processes"),
            MEMORY_COLUMNS,
            "floor",
            everybody(Work::Idle { connections: idle }),
        ),
    ];
    rows.retain(|row| only.contains(&row.name));
    rows.iter_mut().for_each(|row| row.lanes.retain(|lane| servers.contains(&lane.server)));
    rows.retain(|row| !row.lanes.is_empty());
    rows
}

impl Lane {
    /// Starts the server, puts the work on it for `duration` and returns one figure per column.
    ///
    /// # Errors
    /// The server did not start, died, hung up, stalled, or gave a wrong answer.
    pub fn measure(&self, duration: Duration, processors: Processors) -> Result<Vec<f64>> {
        let mut server = Running::start(self.server, processors)?;
        let result = self.work.run(&server, duration);
        match server.death()? {
            Some(status) => bail!("the server died ({status})"),
            None => result,
        }
    }
}

impl Work {
    fn run(self, server: &Running, duration: Duration) -> Result<Vec<f64>> {
        let tree = Tree::of(server.pid())?;
        match self {
            Self::Echo { connections, size, depth } => {
                let mut load = Load::open(server.port, connections, Message::Echo { size })?;
                load.echo(depth, WARM_UP)?;
                let before = tree.cpu()?;
                let window = load.echo(depth, duration)?;
                figures(before, tree.cpu()?, window)
            }
            Self::Broadcast { connections, size, burst } => {
                let mut load = Load::open(server.port, connections, Message::Broadcast { size })?;
                load.broadcast(burst, WARM_UP)?;
                let before = tree.cpu()?;
                let window = load.broadcast(burst, duration)?;
                figures(before, tree.cpu()?, window)
            }
            Self::Idle { connections } => {
                let before = tree.memory_kib()?;
                let mut load = Load::open(server.port, connections, Message::Echo { size: 20 })?;
                load.silence(SETTLE)?;
                Ok(vec![(tree.memory_kib()? - before) / connections as f64])
            }
        }
    }
}

/// In the order of `MESSAGE_COLUMNS`.
fn figures(before: Duration, after: Duration, mut window: Window) -> Result<Vec<f64>> {
    let cpu =
        after.checked_sub(before).context("threads of the server ended and took their CPU time along")?;
    window.latencies_us.sort_unstable();
    let messages = window.messages as f64;
    let latency = |part| percentile(&window.latencies_us, part);
    Ok(vec![
        cpu.as_secs_f64() * 1e6 / messages,
        messages / window.elapsed.as_secs_f64(),
        latency(0.5),
        latency(0.99),
        latency(0.999),
    ])
}
