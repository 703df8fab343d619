//! Starts the process of a worker and hands it its setup: index, settings, plan, scoreboard and listening sockets.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::{Result, bail};

use super::{WorkerSlot, Workers};
use crate::config::plan::Plan;
use crate::config::settings::Settings;
use crate::link::setup::{LISTENERS_MAX, Setup};
use crate::serve::listen::{self, Bound};
use crate::system::privileges::Identity;
use crate::system::process::{self, Leader};

/// What all workers get from the parent.
pub struct Launcher {
    /// The user and group that workers run as.
    pub identity: Option<Identity>,
    /// Closed when the server stops.
    listeners: RefCell<Vec<Bound>>,
}

impl Launcher {
    /// Binds the listening sockets.
    pub fn bind(settings: &Settings, identity: Option<Identity>) -> Result<Self> {
        let listeners = listen::bind(&settings.listen, identity)?;
        if listeners.len() > LISTENERS_MAX {
            bail!(
                "{} addresses to listen on, and no more than {LISTENERS_MAX} can be (--listen)",
                listeners.len()
            );
        }
        Ok(Self { identity, listeners: RefCell::new(listeners) })
    }

    pub fn addresses(&self) -> Vec<String> {
        self.listeners.borrow().iter().map(|bound| bound.address.clone()).collect()
    }

    pub fn close_listeners(&self) {
        self.listeners.borrow_mut().clear();
    }

    /// Starts a worker for a slot. Returns the process and the parent's end of the link.
    pub fn launch(
        &self,
        slot: &WorkerSlot,
        workers: &Workers,
        settings: &Settings,
        plan: &Plan,
    ) -> Result<(Leader, UnixStream)> {
        let name = format!("callsign: worker {}", slot.index);
        let (mut child, link) = process::start("worker", &name, self.identity, |_| ())?;
        let setup = Setup {
            index: slot.index,
            workers: workers.slots().len(),
            parent: std::process::id(),
            first_connection: slot.accepted_total(),
            plan: plan.clone(),
            settings: settings.clone(),
        };
        let listeners = self.listeners.borrow();
        let mut descriptors = vec![workers.scoreboard_descriptor()];
        descriptors.extend(listeners.iter().map(|bound| bound.listener.as_fd()));
        if let Err(error) = setup.send(&link, &descriptors) {
            log::debug!("worker {} has not taken its setup: {error:#}", slot.index);
            // If the process is dead already, its exit status explains more than this error.
            child.start_kill();
        }
        link.set_nonblocking(true)?;
        Ok((child, link))
    }
}
