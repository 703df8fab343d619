//! The end of a reload: a candidate is committed or rolled back.
//!
//! Invariant: data in a connection is released by the generation that put it there, before that generation is retired.

use std::rc::Rc;

use super::candidate::{Candidate, connections_without_data};
use crate::bridge::background::Background;
use crate::bridge::timers::Timers;
use crate::bridge::worker_messages::WorkerMessages;
use crate::client::Client;
use crate::plugin::call;
use crate::plugin::generation::Generation;
use crate::plugin::hooks::{ConnectionData, has_data, swap_data};
use crate::serve::listen::Acceptors;
use crate::system::log as logging;
use crate::worker::Worker;
use crate::worker::callbacks::release;

impl Candidate {
    /// Puts the new generations and listeners into use, and ends the old ones.
    pub fn commit(self, worker: &'static Worker, acceptors: &Acceptors) {
        let before = worker.registry();
        let plugins = self.plugins;
        plugins.loaded.iter().filter_map(|&index| before.get(index)).for_each(|old| old.label_release_hook());
        let depart = |c: &Rc<Client>| {
            let stays = worker.depart(c);
            // The old generation has freed the data. Cleared also in a connection that is closing, because the new
            // generation will see that connection leave.
            swap_data(&**c, ConnectionData::NONE);
            stays
        };
        let restarts: Vec<_> = self.transfer.restarts.into_iter().filter(depart).collect();
        plugins.apply_changes();
        for (c, index, data) in self.transfer.restored {
            if let Some(old) = before.get(index)
                && has_data(&*c)
            {
                release(old, &c);
            }
            swap_data(&*c, data);
        }
        plugins.new_generations().for_each(|new| new.label_release_hook());
        worker.serve(Rc::new(plugins.registry), Rc::new(self.dispatch));
        acceptors.commit(worker, self.listeners);
        worker.use_limits(&self.limits);
        worker.access_log_pipe.get().iter().for_each(|log| log.set_format(self.access_log));
        logging::set_level(self.log.into());
        restarts.iter().for_each(|c| worker.arrive(c));
        let replaced =
            plugins.loaded.into_iter().chain(plugins.removed).filter_map(|index| before.get(index));
        replaced.for_each(|old| unload(worker, old));
    }

    /// Ends the new generations, which were never in use. Their hooks run muted.
    pub fn roll_back(self, worker: &Worker) {
        call::muted(|| self.roll_back_muted(worker));
    }

    fn roll_back_muted(self, worker: &Worker) {
        let in_use = worker.registry();
        for new in self.plugins.new_generations() {
            new.label_release_hook();
            in_use.get(new.index).into_iter().for_each(|old| old.label_release_hook());
        }
        for (c, index, data) in &self.transfer.restored {
            let current = swap_data(&**c, *data);
            release(self.plugins.registry.plugin(*index), c);
            swap_data(&**c, current);
        }
        self.plugins.new_generations().for_each(|new| end_deferred(new));
        self.plugins.discard(&in_use);
    }
}

/// Ends an old generation.
fn unload(worker: &Worker, old: &Generation) {
    let without_data = connections_without_data(worker);
    // First, because the unload hook may still defer tasks, which then end with the others.
    old.unload();
    end_deferred(old);
    // Data that this has put into connections is released here. The new generation would take it for its own.
    for c in without_data.into_iter().filter(|c| has_data(&**c)) {
        release(old, &c);
        swap_data(&*c, ConnectionData::NONE);
    }
    old.retire();
}

/// Ends the timers, background work and message handlers of a generation.
fn end_deferred(plugin: &Generation) {
    Timers::current().end_generation(plugin.index, plugin.generation);
    Background::current().end_generation(plugin.index, plugin.generation);
    WorkerMessages::current().end_generation(plugin.index, plugin.generation);
}
