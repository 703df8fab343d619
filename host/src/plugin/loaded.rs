//! One loaded copy of a plugin: from the check of its file to its last hook. Which copy is in use is the
//! registry's business.

use std::cell::Cell;
use std::ffi::CString;
use std::path::PathBuf;
use std::ptr;

use anyhow::{Context, Result, anyhow, bail};
use callsign_plugin::abi;

use super::call::{self, Function};
use super::handler::{Handler, HandlerRef, Kind};
use super::hooks::Hooks;
use super::image::Image;
use super::library::{Library, Plain};
use crate::board::{self, Label};
use crate::connection::Connection;
use crate::crash;
use crate::http::exchange::Owner;
use crate::nearest::nearest;
use crate::plan::PlannedPlugin;

/// One loaded copy of a plugin.
#[derive(Debug)]
pub struct Plugin {
    /// Unique among the plugins in use.
    pub name: String,
    /// The library file, as the operator has named it.
    pub path: PathBuf,
    /// 1 for the copy that the server has started with.
    pub generation: u32,
    /// Copies of it that this process has loaded before.
    pub retained: u32,
    /// What the library offers.
    pub image: Image,
    /// Its place in the registry: the same for all its copies.
    pub index: usize,
    config: String,
    /// What the config file names as its load hook.
    onload: Option<String>,
    library: Library,
}

/// What one generation of a plugin leaves to the next, connections aside.
#[derive(Debug)]
pub struct Carried {
    /// The saving generation's.
    pub version: u32,
    /// Its own words.
    pub state: Vec<u8>,
}

impl Plugin {
    /// Loads the library of which the image was read. Of its code only constructors run.
    pub fn load(
        planned: &PlannedPlugin,
        image: Image,
        name: String,
        index: usize,
        retained: u32,
    ) -> Result<Self> {
        let generation = planned.generation;
        let config = serde_json::to_string(&planned.source.config)
            .context("its config table cannot be written as JSON")?;
        let label =
            |kind: &str| Label { plugin: name.clone(), kind: kind.into(), generation, ..Label::default() };
        let hooks = board::define(&label("loading"));
        // A library's constructors can crash as well.
        board::current().enter(hooks);
        let library = Library::open(&planned.file, index, &name, generation, hooks);
        board::current().leave();
        board::current().set_modules(&crash::modules());
        let library = library.inspect_err(|_| board::undefine(hooks))?;
        let (path, onload) = (planned.source.path.clone(), planned.source.onload.clone());
        Ok(Self { name, path, generation, retained, image, index, config, onload, library })
    }

    /// Gives it what the generation before has left, and runs its load hook. Err: it refuses. `probe`: nobody will
    /// use it.
    pub fn start(&self, carried: Option<&Carried>, probe: bool) -> Result<()> {
        if let Some(Carried { version, state }) = carried {
            let restored = self.hooks("restore hook").restore_plugin(*version, state);
            restored.map_err(|reason| anyhow!("its state cannot be restored: {reason}"))?;
        }
        let Some((hook, function)) = self.onload_hook()? else { return Ok(()) };
        let (name, config) = (CString::new(self.name.as_str())?, CString::new(self.config.as_str())?);
        let state = carried.map(|carried| carried.state.as_slice());
        let load = abi::Load {
            struct_size: size_of::<abi::Load>() as u32,
            generation: self.generation,
            plugin: name.as_ptr(),
            config: config.as_ptr(),
            state: state.map_or(ptr::null(), |state| state.as_ptr().cast()),
            state_length: state.map_or(0, <[u8]>::len),
            state_version: carried.map_or(0, |carried| carried.version),
            probe: u32::from(probe),
            function,
        };
        let answer = call::on_load(hook, &load);
        board::undefine(hook.index.get());
        match answer {
            Ok(true) => Ok(()),
            Ok(false) => Err(anyhow!("its onload hook `{}` refused the load and gave no reason", hook.name)),
            Err(reason) => Err(anyhow!("its onload hook `{}` refused the load: {reason}", hook.name)),
        }
    }

    /// Another copy has taken over: the last that it is asked to do.
    pub fn unload(&self) {
        match self.one_hook(Kind::OnUnload) {
            Ok(Some(hook)) => {
                if let Err(reason) = call::on_unload(hook) {
                    log::error!("{hook} failed: {reason}; it has no further part to play");
                }
                board::undefine(hook.index.get());
            }
            Ok(None) => {}
            Err(error) => log::error!("plugin `{}` (generation {}): {error:#}", self.name, self.generation),
        }
    }

    /// From now on it can hand over nothing to be called later, and is called no more.
    pub fn retire(&self) {
        self.library.retire();
        self.library.hooks().leave_board();
    }

    /// Its hooks; the board says from now on that they run as `what`.
    pub fn hooks(&self, what: &str) -> &Hooks {
        let hooks = self.library.hooks();
        let (plugin, kind, generation) = (self.name.clone(), what.to_owned(), self.generation);
        board::current().define(hooks.index(), &Label { plugin, kind, generation, ..Label::default() });
        hooks
    }

    /// Of its hooks only the one that frees is called from now on.
    pub fn at_rest(&self) {
        self.hooks("release hook");
    }

    /// Its function for that name and kind.
    pub fn function(&self, name: &str, kind: Kind) -> Option<Function> {
        self.library.function(&self.image, name, kind)
    }

    /// The load hook, and the plain function that it is handed because the config file names it. A handler of that
    /// name is the hook itself; so is a plain function, in a library without a hook.
    fn onload_hook(&self) -> Result<Option<(HandlerRef, Option<Plain>)>> {
        let Some(named) = &self.onload else {
            return Ok(self.one_hook(Kind::OnLoad)?.map(|hook| (hook, None)));
        };
        let hooks = self.image.handlers.iter().filter(|(_, kind)| *kind == Kind::OnLoad);
        let hooks: Vec<&String> = hooks.map(|(name, _)| name).collect();
        let is_plain = self.image.functions.contains(named);
        if hooks.contains(&named) || is_plain && hooks.is_empty() {
            return Ok(Some((self.hook(named, Kind::OnLoad)?, None)));
        }
        if !is_plain {
            bail!("`onload` in [plugin.{}] names `{named}`{}", self.name, self.no_hook(named));
        }
        let function = self.library.plain(&self.image, named);
        Ok(self.one_hook(Kind::OnLoad)?.map(|hook| (hook, function)))
    }

    /// The one hook of that kind, whatever its name.
    fn one_hook(&self, kind: Kind) -> Result<Option<HandlerRef>> {
        let mut hooks = self.image.handlers.iter().filter(|(_, its_kind)| *its_kind == kind);
        let Some((name, _)) = hooks.next() else { return Ok(None) };
        if let Some((second, _)) = hooks.next() {
            let or = match kind {
                Kind::OnLoad => {
                    format!(", or name the one that is meant: `onload` in [plugin.{}]", self.name)
                }
                _ => String::new(),
            };
            bail!("it has two {kind} hooks, `{name}` and `{second}`; keep one{or}");
        }
        self.hook(name, kind).map(Some)
    }

    fn hook(&self, name: &str, kind: Kind) -> Result<HandlerRef> {
        let function =
            self.function(name, kind).with_context(|| format!("its {kind} hook cannot be found"))?;
        // One or two for each load, which keeps far more in memory.
        let hook: HandlerRef = Box::leak(Box::new(Handler {
            plugin: self.index,
            plugin_name: self.name.clone(),
            name: name.to_owned(),
            kind,
            function: Cell::new(function),
            index: Cell::new(0),
        }));
        hook.index.set(board::define(&hook.label(self.generation)));
        Ok(hook)
    }

    /// Why that name is no load hook, and what to do, as the end of a sentence.
    fn no_hook(&self, named: &str) -> String {
        if let Some((_, kind)) = self.image.handlers.iter().find(|(name, _)| name == named) {
            return format!(", which is an {}; name an onload hook or a plain function", kind.noun());
        }
        let hint = match nearest(named, self.names(Kind::OnLoad)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "export it, or fix the name".to_owned(),
        };
        format!(", and there is no such function; {hint}")
    }

    /// ``plugin `chat` (target/debug/libchat.so)``
    pub fn label(&self) -> String {
        format!("plugin `{}` ({})", self.name, self.path.display())
    }

    /// The names that can be called as that kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> + Clone {
        let handlers = self.image.handlers.iter().filter(move |(_, its_kind)| *its_kind == kind);
        handlers.map(|(name, _)| name.as_str()).chain(self.image.functions.iter().map(String::as_str))
    }

    /// Whether it has a handler of that name and kind.
    pub fn has(&self, name: &str, kind: Kind) -> bool {
        self.names(kind).any(|other| other == name)
    }
}

/// Has a plugin free what it has put into a connection.
pub fn release(plugin: &Plugin, c: &Connection) {
    if let Err(reason) = plugin.library.hooks().release(c) {
        log::error!("plugin `{}`: the data of connection {} cannot be dropped: {reason}", plugin.name, c.id);
    }
}

/// Has a plugin free what it has put into a connection that will not be one, or not for this copy.
pub fn release_owner(plugin: &Plugin, owner: &mut Owner) {
    if !owner.has_data() {
        return;
    }
    if let Err(reason) = plugin.library.hooks().release_owner(owner) {
        let peer = owner.head.peer().to_string_lossy();
        log::error!(
            "plugin `{}`: the data of a request from {peer} cannot be dropped: {reason}",
            plugin.name
        );
    }
    owner.clear();
}
