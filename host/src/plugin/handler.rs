//! A handler: a named function of one kind in one plugin. Handlers are interned for the life of the worker,
//! so that a connection holds references to names; which code is behind a name is a cell in here.

use std::cell::Cell;
use std::fmt;

use callsign_plugin::abi;

use super::call::Function;
use crate::board::Label;

/// What a handler is, and with which signature it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client was upgraded.
    OnConnect,
    /// A message came.
    OnMessage,
    /// The connection has ended.
    OnDisconnect,
    /// A request came.
    OnRequest,
    /// The library was loaded.
    OnLoad,
    /// Another copy of it has taken over.
    OnUnload,
    /// No handler: one of the plugin's timers, which have no names.
    Timer,
    /// No handler: the end of work off the loop, which has no name.
    Background,
    /// No handler: the plugin's messages from other workers, which have numbers.
    Post,
}

impl Kind {
    /// The kind behind an ABI number; None for one of a later version.
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            abi::kind::ONCONNECT => Self::OnConnect,
            abi::kind::ONMESSAGE => Self::OnMessage,
            abi::kind::ONDISCONNECT => Self::OnDisconnect,
            abi::kind::ONREQUEST => Self::OnRequest,
            abi::kind::ONLOAD => Self::OnLoad,
            abi::kind::ONUNLOAD => Self::OnUnload,
            _ => return None,
        })
    }

    /// ``onmessage handler``, ``onload hook``: what has a name of that kind.
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
            Self::OnRequest => "onrequest",
            Self::OnLoad => "onload",
            Self::OnUnload => "onunload",
            Self::Timer => "timer",
            Self::Background => "background work",
            Self::Post => "worker message",
        })
    }
}

/// A named function of a plugin.
#[derive(Debug)]
pub struct Handler {
    /// The plugin's place in load order.
    pub plugin: usize,
    /// The plugin's name, for messages.
    pub plugin_name: String,
    /// The name it is called by; empty for what has none.
    pub name: String,
    /// Fits `function`.
    pub kind: Kind,
    /// The code behind the name now.
    pub function: Cell<Function>,
    /// Its index on the worker's board.
    pub index: Cell<u32>,
}

impl Handler {
    /// What stands for all of a plugin's timers, or all of its work off the loop, or all messages to it, where a
    /// handler is spoken of.
    pub fn nameless(plugin: usize, plugin_name: &str, kind: Kind) -> Self {
        let (plugin_name, name) = (plugin_name.to_owned(), String::new());
        Self { plugin, plugin_name, name, kind, function: Cell::new(Function::None), index: Cell::new(0) }
    }

    /// What the board calls it, with code of that generation behind it.
    pub fn label(&self, generation: u32) -> Label {
        Label { plugin: self.plugin_name.clone(), kind: self.what(), name: self.name.clone(), generation }
    }

    /// From now on this code is behind the name; None: none is.
    pub fn change(&self, function: Option<Function>) {
        self.function.set(function.unwrap_or(Function::None));
    }

    /// ``onmessage handler``, ``timer``
    fn what(&self) -> String {
        if self.name.is_empty() { self.kind.to_string() } else { self.kind.noun() }
    }
}

/// A reference to a name; stays good over a reload.
pub type HandlerRef = &'static Handler;

/// ``plugin `chat`: onmessage handler `message` ``, ``plugin `chat`: timer``
impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}`: {}", self.plugin_name, self.what())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " `{}`", self.name) }
    }
}

/// The three names of a handshake, resolved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Callbacks {
    /// Called when the client was upgraded.
    pub onconnect: Option<HandlerRef>,
    /// Called with each message.
    pub onmessage: Option<HandlerRef>,
    /// Called once, last.
    pub ondisconnect: Option<HandlerRef>,
}

impl Callbacks {
    /// Those that are bound.
    pub fn iter(&self) -> impl Iterator<Item = HandlerRef> {
        [self.onconnect, self.onmessage, self.ondisconnect].into_iter().flatten()
    }
}
