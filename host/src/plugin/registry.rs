//! The loaded plugins, and the way from a name to a handler. It decides what a name means; what is done with
//! the handler is the caller's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::path::PathBuf;
use std::ptr;

use anyhow::{Context, Result, anyhow, bail};
use callsign_plugin::abi;

use super::call::{self, Release};
use super::handler::{Callbacks, Handler, HandlerRef, Kind};
use super::image::Image;
use super::library::{Library, Plain};
use crate::board::{self, Label};
use crate::crash;
use crate::nearest::nearest;
use crate::settings::PluginSource;

/// One loaded plugin.
#[derive(Debug)]
pub struct Plugin {
    /// Unique among the loaded ones.
    pub name: String,
    /// The library file.
    pub path: PathBuf,
    /// 1 for the first copy loaded under this name.
    pub generation: u32,
    /// What the library offers.
    pub image: Image,
    library: Library,
    /// The release hook's index on the board.
    release: u32,
}

/// All loaded plugins, in load order.
#[derive(Debug, Default)]
pub struct Registry {
    plugins: Vec<Plugin>,
    interned: RefCell<HashMap<(usize, String, Kind), HandlerRef>>,
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
    /// Loads the libraries in order. Each file is checked before any code of it runs.
    pub fn load(sources: &[PluginSource]) -> Result<Self> {
        let mut registry = Self::default();
        for source in sources {
            registry.add(source).with_context(|| match &source.name {
                Some(name) => format!("plugin `{name}` ({})", source.path.display()),
                None => format!("plugin {}", source.path.display()),
            })?;
        }
        Ok(registry)
    }

    fn add(&mut self, source: &PluginSource) -> Result<()> {
        let image = Image::read(&source.path)?;
        let name = source.name.clone().unwrap_or_else(|| image.name.clone());
        if let Some(other) = self.plugins.iter().find(|other| other.name == name) {
            bail!(
                "its name `{name}` is taken by {}; give one of them another name: `[plugin.NAME]` in the \
                 configuration file, or in its source",
                other.path.display()
            );
        }
        // dlopen would give the same copy again, with the same statics.
        let same = |other: &&Plugin| other.path.canonicalize().ok() == source.path.canonicalize().ok();
        if let Some(other) = self.plugins.iter().find(same) {
            bail!("it is loaded already, as plugin `{}`; name it once", other.name);
        }
        let generation = 1;
        let index = |kind: &str| {
            let kind = kind.to_owned();
            board::define(&Label { plugin: name.clone(), kind, generation, ..Label::default() })
        };
        // A library's constructors can crash as well.
        board::current().enter(index("loading"));
        let library = Library::open(&source.path, self.plugins.len(), &name, generation);
        board::current().leave();
        let (library, release) = (library?, index("release hook"));
        board::current().set_modules(&crash::modules());
        self.plugins.push(Plugin { name, path: source.path.clone(), generation, image, library, release });
        self.run_onload(self.plugins.len() - 1, source)
    }

    fn run_onload(&self, index: usize, source: &PluginSource) -> Result<()> {
        let plugin = &self.plugins[index];
        let Some((hook, function)) = self.onload_hook(index, source.onload.as_deref())? else {
            return Ok(());
        };
        let config =
            serde_json::to_string(&source.config).context("its config table cannot be written as JSON")?;
        let (name, config) = (CString::new(plugin.name.as_str())?, CString::new(config)?);
        let load = abi::Load {
            struct_size: size_of::<abi::Load>() as u32,
            generation: plugin.generation,
            plugin: name.as_ptr(),
            config: config.as_ptr(),
            state: ptr::null(),
            state_length: 0,
            state_version: 0,
            probe: 0,
            function,
        };
        match call::on_load(hook, &load) {
            Ok(true) => Ok(()),
            Ok(false) => Err(anyhow!("its onload hook `{}` refused the load and gave no reason", hook.name)),
            Err(reason) => Err(anyhow!("its onload hook `{}` refused the load: {reason}", hook.name)),
        }
    }

    /// The load hook, and the plain function that it is handed because the config file names it. A handler of that
    /// name is the hook itself; so is a plain function, in a library without a hook.
    fn onload_hook(&self, index: usize, named: Option<&str>) -> Result<Option<(HandlerRef, Option<Plain>)>> {
        let plugin = &self.plugins[index];
        let intern =
            |name: &str| self.intern(index, name, Kind::OnLoad).context("its onload hook cannot be found");
        let hooks = plugin.image.handlers.iter().filter(|(_, kind)| *kind == Kind::OnLoad);
        let hooks: Vec<&str> = hooks.map(|(name, _)| name.as_str()).collect();
        let function = match named {
            Some(named) if hooks.contains(&named) => return Ok(Some((intern(named)?, None))),
            Some(named) if plugin.image.functions.iter().any(|name| name == named) => {
                if hooks.is_empty() {
                    return Ok(Some((intern(named)?, None)));
                }
                plugin.library.plain(&plugin.image, named)
            }
            Some(named) => {
                bail!("`onload` in [plugin.{}] names `{named}`{}", plugin.name, plugin.no_hook(named))
            }
            None => None,
        };
        match hooks[..] {
            [] => Ok(None),
            [hook] => Ok(Some((intern(hook)?, function))),
            [first, second, ..] => bail!(
                "it has two onload hooks, `{first}` and `{second}`; keep one, or name the one that is meant: \
                 `onload` in [plugin.{}]",
                plugin.name
            ),
        }
    }

    /// The loaded plugins, in load order.
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// The release hooks of the plugins that a connection's handlers belong to, each once.
    pub fn releases(&self, callbacks: &Callbacks) -> impl Iterator<Item = (&Plugin, Release)> {
        let mut indexes: Vec<usize> = callbacks.iter().map(|handler| handler.plugin).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let plugins = indexes.into_iter().map(|index| &self.plugins[index]);
        plugins.filter_map(|plugin| Some((plugin, plugin.library.release(plugin.release)?)))
    }

    /// Index and generation of the copy that serves under that name.
    pub fn in_use(&self, name: &str) -> Option<(usize, u32)> {
        let index = self.plugins.iter().position(|plugin| plugin.name == name)?;
        Some((index, self.plugins[index].generation))
    }

    /// The release hook of a handler's plugin.
    pub fn release(&self, handler: HandlerRef) -> Option<Release> {
        let plugin = &self.plugins[handler.plugin];
        plugin.library.release(plugin.release)
    }

    /// Finds a handler. `name` alone is looked for in the plugin `asking`, then in the others in load order;
    /// `plugin:name` in that plugin alone.
    pub fn resolve(&self, asking: Option<usize>, name: &str, kind: Kind) -> Result<HandlerRef, Unresolved> {
        let order: Vec<usize> = match name.split_once(':') {
            Some((plugin, _)) => match self.plugins.iter().position(|p| p.name == plugin) {
                Some(index) => vec![index],
                None => return Err(self.no_plugin(plugin, name, kind)),
            },
            None => {
                let others = (0..self.plugins.len()).filter(|index| Some(*index) != asking);
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
        let function = owner.library.function(&owner.image, name, kind)?;
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
        let names = self.plugins.iter().map(|plugin| plugin.name.as_str());
        let hint = match nearest(plugin, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("loaded: {}", names.collect::<Vec<_>>().join(", ")),
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
                "{}: `{symbol}` is an {its_kind} handler, and an {kind} handler is needed here",
                plugin.label()
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

impl Plugin {
    /// ``plugin `chat` (target/debug/libchat.so)``
    fn label(&self) -> String {
        format!("plugin `{}` ({})", self.name, self.path.display())
    }

    /// Why that name is no load hook, and what to do, as the end of a sentence.
    fn no_hook(&self, named: &str) -> String {
        if let Some((_, kind)) = self.image.handlers.iter().find(|(name, _)| name == named) {
            return format!(", which is an {kind} handler; name an onload handler or a plain function");
        }
        let hint = match nearest(named, self.names(Kind::OnLoad)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "export it, or fix the name".to_owned(),
        };
        format!(", and there is no such function; {hint}")
    }

    /// The names that can be called as that kind.
    fn names(&self, kind: Kind) -> impl Iterator<Item = &str> + Clone {
        let handlers = self.image.handlers.iter().filter(move |(_, its_kind)| *its_kind == kind);
        handlers.map(|(name, _)| name.as_str()).chain(self.image.functions.iter().map(String::as_str))
    }

    /// Whether it has a handler of that name and kind.
    pub fn has(&self, name: &str, kind: Kind) -> bool {
        self.names(kind).any(|other| other == name)
    }
}
