//! A client as bytes and a descriptor, to continue elsewhere: id, handlers by name, head, parameters, what is used of the
//! route's limits, what the access log will say, protocol state with any partial message, compression with its windows, the
//! write queue, what was read and not handled, and the keys of TLS. The format begins with its version; all of it is
//! validated when it is thawed.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use callsign_websocket::{Endpoint, SnapshotError, Source, put_bytes};
use zeroize::Zeroizing;

use super::certificate::ClientCertificate;
use super::compression::Compression;
use super::head::Head;
use super::limited::Limited;
use super::outbox::Outbox;
use super::recorded::Recorded;
use super::transport::Transport;
use super::turn_state::Ondrain;
use super::{Client, Phase, Rest};
use crate::config::route::Params;
use crate::plugin::handler::{Callbacks, HandlerRef, Kind};

/// Version of the format.
const VERSION: u8 = 9;
/// The kinds of a connection's handlers, in the order of the format.
const KINDS: [Kind; 4] = [Kind::OnConnect, Kind::OnMessage, Kind::OnDisconnect, Kind::OnDrain];

/// A frozen client. Only the length of its bytes is shown: they contain messages and keys.
pub struct Frozen {
    /// Everything but the socket.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The socket.
    pub descriptor: OwnedFd,
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, descriptor } = self;
        f.debug_struct("Frozen").field("bytes", &bytes.len()).field("descriptor", descriptor).finish()
    }
}

/// Why frozen bytes are not a client.
#[derive(Debug, PartialEq, Eq)]
pub enum ThawError {
    /// They are damaged, or of another version.
    Format(&'static str),
    /// A handler of that name does not exist.
    NoHandler {
        /// The plugin's name.
        plugin: String,
        /// The handler's name.
        name: String,
        /// Its kind.
        kind: Kind,
    },
}

impl fmt::Display for ThawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(what) => write!(f, "a frozen client is damaged: {what}"),
            Self::NoHandler { plugin, name, kind } => {
                write!(f, "plugin `{plugin}`: no {kind} handler `{name}`")
            }
        }
    }
}

impl From<SnapshotError> for ThawError {
    fn from(error: SnapshotError) -> Self {
        Self::Format(error.0)
    }
}

impl Client {
    /// Takes the socket out of the client and writes everything else down. Not while a callback runs for it, and after
    /// its socket was deregistered from the reactor. The data
    /// that plugins keep in it is not included. None: the client is not open or closing, or its socket is gone.
    pub fn freeze(&self, now: Instant) -> Option<Frozen> {
        if !matches!(self.phase(), Phase::Open | Phase::Closing) || self.is_gone() {
            return None;
        }
        let kind = self.transport.borrow().kind()?;
        let mut bytes = vec![VERSION, kind];
        bytes.extend_from_slice(&self.id().to_le_bytes());
        let is_drain_due = self.turn.ondrain.get() == Ondrain::Due;
        bytes.extend([self.departed.get(), self.is_secure.get(), is_drain_due].map(u8::from));
        let Callbacks { onconnect, onmessage, ondisconnect, ondrain } = self.callbacks();
        for handler in [onconnect, onmessage, ondisconnect, ondrain] {
            let (plugin, name) = handler.map_or(("", ""), |handler| (&handler.plugin_name, &handler.name));
            put_bytes(&mut bytes, plugin.as_bytes());
            put_bytes(&mut bytes, name.as_bytes());
        }
        put_bytes(&mut bytes, self.head.as_bytes());
        self.with_subprotocol(|name| put_bytes(&mut bytes, name.to_bytes()));
        self.with_certificate(|it| put_bytes(&mut bytes, it.map_or(&[], ClientCertificate::der)));
        self.with_params(|it| put_bytes(&mut bytes, it.map_or(&[], Params::as_bytes)));
        bytes.push(u8::from(self.turn.watched.is_limited()));
        self.with_limited(|limited| limited.freeze(&mut bytes, now));
        let recorded = self.recorded().map(|recorded| recorded.freeze(now));
        put_bytes(&mut bytes, &recorded.unwrap_or_default());
        self.endpoint.snapshot(&mut bytes);
        self.with_compression(|it| it.iter().for_each(|it| it.write_to(&mut bytes)));
        let (waiting, written) = self.outbox.borrow().to_bytes();
        put_bytes(&mut bytes, &waiting);
        bytes.extend_from_slice(&(written as u64).to_le_bytes());
        let rest = self.take_rest();
        put_bytes(&mut bytes, rest.as_ref().map_or(&[], Rest::unhandled));
        let (descriptor, state) = self.transport.replace(Transport::None).freeze()?;
        // Keys come last, in room that is there: a vector that grows leaves copies of its bytes behind.
        bytes.reserve_exact(state.len() + size_of::<u64>());
        let mut bytes = Zeroizing::new(bytes);
        put_bytes(&mut bytes, &state);
        Some(Frozen { bytes, descriptor })
    }

    /// The client that [`Client::freeze`] wrote down. `resolve` finds handlers by plugin, name and kind; `max_message`
    /// bounds a partial message, in bytes, unless the client's route has a limit of its own; the time to close of a closing client begins anew at `now`.
    ///
    /// # Errors
    /// The bytes are damaged, or a handler does not exist.
    pub fn thaw(
        frozen: Frozen,
        max_message: usize,
        now: Instant,
        resolve: impl Fn(&str, &str, Kind) -> Option<HandlerRef>,
    ) -> Result<Self, ThawError> {
        let mut source = Source(&frozen.bytes);
        if source.u8()? != VERSION {
            return Err(ThawError::Format("the client has another version"));
        }
        let kind = source.u8()?;
        let id = source.u64()?;
        if id == Self::NO_ID {
            return Err(ThawError::Format("the client has no id"));
        }
        let [departed, is_secure, drain_wanted] = [source.bool()?, source.bool()?, source.bool()?];
        let mut handlers = [None; 4];
        for (handler, kind) in handlers.iter_mut().zip(KINDS) {
            let (plugin, name) = (text(source.bytes()?)?, text(source.bytes()?)?);
            if !name.is_empty() {
                let missing =
                    || ThawError::NoHandler { plugin: plugin.to_owned(), name: name.to_owned(), kind };
                *handler = Some(resolve(plugin, name, kind).ok_or_else(missing)?);
            }
        }
        let head = Head::from_bytes(source.bytes()?).ok_or(ThawError::Format("the head is none"))?;
        let subprotocol = source.bytes()?;
        if subprotocol.contains(&0) {
            return Err(ThawError::Format("the subprotocol has a NUL"));
        }
        let certificate = source.bytes()?;
        let params = Params::from_bytes(source.bytes()?);
        let params = params.ok_or(ThawError::Format("the parameters are none"))?;
        let limited = source.bool()?.then(|| Limited::thaw(&mut source, now)).transpose()?;
        let recorded = match source.bytes()? {
            [] => None,
            recorded => Some(Recorded::thaw(recorded, now)?),
        };
        let own_max = limited.as_ref().and_then(|limited| limited.limits.max_message);
        let endpoint = Endpoint::restore(&mut source, own_max.unwrap_or(max_message), now)?;
        let compression = match endpoint.extensions().deflate {
            true => Some(Compression::read_from(&mut source)?),
            false => None,
        };
        let (waiting, written) = (source.bytes()?, usize::try_from(source.u64()?).unwrap_or(usize::MAX));
        let outbox = Outbox::from_bytes(waiting, written);
        let outbox = outbox.ok_or(ThawError::Format("more is written than waited"))?;
        let (rest, state) = (source.bytes()?, source.bytes()?);
        if !source.0.is_empty() {
            return Err(ThawError::Format("bytes follow its end"));
        }
        let transport = Transport::thaw(kind, frozen.descriptor, state)?;
        if transport.sealed_data() > outbox.len() {
            return Err(ThawError::Format("more is sealed than waits"));
        }
        let [onconnect, onmessage, ondisconnect, ondrain] = handlers;
        let client = Self { endpoint, outbox: RefCell::new(outbox), ..Self::requested(head) };
        client.open(id, transport, Callbacks { onconnect, onmessage, ondisconnect, ondrain });
        client.departed.set(departed);
        client.is_secure.set(is_secure);
        if drain_wanted && ondrain.is_some() {
            client.turn.ondrain.set(Ondrain::Due);
        }
        limited.into_iter().for_each(|limited| client.set_limited(limited));
        if !rest.is_empty() {
            client.keep_rest(Rest { bytes: [rest, &[0]].concat().into(), handled: 0 });
        }
        client.set_subprotocol(subprotocol);
        client.set_params(params);
        recorded.into_iter().for_each(|recorded| client.set_recorded(recorded));
        if !certificate.is_empty() {
            client.set_certificate(Rc::new(ClientCertificate::new(certificate)));
        }
        compression.into_iter().for_each(|it| client.set_compression(it));
        // Neither process has seen all events of the socket: the next read and write tell.
        client.turn.readable.set(true);
        Ok(client)
    }
}

fn text(bytes: &[u8]) -> Result<&str, ThawError> {
    std::str::from_utf8(bytes).map_err(|_| ThawError::Format("a name is not UTF-8"))
}

#[cfg(test)]
mod tests;
