//! The worker's part in a reload: loads the new copies beside the old ones, has them take over what the old ones
//! keep, and then either uses them or forgets them, as the parent decides. Until the decision nothing changes that
//! a client or a plugin could notice.
//!
//! Which plugins, when, and whether: that is the parent's.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Error, Result, anyhow, bail};

use crate::banner::Loaded;
use crate::board;
use crate::connection::Connection;
use crate::dispatch::Dispatch;
use crate::link::Tag;
use crate::link::orders::{Done, Order, Reply};
use crate::plan::{Plan, PlannedPlugin};
use crate::plugin::call;
use crate::plugin::hooks::{Data, Saved, has_data, swap_data};
use crate::plugin::loaded::{Carried, Plugin, release};
use crate::plugin::registry::{Next, Registry};
use crate::route::Route;
use crate::session;
use crate::worker::Worker;

/// Loads all that a plan names, for a process that has loaded nothing yet.
pub fn first(plan: &Plan) -> Result<(Registry, Dispatch)> {
    let registry = first_plugins(&plan.plugins, false)?;
    let dispatch = Dispatch::resolve(&registry, &plan.routes)?;
    Ok((registry, dispatch))
}

/// The plugins alone. `probe`: the process will serve nobody.
pub fn first_plugins(plan: &[PlannedPlugin], probe: bool) -> Result<Registry> {
    let Next { registry, loaded, .. } = Registry::default().next(plan)?;
    for (plugin, planned) in loaded.iter().map(|&index| registry.plugin(index)).zip(plan) {
        plugin.start(None, probe).with_context(|| planned.source.label())?;
        plugin.at_rest();
    }
    Ok(registry)
}

/// Does what the parent says, for as long as the worker runs.
pub async fn follow(worker: &'static Worker) {
    let mut candidate: Option<Candidate> = None;
    loop {
        match worker.next_order().await {
            Order::Load(number, _) if worker.is_decided(number) => {}
            Order::Load(number, plan) => {
                candidate.take().into_iter().for_each(|old| old.forget(worker));
                match Candidate::load(worker, number, &plan) {
                    Ok(loaded) => {
                        candidate = Some(loaded);
                        reply(worker, &Reply::Done(number, Done::default()));
                    }
                    Err(error) => refuse(worker, number, &error),
                }
            }
            // The worker was busy for so long that it is given up: the word of that follows.
            Order::Prepare(number) if worker.is_decided(number) => {}
            Order::Prepare(number) => match candidate.take_if(|candidate| candidate.number == number) {
                Some(candidate) => candidate.decide(worker),
                None => refuse(worker, number, &anyhow!("it has loaded nothing new")),
            },
            Order::Abort(number) | Order::Commit(number) => {
                let forgotten = candidate.take_if(|candidate| candidate.number == number);
                forgotten.into_iter().for_each(|candidate| candidate.forget(worker));
            }
        }
    }
}

/// Bytes of a plugin's reason that are told: it may quote all of a state.
const REASON_MAX: usize = 16 * 1024;

fn refuse(worker: &Worker, number: u32, error: &Error) {
    let mut reason = format!("{error:#}");
    if reason.len() > REASON_MAX {
        reason = format!("{}…", String::from_utf8_lossy(&reason.as_bytes()[..REASON_MAX]));
    }
    reply(worker, &Reply::Refused(number, reason));
}

fn reply(worker: &Worker, reply: &Reply) {
    match serde_json::to_vec(reply) {
        Ok(json) => worker.reply(Tag::Reply, &json),
        Err(error) => log::error!("the parent cannot be answered: {error}"),
    }
}

/// New copies, loaded and not in use.
struct Candidate {
    /// The transaction's.
    number: u32,
    next: Next,
    routes: Vec<Route>,
    dispatch: Dispatch,
    /// What the new copies have made for connections.
    carried: Vec<(Rc<Connection>, usize, Data)>,
    /// Connections for which nothing can be carried over.
    restarts: Vec<Rc<Connection>>,
}

impl Candidate {
    fn load(worker: &Worker, number: u32, plan: &Plan) -> Result<Self> {
        let next = worker.registry().next(&plan.plugins)?;
        let routes = plan.routes.clone();
        match Dispatch::resolve(&next.registry, &routes) {
            Ok(dispatch) => {
                Ok(Self { number, next, routes, dispatch, carried: Vec::new(), restarts: Vec::new() })
            }
            Err(error) => {
                next.loaded.iter().for_each(|&index| next.registry.plugin(index).retire());
                next.drop_names(&worker.registry());
                Err(error)
            }
        }
    }

    /// Prepares, and does as the parent then decides. Nothing else runs on this thread meanwhile.
    fn decide(mut self, worker: &'static Worker) {
        let (number, begun) = (self.number, Instant::now());
        if let Err(error) = self.prepare(worker) {
            self.forget(worker);
            return refuse(worker, number, &error);
        }
        reply(worker, &Reply::Done(number, Done::default()));
        if !worker.stand_still(number) {
            return self.forget(worker);
        }
        self.commit(worker);
        let (connections, loaded) = (worker.connections(), Some(Loaded::of(worker)));
        reply(worker, &Reply::Done(number, Done { connections, paused: begun.elapsed(), loaded }));
    }

    fn prepare(&mut self, worker: &Worker) -> Result<()> {
        let registry = worker.registry();
        // Since the copies were loaded, handshakes may have asked for names for the first time.
        if self.next.catch_up(&registry) {
            self.dispatch = Dispatch::resolve(&self.next.registry, &self.routes)?;
        }
        self.check_names(worker)?;
        for index in self.next.loaded.clone() {
            let new = self.next.registry.plugin(index).clone();
            let old = registry.get(index);
            let carried = old.map(|old| save_plugin(old)).transpose();
            let carried = carried.with_context(|| new.label())?.flatten();
            let empty = without_data(worker);
            let started = new.start(carried.as_ref(), false);
            self.set_aside(index, empty);
            started.with_context(|| new.label())?;
            if let Some(old) = old {
                self.carry_over(worker, old, &new).with_context(|| new.label())?;
            }
        }
        if self.next.loaded.len() > 1 { self.settle() } else { Ok(()) }
    }

    /// What the load hook has put into connections that had nothing: theirs when the new copy is in use, and until
    /// then not for the old one to see.
    fn set_aside(&mut self, index: usize, empty: Vec<Rc<Connection>>) {
        let filled = empty.into_iter().filter(|c| has_data(c));
        self.carried.extend(filled.map(|c| {
            let made = swap_data(&c, Data::NONE);
            (c, index, made)
        }));
    }

    /// A connection may have handlers of several new copies: what is in it is one's, and it begins anew once, or not
    /// at all if that one carries it over.
    fn settle(&mut self) -> Result<()> {
        let mut owners = HashMap::new();
        for (c, index, _) in &self.carried {
            if let Some(other) = owners.insert(c.id, *index) {
                let name = |index: usize| &self.next.registry.plugin(index).name;
                bail!(
                    "connection {} ({}): plugins `{}` and `{}` have both saved what is in it; a save hook has to \
                     say what is not its own (NOT_MINE)",
                    c.id,
                    c.peer(),
                    name(other),
                    name(*index)
                );
            }
        }
        let mut seen = HashSet::new();
        self.restarts.retain(|c| !owners.contains_key(&c.id) && seen.insert(c.id));
        Ok(())
    }

    /// A name that a live connection is bound to has to be there.
    fn check_names(&self, worker: &Worker) -> Result<()> {
        let bound = worker.bound();
        let lost = self.next.changes.iter().filter(|(_, function)| function.is_none());
        for (handler, _) in lost {
            let Some((_, count, c)) = bound.get(&std::ptr::from_ref(*handler)) else { continue };
            let name = format!("{}:{}", handler.plugin_name, handler.name);
            let missing = match self.next.registry.resolve(None, &name, handler.kind) {
                Ok(_) => format!("{handler} has changed its place"),
                Err(unresolved) => unresolved.to_string(),
            };
            let who = c.as_ref().map_or_else(
                || "a client that is being upgraded".to_owned(),
                |c| format!("connection {} ({})", c.id, c.peer()),
            );
            let (clients, use_) = if *count == 1 { ("client", "uses") } else { ("clients", "use") };
            let stop = if missing.ends_with('?') { "" } else { "." };
            bail!(
                "{missing}{stop} {count} live {clients} of this worker {use_} it, such as {who}; keep it until \
                 they have left"
            );
        }
        Ok(())
    }

    /// Has the new copy take over what the old one has put into connections.
    fn carry_over(&mut self, worker: &Worker, old: &Plugin, new: &Plugin) -> Result<()> {
        let (save, restore) = (old.hooks("save hook"), new.hooks("restore hook"));
        let hooks = save.saves() && restore.restores();
        let same = save.state_version != 0 && save.state_version == restore.state_version;
        let mine = |c: &Rc<Connection>| c.callbacks.iter().any(|handler| handler.plugin == old.index);
        for c in worker.open().into_iter().filter(mine).filter(|c| has_data(c)) {
            if !hooks {
                if !same {
                    self.restarts.push(c);
                }
                continue;
            }
            let saved = save.save(&c).map_err(|reason| {
                anyhow!("connection {} ({}): its state cannot be saved: {reason}", c.id, c.peer())
            })?;
            match saved {
                Saved::NotMine => {}
                Saved::Restart => self.restarts.push(c),
                Saved::State(state) => {
                    let before = swap_data(&c, Data::NONE);
                    let restored = restore.restore(&c, save.state_version, &state);
                    let made = swap_data(&c, before);
                    let error = restored.err().map(|reason| {
                        anyhow!("connection {} ({}): its state cannot be restored: {reason}", c.id, c.peer())
                    });
                    self.carried.push((c, old.index, made));
                    error.map_or(Ok(()), Err)?;
                }
            }
        }
        Ok(())
    }

    /// The new copies are in use from here on.
    fn commit(self, worker: &'static Worker) {
        let before = worker.registry();
        self.next.loaded.iter().filter_map(|&index| before.get(index)).for_each(|old| old.at_rest());
        let leave = |c: &Rc<Connection>| {
            let stays = session::leave(c);
            // What was there is freed, also if it is closing and the new code sees it leave.
            swap_data(c, Data::NONE);
            stays
        };
        let restarts: Vec<_> = self.restarts.into_iter().filter(leave).collect();
        for (handler, function) in self.next.changes {
            handler.change(function);
            if function.is_some() {
                let generation = self.next.registry.plugin(handler.plugin).generation;
                board::current().define(handler.index.get(), &handler.label(generation));
            } else {
                board::undefine(handler.index.replace(0));
            }
        }
        for (c, index, data) in self.carried {
            if let Some(old) = before.get(index)
                && has_data(&c)
            {
                release(old, &c);
            }
            swap_data(&c, data);
        }
        self.next.loaded.iter().for_each(|&index| self.next.registry.plugin(index).at_rest());
        worker.put_in_use(Rc::new(self.next.registry), Rc::new(self.dispatch));
        restarts.iter().for_each(|c| session::enter(c));
        for index in self.next.loaded.into_iter().chain(self.next.removed) {
            if let Some(old) = before.get(index) {
                let empty = without_data(worker);
                // First: what it hands over to be called later ends with the rest.
                old.unload();
                end_later(worker, old);
                // What it has put into connections the new code would take for its own.
                for c in empty.into_iter().filter(|c| has_data(c)) {
                    release(old, &c);
                    swap_data(&c, Data::NONE);
                }
                old.retire();
            }
        }
    }

    /// The new copies will never be in use, and what they do about that reaches nobody.
    fn forget(self, worker: &Worker) {
        call::quietly(|| self.forget_quietly(worker));
    }

    fn forget_quietly(self, worker: &Worker) {
        let new = |index: usize| self.next.registry.plugin(index);
        let old = worker.registry();
        for &index in &self.next.loaded {
            new(index).at_rest();
            old.get(index).into_iter().for_each(|old| old.at_rest());
        }
        for (c, index, data) in &self.carried {
            let before = swap_data(c, *data);
            release(new(*index), c);
            swap_data(c, before);
        }
        for plugin in self.next.loaded.iter().map(|&index| new(index)) {
            end_later(worker, plugin);
            plugin.retire();
        }
        self.next.drop_names(&old);
    }
}

fn save_plugin(old: &Plugin) -> Result<Option<Carried>> {
    let hooks = old.hooks("save hook");
    let state = hooks.save_plugin().map_err(|reason| anyhow!("its state cannot be saved: {reason}"))?;
    Ok(state.map(|state| Carried { version: hooks.state_version, state }))
}

/// Ends what a copy has handed over to be called later.
fn end_later(worker: &Worker, plugin: &Plugin) {
    worker.timers.end_plugin(plugin.index, plugin.generation);
    worker.background.end_plugin(plugin.index, plugin.generation);
    worker.posts.end_plugin(plugin.index, plugin.generation);
}

/// The open connections into which no plugin has put anything.
fn without_data(worker: &Worker) -> Vec<Rc<Connection>> {
    worker.open().into_iter().filter(|c| !has_data(c)).collect()
}
