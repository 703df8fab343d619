//! The asking process: starts a probe, waits for its answer, its end or the time limit, and kills it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use super::report::{add_stack, describe_exit, describe_hang};
use super::{Request, TimeLimit, Trial};
use crate::link::inventory::Inventory;
use crate::link::{Decoder, Tag, setup};
use crate::system::crash;
use crate::system::pool::Pool;
use crate::system::privileges::Identity;
use crate::system::process::{self, Leader};
use crate::system::sandbox::Confinement;
use crate::system::sanitize::sanitize;
use crate::system::scoreboard::{Crash, Scoreboard};

/// Time for the crash handler of a hanging probe to record the call stack.
const ABORT_GRACE: Duration = Duration::from_millis(2500);
/// Time to look up the call stack of a probe that crashed or hung: debug information may be large.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Time to read the answer of a probe that has exited. Limited, because a plugin may have left a process behind that
/// keeps the probe's socket open.
const LAST_ANSWER: Duration = Duration::from_millis(100);

/// Finds out in another process whether the plugins of a trial load and its routes resolve within the time limit. The
/// probe runs as `identity`, by default as this user. A probe that hangs then gets a few seconds to record where.
///
/// # Errors
/// The first line says what happened to which plugin. Further lines, if any, are the call stack of a crash or hang.
pub async fn probe(
    trial: Trial,
    identity: Option<Identity>,
    time_limit: TimeLimit,
) -> Result<Inventory, String> {
    let plugins = trial.plugins.clone();
    let note = trial.confinement.as_ref().map(Confinement::note).unwrap_or_default();
    match run(trial, identity, time_limit).await {
        Ok(Outcome::Loaded(loaded)) => Ok(loaded),
        Ok(Outcome::Failed(reason)) => Err(reason),
        Ok(Outcome::Died { what, crash }) => {
            // Not on this thread, because reading debug information is slow.
            let describe = move || crash.map(|crash| crash::describe(&crash)).unwrap_or_default();
            let pool = Pool::new("backtrace", 1);
            let stack = tokio::time::timeout(LOOK_UP, pool.call(describe)).await;
            Err(add_stack(what + &note, stack.unwrap_or_default(), &plugins))
        }
        Err(error) => Err(format!("cannot probe the plugins in another process: {error:#}")),
    }
}

/// The outcome of a trial.
enum Outcome {
    Loaded(Inventory),
    /// The probe answered why not.
    Failed(String),
    /// The probe died without an answer, or hung.
    Died {
        what: String,
        crash: Option<Crash>,
    },
}

async fn run(trial: Trial, identity: Option<Identity>, time_limit: TimeLimit) -> Result<Outcome> {
    let (scoreboard, descriptor) = Scoreboard::create(1).context("no shared memory for the scoreboard")?;
    let slot = scoreboard.slot(0);
    let (plugins, is_confined) = (trial.plugins.clone(), trial.confinement.is_some());
    let (mut child, link) = spawn(trial, identity, &descriptor)?;
    let mut link = tokio::net::UnixStream::from_std(link)?;
    let end = async {
        tokio::select! {
            biased;
            Some(outcome) = read_answer(&mut link) => End::Answered(outcome),
            status = child.wait() => End::Exited(status),
        }
    };
    let end = tokio::time::timeout(time_limit.left, end).await;
    let outcome = match end {
        Ok(End::Answered(outcome)) => outcome,
        Ok(End::Exited(status)) => match tokio::time::timeout(LAST_ANSWER, read_answer(&mut link)).await {
            Ok(Some(outcome)) => outcome,
            _ => Outcome::Died {
                what: describe_exit(slot, &plugins, status?, is_confined),
                crash: slot.crash(),
            },
        },
        Err(_) => {
            let what = format!("{} {}", describe_hang(slot, &plugins), time_limit.within);
            // SIGABRT has the probe's crash handler record the call stack.
            if let Some(pid) = child.pid() {
                let _ = rustix::process::kill_process(pid, Signal::ABORT);
            }
            let _ = tokio::time::timeout(ABORT_GRACE, child.wait()).await;
            Outcome::Died { what, crash: slot.crash() }
        }
    };
    // Kills the whole process group, which includes processes that a plugin has started. Also reaps a probe that has
    // exited already.
    child.kill().await;
    Ok(outcome)
}

/// The first event of a probe.
enum End {
    Answered(Outcome),
    Exited(std::io::Result<ExitStatus>),
}

fn spawn(trial: Trial, identity: Option<Identity>, scoreboard: &OwnedFd) -> Result<(Leader, UnixStream)> {
    let (child, ours) = process::start("probe", "callsign: probe", identity, |command| {
        // Discarded: a plugin may print, and that is not part of the answer.
        command.stdout(Stdio::null()).kill_on_drop(true);
    })?;
    let request = Request { parent: std::process::id(), trial };
    setup::send(&request, &ours, &[scoreboard.as_fd()]).context("cannot send the probe its request")?;
    ours.set_nonblocking(true)?;
    Ok((child, ours))
}

/// Reads the probe's answer. None: the link ended without an answer, so the probe has exited or soon will.
async fn read_answer(link: &mut tokio::net::UnixStream) -> Option<Outcome> {
    let mut decoder = Decoder::new(0);
    loop {
        match decoder.take().ok()? {
            Some((Tag::Ready, text)) => return Some(Outcome::Loaded(serde_json::from_slice(&text).ok()?)),
            Some((Tag::Failed, text)) => {
                return Some(Outcome::Failed(sanitize(&String::from_utf8_lossy(&text))));
            }
            Some(_) => return None,
            None => {}
        }
        if link.read_buf(&mut decoder.buffer).await.ok()? == 0 {
            return None;
        }
    }
}
