//! TLS of a listener: the files that the operator names, and what they contain.
//!
//! The parent reads the files ([`crate::serve::certificates`]) and hands their contents to the workers, which may run as
//! a user that cannot read them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// Where a listener gets its certificates from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSource {
    /// At least one. The name that a client asks for (SNI) selects one; the first one is for all other clients.
    pub certificates: Vec<CertificateSource>,
    /// The authorities that issue certificates to clients. None: clients need no certificate.
    pub client_certificates: Option<NamedFile>,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
}

impl TlsSource {
    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &NamedFile> {
        let pairs = self.certificates.iter().flat_map(|it| [&it.certificate, &it.key]);
        pairs.chain(&self.client_certificates)
    }
}

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSource {
    /// The certificate, then those that lead to its authority, in PEM.
    pub certificate: NamedFile,
    /// The private key of the certificate, in PEM.
    pub key: NamedFile,
}

/// A file that the operator names, or an environment variable in its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamedFile {
    /// For a variable, `$NAME`.
    pub path: PathBuf,
    /// Where the config file names it: `file:line:column`. None: the command line does.
    pub position: Option<String>,
    /// The name of the environment variable. None: it is a file.
    pub variable: Option<String>,
}

impl NamedFile {
    /// A file of the command line.
    pub fn of_flag(path: PathBuf) -> Self {
        Self { path, position: None, variable: None }
    }

    /// How a message about it begins: `callsign.toml:3:9: `, or nothing for a file of the command line.
    pub fn place(&self) -> String {
        self.position.as_ref().map(|position| format!("{position}: ")).unwrap_or_default()
    }

    /// `the file /run/key.pem`, or `the environment variable CHAT_KEY`.
    pub fn label(&self) -> String {
        match &self.variable {
            Some(name) => format!("the environment variable {name}"),
            None => format!("the file {}", self.path.display()),
        }
    }
}

/// The same file, wherever it is named.
impl PartialEq for NamedFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, &self.variable) == (&other.path, &other.variable)
    }
}

impl Eq for NamedFile {}

/// The certificates of a listener, as they were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    pub source: TlsSource,
    /// In the order of the source.
    pub certificates: Vec<Certified>,
    /// PEM.
    pub client_authorities: Option<String>,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// PEM: the certificate, then those that lead to its authority.
    pub chain: String,
    /// PEM.
    pub key: Secret,
    pub about: AboutCertificate,
}

/// What people want to know about a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutCertificate {
    /// The names and addresses that it is for (subjectAltName), on one line each, without characters that control a
    /// terminal. Names select it; clients compare both.
    pub names: Vec<String>,
    /// The common name of its subject, which selects nothing. Made printable in the same way.
    pub common_name: Option<String>,
    /// Unix time in seconds.
    pub not_before: i64,
    /// Unix time in seconds.
    pub not_after: i64,
}

/// A text that no log shows. Its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_and_arrives_as_it_was() {
        let secret = Secret::from("-----BEGIN PRIVATE KEY-----\n".to_owned());
        assert_eq!(format!("{secret:?}"), "(secret)");
        let json = serde_json::to_string(&secret).expect("it is a string");
        assert_eq!(serde_json::from_str::<Secret>(&json).expect("it was written so"), secret);
    }

    #[test]
    fn a_file_is_the_same_wherever_it_is_named() {
        let named = |path: &str, position: &str| NamedFile {
            path: path.into(),
            position: Some(position.into()),
            variable: None,
        };
        assert_eq!(named("a.pem", "c:1:1"), named("a.pem", "c:2:1"));
        assert_ne!(named("a.pem", "c:1:1"), named("b.pem", "c:1:1"));
    }
}
