//! `tls`, `client_certificates`, `http2` and `redirect` in `[[listen]]`.

use std::path::Path;

use anyhow::Result;
use toml::Spanned;
use toml::de::DeValue;

use super::walk::Section;
use super::{boolean, secrets, text};
use crate::config::listen_address::ListenAddress;
use crate::config::redirect::Redirect;
use crate::config::tls::{CertificateSource, NamedFile, TlsSource};

const TLS_KEYS: &[&str] = &["certificate", "key"];
const EXPECTED: &str =
    "expected { certificate = \"chat.pem\", key = \"chat-key.pem\" }, or an array of such tables";

/// What a `[[listen]]` table says about TLS.
#[derive(Default)]
pub(super) struct ListenTls {
    /// None: the listener is without TLS.
    pub tls: Option<TlsSource>,
    /// Where clients are sent to.
    pub redirect: Option<Redirect>,
}

/// Reads the keys of a `[[listen]]` table. Paths are joined to `folder`.
pub(super) fn of_listen(table: &Section, address: &ListenAddress, folder: &Path) -> Result<ListenTls> {
    let mut tls = certificates(table, folder)?;
    let client_certificates = file(table, "client_certificates", folder)?;
    let redirect = table.value("redirect", |value| Redirect::parse(text(value)))?;
    let wrong = |key: &str, why: &str| match table.get(key) {
        Some(value) => Err(table.rejection(key, value, why)),
        None => Ok(()),
    };
    let http2 = table.value("http2", boolean)?.unwrap_or_default();
    match &mut tls {
        Some(tls) => (tls.client_certificates, tls.http2) = (client_certificates, http2),
        None => wrong("client_certificates", "and the key needs `tls`")?,
    }
    if tls.is_none() && http2 {
        wrong("http2", "and the key needs `tls`: browsers speak HTTP/2 over TLS alone")?;
    }
    if tls.is_some() {
        wrong("redirect", "and the key is for listeners without `tls`")?;
        if matches!(address, ListenAddress::Unix { .. }) {
            wrong("tls", "and the key is for TCP (HOST:PORT) only: a proxy on this machine needs no TLS")?;
        }
    }
    Ok(ListenTls { tls, redirect })
}

fn certificates<'a>(table: &Section<'a>, folder: &Path) -> Result<Option<TlsSource>> {
    let Some(value) = table.get("tls") else { return Ok(None) };
    let items: Vec<_> = match value.get_ref() {
        DeValue::Array(items) if items.is_empty() => return Err(table.rejection("tls", value, EXPECTED)),
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    let certificates =
        items.into_iter().map(|item| certificate(table, item, folder)).collect::<Result<_>>()?;
    Ok(Some(TlsSource { certificates, ..TlsSource::default() }))
}

fn certificate<'a>(
    table: &Section<'a>,
    item: &'a Spanned<DeValue<'a>>,
    folder: &Path,
) -> Result<CertificateSource> {
    let section = table.open("tls", "in `tls`".to_owned(), item, TLS_KEYS, EXPECTED)?;
    let required = |key: &str| {
        let file = file(&section, key, folder)?;
        file.ok_or_else(|| section.error(format_args!("`{key}` is missing in `tls`")))
    };
    Ok(CertificateSource { certificate: required("certificate")?, key: required("key")? })
}

fn file(section: &Section, key: &str, folder: &Path) -> Result<Option<NamedFile>> {
    let named = |value: &DeValue| match (text(value), secrets::source(value, folder)) {
        (_, Some(source)) => Ok(source),
        ("", None) => Err("expected the path of a file in PEM, such as \"chat.pem\"".to_owned()),
        (path, None) => Ok(NamedFile::of_flag(folder.join(path))),
    };
    let position = section.get(key).map(|value| section.document.position(value.span().start));
    Ok(section.value(key, named)?.map(|file| NamedFile { position, ..file }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse;
    use crate::config::listen::Listen;

    fn listen(keys: &str) -> Result<Listen> {
        let text = format!("[[listen]]\naddress = 'a:1'\n{keys}");
        parse(&text, Path::new("/etc/chat/callsign.toml")).map(|config| {
            let mut entries = config.listen.unwrap_or_default();
            entries.remove(0)
        })
    }

    fn files(keys: &str) -> Vec<(String, Option<String>)> {
        let tls = listen(keys).expect("it is valid").tls.expect("it has tls");
        let certificates = tls.certificates.into_iter().flat_map(|it| [it.certificate, it.key]);
        let files = certificates.chain(tls.client_certificates);
        files.map(|file| (file.path.display().to_string(), file.position)).collect()
    }

    fn at(path: &str, place: &str) -> (String, Option<String>) {
        (path.to_owned(), Some(format!("/etc/chat/callsign.toml:{place}")))
    }

    #[test]
    fn http2_is_off_unless_a_table_with_tls_turns_it_on() {
        const TLS: &str = "tls = { certificate = 'a', key = 'b' }";
        for (keys, is_on) in [("", false), ("http2 = false", false), ("http2 = true", true)] {
            let tls = listen(&format!("{TLS}\n{keys}")).expect("it is valid").tls;
            assert_eq!(tls.map(|tls| tls.http2), Some(is_on), "{keys}");
        }
        assert_eq!(listen("http2 = false").expect("it changes nothing").tls, None);
        let error = listen("http2 = true").expect_err("it has no tls").to_string();
        assert_eq!(
            error,
            "/etc/chat/callsign.toml:3:9: `http2` in [[listen]]: found boolean `true`, and the key needs `tls`: browsers \
             speak HTTP/2 over TLS alone"
        );
    }

    #[test]
    fn a_listener_has_one_certificate_or_several() {
        assert_eq!(
            files("tls = { certificate = 'a.pem', key = '/run/a.key' }\nclient_certificates = 'ca.pem'"),
            [at("/etc/chat/a.pem", "3:23"), at("/run/a.key", "3:38"), at("/etc/chat/ca.pem", "4:23")]
        );
        assert_eq!(
            files(
                "[[listen.tls]]\ncertificate = 'a'\nkey = 'b'\n[[listen.tls]]\ncertificate = 'c'\nkey = 'd'"
            ),
            [
                at("/etc/chat/a", "4:15"),
                at("/etc/chat/b", "5:7"),
                at("/etc/chat/c", "7:15"),
                at("/etc/chat/d", "8:7")
            ]
        );
        assert_eq!(listen("").expect("it is valid").tls, None);
        let redirect = listen("redirect = 'https:8443'").expect("it is valid").redirect;
        assert_eq!(redirect, Some(Redirect { host: None, port: Some(8443) }));
    }

    #[test]
    fn a_wrong_key_gets_its_line_and_column() {
        const FILE: &str = "expected the path of a file in PEM, such as \"chat.pem\"";
        for (keys, message) in [
            ("tls = true", format!("3:7: `tls` in [[listen]]: found boolean `true`, {EXPECTED}")),
            ("tls = []", format!("3:7: `tls` in [[listen]]: found an array, {EXPECTED}")),
            ("tls = ['a.pem']", format!("3:8: `tls` in [[listen]]: found string `'a.pem'`, {EXPECTED}")),
            ("tls = { certificate = 'a.pem' }", "3:7: `key` is missing in `tls`".to_owned()),
            (
                "tls = { certificate = 'a.pem', key = '' }",
                format!("3:38: `key` in `tls`: found string `''`, {FILE}"),
            ),
            (
                "tls = { certificate = 'a.pem', kye = 'a.key' }",
                "3:32: unknown key `kye` in `tls`; did you mean `key`?".to_owned(),
            ),
            (
                "client_certificates = 'ca.pem'",
                "3:23: `client_certificates` in [[listen]]: found string `'ca.pem'`, and the key needs `tls`".to_owned(),
            ),
            (
                "redirect = 'http'",
                "3:12: `redirect` in [[listen]]: found string `'http'`, expected \"https\", or with the port that \
                 clients use \"https:8443\", or with a host too \"https://chat.example.com:8443\""
                    .to_owned(),
            ),
            (
                "redirect = 'https'\ntls = { certificate = 'a', key = 'b' }",
                "3:12: `redirect` in [[listen]]: found string `'https'`, and the key is for listeners without `tls`"
                    .to_owned(),
            ),
        ] {
            let error = listen(keys).expect_err(keys).to_string();
            assert_eq!(error, format!("/etc/chat/callsign.toml:{message}"));
        }
        let unix = "[[listen]]\naddress = 'unix:a'\ntls = { certificate = 'a', key = 'b' }";
        let error = parse(unix, Path::new("c.toml")).expect_err("TLS is for TCP").to_string();
        assert!(
            error.starts_with("c.toml:3:7: `tls` in [[listen]]: found a table, and the key is for TCP "),
            "{error}"
        );
    }
}
