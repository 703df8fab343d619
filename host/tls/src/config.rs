//! What a server negotiates: versions, suites, certificates, whether clients need one.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};

use crate::certificates::{Certificates, CertifiedPem, ConfigError, Faulty, Pem, read_roots};
use crate::secrets::Secrets;

/// HTTP/1.1, as ALPN names it (RFC 7301 §6).
pub const HTTP_1: &[u8] = b"http/1.1";
/// HTTP/2 over TLS (RFC 9113 §3.2).
pub const HTTP_2: &[u8] = b"h2";

/// What a server negotiates. Validates certificates and keys when it is made; connections that have begun with one
/// configuration do not depend on it any more once they are established.
pub struct ServerConfig {
    pub(crate) rustls: Arc<rustls::ServerConfig>,
    /// Whether clients need a certificate.
    pub(crate) verifies_clients: bool,
    unreachable: Vec<usize>,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("verifies_clients", &self.verifies_clients)
            .finish_non_exhaustive()
    }
}

impl ServerConfig {
    /// A client gets the first certificate that has the name that it wants (SNI), else the first with a wildcard for
    /// that name, else the first. Among several for one name, such as ECDSA and RSA, it gets one that it can verify.
    ///
    /// With `client_ca`, a client must have a certificate that one of those issuers has signed.
    ///
    /// # Errors
    /// A file is damaged, or a key does not belong to its certificate.
    pub fn new(
        certificates: &[CertifiedPem<'_>],
        client_ca: Option<Pem<'_>>,
    ) -> Result<Arc<Self>, ConfigError> {
        Self::offering(&[HTTP_1], certificates, client_ca)
    }

    /// The same, for clients that may choose between these protocols (ALPN). The first one that a client knows is used; one
    /// that knows none of them is rejected, and one that does not ask gets the connection without.
    ///
    /// # Errors
    /// As for [`ServerConfig::new`].
    pub fn offering(
        protocols: &[&[u8]],
        certificates: &[CertifiedPem<'_>],
        client_ca: Option<Pem<'_>>,
    ) -> Result<Arc<Self>, ConfigError> {
        let provider = Arc::new(default_provider());
        let resolver = Certificates::new(certificates, &provider)?;
        let unreachable =
            resolver.unreachable(&provider.signature_verification_algorithms.supported_schemes());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| {
                ConfigError::new(Faulty::Certificate, format!("TLS cannot be set up: {error}"))
            })?;
        let builder =
            match client_ca {
                None => builder.with_no_client_auth(),
                Some(pem) => {
                    let roots = Arc::new(read_roots(pem)?);
                    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                    builder.with_client_cert_verifier(verifier.map_err(|error| {
                        ConfigError::new(Faulty::ClientCa, format!("{}: {error}", pem.file))
                    })?)
                }
            };
        let mut rustls = builder.with_cert_resolver(Arc::new(resolver));
        rustls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // All suites of the provider have forward secrecy and authenticated encryption; the fastest come first.
        rustls.ignore_client_order = true;
        rustls.session_storage = Arc::new(NoServerSessionStorage {});
        rustls.send_tls13_tickets = 0;
        rustls.enable_secret_extraction = true;
        rustls.key_log = Arc::new(Secrets);
        let verifies_clients = client_ca.is_some();
        Ok(Arc::new(Self { rustls: Arc::new(rustls), verifies_clients, unreachable }))
    }

    /// The indices of the certificates that no client gets: those before them have all of their names (DNS names in
    /// subjectAltName) and the same kind of key.
    pub fn unreachable(&self) -> &[usize] {
        &self.unreachable
    }
}
