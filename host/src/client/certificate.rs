//! The certificate with which a client has proved its identity, for plugins. Its connection keeps the DER; what it says is
//! read when a plugin first asks.
//!
//! Invariant: all of it keeps its address as long as the certificate, because plugins get pointers to it.

use std::cell::OnceCell;
use std::ffi::{CStr, CString};

use callsign_plugin::abi::certificate as field;
use sha2::{Digest, Sha256};

use crate::system::x509::{self, CertificateName, Identity, hexadecimal};

/// A client's certificate, which was verified in the TLS handshake.
#[derive(Debug)]
pub struct ClientCertificate {
    der: Box<[u8]>,
    /// Each with its kind, one of [`field`].
    fields: OnceCell<Vec<(u32, CString)>>,
}

impl ClientCertificate {
    /// A certificate that was verified.
    pub fn new(der: &[u8]) -> Self {
        Self { der: der.into(), fields: OnceCell::new() }
    }

    /// The certificate itself.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Number `index` of its fields of a kind. None: it has no more of them.
    pub fn field(&self, kind: u32, index: usize) -> Option<&CStr> {
        let fields = self.fields.get_or_init(|| fields(&self.der));
        let found = fields.iter().filter(|(other, _)| *other == kind).nth(index);
        found.map(|(_, text)| text.as_c_str())
    }
}

fn fields(der: &[u8]) -> Vec<(u32, CString)> {
    let fingerprint = hexadecimal(&Sha256::digest(der));
    // The handshake has read it before.
    let Identity { subject, issuer, common_name, serial, names } = x509::identity(der).unwrap_or_default();
    let single = [
        (field::FINGERPRINT, Some(fingerprint)),
        (field::SUBJECT, Some(subject)),
        (field::ISSUER, Some(issuer)),
        (field::SERIAL, Some(serial)),
        (field::COMMON_NAME, common_name),
    ];
    let single = single.into_iter().filter_map(|(kind, text)| Some((kind, text?)));
    let names = names.into_iter().map(|name| match name {
        CertificateName::Dns(name) => (field::DNS, name),
        CertificateName::Email(name) => (field::EMAIL, name),
        CertificateName::Uri(name) => (field::URI, name),
        CertificateName::Address(address) => (field::ADDRESS, address.to_string()),
    });
    // None of them has a NUL.
    single.chain(names).filter_map(|(kind, text)| Some((kind, CString::new(text).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn fields_are_found_by_kind_and_number() {
        let names = ["a.example", "127.0.0.1", "b.example"].map(str::to_owned);
        let mut params = CertificateParams::new(names).expect("they are names");
        params.distinguished_name.push(DnType::CommonName, "eve");
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("a certificate").der().to_vec();
        let certificate = ClientCertificate::new(&der);
        let text =
            |kind, index| certificate.field(kind, index).map(|text| text.to_str().expect("it is UTF-8"));
        assert_eq!(text(field::DNS, 0), Some("a.example"));
        assert_eq!((text(field::DNS, 1), text(field::DNS, 2)), (Some("b.example"), None));
        assert_eq!((text(field::ADDRESS, 0), text(field::EMAIL, 0)), (Some("127.0.0.1"), None));
        assert_eq!((text(field::SUBJECT, 0), text(field::SUBJECT, 1)), (Some("CN=eve"), None));
        assert_eq!((text(field::COMMON_NAME, 0), text(field::ISSUER, 0)), (Some("eve"), Some("CN=eve")));
        assert_eq!(text(field::FINGERPRINT, 0).map(str::len), Some(64));
        assert_eq!((text(0, 0), text(99, 0)), (None, None));
        assert_eq!(certificate.der(), der);
        let address = certificate.field(field::URI, 0).map(CStr::as_ptr);
        assert_eq!(certificate.field(field::URI, 0).map(CStr::as_ptr), address);
    }
}
