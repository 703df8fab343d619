//! What few clients have, behind one pointer: most clients pay for the pointer alone.
//!
//! Invariant: the name of a subprotocol and a certificate keep their addresses until their client is dropped, because
//! plugins get pointers to them.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use super::certificate::ClientCertificate;
use super::compression::Compression;

/// What few clients have.
#[derive(Default)]
pub struct Extras(Cell<Option<Box<Present>>>);

#[derive(Default)]
struct Present {
    rest: Option<Rest>,
    subprotocol: Option<Box<CStr>>,
    certificate: Option<Rc<ClientCertificate>>,
    compression: Option<Box<Compression>>,
}

impl Present {
    fn is_empty(&self) -> bool {
        let Self { rest, subprotocol, certificate, compression } = self;
        rest.is_none() && subprotocol.is_none() && certificate.is_none() && compression.is_none()
    }
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
    /// Keeps bytes that were read and not handled.
    pub fn keep_rest(&self, rest: Rest) {
        let mut present = self.0.take().unwrap_or_default();
        present.rest = Some(rest);
        self.0.set(Some(present));
    }

    /// Takes the bytes that were read and not handled.
    pub fn take_rest(&self) -> Option<Rest> {
        let mut present = self.0.take()?;
        let rest = present.rest.take();
        self.0.set(Some(present).filter(|present| !present.is_empty()));
        rest
    }

    /// Memory of the bytes that were read and not handled.
    #[cold]
    pub fn rest_memory(&self) -> usize {
        let present = self.0.take();
        let rest = present.as_ref().and_then(|present| present.rest.as_ref());
        let memory = rest.map_or(0, |rest| rest.bytes.len());
        self.0.set(present);
        memory
    }

    /// Sets the subprotocol, once. A name with a NUL is no name.
    pub fn set_subprotocol(&self, name: &[u8]) {
        let Ok(name) = CString::new(name) else { return };
        if !name.is_empty() {
            let mut present = self.0.take().unwrap_or_default();
            present.subprotocol.get_or_insert(name.into_boxed_c_str());
            self.0.set(Some(present));
        }
    }

    /// Passes the subprotocol, "" for none.
    pub fn with_subprotocol<R>(&self, f: impl FnOnce(&CStr) -> R) -> R {
        let present = self.0.take();
        let name = present.as_ref().and_then(|present| present.subprotocol.as_deref());
        let result = f(name.unwrap_or_default());
        self.0.set(present);
        result
    }

    /// Sets the certificate, once.
    pub fn set_certificate(&self, certificate: Rc<ClientCertificate>) {
        let mut present = self.0.take().unwrap_or_default();
        present.certificate.get_or_insert(certificate);
        self.0.set(Some(present));
    }

    /// Sets or ends compression; returns what was there.
    pub fn set_compression(&self, compression: Option<Box<Compression>>) -> Option<Box<Compression>> {
        let present = self.0.take();
        if present.is_none() && compression.is_none() {
            return None;
        }
        let mut present = present.unwrap_or_default();
        let before = std::mem::replace(&mut present.compression, compression);
        self.0.set(Some(present).filter(|present| !present.is_empty()));
        before
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
        let present = self.0.take();
        let result = f(present.as_ref().and_then(|present| present.certificate.as_deref()));
        self.0.set(present);
        result
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
        extras.keep_rest(Rest { bytes: (*b"handled, not handled\0").into(), handled: 9 });
        assert_eq!(extras.take_rest().expect("it was kept").unhandled(), b"not handled");
        assert_eq!((name(&extras), extras.with_subprotocol(CStr::as_ptr)), ("chat.v1".to_owned(), address));
        assert!(extras.with_certificate(|it| it.is_some_and(|it| it.der() == b"der")));
    }

    #[test]
    fn a_client_without_any_has_one_pointer_and_no_allocation() {
        let extras = Extras::default();
        extras.keep_rest(Rest { bytes: Box::new([0]), handled: 0 });
        assert!(extras.take_rest().is_some() && extras.take_rest().is_none());
        assert!(extras.set_compression(None).is_none() && extras.with_compression(|it| it.is_none()));
        assert_eq!(name(&extras), "");
        assert!(extras.0.take().is_none());
        assert_eq!(size_of::<Extras>(), size_of::<usize>());
    }
}
