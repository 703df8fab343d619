//! The loaded plugins, and the way from a name to a handler. A name and a kind enter, an interned handler leaves.
//!
//! Invariant: which plugins a registry contains never changes. A reload makes a [`CandidateRegistry`] instead. A
//! plugin keeps its index in all registries of the process.

mod candidate; // the registry that a reload prepares

mod unresolved; // why a name is not a handler

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::generation::Generation;
use super::handler::{Callbacks, HandlerRef, Kind};

pub use candidate::CandidateRegistry;
pub use unresolved::Unresolved;

/// Plugin index, name and kind of a handler.
type HandlerKey = (usize, String, Kind);

/// The plugins in use.
#[derive(Debug, Default)]
pub struct Registry {
    /// By plugin index. The last generation of a removed plugin stays here.
    plugins: Vec<Rc<Generation>>,
    /// Indexes of the plugins in use, in load order.
    load_order: Vec<usize>,
    interned: RefCell<HashMap<HandlerKey, HandlerRef>>,
}

impl Registry {
    /// Finds a handler. `plugin:name` is looked up in that plugin only. Any other `name` is looked up in the plugin
    /// `asking` first, then in the other plugins, of which only one may have it. A handler of another kind does not
    /// count.
    pub fn resolve(&self, asking: Option<usize>, name: &str, kind: Kind) -> Result<HandlerRef, Unresolved> {
        if let Some((plugin, symbol)) = name.split_once(':') {
            let Some(owner) = self.plugins().find(|other| other.name == plugin) else {
                return Err(Unresolved::no_plugin(self, plugin, name, kind));
            };
            let found = self.intern(owner.index, symbol, kind);
            return found.ok_or_else(|| Unresolved::no_handler(&[owner], symbol, kind));
        }
        let asking = asking.filter(|index| self.load_order.contains(index));
        if let Some(handler) = asking.and_then(|index| self.intern(index, name, kind)) {
            return Ok(handler);
        }
        let others = self.load_order.iter().copied().filter(|index| Some(*index) != asking);
        let found: Vec<HandlerRef> =
            others.clone().filter_map(|index| self.intern(index, name, kind)).collect();
        match found[..] {
            [only] => Ok(only),
            [] => {
                let searched: Vec<&Generation> =
                    asking.into_iter().chain(others).map(|index| &*self.plugins[index]).collect();
                Err(Unresolved::no_handler(&searched, name, kind))
            }
            ref several => Err(Unresolved::ambiguous(several)),
        }
    }

    /// Resolves the names of a handshake; None stays None. Without a plugin that asks, names without a plugin
    /// must all be found in the same one.
    pub fn resolve_callbacks(
        &self,
        asking: Option<usize>,
        names: [Option<&str>; 4],
    ) -> Result<Callbacks, Unresolved> {
        let find = |name: Option<&str>, kind| name.map(|name| self.resolve(asking, name, kind)).transpose();
        let callbacks = Callbacks {
            onconnect: find(names[0], Kind::OnConnect)?,
            onmessage: find(names[1], Kind::OnMessage)?,
            ondisconnect: find(names[2], Kind::OnDisconnect)?,
            ondrain: find(names[3], Kind::OnDrain)?,
        };
        // Both have the same order and the same gaps.
        let found = callbacks.iter().zip(names.into_iter().flatten());
        let mut unqualified = found.filter(|(_, name)| !name.contains(':'));
        if asking.is_none()
            && let Some((first, _)) = unqualified.next()
            && let Some((other, _)) = unqualified.find(|(other, _)| other.plugin != first.plugin)
        {
            return Err(Unresolved::of_two_plugins(first, other));
        }
        Ok(callbacks)
    }

    /// The handler of that name, created when the name is resolved for the first time.
    fn intern(&self, plugin: usize, name: &str, kind: Kind) -> Option<HandlerRef> {
        let key = (plugin, name.to_owned(), kind);
        if let Some(handler) = self.interned.borrow().get(&key) {
            return Some(handler);
        }
        // Leaked, because connections refer to it until the worker exits. The libraries' symbols bound the number.
        let handler = self.plugins[plugin].new_handler(name, kind)?;
        self.interned.borrow_mut().insert(key, handler);
        Some(handler)
    }

    /// The plugins in use, in load order.
    pub fn plugins(&self) -> impl Iterator<Item = &Generation> {
        self.load_order.iter().map(|&index| &*self.plugins[index])
    }

    /// Whether several plugins are in use.
    #[inline]
    pub fn has_several(&self) -> bool {
        self.load_order.len() > 1
    }

    /// The plugin of that index, in use or removed.
    pub fn plugin(&self, index: usize) -> &Rc<Generation> {
        &self.plugins[index]
    }

    /// The plugin of that index, if it is in use.
    pub fn get(&self, index: usize) -> Option<&Rc<Generation>> {
        self.load_order.contains(&index).then(|| &self.plugins[index])
    }

    /// The plugins that own a connection's handlers, each once.
    pub fn owners(&self, callbacks: &Callbacks) -> impl Iterator<Item = &Rc<Generation>> {
        let mut indexes: Vec<usize> = callbacks.iter().map(|handler| handler.plugin).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes.into_iter().filter_map(|index| self.plugins.get(index))
    }

    /// Index and generation number of the plugin in use under that name.
    pub fn in_use(&self, name: &str) -> Option<(usize, u32)> {
        let plugin = self.plugins().find(|plugin| plugin.name == name)?;
        Some((plugin.index, plugin.generation))
    }
}
