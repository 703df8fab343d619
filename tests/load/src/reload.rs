//! What clients notice of a reload: the longest that any of them waits for an answer around one, beside the longest
//! in as much time without. Owns the course of that measurement; knows nothing of how a reload is done.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{Load, Message};
use crate::measure::{Processors, median};
use crate::servers::{Running, callsign_command};

/// Of all connections, those that send.
pub const ECHOING: usize = 200;
/// Between two messages of one of them.
const INTERVAL: Duration = Duration::from_millis(10);
/// Reloads of one measurement.
pub const RELOADS: usize = 10;
/// Of the server.
const WORKERS: usize = 2;
/// Watched before and after each reload.
const AROUND: Duration = Duration::from_millis(100);

/// Milliseconds: the median of the longest gaps around each reload, the longest of all, the median of the pauses that
/// the server tells, and the median of the longest gaps without a reload.
///
/// # Errors
/// A reload was refused, or what [`Load`] tells.
pub fn measure(plugin: &str, connections: usize, processors: Processors) -> Result<[f64; 4]> {
    let control = std::env::temp_dir().join(format!("callsign-load-{}", std::process::id()));
    let mut server = Running::start_callsign(plugin, WORKERS, &control, processors)?;
    let gaps = gaps(server.port, connections, &control, processors);
    server.unless_dead(gaps)
}

fn gaps(port: u16, connections: usize, control: &Path, processors: Processors) -> Result<[f64; 4]> {
    let mut load = Load::open(port, connections, Message::Echo { size: 20 })?;
    let echoing = ECHOING.min(connections);
    let (mut around, mut pauses, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RELOADS {
        let begun = Instant::now();
        let (gap, pause) = gap_around(&mut load, echoing, control, processors)?;
        around.push(milliseconds(gap));
        pauses.push(pause);
        let end = Instant::now() + begun.elapsed();
        without.push(milliseconds(load.longest_gap(echoing, INTERVAL, || Instant::now() < end)?));
    }
    let worst = around.iter().copied().fold(0.0, f64::max);
    let middle = |values| median(values).context("no reload");
    Ok([middle(around)?, worst, middle(pauses)?, middle(without)?])
}

/// The longest gap from a while before a reload to a while after it, and the pause that the server tells.
fn gap_around(
    load: &mut Load,
    echoing: usize,
    control: &Path,
    processors: Processors,
) -> Result<(Duration, f64)> {
    let (begun, mut asked, mut answered) = (Instant::now(), None, None);
    let gap = load.longest_gap(echoing, INTERVAL, || {
        if begun.elapsed() < AROUND {
            return true;
        }
        let asked = asked.get_or_insert_with(|| {
            let control = control.to_owned();
            thread::spawn(move || reload(control, processors))
        });
        if asked.is_finished() {
            answered.get_or_insert_with(Instant::now);
        }
        answered.is_none_or(|answered| answered.elapsed() < AROUND)
    })?;
    let pause = asked.context("no reload")?.join().expect("it does not panic")?;
    Ok((gap, pause))
}

/// What an operator does; the pause that the server tells.
fn reload(control: PathBuf, processors: Processors) -> Result<f64> {
    processors.use_all()?; // the load's is busy
    let output = callsign_command(&["reload", "--control"].map(OsStr::new))?.arg(control).output()?;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "the reload was refused: {}", error.trim());
    let pause =
        said.trim().rsplit_once("paused ").and_then(|(_, pause)| pause.strip_suffix(" ms")?.parse().ok());
    pause.with_context(|| format!("no pause in {said:?}"))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
