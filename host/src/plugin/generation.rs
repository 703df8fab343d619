//! One generation of a plugin, that is one loaded version of it: loading, the load and unload hooks, retirement. A
//! planned plugin and the image of its file enter; functions by name leave.
//!
//! Invariant: a generation does not know whether it is in use. The registry decides that.

use std::cell::Cell;
use std::ffi::CString;
use std::path::PathBuf;
use std::ptr;

use anyhow::{Context, Result, anyhow, bail};
use callsign_plugin::abi;

use super::call::{self, Failure, Function};
use super::cpp::{CppFunction, is_mangled};
use super::exposed::ExposedConnection;
use super::guard::Guard;
use super::handler::{Handler, HandlerRef, Kind};
use super::hooks::Hooks;
use super::image::Image;
use super::library::{HostTable, Library, Plain};
use crate::config::nearest::nearest;
use crate::config::plan::PlannedPlugin;
use crate::config::plugin_source::BroadcastTo;
use crate::system::crash;
use crate::system::sandbox;
use crate::system::scoreboard::{self, CodeLabel};

/// One loaded version of a plugin.
#[derive(Debug)]
pub struct Generation {
    /// Unique among the plugins in use.
    pub name: String,
    /// The library file that the operator named. The process may have loaded a copy of it.
    pub path: PathBuf,
    /// 1 for the version that the server started with; each reload adds 1.
    pub generation: u32,
    /// Number of other generations that this process has loaded, rejected ones included. They stay in memory.
    pub retained: Cell<u32>,
    pub image: Image,
    /// Index in the registry, the same for all generations of the plugin.
    pub index: usize,
    /// Whether its broadcasts reach the connections of all plugins, and not only its own.
    pub broadcasts_to_all: bool,
    /// The plugin's config table as JSON.
    config: String,
    /// Where that table is: `file:line:column`.
    config_position: Option<String>,
    /// The function that the config file names as `onload`.
    onload: Option<String>,
    /// None: an [`outline`](Self::outline).
    library: Option<Library>,
}

/// What a load hook is told about its process.
#[derive(Clone, Copy, Debug)]
pub struct LoadSite {
    /// Whether the process is a probe and will serve no clients.
    pub is_probe: bool,
    /// Index of the worker.
    pub worker: u32,
    /// The generation that serves now, and that is replaced if the reload is accepted.
    pub replaces: Option<u32>,
}

/// State of a plugin that belongs to no connection, as one generation saved it for the next.
#[derive(Debug)]
pub struct PluginState {
    /// `state_version` of the generation that saved it.
    pub version: u32,
    /// Opaque to the host.
    pub bytes: Vec<u8>,
}

impl Generation {
    /// Loads the library whose image was read. Of its code only constructors run.
    pub fn load(
        planned: &PlannedPlugin,
        image: Image,
        name: String,
        index: usize,
        retained: u32,
        host: HostTable,
    ) -> Result<Self> {
        let config = serde_json::to_string(&planned.source.complete_config())
            .context("its config table cannot be written as JSON")?;
        let outline = Self::outline(planned, image, name, index);
        let Self { ref image, ref name, generation, .. } = outline;
        let hooks = scoreboard::define(&outline.code_label("loading"));
        // Labelled on the scoreboard, because a library's constructors can crash or hang.
        scoreboard::current().enter(hooks);
        let library = Library::open(&planned.file, image, index, name, generation, hooks, host);
        scoreboard::current().leave();
        scoreboard::current().set_modules(&crash::modules());
        let library = library.inspect_err(|_| scoreboard::undefine(hooks))?;
        Ok(Self {
            retained: Cell::new(retained),
            broadcasts_to_all: planned.source.broadcast == BroadcastTo::All,
            config,
            config_position: planned.source.config_position.clone(),
            library: Some(library),
            ..outline
        })
    }

    /// A generation of which only the file was read, to look up names before any code is loaded. Its functions are
    /// [`Function::None`], and it has no hooks.
    pub fn outline(planned: &PlannedPlugin, image: Image, name: String, index: usize) -> Self {
        Self {
            name,
            path: planned.source.path.clone(),
            generation: planned.generation,
            retained: Cell::default(),
            image,
            index,
            broadcasts_to_all: false,
            config: String::new(),
            config_position: None,
            onload: planned.source.onload.clone(),
            library: None,
        }
    }

    /// The label of code of this generation on the scoreboard.
    fn code_label(&self, kind: &str) -> CodeLabel {
        let (plugin, kind, generation) = (self.name.clone(), kind.to_owned(), self.generation);
        CodeLabel { plugin, kind, generation, ..CodeLabel::default() }
    }

    /// Whether code was loaded.
    pub fn is_loaded(&self) -> bool {
        self.library.is_some()
    }

    fn library(&self) -> &Library {
        self.library.as_ref().expect("code of an outline is never asked for")
    }

    /// Runs the restore hook with the previous generation's state, then the load hook.
    ///
    /// # Errors
    /// A hook failed, or the load hook returned that it refuses the load.
    pub fn start(&self, previous: Option<&PluginState>, site: LoadSite) -> Result<()> {
        if let Some(PluginState { version, bytes }) = previous {
            let restored = self.hooks("restore hook").restore_plugin(*version, bytes);
            restored.map_err(|reason| anyhow!("its state cannot be restored: {reason}"))?;
        }
        let Some((hook, function)) = self.onload_hook()? else { return Ok(()) };
        let (name, config) = (CString::new(self.name.as_str())?, CString::new(self.config.as_str())?);
        let state = previous.map(|previous| previous.bytes.as_slice());
        let load = abi::Load {
            struct_size: size_of::<abi::Load>() as u32,
            generation: self.generation,
            plugin: name.as_ptr(),
            config: config.as_ptr(),
            state: state.map_or(ptr::null(), |state| state.as_ptr().cast()),
            state_length: state.map_or(0, <[u8]>::len),
            state_version: previous.map_or(0, |previous| previous.version),
            probe: u32::from(site.is_probe),
            function,
            worker: site.worker,
            replaces: site.replaces.unwrap_or(0),
        };
        let answer = call::on_load(hook, &load);
        scoreboard::undefine(hook.index.get());
        let config = self.config_position.as_ref();
        let config = config.map(|position| format!(" (its config: {position})")).unwrap_or_default();
        let (name, note) = (&hook.name, sandbox::note());
        match answer {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(anyhow!("its onload hook `{name}` refused the load and gave no reason{config}{note}"))
            }
            Err(reason) => Err(anyhow!("its onload hook `{name}` refused the load: {reason}{config}{note}")),
        }
    }

    /// Runs the unload hook, after a new generation replaced this one or the plugin was removed.
    pub fn unload(&self) {
        match self.one_hook(Kind::OnUnload) {
            Ok(Some(hook)) => {
                if let Err(reason) = call::on_unload(hook) {
                    log::error!("{hook} failed: {reason}; the old generation is removed all the same");
                }
                scoreboard::undefine(hook.index.get());
            }
            Ok(None) => {}
            Err(error) => log::error!("plugin `{}` (generation {}): {error:#}", self.name, self.generation),
        }
    }

    /// Ends the generation: the host rejects timers, background work and worker messages of it from now on, and its
    /// labels are removed from the scoreboard. The library stays loaded.
    pub fn retire(&self) {
        if let Some(library) = &self.library {
            library.retire();
            library.hooks().remove_label();
        }
    }

    /// The hooks of the descriptor. The scoreboard shows `label` for all of them from now on.
    pub fn hooks(&self, label: &str) -> &Hooks {
        let hooks = self.library().hooks();
        scoreboard::current().define(hooks.index(), &self.code_label(label));
        hooks
    }

    /// Labels the hooks as `release hook` on the scoreboard: outside of a reload the host calls no other hook.
    pub fn label_release_hook(&self) {
        self.hooks("release hook");
    }

    /// The guard that calls of the library need.
    pub fn guard(&self) -> Option<Guard> {
        self.library.as_ref()?.hooks().guard()
    }

    /// The function of that name, to be called as a handler of that kind.
    pub fn function(&self, name: &str, kind: Kind) -> Option<Function> {
        match &self.library {
            Some(library) => library.function(&self.image, name, kind),
            None => self.image.exports(name, kind).then_some(Function::None),
        }
    }

    /// The load hook, and the plain function that the hook gets in [`abi::Load`]. `onload` in the config file may name
    /// a load hook, which is called; or a plain function, which the library's load hook gets. A library without a load
    /// hook has the plain function called as its load hook.
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
            bail!("`onload` in [plugin.{}] names `{named}`{}", self.name, self.not_a_hook(named));
        }
        let function = self.library().plain(&self.image, named);
        Ok(self.one_hook(Kind::OnLoad)?.map(|hook| (hook, function)))
    }

    /// The only hook of that kind; its name does not matter.
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
        // Leaked: one or two for each load, and the library itself stays in memory too.
        self.new_handler(name, kind).with_context(|| format!("cannot find its {kind} hook `{name}`"))
    }

    /// A new handler that calls the function of that name; it is leaked. None: there is no such function.
    pub fn new_handler(&self, name: &str, kind: Kind) -> Option<HandlerRef> {
        let handler: HandlerRef = Box::leak(Box::new(Handler {
            plugin: self.index,
            plugin_name: self.name.clone(),
            name: name.to_owned(),
            kind,
            function: Cell::new(self.function(name, kind)?),
            guard: Cell::new(self.guard()),
            index: Cell::new(0),
        }));
        handler.index.set(scoreboard::define(&handler.label(self.generation)));
        Some(handler)
    }

    /// Why that name is not a load hook, and what to do, as the end of a sentence.
    fn not_a_hook(&self, named: &str) -> String {
        if let Some((_, kind)) = self.image.handlers.iter().find(|(name, _)| name == named) {
            return format!(", which is an {}; name an onload hook or a plain function", kind.noun());
        }
        let hint = if let Some(function) = CppFunction::find(CppFunction::all(&self.image), named) {
            function.hint(Kind::OnLoad)
        } else if let Some(near) = nearest(named, self.names(Kind::OnLoad)) {
            format!("did you mean `{near}`?")
        } else {
            "export it, or fix the name".to_owned()
        };
        format!(", and there is no such function; {hint}")
    }

    /// ``plugin `chat` (target/debug/libchat.so)``
    pub fn label(&self) -> String {
        format!("plugin `{}` ({})", self.name, self.path.display())
    }

    /// The names that can be called as handlers of that kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> + Clone {
        let handlers = self.image.handlers.iter().filter(move |(_, its_kind)| *its_kind == kind);
        let functions = self.image.functions.iter().filter(|name| !is_mangled(name));
        handlers.map(|(name, _)| name.as_str()).chain(functions.map(String::as_str))
    }

    /// Calls the plugin's release hook, which frees the data that the plugin keeps in a connection.
    pub fn release(&self, c: &impl ExposedConnection) -> Result<(), Failure> {
        self.library().hooks().release(c)
    }
}
