//! A task that a plugin has deferred, with the plugin's generation and the connection that it belongs to. `timers` and
//! `background` decide when it is called.
//!
//! Invariant: a task is not called once it is cancelled, and its owner frees it exactly once.

use std::cell::Cell;
use std::rc::Rc;

use callsign_plugin::abi::{self, status};

use crate::client::Client;
use crate::plugin::callers;
use crate::plugin::deferred::Task;
use crate::plugin::handler::{HandlerRef, Kind};
use crate::worker::Worker;

/// A deferred task. Its owner has to [`free`](Self::free) it.
#[derive(Debug)]
#[must_use]
pub struct DeferredTask {
    task: Task,
    label: HandlerRef,
    generation: u32,
    connection: Option<u64>,
    cancelled: Cell<bool>,
}

impl DeferredTask {
    /// A task of the calling plugin, for an open connection or for none (0). Err: the [`status`] to return.
    pub(super) fn new(
        caller: *const *const abi::Host,
        kind: Kind,
        connection: u64,
        task: Task,
    ) -> Result<Self, i32> {
        if !callers::on_worker_thread() {
            return Err(status::WRONG_THREAD);
        }
        let connection = (connection != 0).then_some(connection);
        if connection.is_some_and(|id| find_connection(id).is_none()) {
            return Err(status::CLOSED);
        }
        let (label, generation) = callers::identify(caller, kind)?;
        Ok(Self { task, label, generation, connection, cancelled: Cell::new(false) })
    }

    /// The handler that it is called as.
    pub fn label(&self) -> HandlerRef {
        self.label
    }

    /// Id of the connection that the task belongs to.
    pub fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// Whether that generation of that plugin deferred the task.
    pub fn belongs_to(&self, plugin: usize, generation: u32) -> bool {
        self.owner() == (plugin, generation)
    }

    /// Index and generation of the plugin that deferred the task.
    pub fn owner(&self) -> (usize, u32) {
        (self.label.plugin, self.generation)
    }

    /// Cancels the task: it will only be freed.
    pub fn cancel(&self) {
        self.cancelled.set(true);
    }

    /// Whether the task was cancelled, explicitly or because its connection is not open any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get() || self.connection.is_some_and(|id| find_connection(id).is_none())
    }

    /// Calls the plugin's function, unless the task is cancelled. A failure closes the task's connection.
    pub fn call(&self) {
        if self.is_cancelled() {
            return;
        }
        let c = self.connection.and_then(find_connection);
        if let Err(reason) = self.task.call(self.label, c.as_deref()) {
            self.fail(&reason);
        }
    }

    /// Handles a failure of the plugin's function, or of what should have come before it: closes the task's connection.
    pub fn fail(&self, reason: &str) {
        match (self.connection.and_then(find_connection), Worker::current()) {
            (Some(c), Some(worker)) => worker.handler_failed(&c, self.label, reason),
            _ => log::error!("{} failed: {reason}", self.label),
        }
    }

    /// Has the plugin free the task's data.
    pub fn free(self) {
        if let Err(reason) = self.task.free(self.label) {
            log::error!("{}: its data cannot be freed: {reason}", self.label);
        }
    }
}

fn find_connection(id: u64) -> Option<Rc<Client>> {
    Worker::current().and_then(|worker| worker.hub.find(id))
}

/// Tasks of a fake plugin, for the tests of the modules that store them.
#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::plugin::deferred::tests::{label, of_closure as task_of_closure};

    /// A task of plugin 0 in that generation, which runs a closure.
    pub fn of_closure<F: FnMut() + 'static>(generation: u32, f: F) -> DeferredTask {
        let label = label(Kind::Timer);
        DeferredTask {
            task: task_of_closure(f),
            label,
            generation,
            connection: None,
            cancelled: Cell::new(false),
        }
    }
}
