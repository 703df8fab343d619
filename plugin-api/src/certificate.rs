//! The certificate of a client.
#![forbid(unsafe_code)]

use std::fmt;

use crate::abi::certificate as kind;
use crate::connection::Connection;
use crate::request::Request;

/// The certificate (X.509) with which a client has proved its identity in the TLS handshake.
///
/// A client has one where the host's configuration has `client_certificates` for the address that it has connected to.
/// The host has verified it: an authority in that file has issued it, it has not expired, and the client has its key.
/// Which of these clients may do what is up to the plugin.
///
/// ```
/// # use callsign_plugin::prelude::*;
/// #[onrequest]
/// fn connect(request: &mut Request) -> Response {
///     match request.certificate() {
///         Some(certificate) if certificate.dns_names().any(|name| name == "sensor.example") => {
///             request.handshake("join", "message", "leave")
///         }
///         _ => Response::new(403),
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Copy)]
pub struct ClientCertificate<'c> {
    der: &'c [u8],
    owner: Owner<'c>,
}

/// What the host keeps the certificate with.
#[derive(Clone, Copy)]
enum Owner<'c> {
    Connection(&'c Connection),
    Request(&'c Request),
}

impl Connection {
    /// The certificate of the client, if the host has asked for one.
    pub fn certificate(&self) -> Option<ClientCertificate<'_>> {
        let der = self.raw.certificate()?;
        Some(ClientCertificate { der, owner: Owner::Connection(self) })
    }
}

impl Request {
    /// The certificate of the client, if the host has asked for one.
    pub fn certificate(&self) -> Option<ClientCertificate<'_>> {
        let der = self.raw.certificate()?;
        Some(ClientCertificate { der, owner: Owner::Request(self) })
    }
}

impl<'c> ClientCertificate<'c> {
    /// The certificate itself, in DER.
    pub fn der(&self) -> &'c [u8] {
        self.der
    }

    /// The subject as a string of RFC 4514: `CN=sensor 7,O=Example`.
    pub fn subject(&self) -> &'c str {
        self.field(kind::SUBJECT, 0).unwrap_or_default()
    }

    /// The issuer, in the same form.
    pub fn issuer(&self) -> &'c str {
        self.field(kind::ISSUER, 0).unwrap_or_default()
    }

    /// The last common name of the subject.
    pub fn common_name(&self) -> Option<&'c str> {
        self.field(kind::COMMON_NAME, 0)
    }

    /// The serial number in hexadecimal, unique together with the issuer.
    pub fn serial(&self) -> &'c str {
        self.field(kind::SERIAL, 0).unwrap_or_default()
    }

    /// The SHA-256 of the whole certificate, in 64 hexadecimal digits.
    pub fn fingerprint(&self) -> &'c str {
        self.field(kind::FINGERPRINT, 0).unwrap_or_default()
    }

    /// The DNS names among its alternative names (RFC 5280 §4.2.1.6).
    pub fn dns_names(&self) -> impl Iterator<Item = &'c str> {
        self.fields(kind::DNS)
    }

    /// The email addresses among its alternative names.
    pub fn emails(&self) -> impl Iterator<Item = &'c str> {
        self.fields(kind::EMAIL)
    }

    /// The URIs among its alternative names, such as `spiffe://example.org/sensor`.
    pub fn uris(&self) -> impl Iterator<Item = &'c str> {
        self.fields(kind::URI)
    }

    /// The IP addresses among its alternative names, as text.
    pub fn addresses(&self) -> impl Iterator<Item = &'c str> {
        self.fields(kind::ADDRESS)
    }

    fn fields(&self, kind: u32) -> impl Iterator<Item = &'c str> {
        let certificate = *self;
        (0..).map_while(move |index| certificate.field(kind, index))
    }

    fn field(&self, kind: u32, index: usize) -> Option<&'c str> {
        match self.owner {
            Owner::Connection(c) => c.raw.certificate_field(kind, index),
            Owner::Request(request) => request.raw.certificate_field(kind, index),
        }
    }
}

impl fmt::Debug for ClientCertificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, fingerprint) = (self.subject(), self.fingerprint());
        f.debug_struct("ClientCertificate")
            .field("subject", &subject)
            .field("fingerprint", &fingerprint)
            .finish_non_exhaustive()
    }
}
