//! The registry that a reload prepares. A plan enters; the new generations leave, loaded beside the old ones, with
//! the list of handlers that a commit changes.
//!
//! Invariant: until [`CandidateRegistry::apply_changes`] runs, every interned handler still calls the old generation.

use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail};

use super::Registry;
use crate::config::plan::PlannedPlugin;
use crate::config::settings::PluginSource;
use crate::plugin::call::Function;
use crate::plugin::generation::Generation;
use crate::plugin::handler::HandlerRef;
use crate::plugin::image::Image;
use crate::plugin::library::HostTable;
use crate::system::scoreboard;

/// A registry that is not in use yet.
#[derive(Debug)]
pub struct CandidateRegistry {
    /// Contains the new generations.
    pub registry: Registry,
    /// Indexes of the plugins with a new generation, in load order.
    pub loaded: Vec<usize>,
    /// Indexes of plugins that are in use now and not in the plan.
    pub removed: Vec<usize>,
    /// The interned handlers of the loaded and removed plugins.
    pub changes: Vec<HandlerChange>,
    /// Number of handlers that the registry in use had interned when `changes` was computed.
    interned_count: usize,
}

/// What a commit does to one interned handler.
#[derive(Debug)]
pub struct HandlerChange {
    pub handler: HandlerRef,
    /// The code of the new generation; None if the new generation has no such handler.
    pub function: Option<Function>,
}

impl Registry {
    /// Loads the generations of a plan that are not in use. Their hooks do not run, and the registry in use does not
    /// change. Each file is validated before code from it runs.
    ///
    /// # Errors
    /// A library cannot be loaded, or its name is taken.
    pub fn load_candidate(&self, plan: &[PlannedPlugin], host: HostTable) -> Result<CandidateRegistry> {
        self.candidate(plan, Some(host))
    }

    /// The same of outlines, to look up names: nothing is loaded.
    ///
    /// # Errors
    /// A library cannot be read, or its name is taken.
    pub fn outline_candidate(&self, plan: &[PlannedPlugin]) -> Result<CandidateRegistry> {
        self.candidate(plan, None)
    }

    /// Loads nothing without a `host`.
    fn candidate(&self, plan: &[PlannedPlugin], host: Option<HostTable>) -> Result<CandidateRegistry> {
        let mut registry = Self { plugins: self.plugins.clone(), ..Self::default() };
        let mut loaded = Vec::new();
        for planned in plan {
            let source = &planned.source;
            let added = registry.add(planned, host).with_context(|| source.located_label());
            match added {
                Ok(Some(index)) => loaded.push(index),
                Ok(None) => {}
                Err(error) => {
                    loaded.iter().for_each(|&index: &usize| registry.plugins[index].retire());
                    return Err(error);
                }
            }
        }
        let in_plan = &registry.load_order;
        let removed = self.load_order.iter().copied().filter(|index| !in_plan.contains(index)).collect();
        let mut candidate =
            CandidateRegistry { registry, loaded, removed, changes: Vec::new(), interned_count: 0 };
        candidate.adopt_handlers(self);
        Ok(candidate)
    }

    /// Adds one plugin of a plan. Returns its index if a new generation was loaded for it.
    fn add(&mut self, planned: &PlannedPlugin, host: Option<HostTable>) -> Result<Option<usize>> {
        let PlannedPlugin { source, file, generation, .. } = planned;
        let same = |plugin: &Rc<Generation>| plugin.name == planned.name && plugin.generation == *generation;
        let kept = self.plugins.iter().position(same).filter(|index| !self.load_order.contains(index));
        if let Some(index) = kept {
            self.check_unique(&planned.name, source)?;
            self.load_order.push(index);
            return Ok(None);
        }
        let image = Image::read(file).map_err(|error| match *file == source.path {
            true => error,
            // The operator's file is not at fault.
            false if !file.exists() => anyhow!("the server's copy of it, {}, was deleted", file.display()),
            false => error.context(format!("the server's copy of it, {}, cannot be used", file.display())),
        })?;
        let name = source.name.clone().unwrap_or_else(|| image.name.clone());
        self.check_unique(&name, source)?;
        let old = self.plugins.iter().position(|plugin| plugin.name == name);
        let index = old.unwrap_or(self.plugins.len());
        self.load_order.push(index);
        let retained = match old.map(|index| &self.plugins[index]) {
            Some(plugin) => plugin.retained.get() + 1,
            None => 0,
        };
        let plugin = Rc::new(match host {
            Some(host) => Generation::load(planned, image, name, index, retained, host)?,
            None => Generation::outline(planned, image, name, index),
        });
        match self.plugins.get_mut(index) {
            Some(old) => *old = plugin,
            None => self.plugins.push(plugin),
        }
        Ok(Some(index))
    }

    /// Fails if the plan already loads another plugin of that name, or the same library.
    fn check_unique(&self, name: &str, source: &PluginSource) -> Result<()> {
        // Loading a library twice, with separate state, is rarely intended. Workers load copies, so only the paths
        // are compared where a file was removed or this user cannot reach it.
        let same = |other: &&Generation| match (other.path.canonicalize(), source.path.canonicalize()) {
            (Ok(other), Ok(this)) => other == this,
            _ => other.path == source.path,
        };
        if let Some(other) = self.plugins().find(same) {
            bail!(
                "this library is given twice, and is loaded already as plugin `{}`; name it once, on the command line \
                 or in the config file",
                other.name
            );
        }
        match self.plugins().find(|other| other.name == name) {
            Some(other) => bail!(
                "its name `{name}` is taken by {}; give one of them another name: `[plugin.NAME]` in the \
                 configuration file, or in its source",
                other.path.display()
            ),
            None => Ok(()),
        }
    }
}

impl CandidateRegistry {
    /// The new generations, in load order.
    pub fn new_generations(&self) -> impl Iterator<Item = &Rc<Generation>> {
        self.loaded.iter().map(|&index| self.registry.plugin(index))
    }

    /// Recomputes `changes` if the registry in use has interned handlers since. Returns true if so; everything that
    /// was resolved with the candidate must then be resolved again.
    pub fn refresh_handlers(&mut self, in_use: &Registry) -> bool {
        if in_use.interned.borrow().len() == self.interned_count {
            return false;
        }
        self.adopt_handlers(in_use);
        true
    }

    /// Shares the handlers of the registry in use, except those that the new generations do not have, and computes
    /// `changes`.
    fn adopt_handlers(&mut self, in_use: &Registry) {
        self.drop_own_handlers(in_use);
        let (known, Self { registry, loaded, removed, .. }) = (in_use.interned.borrow(), &*self);
        let (mut changes, mut interned) = (Vec::new(), HashMap::new());
        for (key @ (index, name, kind), &handler) in &*known {
            if loaded.contains(index) || removed.contains(index) {
                let function = registry.get(*index).and_then(|plugin| plugin.function(name, *kind));
                changes.push(HandlerChange { handler, function });
                if function.is_none() {
                    continue;
                }
            }
            interned.insert(key.clone(), handler);
        }
        self.registry.interned.replace(interned);
        (self.changes, self.interned_count) = (changes, known.len());
    }

    /// Removes the handlers that only the candidate has interned, and frees their scoreboard indexes.
    fn drop_own_handlers(&self, in_use: &Registry) {
        let known = in_use.interned.borrow();
        for (key, handler) in self.registry.interned.borrow_mut().drain() {
            if !known.get(&key).is_some_and(|other| ptr::eq(*other, handler)) {
                scoreboard::undefine(handler.index.replace(0));
            }
        }
    }

    /// The commit: every interned handler calls the new generation of its plugin from now on.
    pub fn apply_changes(&self) {
        for HandlerChange { handler, function } in &self.changes {
            let plugin = self.registry.plugin(handler.plugin);
            handler.rebind(*function, plugin.guard());
            if function.is_some() {
                scoreboard::current().define(handler.index.get(), &handler.label(plugin.generation));
            } else {
                scoreboard::undefine(handler.index.replace(0));
            }
        }
    }

    /// The rollback: retires the new generations and frees what the candidate holds on the scoreboard.
    pub fn discard(&self, in_use: &Registry) {
        for new in self.new_generations() {
            new.retire();
            if let Some(old) = in_use.get(new.index).filter(|_| new.is_loaded()) {
                old.retained.set(old.retained.get() + 1);
            }
        }
        self.drop_own_handlers(in_use);
    }
}
