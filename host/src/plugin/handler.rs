//! A handler: a named function of one kind in one plugin.
//!
//! Invariant: handlers are interned and live until the worker exits. A connection refers to a handler, not to a
//! function; a reload replaces the function in the handler.

use std::cell::Cell;
use std::fmt;

use callsign_plugin::abi;

use super::call::Function;
use super::guard::Guard;
use crate::system::scoreboard::CodeLabel;

/// What a handler is called for, which determines its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client was upgraded.
    OnConnect,
    /// A message arrived from the client.
    OnMessage,
    /// The connection has ended.
    OnDisconnect,
    /// Nothing waits in the connection's write queue any more.
    OnDrain,
    /// A request arrived.
    OnRequest,
    /// The library was loaded.
    OnLoad,
    /// A new generation replaced this one, or the plugin was removed.
    OnUnload,
    /// Unnamed: a timer that the plugin has set.
    Timer,
    /// Unnamed: the function that follows background work on the worker's thread.
    Background,
    /// Unnamed: the function that receives messages from the plugin's instances on other workers.
    WorkerMessage,
}

impl Kind {
    /// The kind of an ABI code; None for a code of a later ABI version.
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            abi::kind::ONCONNECT => Self::OnConnect,
            abi::kind::ONMESSAGE => Self::OnMessage,
            abi::kind::ONDISCONNECT => Self::OnDisconnect,
            abi::kind::ONREQUEST => Self::OnRequest,
            abi::kind::ONLOAD => Self::OnLoad,
            abi::kind::ONUNLOAD => Self::OnUnload,
            abi::kind::ONDRAIN => Self::OnDrain,
            _ => return None,
        })
    }

    /// `onmessage handler`, `onload hook`
    pub fn noun(self) -> String {
        let noun = if matches!(self, Self::OnLoad | Self::OnUnload) { "hook" } else { "handler" };
        format!("{self} {noun}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OnConnect => "onconnect",
            Self::OnMessage => "onmessage",
            Self::OnDisconnect => "ondisconnect",
            Self::OnDrain => "ondrain",
            Self::OnRequest => "onrequest",
            Self::OnLoad => "onload",
            Self::OnUnload => "onunload",
            Self::Timer => "timer",
            Self::Background => "background work",
            Self::WorkerMessage => "worker message",
        })
    }
}

/// A named function of a plugin, or the stand-in for all its unnamed functions of one kind.
#[derive(Debug)]
pub struct Handler {
    /// The plugin's index in the registry.
    pub plugin: usize,
    pub plugin_name: String,
    /// Empty for unnamed functions.
    pub name: String,
    pub kind: Kind,
    /// The function of the generation in use. Its variant fits `kind`.
    pub function: Cell<Function>,
    /// The guard of the library with the function.
    pub guard: Cell<Option<Guard>>,
    /// Index on the worker's scoreboard.
    pub index: Cell<u32>,
}

impl Handler {
    /// Stands for all timers of a plugin, all its background work, or all worker messages to it, in logs and on the
    /// scoreboard.
    pub fn unnamed(plugin: usize, plugin_name: &str, kind: Kind) -> Self {
        let (plugin_name, name) = (plugin_name.to_owned(), String::new());
        let (function, guard) = (Cell::new(Function::None), Cell::new(None));
        Self { plugin, plugin_name, name, kind, function, guard, index: Cell::new(0) }
    }

    /// The label for the scoreboard while the function belongs to that generation.
    pub fn label(&self, generation: u32) -> CodeLabel {
        CodeLabel { plugin: self.plugin_name.clone(), kind: self.noun(), name: self.name.clone(), generation }
    }

    /// Replaces the function and its guard. None: the new generation has no such handler, and calls fail from now on.
    pub fn rebind(&self, function: Option<Function>, guard: Option<Guard>) {
        self.function.set(function.unwrap_or(Function::None));
        self.guard.set(guard);
    }

    /// `onmessage handler`, `timer`
    fn noun(&self) -> String {
        if self.name.is_empty() { self.kind.to_string() } else { self.kind.noun() }
    }
}

/// A reference to an interned handler, valid across reloads.
pub type HandlerRef = &'static Handler;

/// ``plugin `chat`: onmessage handler `message` ``, ``plugin `chat`: timer``
impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}`: {}", self.plugin_name, self.noun())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " `{}`", self.name) }
    }
}

/// The handlers that a handshake binds to a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Callbacks {
    pub onconnect: Option<HandlerRef>,
    pub onmessage: Option<HandlerRef>,
    pub ondisconnect: Option<HandlerRef>,
    pub ondrain: Option<HandlerRef>,
}

impl Callbacks {
    /// The handlers that are set.
    pub fn iter(&self) -> impl Iterator<Item = HandlerRef> {
        [self.onconnect, self.onmessage, self.ondisconnect, self.ondrain].into_iter().flatten()
    }
}
