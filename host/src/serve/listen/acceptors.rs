//! The listening sockets of a worker: it accepts from all of them. A reload adds sockets, changes how the clients of some
//! are served, and removes others.
//!
//! Invariant: a worker accepts from a new socket only after the commit, and connections of a removed one stay.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyhow::{Result, bail};
use tokio::task::JoinHandle;

use super::Listener;
use super::accept::{Acceptor, Terms, accept};
use crate::config::plan::PlannedListener;
use crate::link::descriptors;
use crate::serve::certificates;
use crate::system::process::fork;
use crate::worker::Worker;
use crate::worker::listening::Listening;

/// The listening sockets that a worker accepts from.
#[derive(Default)]
pub struct Acceptors {
    running: RefCell<Vec<Running>>,
    /// Those that were removed, until the last client that waited is accepted.
    ending: RefCell<Vec<JoinHandle<()>>>,
    /// Whether the worker accepts nobody any more.
    is_closed: Cell<bool>,
}

struct Running {
    /// As in [`PlannedListener`].
    id: u32,
    terms: Rc<Terms>,
    task: JoinHandle<()>,
}

/// The listeners of a plan that is not in use yet.
pub struct NextListeners {
    /// In the order of the plan.
    all: Vec<(u32, Rc<Listening>)>,
    /// The sockets of those that the worker has not got yet.
    new: Vec<(u32, Listener)>,
}

impl NextListeners {
    /// Those of a worker that starts.
    pub fn first(plan: &[PlannedListener], listeners: Vec<Listener>) -> Result<Self> {
        if plan.len() != listeners.len() {
            bail!("the parent has sent {} listening sockets for {} listeners", listeners.len(), plan.len());
        }
        let new = plan.iter().map(|planned| planned.id).zip(listeners).collect();
        Ok(Self { all: configure(plan)?, new })
    }

    /// Those of a reload. The parent has sent the new sockets, with the number of the transaction.
    pub fn load(
        acceptors: &Acceptors,
        plan: &[PlannedListener],
        transaction: u32,
        sent: &descriptors::Receiver,
    ) -> Result<Self> {
        // First, so that none is left if there is an error.
        let sent = sent.receive(transaction)?;
        if acceptors.is_closed.get() {
            // The worker drains.
            return Ok(Self { all: configure(plan)?, new: Vec::new() });
        }
        let ids: Vec<_> = plan.iter().map(|planned| planned.id).filter(|&id| !acceptors.has(id)).collect();
        if ids.len() != sent.len() {
            bail!("the parent has sent {} listening sockets for {} new listeners", sent.len(), ids.len());
        }
        sent.iter().for_each(fork::add_listening);
        let listeners = sent.into_iter().map(Listener::from_descriptor).collect::<Result<Vec<_>>>()?;
        Ok(Self { all: configure(plan)?, new: ids.into_iter().zip(listeners).collect() })
    }
}

fn configure(plan: &[PlannedListener]) -> Result<Vec<(u32, Rc<Listening>)>> {
    Ok(plan.iter().map(|planned| planned.id).zip(certificates::configure_all(plan)?).collect())
}

impl Acceptors {
    fn has(&self, id: u32) -> bool {
        self.running.borrow().iter().any(|running| running.id == id)
    }

    /// Accepts clients of these listeners from now on, and of no others.
    pub fn commit(&self, worker: &'static Worker, next: NextListeners) {
        let NextListeners { all, new } = next;
        if self.is_closed.get() {
            return;
        }
        let mut running = self.running.borrow_mut();
        let mut ending = self.ending.borrow_mut();
        ending.retain(|task| !task.is_finished());
        for removed in running.extract_if(.., |running| all.iter().all(|(id, _)| *id != running.id)) {
            removed.terms.remove();
            ending.push(removed.task);
        }
        for (id, listening) in &all {
            running.iter().filter(|it| it.id == *id).for_each(|it| it.terms.replace(listening.clone()));
        }
        for (id, listener) in new {
            let Some((_, listening)) = all.iter().find(|(of, _)| *of == id) else { continue };
            let terms = Rc::new(Terms::new(listening.clone()));
            match Acceptor::new(listener, terms.clone()) {
                Ok(acceptor) => {
                    let task = tokio::task::spawn_local(accept(worker, acceptor));
                    running.push(Running { id, terms, task });
                }
                Err(error) => log::error!(
                    "cannot accept clients of {}: {error}; restart the server",
                    listening.settings.address
                ),
            }
        }
    }

    /// Closes all listening sockets.
    pub fn close(&self) {
        self.is_closed.set(true);
        let running = self.running.take().into_iter().map(|running| running.task);
        running.chain(self.ending.take()).for_each(|task| task.abort());
    }
}
