//! The steps of a measurement on a running server: connections, warm-up, window.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{DeflateLoad, Load, Message, Scope, Window};
use crate::measure::{Tree, percentile};
use crate::servers::{Compression, PATIENCE, Running};

/// Long enough for buffers to reach their final size and for the processor to leave its sleep states.
const WARM_UP: Duration = Duration::from_millis(300);
/// Time between the last upgrade and reading the memory, in which servers finish the upgrade.
const SETTLE: Duration = Duration::from_millis(300);

/// Connections of a broadcast.
pub const CROWD: usize = 1000;

/// In the order of `MESSAGE_COLUMNS`.
pub fn echo(
    server: &Running,
    connections: usize,
    size: usize,
    depth: u64,
    duration: Duration,
) -> Result<Vec<f64>> {
    let mut load = Load::open(server.target(), connections, Message::Echo { size })?;
    let tree = Tree::of(server.pid())?;
    load.echo(depth, WARM_UP)?;
    let before = tree.cpu()?;
    let window = load.echo(depth, duration)?;
    figures(before, tree.cpu()?, window)
}

/// In the order of `MESSAGE_COLUMNS`.
pub fn broadcast(
    server: &Running,
    scope: Scope,
    burst: u64,
    workers: usize,
    duration: Duration,
) -> Result<Vec<f64>> {
    let (mut load, tree) = crowd(server, scope, workers)?;
    load.broadcast(burst, WARM_UP)?;
    let before = tree.cpu()?;
    let window = load.broadcast(burst, duration)?;
    figures(before, tree.cpu()?, window)
}

/// In the order of `MEMORY_COLUMNS`.
pub fn idle(server: &Running, connections: usize) -> Result<Vec<f64>> {
    let tree = Tree::of(server.pid())?;
    let before = tree.memory_kib()?;
    let mut load = Load::open(server.target(), connections, Message::Echo { size: 20 })?;
    load.silence(SETTLE)?;
    Ok(vec![(tree.memory_kib()? - before) / connections as f64])
}

/// In the order of `DEFLATE_COLUMNS`.
pub fn deflate(
    server: &Running,
    connections: usize,
    mode: Compression,
    duration: Duration,
) -> Result<Vec<f64>> {
    let tree = Tree::of(server.pid())?;
    let memory = tree.memory_kib()?;
    let mut load = DeflateLoad::open(server.port, connections, mode != Compression::Off)?;
    load.echo(WARM_UP)?;
    let before = tree.cpu()?;
    let (window, ratio) = load.echo(duration)?;
    let mut figures = figures(before, tree.cpu()?, window)?;
    figures.extend([ratio, (tree.memory_kib()? - memory) / connections as f64]);
    Ok(figures)
}

/// Opens the connections of a broadcast. Repeats until they spread over all workers, because some workers may
/// start to serve later than others.
fn crowd(server: &Running, scope: Scope, workers: usize) -> Result<(Load, Tree)> {
    let started = Instant::now();
    loop {
        let load = Load::open(server.port, CROWD, Message::Broadcast { scope, size: 64 })?;
        let tree = Tree::of(server.pid())?;
        if tree.with_open_files(CROWD / workers / 2) == workers {
            return Ok((load, tree));
        }
        ensure!(started.elapsed() < PATIENCE, "{CROWD} connections do not spread over {workers} workers");
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
