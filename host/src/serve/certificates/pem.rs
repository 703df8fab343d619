//! What a file in PEM holds (RFC 7468), and what is wrong with it: the name of a file enters, its text leaves, or an error
//! for the operator. No error repeats any of the content.

use std::io::{self, ErrorKind};

use anyhow::{Context, Result, anyhow, bail};
use callsign_tls::explain_pem;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::config::regular_file;
use crate::config::secret::variable;
use crate::config::tls::NamedFile;

/// Bytes of the largest file: a thousand certificates.
const FILE_MAX: u64 = 4 << 20;

const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";

/// Reads a file with certificates. Returns its text and the certificates in it, at least one.
pub fn read_certificates(file: &NamedFile) -> Result<(String, Vec<CertificateDer<'static>>)> {
    let text = read(file)?;
    let labels = labels(&text);
    if !labels.contains(&CERTIFICATE) {
        bail!("{}", no_certificate(&labels));
    }
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!(explain_pem(&error)))?;
    Ok((text.as_str().to_owned(), certificates))
}

/// Reads a file with one private key, beside which there may be certificates.
pub fn read_key(file: &NamedFile) -> Result<Zeroizing<String>> {
    let text = read(file)?;
    let labels = labels(&text);
    let keys: Vec<_> = labels.iter().filter(|label| label.ends_with(KEY)).collect();
    match keys[..] {
        [] if labels.contains(&CERTIFICATE) => {
            bail!("it has a certificate and no private key; are `certificate` and `key` exchanged?")
        }
        [] => bail!("it has no private key (-----BEGIN PRIVATE KEY-----){}", instead(&labels)),
        [&"OPENSSH PRIVATE KEY"] => bail!("its private key is one for SSH, not for TLS"),
        [label] if label.starts_with("ENCRYPTED") || text.contains("\nProc-Type: 4,ENCRYPTED") => bail!(
            "its private key is encrypted, and the server cannot ask for a passphrase; write it without one: openssl \
             pkey -in {} -out NEW.pem",
            file.path.display()
        ),
        [_] => match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Err(error) if !matches!(error, rustls_pki_types::pem::Error::NoItemsFound) => {
                bail!(explain_pem(&error))
            }
            _ => Ok(text),
        },
        _ => bail!("it has {} private keys; keep the one of the certificate", keys.len()),
    }
}

/// Reads a text file. The error does not name it.
fn read(file: &NamedFile) -> Result<Zeroizing<String>> {
    let bytes = match &file.variable {
        Some(name) => variable(name)?.as_bytes().to_vec(),
        None => regular_file::read_at_most(&file.path, FILE_MAX).map_err(explain)?,
    };
    match String::from_utf8(bytes) {
        Ok(text) => {
            let mut text = Zeroizing::new(text);
            // Editors on Windows write one.
            if text.starts_with(regular_file::BYTE_ORDER_MARK) {
                text.drain(..regular_file::BYTE_ORDER_MARK.len_utf8());
            }
            match text.trim() {
                "" => bail!("it is empty"),
                _ => Ok(text),
            }
        }
        Err(error) => {
            let bytes = Zeroizing::new(error.into_bytes());
            if regular_file::is_utf_16(&bytes) {
                bail!("{}", regular_file::UTF_16);
            }
            bail!(
                "it is binary, such as DER or PKCS#12 (.der, .p12, .pfx), and must be PEM; convert it with openssl x509, \
                 openssl pkey or openssl pkcs12"
            )
        }
    }
}

fn explain(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!("there is no such file"),
        ErrorKind::PermissionDenied => anyhow!("this user may not read it"),
        ErrorKind::IsADirectory => anyhow!("it is a folder"),
        _ => anyhow!(error),
    }
}

/// What the blocks of the text hold: `CERTIFICATE`, `EC PRIVATE KEY` and so on.
fn labels(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim_end);
    lines.filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")).collect()
}

fn no_certificate(labels: &[&str]) -> String {
    if labels.iter().any(|label| label.ends_with(KEY)) {
        return "it has a private key and no certificate; are `certificate` and `key` exchanged?".to_owned();
    }
    format!("it has no certificate (-----BEGIN CERTIFICATE-----){}", instead(labels))
}

/// `, but CERTIFICATE REQUEST`
fn instead(labels: &[&str]) -> String {
    match labels {
        [] => String::new(),
        [label, ..] => format!(", but {}", crate::system::sanitize::sanitize_line(label)),
    }
}

/// Adds to an error which file it is about, and where the config file names it.
pub fn about<T>(result: Result<T>, what: &str, file: &NamedFile) -> Result<T> {
    result.with_context(|| format!("{}{what} {}", file.place(), file.path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_kind_of_wrong_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("file.pem");
        let file = NamedFile::of_flag(path.clone());
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let write = |text: &[u8]| fs::write(&path, text).expect("it is ours");
        for (text, expected) in [
            (String::new(), "it is empty"),
            ("\n \n".to_owned(), "it is empty"),
            ("Dear sir".to_owned(), "it has no certificate (-----BEGIN CERTIFICATE-----)"),
            (
                block("CERTIFICATE REQUEST"),
                "it has no certificate (-----BEGIN CERTIFICATE-----), but CERTIFICATE REQUEST",
            ),
            (
                block("EC PRIVATE KEY"),
                "it has a private key and no certificate; are `certificate` and `key` exchanged?",
            ),
        ] {
            write(text.as_bytes());
            let error = read_certificates(&file).map(drop).expect_err(&text).to_string();
            assert_eq!(error, expected);
        }
        write(b"-----BEGIN CERTIFICATE-----\nA=A\n-----END CERTIFICATE-----\n");
        let error = read_certificates(&file).map(drop).expect_err("it is damaged").to_string();
        assert_eq!(error, "its PEM is damaged: the lines of a section are no Base64; copy the file again");
        let cut_off = "its PEM is cut off: a section has no line -----END …-----; copy the whole file again";
        write(b"-----BEGIN CERTIFICATE-----\nAAAA\n");
        let error = read_certificates(&file).map(drop).expect_err("it is cut off").to_string();
        assert_eq!(error, cut_off);
        write(b"-----BEGIN PRIVATE KEY-----\nAAAA\n");
        let error = read_key(&file).map(drop).expect_err("it is cut off").to_string();
        assert_eq!(error, cut_off);
        write(b"\xff\xfe-\0-\0");
        let error = read_key(&file).map(drop).expect_err("it is UTF-16").to_string();
        assert_eq!(error, "it is in UTF-16; save it in UTF-8");
        let encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END";
        for (text, expected) in [
            (block("CERTIFICATE"), "it has a certificate and no private key; "),
            (block("PUBLIC KEY"), "it has no private key (-----BEGIN PRIVATE KEY-----), but PUBLIC KEY"),
            (block("ENCRYPTED PRIVATE KEY"), "its private key is encrypted, "),
            (encrypted.to_owned(), "its private key is encrypted, "),
            (block("OPENSSH PRIVATE KEY"), "its private key is one for SSH"),
            (block("PRIVATE KEY").repeat(2), "it has 2 private keys; "),
        ] {
            write(text.as_bytes());
            let error = read_key(&file).map(drop).expect_err(&text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        write(b"0\x82\x01\xff");
        let error = read_key(&file).map(drop).expect_err("it is binary").to_string();
        assert!(error.starts_with("it is binary, "), "{error}");
        write(&vec![b'a'; FILE_MAX as usize + 1]);
        let error = read_key(&file).map(drop).expect_err("it is large").to_string();
        assert_eq!(error, "it has more than 4194304 bytes");
        let none = NamedFile {
            path: folder.path().join("none"),
            position: Some("a.toml:1:2".to_owned()),
            variable: None,
        };
        let error = about(read_key(&none), "key", &none).map(drop).expect_err("it is not there");
        assert_eq!(
            format!("{error:#}"),
            format!("a.toml:1:2: key {}: there is no such file", none.path.display())
        );
    }

    #[test]
    fn a_key_may_follow_its_certificate_and_its_parameters() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = NamedFile::of_flag(folder.path().join("file.pem"));
        let block = |label: &str| format!("-----BEGIN {label}-----\r\nAAAA\r\n-----END {label}-----\r\n");
        let text = ["CERTIFICATE", "EC PARAMETERS", "EC PRIVATE KEY"].map(block).concat();
        fs::write(&file.path, &text).expect("it is ours");
        assert_eq!(read_key(&file).expect("it has one").as_str(), text);
        let (_, certificates) = read_certificates(&file).expect("it has one");
        assert_eq!(certificates.len(), 1);
        fs::write(&file.path, format!("\u{feff}{text}")).expect("it is ours");
        assert_eq!(read_key(&file).expect("it has one").as_str(), text, "a byte order mark is no content");
        assert_eq!(read_certificates(&file).expect("it has one").0, text);
    }
}
