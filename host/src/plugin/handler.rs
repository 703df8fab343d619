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
            _ => return None,
        })
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
    /// The name it is called by.
    pub name: String,
    /// Fits `function`.
    pub kind: Kind,
    /// The code behind the name now.
    pub function: Cell<Function>,
    /// Its index on the worker's board.
    pub index: Cell<u32>,
}

impl Handler {
    /// What the board calls it, with code of that generation behind it.
    pub fn label(&self, generation: u32) -> Label {
        let kind = format!("{} handler", self.kind);
        Label { plugin: self.plugin_name.clone(), kind, name: self.name.clone(), generation }
    }
}

/// A reference to a name; stays good over a reload.
pub type HandlerRef = &'static Handler;

/// ``plugin `chat`: onmessage handler `message` ``
impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}`: {} handler `{}`", self.plugin_name, self.kind, self.name)
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
