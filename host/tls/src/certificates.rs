//! Certificates and their keys: read from PEM, compared with each other, and chosen by the name that a client wants.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

use crate::explain::{self, explain_pem};
use crate::secrets;

/// The content of a PEM file, and its name for messages.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// Where the content comes from.
    pub file: &'a str,
    /// The content.
    pub bytes: &'a [u8],
}

/// A certificate and its key.
#[derive(Clone, Copy, Debug)]
pub struct CertifiedPem<'a> {
    /// The server's certificate, and those of its issuers.
    pub certificate: Pem<'a>,
    /// The private key: ECDSA (P-256, P-384), Ed25519, or RSA from 2048 bits on; PKCS #8, PKCS #1 or SEC 1.
    pub key: Pem<'a>,
}

impl fmt::Debug for Pem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The content may be a key.
        f.debug_struct("Pem").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Says which file is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    text: String,
    faulty: Faulty,
}

/// What a [`ConfigError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faulty {
    /// A certificate, or a certificate and its key that are no pair.
    Certificate,
    /// A key.
    Key,
    /// The certificates of those who issue the clients' certificates.
    ClientCa,
}

impl ConfigError {
    pub(crate) fn new(faulty: Faulty, text: impl Into<String>) -> Self {
        Self { text: text.into(), faulty }
    }

    /// What the error is about.
    pub fn faulty(&self) -> Faulty {
        self.faulty
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}

/// The certificates of a server.
pub(crate) struct Certificates {
    /// Never empty.
    all: Vec<Arc<CertifiedKey>>,
    /// Indices into `all`, in order, of each name; a wildcard `*.example.com` is under `example.com`.
    exact: HashMap<String, Vec<usize>>,
    wildcard: HashMap<String, Vec<usize>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("count", &self.all.len()).finish_non_exhaustive()
    }
}

impl Certificates {
    /// # Errors
    /// There is none, a file cannot be used, or a key does not belong to its certificate.
    pub(crate) fn new(pairs: &[CertifiedPem<'_>], provider: &CryptoProvider) -> Result<Self, ConfigError> {
        if pairs.is_empty() {
            return Err(ConfigError::new(Faulty::Certificate, "TLS needs a certificate and its key"));
        }
        let mut new = Self { all: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new() };
        for (index, pair) in pairs.iter().enumerate() {
            let certified = read_pair(pair, provider)?;
            for name in names(&certified) {
                let name = name.to_ascii_lowercase();
                match name.strip_prefix("*.") {
                    Some(parent) => new.wildcard.entry(parent.to_owned()).or_default().push(index),
                    None => new.exact.entry(name).or_default().push(index),
                }
            }
            new.all.push(Arc::new(certified));
        }
        Ok(new)
    }

    /// The certificates for that name: those that have it, else those with a wildcard for it, else all.
    fn candidates(&self, name: Option<&str>) -> Vec<&Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let found = name.as_deref().and_then(|name| {
            let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
            self.exact.get(name).or_else(parent)
        });
        match found {
            Some(indices) => indices.iter().filter_map(|index| self.all.get(*index)).collect(),
            None => self.all.iter().collect(),
        }
    }

    /// The indices of the certificates that no client gets: for each of their names, and for clients that ask for none,
    /// others before them have the same kind of key. The first certificate is for all other clients.
    pub(crate) fn unreachable(&self, schemes: &[SignatureScheme]) -> Vec<usize> {
        let signs = |certified: &Arc<CertifiedKey>| {
            let signs = |scheme: &SignatureScheme| certified.key.choose_scheme(&[*scheme]).is_some();
            schemes.iter().map(signs).collect::<Vec<_>>()
        };
        let signs: Vec<_> = self.all.iter().map(signs).collect();
        let mut is_chosen = vec![false; self.all.len()];
        let everyone = (0..self.all.len()).collect();
        for among in self.exact.values().chain(self.wildcard.values()).chain([&everyone]) {
            for scheme in 0..schemes.len() {
                let chosen = among.iter().find(|index| signs[**index][scheme]);
                chosen.iter().for_each(|index| is_chosen[**index] = true);
            }
        }
        (0..self.all.len()).filter(|index| !is_chosen[*index]).collect()
    }

    /// The first certificate for that name whose key the client can verify.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(name);
        let fits = |certified: &&&Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
        candidates.iter().find(fits).or(candidates.first()).map(|certified| Arc::clone(certified))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            secrets::note_server_name(name);
        }
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

fn read_pair(pair: &CertifiedPem<'_>, provider: &CryptoProvider) -> Result<CertifiedKey, ConfigError> {
    let (certificate, key) = (pair.certificate, pair.key);
    let chain = read_certificates(certificate, Faulty::Certificate)?;
    if let Some(Err(error)) = chain.first().map(EndEntityCert::try_from) {
        let why = explain::certificate(&error);
        let text = format!("{}: the first certificate cannot be used: {why}", certificate.file);
        return Err(ConfigError::new(Faulty::Certificate, text));
    }
    let der = read_key(key)?;
    CertifiedKey::from_der(chain, der.clone_key(), provider).map_err(|error| match error {
        Error::InconsistentKeys(_) => ConfigError::new(
            Faulty::Certificate,
            format!(
                "the key in {} does not belong to the certificate in {}: give the two files of one pair, the server's \
                 certificate first in its file",
                key.file, certificate.file
            ),
        ),
        _ => ConfigError::new(
            Faulty::Key,
            format!(
                "{}: the private key cannot be used: {}; ECDSA (P-256, P-384), Ed25519 and RSA with 2048 to 4096 bits are \
                 supported",
                key.file,
                explain::key(&der)
            ),
        ),
    })
}

fn read_certificates(pem: Pem<'_>, what: Faulty) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem.bytes).collect();
    let error = |why: &str| ConfigError::new(what, format!("{}: {why}", pem.file));
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err(error("no certificate in the file (a PEM section `BEGIN CERTIFICATE`)"))
        }
        Ok(chain) => Ok(chain),
        Err(damage) => Err(error(explain_pem(&damage))),
    }
}

fn read_key(pem: Pem<'_>) -> Result<PrivateKeyDer<'static>, ConfigError> {
    PrivateKeyDer::from_pem_slice(pem.bytes).map_err(|error| {
        let file = pem.file;
        let text = match error {
            pem::Error::NoItemsFound if contains(pem.bytes, b"ENCRYPTED") => {
                format!(
                    "{file}: the private key is encrypted; decrypt it with `openssl pkey -in {file} -out KEY`"
                )
            }
            pem::Error::NoItemsFound => {
                format!("{file}: no private key in the file (a PEM section `BEGIN PRIVATE KEY`)")
            }
            error => format!("{file}: {}", explain_pem(&error)),
        };
        ConfigError::new(Faulty::Key, text)
    })
}

/// The certificates that may issue those of clients.
pub(crate) fn read_roots(pem: Pem<'_>) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for (index, der) in read_certificates(pem, Faulty::ClientCa)?.into_iter().enumerate() {
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| {
            let why = explain::certificate(&error);
            let text = format!("{}: certificate {} cannot be used: {why}", pem.file, index + 1);
            ConfigError::new(Faulty::ClientCa, text)
        })?;
        roots.roots.push(anchor.to_owned());
    }
    Ok(roots)
}

/// The names that a certificate is for. They decide which certificate a client gets, and the client verifies it.
fn names(certified: &CertifiedKey) -> Vec<String> {
    let parsed = certified.end_entity_cert().ok().and_then(|der| EndEntityCert::try_from(der).ok());
    parsed.map(|parsed| parsed.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
