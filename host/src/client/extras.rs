//! What few clients have, behind one pointer: most clients pay for the pointer alone.
//!
//! Invariant: the name of a subprotocol, a certificate and parameters keep their addresses until their client is dropped,
//! because plugins get pointers to them.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use super::certificate::ClientCertificate;
use super::compression::Compression;
use super::limited::Limited;
use super::recorded::Recorded;
use crate::config::route::Params;
use crate::plugin::handler::HandlerRef;

/// What few clients have.
#[derive(Default)]
pub struct Extras(Cell<Option<Box<Present>>>);

#[derive(Default)]
struct Present {
    rest: Option<Rest>,
    subprotocol: Option<Box<CStr>>,
    certificate: Option<Rc<ClientCertificate>>,
    params: Option<Params>,
    of_route: Option<Box<OfRoute>>,
    compression: Option<Box<Compression>>,
    recorded: Option<Rc<Recorded>>,
}

impl Present {
    fn is_empty(&self) -> bool {
        let Self { rest, subprotocol, certificate, params, of_route, compression, recorded } = self;
        rest.is_none()
            && subprotocol.is_none()
            && certificate.is_none()
            && params.is_none()
            && of_route.is_none()
            && compression.is_none()
            && recorded.is_none()
    }
}

#[derive(Default)]
struct OfRoute {
    ondrain: Option<HandlerRef>,
    limited: Option<Limited>,
}

/// Bytes that were read and not handled.
#[derive(Debug)]
pub struct Rest {
    /// What was not handled when the first turn ended, and a spare byte.
    pub bytes: Box<[u8]>,
    /// How much of it was handled since.
    pub handled: usize,
}

impl Rest {
    pub(super) fn unhandled(&self) -> &[u8] {
        &self.bytes[self.handled..self.bytes.len() - 1]
    }
}

impl Extras {
    /// `f` must not come back to the client.
    fn with<R>(&self, f: impl FnOnce(Option<&Present>) -> R) -> R {
        let present = self.0.take();
        let result = f(present.as_deref());
        self.0.set(present);
        result
    }

    fn change<R>(&self, f: impl FnOnce(&mut Present) -> R) -> R {
        let mut present = self.0.take().unwrap_or_default();
        let result = f(&mut present);
        self.0.set(Some(present).filter(|present| !present.is_empty()));
        result
    }

    /// Keeps bytes that were read and not handled.
    pub fn keep_rest(&self, rest: Rest) {
        self.change(|present| present.rest = Some(rest));
    }

    /// Takes the bytes that were read and not handled.
    pub fn take_rest(&self) -> Option<Rest> {
        if self.with(|present| present.is_none()) {
            return None;
        }
        self.change(|present| present.rest.take())
    }

    /// Memory of the bytes that were read and not handled.
    #[cold]
    pub fn rest_memory(&self) -> usize {
        self.with(|present| present?.rest.as_ref().map(|rest| rest.bytes.len())).unwrap_or(0)
    }

    /// Sets the subprotocol, once. A name with a NUL is no name.
    pub fn set_subprotocol(&self, name: &[u8]) {
        let Ok(name) = CString::new(name) else { return };
        if !name.is_empty() {
            self.change(|present| _ = present.subprotocol.get_or_insert(name.into_boxed_c_str()));
        }
    }

    /// Passes the subprotocol, "" for none.
    pub fn with_subprotocol<R>(&self, f: impl FnOnce(&CStr) -> R) -> R {
        self.with(|present| f(present.and_then(|it| it.subprotocol.as_deref()).unwrap_or_default()))
    }

    /// Sets the ondrain handler.
    pub fn set_ondrain(&self, handler: Option<HandlerRef>) {
        if handler.is_some() || self.ondrain().is_some() {
            self.change(|present| present.of_route.get_or_insert_default().ondrain = handler);
        }
    }

    /// The ondrain handler.
    pub fn ondrain(&self) -> Option<HandlerRef> {
        self.with(|present| present?.of_route.as_ref()?.ondrain)
    }

    /// Sets the limits of the route.
    pub fn set_limited(&self, limited: Limited) {
        self.change(|present| present.of_route.get_or_insert_default().limited = Some(limited));
    }

    /// Passes what the client has used of its route's limits. None: the route has none. `f` must not come back to the
    /// client.
    pub fn with_limited<R>(&self, f: impl FnOnce(&mut Limited) -> R) -> Option<R> {
        let mut present = self.0.take()?;
        let limited = present.of_route.as_mut().and_then(|of_route| of_route.limited.as_mut());
        let result = limited.map(f);
        self.0.set(Some(present));
        result
    }

    /// Sets the certificate, once.
    pub fn set_certificate(&self, certificate: Rc<ClientCertificate>) {
        self.change(|present| _ = present.certificate.get_or_insert(certificate));
    }

    /// Sets or ends compression; returns what was there.
    pub fn set_compression(&self, compression: Option<Box<Compression>>) -> Option<Box<Compression>> {
        if compression.is_none() && self.with(|present| present.is_none()) {
            return None;
        }
        self.change(|present| std::mem::replace(&mut present.compression, compression))
    }

    /// Passes what compression keeps.
    pub fn with_compression<R>(&self, f: impl FnOnce(Option<&mut Compression>) -> R) -> R {
        let mut present = self.0.take();
        let result = f(present.as_mut().and_then(|present| present.compression.as_deref_mut()));
        self.0.set(present);
        result
    }

    /// Passes the certificate, if there is one.
    pub fn with_certificate<R>(&self, f: impl FnOnce(Option<&ClientCertificate>) -> R) -> R {
        self.with(|present| f(present.and_then(|it| it.certificate.as_deref())))
    }

    /// Sets the parameters of the path, once.
    pub fn set_params(&self, params: Params) {
        if !params.is_empty() {
            self.change(|present| _ = present.params.get_or_insert(params));
        }
    }

    /// Passes the parameters of the path, if there are any.
    pub fn with_params<R>(&self, f: impl FnOnce(Option<&Params>) -> R) -> R {
        self.with(|present| f(present.and_then(|it| it.params.as_ref())))
    }

    /// Sets what the access log will say.
    pub fn set_recorded(&self, recorded: Rc<Recorded>) {
        self.change(|present| present.recorded = Some(recorded));
    }

    /// What the access log will say. None: nothing.
    pub fn recorded(&self) -> Option<Rc<Recorded>> {
        self.with(|present| present?.recorded.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(extras: &Extras) -> String {
        extras.with_subprotocol(|name| name.to_string_lossy().into_owned())
    }

    #[test]
    fn the_subprotocol_is_set_once_and_stays_where_it_is() {
        let extras = Extras::default();
        assert_eq!(name(&extras), "");
        extras.set_subprotocol(b"a\0b");
        extras.set_subprotocol(b"");
        extras.set_subprotocol(b"chat.v1");
        let address = extras.with_subprotocol(CStr::as_ptr);
        extras.set_subprotocol(b"chat.v2");
        extras.set_certificate(Rc::new(ClientCertificate::new(b"der")));
        extras.set_params(Params::from_bytes(b"a\x001\0").expect("one parameter"));
        assert!(extras.recorded().is_none());
        extras.keep_rest(Rest { bytes: (*b"handled, not handled\0").into(), handled: 9 });
        assert_eq!(extras.take_rest().expect("it was kept").unhandled(), b"not handled");
        assert_eq!((name(&extras), extras.with_subprotocol(CStr::as_ptr)), ("chat.v1".to_owned(), address));
        assert!(extras.with_certificate(|it| it.is_some_and(|it| it.der() == b"der")));
        assert_eq!(extras.with_params(|it| it?.get(b"a").map(CStr::to_owned)).as_deref(), Some(c"1"));
    }

    #[test]
    fn what_a_route_demands_stays_when_bytes_are_taken() {
        let extras = Extras::default();
        assert!(extras.ondrain().is_none() && extras.with_limited(|_| ()).is_none());
        extras.set_limited(Limited::new(Rc::default(), std::time::Instant::now()));
        extras.keep_rest(Rest { bytes: Box::new([0]), handled: 0 });
        assert!(extras.take_rest().is_some());
        assert_eq!(extras.with_limited(|limited| limited.limits.max_message), Some(None));
        assert!(extras.ondrain().is_none());
    }

    #[test]
    fn a_client_without_any_has_one_pointer_and_no_allocation() {
        let extras = Extras::default();
        extras.set_params(Params::from_bytes(b"").expect("none"));
        extras.keep_rest(Rest { bytes: Box::new([0]), handled: 0 });
        assert!(extras.take_rest().is_some() && extras.take_rest().is_none());
        assert!(extras.set_compression(None).is_none() && extras.with_compression(|it| it.is_none()));
        assert_eq!(name(&extras), "");
        assert!(extras.0.take().is_none());
        assert_eq!(size_of::<Extras>(), size_of::<usize>());
    }
}
