//! What the server listens on, from command line and config file: addresses, and which of them have TLS.

use anyhow::{Result, bail};

use crate::config::listen::Listen;
use crate::config::listen_address::ListenAddress;
use crate::config::options::ServeOptions;
use crate::config::tls::{CertificateSource, NamedFile, TlsSource};

/// Merges the entries. Those of `options` replace those of the `config` file.
///
/// # Errors
/// A certificate of the command line without a key, or without an address of its own; a redirect to TLS that no entry has for its
/// clients; --http2 where no address has TLS; a path that is not UTF-8.
pub fn merge(config: Option<Vec<Listen>>, options: &ServeOptions) -> Result<Vec<Listen>> {
    let is_of_file = options.listen.is_empty() && config.is_some();
    let mut listen = match &options.listen[..] {
        [] => config.unwrap_or_else(|| vec![Listen::default()]),
        given => {
            let position = options.variables.get("listen");
            given.iter().map(|entry| Listen { position: position.cloned(), ..entry.clone() }).collect()
        }
    };
    let given = certificates(options)?;
    if given.is_some() && is_of_file {
        bail!(
            "--tls-certificate is for addresses of --listen, and these are of the config file: set `tls` in their \
             [[listen]]"
        );
    }
    let local = options.local_certificate.clone().map(|local| vec![local]);
    if let Some(certificates) = given.or(local) {
        let source = TlsSource { certificates, ..TlsSource::default() };
        for entry in listen.iter_mut().filter(|entry| entry.tls.is_none() && entry.redirect.is_none()) {
            entry.tls = (!matches!(entry.address, ListenAddress::Unix { .. })).then(|| source.clone());
        }
    }
    if options.http2 {
        let with_tls: Vec<_> = listen.iter_mut().filter_map(|entry| entry.tls.as_mut()).collect();
        if with_tls.is_empty() {
            bail!(
                "--http2 needs an address with TLS: browsers speak HTTP/2 over TLS alone; add --tls-certificate and \
                 --tls-key, or `tls` in a [[listen]] of the config file"
            );
        }
        with_tls.into_iter().for_each(|tls| tls.http2 = true);
    }
    check(&listen)?;
    Ok(listen)
}

/// The certificates of the command line.
fn certificates(options: &ServeOptions) -> Result<Option<Vec<CertificateSource>>> {
    let (certificates, keys) = (&options.tls_certificate, &options.tls_key);
    match (certificates.len(), keys.len()) {
        (0, 0) => return Ok(None),
        (certificates, keys) if certificates != keys => bail!(
            "{certificates} --tls-certificate and {keys} --tls-key: each certificate needs its key, in the same order"
        ),
        _ => {}
    }
    let named = |path: &std::path::PathBuf| NamedFile::of_flag(path.clone());
    let pair = |(certificate, key)| CertificateSource { certificate: named(certificate), key: named(key) };
    Ok(Some(certificates.iter().zip(keys).map(pair).collect()))
}

fn check(listen: &[Listen]) -> Result<()> {
    for entry in listen {
        check_redirect(entry, listen).map_err(|error| entry.located(error))?;
        let files = entry.tls.iter().flat_map(TlsSource::files);
        // The parent sends the paths to workers as JSON.
        if let Some(file) = files.into_iter().find(|file| file.path.to_str().is_none()) {
            bail!("{}{}: its path is not UTF-8; rename it", file.place(), file.path.display());
        }
    }
    Ok(())
}

/// Clients that are sent to the port of a listener have to be able to use it.
fn check_redirect(entry: &Listen, listen: &[Listen]) -> Result<()> {
    let is_port_known = entry.redirect.as_ref().is_none_or(|redirect| redirect.port.is_some());
    if is_port_known || listen.iter().any(Listen::is_for_redirected) {
        return Ok(());
    }
    let address = &entry.address;
    let Some(with_tls) = listen.iter().find(|entry| entry.tls.is_some()) else {
        bail!(
            "{address} redirects to https, and no address has TLS: set `tls` in another [[listen]], or say where TLS is: \
             redirect = \"https:443\""
        );
    };
    let key = if with_tls.proxy_protocol { "proxy_protocol" } else { "client_certificates" };
    let with_tls = &with_tls.address;
    bail!(
        "{address} redirects to https, and its clients cannot use {with_tls}, which has `{key}`: say which port they \
         use: redirect = \"https:443\""
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::redirect::Redirect;

    fn options(listen: &[&str], certificates: &[&str], keys: &[&str]) -> ServeOptions {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        ServeOptions {
            listen: entries(listen),
            tls_certificate: paths(certificates),
            tls_key: paths(keys),
            ..ServeOptions::default()
        }
    }

    fn entries(addresses: &[&str]) -> Vec<Listen> {
        addresses.iter().map(|address| Listen::parse(address).expect("it is valid")).collect()
    }

    /// The certificates of each entry.
    fn merged(config: Option<Vec<Listen>>, options: &ServeOptions) -> Result<Vec<Vec<String>>, String> {
        let certificates = |entry: Listen| {
            let certificates = entry.tls.map(|tls| tls.certificates).unwrap_or_default();
            certificates.into_iter().map(|it| it.certificate.path.display().to_string()).collect()
        };
        let merged = merge(config, options).map_err(|error| error.to_string())?;
        Ok(merged.into_iter().map(certificates).collect())
    }

    #[test]
    fn certificates_of_the_command_line_are_for_its_tcp_addresses() {
        let given = options(&["a:1", "unix:/b", "c:2"], &["a", "b"], &["x", "y"]);
        let both = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(merged(Some(entries(&["d:1"])), &given), Ok(vec![both.clone(), vec![], both.clone()]));
        assert_eq!(
            merged(None, &options(&[], &["a", "b"], &["x", "y"])),
            Ok(vec![both]),
            "the default address"
        );
        let error =
            merged(Some(entries(&["d:1"])), &options(&[], &["a"], &["x"])).expect_err("the file decides");
        assert!(error.contains("these are of the config file"), "{error}");
        let error = merged(None, &options(&[], &["a", "b"], &["x"])).expect_err("a key is missing");
        assert!(error.starts_with("2 --tls-certificate and 1 --tls-key: "), "{error}");
    }

    #[test]
    fn the_certificate_of_dev_is_for_tcp_addresses_that_have_none() {
        let named = |path: &str| NamedFile::of_flag(path.into());
        let pair = |path: &str| CertificateSource { certificate: named(path), key: named(path) };
        let mut config = entries(&["a:1", "a:2", "unix:/a", "a:3"]);
        config[0].tls = Some(TlsSource { certificates: vec![pair("own")], ..TlsSource::default() });
        config[1].redirect = Some(Redirect::default());
        let options = ServeOptions { local_certificate: Some(pair("local")), ..ServeOptions::default() };
        let expected = [vec!["own".to_owned()], vec![], vec![], vec!["local".to_owned()]];
        assert_eq!(merged(Some(config), &options), Ok(expected.to_vec()));
    }

    #[test]
    fn http2_of_the_command_line_is_for_all_addresses_with_tls() {
        let http2 = |options: ServeOptions, config: Option<Vec<Listen>>| {
            let entries = merge(config, &ServeOptions { http2: true, ..options });
            let is_on = |entry: Listen| entry.tls.map(|tls| tls.http2);
            entries
                .map(|entries| entries.into_iter().map(is_on).collect::<Vec<_>>())
                .map_err(|it| it.to_string())
        };
        let given = options(&["a:1", "unix:/b"], &["a"], &["x"]);
        assert_eq!(http2(given, None), Ok(vec![Some(true), None]));
        let mut config = entries(&["a:1", "a:2"]);
        config[0].tls = Some(TlsSource::default());
        assert_eq!(http2(options(&[], &[], &[]), Some(config)), Ok(vec![Some(true), None]));
        let error = http2(options(&["a:1"], &[], &[]), None).expect_err("there is no TLS");
        assert!(error.starts_with("--http2 needs an address with TLS"), "{error}");
    }

    #[test]
    fn a_redirect_needs_an_address_with_tls_that_its_clients_can_use() {
        let mut config = entries(&["a:80", "a:443"]);
        config[0].redirect = Some(Redirect::default());
        config[0].position = Some("callsign.toml:2:11".to_owned());
        let error = |config: &[Listen]| merged(Some(config.to_vec()), &ServeOptions::default()).err();
        let expected = "callsign.toml:2:11: a:80 redirects to https, and no address has TLS: set `tls` in another \
                        [[listen]], or say where TLS is: redirect = \"https:443\"";
        assert_eq!(error(&config), Some(expected.to_owned()));
        config[1].tls = Some(TlsSource::default());
        assert_eq!(error(&config), None);
        let cannot = |key: &str| {
            format!(
                "callsign.toml:2:11: a:80 redirects to https, and its clients cannot use a:443, which has `{key}`: say \
                 which port they use: redirect = \"https:443\""
            )
        };
        config[1].proxy_protocol = true;
        assert_eq!(error(&config), Some(cannot("proxy_protocol")));
        config[1].proxy_protocol = false;
        let authorities = NamedFile::of_flag("ca.pem".into());
        config[1].tls = Some(TlsSource { client_certificates: Some(authorities), ..TlsSource::default() });
        assert_eq!(error(&config), Some(cannot("client_certificates")));
        config[0].redirect = Some(Redirect { host: None, port: Some(443) });
        assert_eq!(error(&config), None);
        config[1].tls = None;
        assert_eq!(error(&config), None);
    }
}
