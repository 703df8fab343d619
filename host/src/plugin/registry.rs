//! The loaded plugins, and the way from a name to a handler. It decides what a name means; what is done with
//! the handler is the caller's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ptr;
use std::rc::Rc;

use anyhow::{Context, Result, bail};

use super::call::Function;
use super::handler::{Callbacks, Handler, HandlerRef, Kind};
use super::image::Image;
use super::loaded::Plugin;
use crate::board;
use crate::nearest::nearest;
use crate::plan::PlannedPlugin;
use crate::settings::PluginSource;

/// The plugins in use. It never changes: a reload makes the next one.
#[derive(Debug, Default)]
pub struct Registry {
    /// By their index, which all copies of a plugin share. One that was removed keeps its place.
    plugins: Vec<Rc<Plugin>>,
    /// Indexes in load order, without those that were removed.
    order: Vec<usize>,
    interned: RefCell<HashMap<(usize, String, Kind), HandlerRef>>,
}

/// A registry that may follow another.
pub struct Next {
    /// With the new copies.
    pub registry: Registry,
    /// Their indexes.
    pub loaded: Vec<usize>,
    /// Indexes of plugins that are not in it any more.
    pub removed: Vec<usize>,
    /// What will be behind the names that are known so far, where that changes; None: nothing.
    pub changes: Vec<(HandlerRef, Option<Function>)>,
    /// How many names were known when that was found out.
    known: usize,
}

impl Next {
    /// Takes over the names that are known by now, if there are more than there were. True: what was resolved with it
    /// has to be resolved again.
    pub fn catch_up(&mut self, before: &Registry) -> bool {
        if before.interned.borrow().len() == self.known {
            return false;
        }
        self.take_over(before);
        true
    }

    /// It will never be in use: gives up the names that only it knows.
    pub fn drop_names(&self, before: &Registry) {
        let known = before.interned.borrow();
        for (key, handler) in self.registry.interned.borrow_mut().drain() {
            if !known.get(&key).is_some_and(|other| ptr::eq(*other, handler)) {
                board::undefine(handler.index.replace(0));
            }
        }
    }

    /// Takes over the names that are known so far, as far as there is something behind them still.
    fn take_over(&mut self, before: &Registry) {
        self.drop_names(before);
        let (known, Self { registry, loaded, removed, .. }) = (before.interned.borrow(), &*self);
        let (mut changes, mut interned) = (Vec::new(), HashMap::new());
        for (key @ (index, name, kind), &handler) in &*known {
            if loaded.contains(index) || removed.contains(index) {
                let function = registry.get(*index).and_then(|plugin| plugin.function(name, *kind));
                changes.push((handler, function));
                if function.is_none() {
                    continue;
                }
            }
            interned.insert(key.clone(), handler);
        }
        self.registry.interned.replace(interned);
        (self.changes, self.known) = (changes, known.len());
    }
}

/// Why a name is no handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The name that was looked for.
    pub name: String,
    /// The kind it should have.
    pub kind: Kind,
    /// False: it is there, of another kind.
    pub missing: bool,
    /// What to do, if the name is right.
    pub remedy: &'static str,
    text: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Unresolved {}

impl Registry {
    /// Loads the copies of a plan that are not in use here already. Their hooks have not run, and nothing has
    /// changed. Each file is checked before any code of it runs.
    pub fn next(&self, plan: &[PlannedPlugin]) -> Result<Next> {
        let mut next = Self { plugins: self.plugins.clone(), ..Self::default() };
        let mut loaded = Vec::new();
        for planned in plan {
            let source = &planned.source;
            let added = next.add(planned).with_context(|| source.label());
            match added {
                Ok(Some(index)) => loaded.push(index),
                Ok(None) => {}
                Err(error) => {
                    loaded.iter().for_each(|&index: &usize| next.plugins[index].retire());
                    return Err(error);
                }
            }
        }
        let removed: Vec<usize> =
            self.order.iter().copied().filter(|index| !next.order.contains(index)).collect();
        let mut next = Next { registry: next, loaded, removed, changes: Vec::new(), known: 0 };
        next.take_over(self);
        Ok(next)
    }

    /// The index of the copy, if it had to be loaded.
    fn add(&mut self, planned: &PlannedPlugin) -> Result<Option<usize>> {
        let PlannedPlugin { source, file, generation, .. } = planned;
        let same = |plugin: &Rc<Plugin>| plugin.name == planned.name && plugin.generation == *generation;
        let kept = self.plugins.iter().position(same).filter(|index| !self.order.contains(index));
        if let Some(index) = kept {
            self.check_place(&planned.name, source)?;
            self.order.push(index);
            return Ok(None);
        }
        let image = Image::read(file)?;
        let name = source.name.clone().unwrap_or_else(|| image.name.clone());
        self.check_place(&name, source)?;
        let old = self.plugins.iter().position(|plugin| plugin.name == name);
        let index = old.unwrap_or(self.plugins.len());
        self.order.push(index);
        let retained = match old.map(|index| &self.plugins[index]) {
            Some(plugin) => plugin.retained + 1,
            None => 0,
        };
        let plugin = Rc::new(Plugin::load(planned, image, name, index, retained)?);
        match self.plugins.get_mut(index) {
            Some(place) => *place = plugin,
            None => self.plugins.push(plugin),
        }
        Ok(Some(index))
    }

    /// Whether another plugin has that name, or is that library.
    fn check_place(&self, name: &str, source: &PluginSource) -> Result<()> {
        if let Some(other) = self.plugins().find(|other| other.name == name) {
            bail!(
                "its name `{name}` is taken by {}; give one of them another name: `[plugin.NAME]` in the \
                 configuration file, or in its source",
                other.path.display()
            );
        }
        // Two copies with a state each are rarely what is wanted. Of files that are gone by now, or that this user
        // cannot reach, only the path tells: workers have copies.
        let same = |other: &&Plugin| match (other.path.canonicalize(), source.path.canonicalize()) {
            (Ok(other), Ok(this)) => other == this,
            _ => other.path == source.path,
        };
        match self.plugins().find(same) {
            Some(other) => bail!("it is loaded already, as plugin `{}`; name it once", other.name),
            None => Ok(()),
        }
    }

    /// The plugins in use, in load order.
    pub fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.order.iter().map(|&index| &*self.plugins[index])
    }

    /// The plugin of that index.
    pub fn plugin(&self, index: usize) -> &Rc<Plugin> {
        &self.plugins[index]
    }

    /// The plugin of that index, if it is in use.
    pub fn get(&self, index: usize) -> Option<&Rc<Plugin>> {
        self.order.contains(&index).then(|| &self.plugins[index])
    }

    /// The plugins that a connection's handlers belong to, each once.
    pub fn owners(&self, callbacks: &Callbacks) -> impl Iterator<Item = &Rc<Plugin>> {
        let mut indexes: Vec<usize> = callbacks.iter().map(|handler| handler.plugin).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes.into_iter().map(|index| &self.plugins[index])
    }

    /// Index and generation of the copy that serves under that name.
    pub fn in_use(&self, name: &str) -> Option<(usize, u32)> {
        let plugin = self.plugins().find(|plugin| plugin.name == name)?;
        Some((plugin.index, plugin.generation))
    }

    /// Finds a handler. `name` alone is looked for in the plugin `asking`, then in the others in load order;
    /// `plugin:name` in that plugin alone.
    pub fn resolve(&self, asking: Option<usize>, name: &str, kind: Kind) -> Result<HandlerRef, Unresolved> {
        let order: Vec<usize> = match name.split_once(':') {
            Some((plugin, _)) => match self.plugins().find(|p| p.name == plugin) {
                Some(found) => vec![found.index],
                None => return Err(self.no_plugin(plugin, name, kind)),
            },
            None => {
                let asking = asking.filter(|index| self.order.contains(index));
                let others = self.order.iter().copied().filter(|index| Some(*index) != asking);
                asking.into_iter().chain(others).collect()
            }
        };
        let symbol = name.split_once(':').map_or(name, |(_, symbol)| symbol);
        // A handler of another kind in one plugin does not hide a fitting one in the next.
        if let Some(handler) = order.iter().find_map(|&index| self.intern(index, symbol, kind)) {
            return Ok(handler);
        }
        Err(self.unresolved(&order, symbol, kind))
    }

    /// Resolves the three names of a handshake; None stays None.
    pub fn resolve_callbacks(
        &self,
        asking: Option<usize>,
        names: [Option<&str>; 3],
    ) -> Result<Callbacks, Unresolved> {
        let find = |name: Option<&str>, kind| name.map(|name| self.resolve(asking, name, kind)).transpose();
        Ok(Callbacks {
            onconnect: find(names[0], Kind::OnConnect)?,
            onmessage: find(names[1], Kind::OnMessage)?,
            ondisconnect: find(names[2], Kind::OnDisconnect)?,
        })
    }

    fn intern(&self, plugin: usize, name: &str, kind: Kind) -> Option<HandlerRef> {
        let key = (plugin, name.to_owned(), kind);
        if let Some(handler) = self.interned.borrow().get(&key) {
            return Some(handler);
        }
        let owner = &self.plugins[plugin];
        let function = owner.function(name, kind)?;
        // As many as there are names in libraries: bounded, and referred to for as long as the worker lives.
        let handler: HandlerRef = Box::leak(Box::new(Handler {
            plugin,
            plugin_name: owner.name.clone(),
            name: name.to_owned(),
            kind,
            function: Cell::new(function),
            index: Cell::new(0),
        }));
        handler.index.set(board::define(&handler.label(owner.generation)));
        self.interned.borrow_mut().insert(key, handler);
        Some(handler)
    }

    fn no_plugin(&self, plugin: &str, name: &str, kind: Kind) -> Unresolved {
        let names = self.plugins().map(|plugin| plugin.name.as_str());
        let hint = match nearest(plugin, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let names: Vec<_> = self.plugins().map(|plugin| plugin.name.as_str()).collect();
                format!("loaded: {}", names.join(", "))
            }
        };
        let text = format!("no plugin `{plugin}` is loaded, as `{name}` asks for; {hint}");
        Unresolved { name: name.to_owned(), kind, missing: true, remedy: "load that plugin", text }
    }

    fn unresolved(&self, order: &[usize], symbol: &str, kind: Kind) -> Unresolved {
        let searched: Vec<String> = order.iter().map(|&index| self.plugins[index].label()).collect();
        let other_kind = order.iter().find_map(|&index| {
            let plugin = &self.plugins[index];
            let (_, its_kind) = plugin.image.handlers.iter().find(|(name, _)| name == symbol)?;
            Some((plugin, *its_kind))
        });
        let text = if let Some((plugin, its_kind)) = other_kind {
            format!(
                "{}: `{symbol}` is an {}, and an {kind} handler is needed here",
                plugin.label(),
                its_kind.noun()
            )
        } else {
            let fitting = order.iter().flat_map(|&index| self.plugins[index].names(kind));
            let hint = match nearest(symbol, fitting.clone()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => match fitting.collect::<Vec<_>>() {
                    names if names.is_empty() => "; none of that kind is exported".to_owned(),
                    names => format!("; found: {}", names.join(", ")),
                },
            };
            format!("{}: no {kind} handler `{symbol}`{hint}", searched.join(", "))
        };
        let missing = other_kind.is_none();
        let remedy = if missing { "export it" } else { "change the handler's kind" };
        Unresolved { name: symbol.to_owned(), kind, missing, remedy, text }
    }
}
