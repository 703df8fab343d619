//! What few clients have, as a client offers it: limits of its route, the subprotocol, the certificate, the parameters of the
//! path, compression, and its record in the access log.

use std::ffi::CStr;
use std::rc::Rc;
use std::time::Instant;

use callsign_websocket::Extensions;

use super::Client;
use super::certificate::ClientCertificate;
use super::compression::Compression;
use super::limited::Limited;
use super::recorded::Recorded;
use crate::config::route::Params;
use crate::config::route_limits::RouteLimits;

impl Client {
    /// Sets the limits of the client's route, before the client is open.
    pub fn set_limits(&self, limits: Rc<RouteLimits>, now: Instant) {
        self.set_limited(Limited::new(limits, now));
    }

    pub(super) fn set_limited(&self, limited: Limited) {
        self.turn.watched.limit();
        self.extras.set_limited(limited);
    }

    /// Passes what the client has used of its route's limits. None: the route has none. `f` must not come back to the
    /// client.
    pub fn with_limited<R>(&self, f: impl FnOnce(&mut Limited) -> R) -> Option<R> {
        if self.turn.watched.is_limited() { self.extras.with_limited(f) } else { None }
    }

    /// Sets the subprotocol that the 101 selects, once.
    pub fn set_subprotocol(&self, name: &[u8]) {
        self.extras.set_subprotocol(name);
    }

    /// Passes the subprotocol that the 101 has selected, "" for none. The name keeps its address as long as the client.
    pub fn with_subprotocol<R>(&self, f: impl FnOnce(&CStr) -> R) -> R {
        self.extras.with_subprotocol(f)
    }

    /// Keeps the certificate that was verified in the TLS handshake. Before any handler sees the client.
    pub fn set_certificate(&self, certificate: Rc<ClientCertificate>) {
        self.extras.set_certificate(certificate);
    }

    /// Passes the certificate that was verified in the TLS handshake. It keeps its address as long as the client.
    pub fn with_certificate<R>(&self, f: impl FnOnce(Option<&ClientCertificate>) -> R) -> R {
        self.extras.with_certificate(f)
    }

    /// Keeps the parameters of the request's path, once.
    pub fn set_params(&self, params: Params) {
        self.extras.set_params(params);
    }

    /// Passes the parameters of the request's path, if it has any. They keep their address as long as the client.
    pub fn with_params<R>(&self, f: impl FnOnce(Option<&Params>) -> R) -> R {
        self.extras.with_params(f)
    }

    /// Sets what the handshake has agreed on about compression. Before the client is open.
    pub fn set_compression(&self, compression: Compression) {
        self.endpoint.set_extensions(Extensions { deflate: true });
        self.extras.set_compression(Some(Box::new(compression)));
    }

    /// Ends compression: the client sends and gets no more messages.
    pub fn take_compression(&self) -> Option<Box<Compression>> {
        self.extras.set_compression(None)
    }

    /// Passes what compression keeps of the client. None: its messages are not compressed. `f` uses nothing else of what
    /// few clients have.
    pub fn with_compression<R>(&self, f: impl FnOnce(Option<&mut Compression>) -> R) -> R {
        self.extras.with_compression(f)
    }

    /// Has the access log record the connection when it ends. Before its first byte.
    pub fn set_recorded(&self, recorded: Recorded) {
        self.turn.watched.record();
        self.extras.set_recorded(Rc::new(recorded));
    }

    /// What the access log will say of the connection. None: nothing.
    pub fn recorded(&self) -> Option<Rc<Recorded>> {
        if self.turn.watched.is_recorded() { self.extras.recorded() } else { None }
    }
}
