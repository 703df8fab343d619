//! The probe process: receives a request over standard input, loads the plugins, and answers. The process never exits
//! by itself.

use std::io::Write;
use std::os::fd::AsFd;

use anyhow::{Context, Result};

use super::{Request, Trial};
use crate::config::handshake::HandshakePolicy;
use crate::link::inventory::Inventory;
use crate::link::{self, Tag, setup};
use crate::plugin::describe::inventory;
use crate::plugin::dispatch::Dispatch;
use crate::plugin::generation::LoadSite;
use crate::serve::confine;
use crate::serve::reload::load_initial_plugins;
use crate::system::crash;
use crate::system::process::{
    block_on, end_with_parent, fork, open_scoreboard, set_name, take_link, write_in_background,
};
use crate::system::scoreboard;

/// Runs the process.
pub fn run_probe() -> Result<()> {
    let socket = take_link("`callsign probe` is started by callsign itself, not by hand")?;
    let (Request { parent, trial }, descriptors) = setup::receive::<Request>(&socket)?;
    set_name("callsign-probe");
    write_in_background();
    end_with_parent(parent)?;
    let scoreboard = open_scoreboard(descriptors.into_iter().next())?;
    scoreboard::adopt(scoreboard.slot(0));
    crash::install(scoreboard.slot(0)).context("cannot install the crash handler")?;
    fork::watch(&[socket.as_fd()], &[]).context("cannot watch for forks")?;
    // Before the runtime, and before any thread.
    let confined = confine(trial.confinement.as_ref());
    block_on(async {
        let answer = match confined.and_then(|()| load(&trial)) {
            Ok(loaded) => link::message(Tag::Ready, link::text(&serde_json::to_string(&loaded)?)),
            Err(error) => link::message(Tag::Failed, link::text(&format!("{error:#}"))),
        };
        (&socket).write_all(&answer)?;
        // The asking process kills the probe: how a library behaves when its process exits is not part of the trial.
        std::future::pending().await
    })
}

fn load(trial: &Trial) -> Result<Inventory> {
    let registry = load_initial_plugins(&trial.plugins, |name| {
        let replaced = trial.serving.iter().find(|(serving, _)| serving == name);
        LoadSite { is_probe: true, worker: 0, replaces: replaced.map(|(_, generation)| *generation) }
    })?;
    let resolve = |routes| Dispatch::resolve(&registry, routes, &HandshakePolicy::default());
    let dispatch = match &trial.routes {
        Some(routes) => resolve(routes)?,
        None => resolve(&[]).unwrap_or_else(|_| Dispatch::nothing()),
    };
    Ok(inventory(&registry, &dispatch))
}
