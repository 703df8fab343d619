//! A candidate: new generations that are loaded and not in use. A plan enters; a candidate that is ready to commit
//! leaves, or the reason why the reload is rejected.

use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::transfer::Transfer;
use crate::bridge::{host_api, identity};
use crate::client::Client;
use crate::config::access_log::AccessLogFormat;
use crate::config::handshake::HandshakePolicy;
use crate::config::log_level::LogLevel;
use crate::config::plan::Plan;
use crate::config::route::Route;
use crate::config::settings::Limits;
use crate::link::descriptors::Receiver;
use crate::plugin::dispatch::Dispatch;
use crate::plugin::generation::{Generation, LoadSite, PluginState};
use crate::plugin::handler::Handler;
use crate::plugin::hooks::has_data;
use crate::plugin::registry::CandidateRegistry;
use crate::serve::listen::{Acceptors, NextListeners};
use crate::worker::{Bound, Worker};

/// New generations, loaded and not in use.
pub(super) struct Candidate {
    /// Number of the reload.
    pub transaction: u32,
    pub(super) plugins: CandidateRegistry,
    routes: Vec<Route>,
    handshake: HandshakePolicy,
    pub(super) dispatch: Dispatch,
    pub(super) limits: Limits,
    pub(super) log: LogLevel,
    pub(super) access_log: Option<AccessLogFormat>,
    pub(super) listeners: NextListeners,
    pub(super) transfer: Transfer,
    /// The longest pause so far, of those that did not lead to the commit.
    pub paused: Duration,
}

impl Candidate {
    /// Looks up in the files of a plan the names that its routes and live clients use. Nothing is loaded, because a
    /// library that was loaded stays in memory.
    pub fn check(worker: &Worker, plan: &Plan) -> Result<()> {
        let in_use = worker.registry();
        let outlines = in_use.outline_candidate(&plan.plugins)?;
        let checked = Dispatch::resolve(&outlines.registry, &plan.routes, &plan.handshake)
            .and_then(|_| check_bound_handlers(&outlines, &worker.bound()));
        outlines.discard(&in_use);
        checked
    }

    /// Loads the new generations of a plan, resolves its routes, reads its certificates and takes its new listening sockets.
    /// No hook runs, and clients are served as before.
    pub fn load(
        worker: &Worker,
        acceptors: &Acceptors,
        sent: &Receiver,
        transaction: u32,
        plan: &Plan,
    ) -> Result<Self> {
        let listeners = NextListeners::load(acceptors, &plan.listeners, transaction, sent)?;
        let plugins = worker.registry().load_candidate(&plan.plugins, host_api::table())?;
        let (routes, handshake, limits) = (plan.routes.clone(), plan.handshake.clone(), plan.limits);
        if let Some(uplink) = worker.parent.uplink() {
            // Workers that commit before this one may send such messages.
            uplink.raise_max_message(limits.max_message);
        }
        match Dispatch::resolve(&plugins.registry, &routes, &handshake) {
            Ok(dispatch) => {
                let (transfer, paused) = (Transfer::default(), Duration::ZERO);
                let (log, access_log) = (plan.log, plan.access_log.recorded_format());
                Ok(Self {
                    transaction,
                    plugins,
                    routes,
                    handshake,
                    dispatch,
                    listeners,
                    limits,
                    log,
                    access_log,
                    transfer,
                    paused,
                })
            }
            Err(error) => {
                plugins.discard(&worker.registry());
                Err(error)
            }
        }
    }

    /// Starts the new generations and carries the old generations' state over. After an error the candidate has to be
    /// rolled back.
    pub fn prepare(&mut self, worker: &Worker) -> Result<()> {
        // The parent may put later records into another file.
        worker.access_log_pipe.get().iter().for_each(|log| log.flush());
        let in_use = worker.registry();
        // Handshakes may have resolved names for the first time since the load.
        if self.plugins.refresh_handlers(&in_use) {
            self.dispatch = Dispatch::resolve(&self.plugins.registry, &self.routes, &self.handshake)?;
        }
        check_bound_handlers(&self.plugins, &worker.bound())?;
        for index in self.plugins.loaded.clone() {
            let new = self.plugins.registry.plugin(index).clone();
            let old = in_use.get(index);
            let state = old.map(|old| save_plugin_state(old)).transpose();
            let state = state.with_context(|| new.label())?.flatten();
            let without_data = connections_without_data(worker);
            let replaces = old.map(|old| old.generation);
            let site = LoadSite { is_probe: false, worker: identity::get().0, replaces };
            let started = new.start(state.as_ref(), site);
            self.transfer.take_new_data(index, without_data);
            started.with_context(|| new.label())?;
            if let Some(old) = old {
                let (save, restore) = (old.hooks("save hook"), new.hooks("restore hook"));
                self.transfer
                    .carry_over(worker.hub.members(), index, save, restore)
                    .with_context(|| new.label())?;
            }
        }
        if self.plugins.loaded.len() > 1 {
            self.transfer.check_conflicts(|index| &self.plugins.registry.plugin(index).name)?;
        }
        Ok(())
    }
}

/// Fails if the new generations lack a handler that live clients are bound to.
fn check_bound_handlers(plugins: &CandidateRegistry, bound: &HashMap<*const Handler, Bound>) -> Result<()> {
    let lost = plugins.changes.iter().filter(|change| change.function.is_none());
    for handler in lost.map(|change| change.handler) {
        let Some(Bound { clients: count, example, .. }) = bound.get(&ptr::from_ref(handler)) else {
            continue;
        };
        let name = format!("{}:{}", handler.plugin_name, handler.name);
        let missing = match plugins.registry.resolve(None, &name, handler.kind) {
            Ok(_) => format!("{handler} has moved"),
            Err(unresolved) => unresolved.to_string(),
        };
        let example = example.as_ref().map_or_else(
            || "a client that is being upgraded".to_owned(),
            |c| format!("connection {} ({})", c.id(), c.peer()),
        );
        let (clients, use_) = if *count == 1 { ("client", "uses") } else { ("clients", "use") };
        let stop = if missing.ends_with('?') { "" } else { "." };
        bail!(
            "{missing}{stop} {count} live {clients} of this worker {use_} it, such as {example}; keep it until \
             they have left"
        );
    }
    Ok(())
}

/// Has a generation save the state that belongs to no connection. None: it saves none.
fn save_plugin_state(old: &Generation) -> Result<Option<PluginState>> {
    let hooks = old.hooks("save hook");
    let bytes = hooks.save_plugin().map_err(|reason| anyhow!("its state cannot be saved: {reason}"))?;
    Ok(bytes.map(|bytes| PluginState { version: hooks.state_version, bytes }))
}

/// The connections without data of a plugin.
pub(super) fn connections_without_data(worker: &Worker) -> Vec<Rc<Client>> {
    worker.hub.members().into_iter().filter(|c| !has_data(&**c)).collect()
}
