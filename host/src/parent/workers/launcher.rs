//! Starts the process of a worker and hands it its setup: index, settings, plan, scoreboard, access log and listening
//! sockets.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Result;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::printed::Printed;
use super::{WorkerSlot, Workers};
use crate::config::plan::Plan;
use crate::config::settings::Settings;
use crate::link::descriptors;
use crate::link::setup::Setup;
use crate::parent::listeners::Listeners;
use crate::serve::confinement;
use crate::system::access_log;
use crate::system::privileges::Identity;
use crate::system::process::{self, Leader};
use crate::system::sandbox::Confinement;
use crate::system::task;

/// What all workers get from the parent.
pub struct Launcher {
    /// The user and group that workers run as.
    pub identity: Option<Identity>,
    /// What workers may do: the same for all, for as long as the server runs, because none can regain access.
    pub confinement: Option<Confinement>,
    /// Closed when the server stops.
    pub listeners: Listeners,
    printed: Printed,
    /// Writes what workers record.
    pub access_log: access_log::Writer,
}

/// A worker that was started.
pub struct Launched {
    pub child: Leader,
    /// The parent's end of the link.
    pub link: UnixStream,
    /// To be written to the link.
    pub setup: Zeroizing<Vec<u8>>,
    /// For the new listening sockets of a reload.
    pub later: descriptors::Sender,
    /// Writes what the worker prints. It ends when no process of the worker can print any more.
    pub printed: JoinHandle<()>,
}

impl Launcher {
    /// Opens the access log, and binds the listening sockets.
    pub fn bind(settings: &Settings, identity: Option<Identity>) -> Result<Self> {
        let access_log = access_log::Writer::open(&settings.access_log.target);
        let access_log = access_log.map_err(|error| settings.located("access_log", error))?;
        let (listeners, printed) = (Listeners::bind(settings, identity)?, Printed::new());
        Ok(Self { identity, confinement: confinement::of(settings), listeners, printed, access_log })
    }

    /// What processes may do that load libraries from this folder.
    pub fn confinement_with(&self, copies: PathBuf) -> Option<Confinement> {
        self.confinement.clone().map(|confinement| Confinement { copies: Some(copies), ..confinement })
    }

    /// Starts a worker for a slot.
    pub fn launch(
        &self,
        slot: &WorkerSlot,
        workers: &Workers,
        plan: &Plan,
        link_max_message: usize,
        copies: PathBuf,
    ) -> Result<Launched> {
        let name = format!("callsign: worker {}", slot.index);
        let (mut child, link) = process::start("worker", &name, self.identity, |command| {
            command.stdout(Stdio::piped());
        })?;
        let (stdout, printed) = (child.take_stdout(), self.printed.clone());
        let printed = task::spawn(format!("stdout of worker {}", slot.index), async move {
            if let Some(stdout) = stdout {
                printed.copy(stdout).await;
            }
        });
        let sockets = self.listeners.sockets(&plan.listeners)?;
        let (later, theirs) = descriptors::channel()?;
        let setup = Setup {
            index: slot.index,
            workers: workers.slots().len(),
            parent: std::process::id(),
            first_connection: slot.accepted_total(),
            plan: plan.clone(),
            link_max_message,
            confinement: self.confinement_with(copies),
        };
        let access_log = self.access_log.source()?;
        let (scoreboard, addresses) = (workers.scoreboard_descriptor(), workers.addresses_descriptor());
        let mut descriptors = vec![scoreboard, addresses, access_log.as_fd(), theirs.as_fd()];
        descriptors.extend(sockets.descriptors());
        let setup = setup.announce(&link, &descriptors).unwrap_or_else(|error| {
            log::debug!("worker {} has not taken its setup: {error:#}", slot.index);
            // If the process is dead already, its exit status explains more than this error.
            child.start_kill();
            Zeroizing::default()
        });
        link.set_nonblocking(true)?;
        Ok(Launched { child, link, setup, later, printed })
    }
}
