//! What clients notice of a reload: the longest wait for an answer around a reload, and the longest in the
//! same time without one. Owns the steps of this measurement; knows nothing about how a reload works.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{Load, Message};
use crate::measure::{Processors, median};
use crate::servers::{Running, callsign_command};

/// Number of connections that send.
pub const ECHOING: usize = 200;
/// Time between two messages of one connection.
const INTERVAL: Duration = Duration::from_millis(10);
/// Reloads per measurement.
pub const RELOADS: usize = 10;
/// Workers of the server.
const WORKERS: usize = 2;
/// Time that is observed before and after each reload.
const AROUND: Duration = Duration::from_millis(100);

/// In milliseconds: the median and the maximum of the longest gaps around each reload, the median of the
/// pauses that the server reports, and the median of the longest gaps without a reload.
///
/// # Errors
/// A reload was rejected, or an error of [`Load`].
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

/// The longest gap around one reload, and the pause that the server reports.
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
    let pause = asked.context("no reload")?.join().expect("the thread does not panic")?;
    Ok((gap, pause))
}

/// Runs `callsign reload`; returns the pause that the server reports.
fn reload(control: PathBuf, processors: Processors) -> Result<f64> {
    processors.use_all()?; // the load keeps its own processor busy
    let output =
        callsign_command(&["reload", "--force", "--control"].map(OsStr::new))?.arg(control).output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "the reload was rejected: {}", stderr.trim());
    let pause =
        stdout.trim().rsplit_once("paused ").and_then(|(_, pause)| pause.strip_suffix(" ms")?.parse().ok());
    pause.with_context(|| format!("no pause in {stdout:?}"))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
