//! What is wrong with the files of an operator, in words. No text repeats any of their content.

use ring::signature::RsaKeyPair;
use rustls::pki_types::{PrivateKeyDer, pem};

/// What is wrong with the structure of a PEM file.
pub fn explain_pem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "its PEM is cut off: a section has no line -----END …-----; copy the whole file again"
        }
        pem::Error::IllegalSectionStart { .. } => {
            "its PEM is damaged: a line with -----BEGIN does not end with -----; copy the file again"
        }
        pem::Error::Base64Decode(_) => {
            "its PEM is damaged: the lines of a section are no Base64; copy the file again"
        }
        _ => "its PEM is damaged; copy the file again",
    }
}

/// Why a certificate cannot be used.
pub(crate) fn certificate(error: &webpki::Error) -> &'static str {
    match error {
        webpki::Error::UnsupportedCertVersion => {
            "it is of version 1 or 2 of X.509, and TLS clients accept only version 3; have one issued that has the names \
             of the server in subjectAltName"
        }
        webpki::Error::UnsupportedCriticalExtension => {
            "it has a critical extension that TLS clients do not know; have one issued without it"
        }
        _ => {
            "it is damaged, or breaks the rules for X.509 (RFC 5280); copy the file again, or have a new one issued"
        }
    }
}

/// Why a private key cannot be used.
pub(crate) fn key(key: &PrivateKeyDer<'_>) -> &'static str {
    let rejected = match key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).err(),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).err(),
        _ => None,
    };
    // ring has no other way to tell them apart.
    match rejected.map(|rejected| rejected.to_string()).as_deref() {
        Some("TooSmall") => "its RSA key has fewer than 2048 bits",
        Some("TooLarge") => "its RSA key has more than 4096 bits",
        Some("WrongAlgorithm") | None => "it is of another kind, or damaged",
        Some(_) => "it is damaged",
    }
}
