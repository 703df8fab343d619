//! Certificates (X.509, RFC 5280): the parts that operators and plugins want to know, as text. DER enters.
//!
//! Invariant: no text that leaves has a NUL, and what a certificate says cannot look like more than one name.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Result, anyhow};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name, X509Version};

use crate::config::tls::AboutCertificate;
use crate::system::sanitize::sanitize_line;

/// A name in a certificate (subjectAltName, RFC 5280 §4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    Dns(String),
    Email(String),
    Uri(String),
    Address(IpAddr),
}

/// What a verified certificate of a client says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// As in RFC 4514.
    pub subject: String,
    /// As in RFC 4514.
    pub issuer: String,
    /// The last one of the subject.
    pub common_name: Option<String>,
    /// In hexadecimal.
    pub serial: String,
    /// In their order.
    pub names: Vec<CertificateName>,
}

/// For whom the certificate is, and for how long.
pub fn about(der: &[u8]) -> Result<AboutCertificate> {
    let certificate = parse(der)?;
    let names = names(&certificate).into_iter().filter_map(|name| match name {
        CertificateName::Dns(name) => Some(name),
        CertificateName::Address(address) => Some(address.to_string()),
        CertificateName::Email(_) | CertificateName::Uri(_) => None,
    });
    let validity = certificate.validity();
    Ok(AboutCertificate {
        names: names.map(|name| sanitize_line(&name)).collect(),
        common_name: common_name(certificate.subject()).map(|name| sanitize_line(&name)),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// Whether the certificate may be that of an authority (RFC 5280 §4.2.1.9). Before version 3 it cannot say.
pub fn may_be_authority(der: &[u8]) -> Result<bool> {
    let certificate = parse(der)?;
    let constraints = certificate.basic_constraints();
    let is_authority = constraints.is_ok_and(|found| found.is_some_and(|found| found.value.ca));
    Ok(is_authority || certificate.version() != X509Version::V3)
}

/// Whom the certificate is about.
pub fn identity(der: &[u8]) -> Result<Identity> {
    let certificate = parse(der)?;
    let serial = certificate.raw_serial();
    // A leading zero byte is only there to make the number positive.
    let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
    Ok(Identity {
        subject: distinguished_name(certificate.subject()),
        issuer: distinguished_name(certificate.issuer()),
        common_name: common_name(certificate.subject()),
        serial: hexadecimal(serial),
        names: names(&certificate),
    })
}

/// The bytes in lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(anyhow!("a certificate in it has bytes behind its end; copy the file again")),
        // x509-parser names the field in the words of its own source code.
        Err(_) => Err(anyhow!("a certificate in it is damaged; copy the file again")),
    }
}

/// The names, without those that have a NUL or are malformed.
fn names(certificate: &X509Certificate<'_>) -> Vec<CertificateName> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |text: &str| (!text.contains('\0')).then(|| text.to_owned());
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => text(name).map(CertificateName::Dns),
        GeneralName::RFC822Name(name) => text(name).map(CertificateName::Email),
        GeneralName::URI(name) => text(name).map(CertificateName::Uri),
        GeneralName::IPAddress(bytes) => address(bytes).map(CertificateName::Address),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let last = name.iter_common_name().last()?;
    last.as_str().ok().filter(|text| !text.contains('\0')).map(str::to_owned)
}

/// The name as a string of RFC 4514: the last part first, separated by commas.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

/// `CN=chat`; the types that RFC 4514 §3 lists have names, others their number and the encoded value.
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    const NAMES: [(&str, &str); 9] = [
        ("2.5.4.3", "CN"),
        ("2.5.4.7", "L"),
        ("2.5.4.8", "ST"),
        ("2.5.4.10", "O"),
        ("2.5.4.11", "OU"),
        ("2.5.4.6", "C"),
        ("2.5.4.9", "STREET"),
        ("0.9.2342.19200300.100.1.25", "DC"),
        ("0.9.2342.19200300.100.1.1", "UID"),
    ];
    let number = attribute.attr_type().to_id_string();
    let name = NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    match (name, attribute.as_str()) {
        (Some(name), Ok(value)) => format!("{name}={}", escape(value)),
        (name, _) => {
            let value = attribute.attr_value();
            let (tag, data) = (value.tag().0, value.data);
            format!("{}=#{}", name.unwrap_or(&number), hexadecimal(&encoded(tag, data)))
        }
    }
}

/// A primitive value of a universal type with its tag and length (X.690 §8.1).
fn encoded(tag: u32, data: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag as u8];
    match data.len() {
        length @ ..0x80 => encoded.push(length as u8),
        length => {
            let bytes = length.to_be_bytes();
            let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            encoded.push(0x80 | significant.len() as u8);
            encoded.extend_from_slice(significant);
        }
    }
    encoded.extend_from_slice(data);
    encoded
}

/// RFC 4514 §2.4. Control characters are escaped too, which the RFC allows.
fn escape(value: &str) -> String {
    let (mut text, last) = (String::with_capacity(value.len()), value.len().saturating_sub(1));
    for (at, c) in value.char_indices() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            '#' if at == 0 => text.push_str("\\#"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                c.encode_utf8(&mut bytes).bytes().for_each(|byte| _ = write!(text, "\\{byte:02x}"));
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, DistinguishedName, DnType, KeyPair, SanType, SerialNumber, date_time_ymd,
    };

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn text(text: &str) -> rcgen::string::Ia5String {
        text.try_into().expect("it is ASCII")
    }

    #[test]
    fn a_certificate_is_for_its_names_until_its_end() {
        let der = made(|params| {
            params.subject_alt_names = vec![
                SanType::DnsName(text("a.example")),
                SanType::DnsName(text("*.b.example")),
                SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
                SanType::URI(text("spiffe://a/b")),
            ];
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(2026, 1, 2);
        });
        let about = about(&der).expect("it is one");
        assert_eq!(about.names, ["a.example", "*.b.example", "127.0.0.1"]);
        assert_eq!((about.not_before, about.not_after), (1_767_225_600, 1_767_312_000));
    }

    #[test]
    fn a_common_name_is_none_of_the_names() {
        let der = made(|params| params.distinguished_name.push(DnType::CommonName, "a\x1b[2J"));
        let about = about(&der).expect("it is one");
        assert_eq!((about.names, about.common_name.as_deref()), (Vec::new(), Some("a\u{fffd}[2J")));
    }

    #[test]
    fn a_subject_cannot_pretend_to_have_other_parts() {
        let der = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "#a, \"b\"+c\\ ");
            params.distinguished_name.push(DnType::CommonName, " eve,CN=admin\n");
            params.distinguished_name.push(DnType::from_oid(&[1, 2, 3]), "x");
            params.serial_number = Some(SerialNumber::from_slice(&[0xff, 1]));
        });
        let identity = identity(&der).expect("it is one");
        assert_eq!(identity.subject, "1.2.3=#0c0178,CN=\\ eve\\,CN=admin\\0a,O=\\#a\\, \\\"b\\\"\\+c\\\\\\ ");
        assert_eq!((identity.issuer, identity.serial.as_str()), (identity.subject, "ff01"));
        assert_eq!(identity.common_name.as_deref(), Some(" eve,CN=admin\n"));
    }

    #[test]
    fn names_keep_their_kinds() {
        let der = made(|params| {
            params.subject_alt_names = vec![
                SanType::Rfc822Name(text("a@b.example")),
                SanType::URI(text("spiffe://a/b")),
                SanType::DnsName(text("a.example")),
                SanType::DnsName(text("b.example\0.c.example")),
                SanType::IpAddress("::1".parse().expect("an address")),
            ];
        });
        let expected = [
            CertificateName::Email("a@b.example".to_owned()),
            CertificateName::Uri("spiffe://a/b".to_owned()),
            CertificateName::Dns("a.example".to_owned()),
            CertificateName::Address("::1".parse().expect("an address")),
        ];
        assert_eq!(identity(&der).expect("it is one").names, expected);
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        let whole = made(|_| ());
        for bad in [&b""[..], b"0", &whole[..whole.len() - 1], &[&whole[..], &[0]].concat()] {
            assert!(about(bad).is_err() && identity(bad).is_err());
        }
    }

    #[test]
    fn long_values_have_long_lengths() {
        assert_eq!(encoded(12, &[7; 0x7f])[..3], [12, 0x7f, 7]);
        assert_eq!(encoded(12, &[7; 0x80])[..4], [12, 0x81, 0x80, 7]);
        assert_eq!(encoded(12, &[7; 0x1234])[..5], [12, 0x82, 0x12, 0x34, 7]);
    }
}
