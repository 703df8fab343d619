//! The certificates of listeners with TLS: the files that the operator names enter, and what workers need to use them
//! leaves. The parent reads, because the workers' user may not.
//!
//! Invariant: what leaves can be used. A file that is missing, broken or for another certificate is an error, which names
//! the file and the line of the config file.

mod pem; // what a file holds

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use callsign_tls::{CertifiedPem, Faulty, HTTP_1, HTTP_2, Pem, ServerConfig};

use crate::config::calendar::Date;
use crate::config::listen::Listen;
use crate::config::plan::PlannedListener;
use crate::config::tls::{AboutCertificate, CertificateSource, Certified, NamedFile, Secret, Tls, TlsSource};
use crate::system::x509;
use crate::worker::listening::Listening;

const DAY: i64 = 24 * 60 * 60;
/// Days before the end of a certificate from which on the log warns: what renews it has failed by then.
const WARN_DAYS: i64 = 14;
/// Names of a certificate that a line lists.
const NAMES_MAX: usize = 3;

/// Reads the certificates of all entries.
pub fn read_all(listen: &[Listen]) -> Result<Vec<Option<Arc<Tls>>>> {
    read_sources(listen.iter().map(|entry| entry.tls.as_ref()))
}

/// Reads the certificates of listeners, and checks that they can be used.
pub fn read_sources<'s>(
    sources: impl Iterator<Item = Option<&'s TlsSource>>,
) -> Result<Vec<Option<Arc<Tls>>>> {
    sources.map(|source| source.map(|source| read(source).map(Arc::new)).transpose()).collect()
}

fn read(source: &TlsSource) -> Result<Tls> {
    let certificates = source.certificates.iter().map(read_certificate).collect::<Result<_>>()?;
    let client_authorities = match &source.client_certificates {
        Some(file) => Some(pem::about(read_authorities(file), "client certificates", file)?),
        None => None,
    };
    let tls = Tls { source: source.clone(), certificates, client_authorities };
    configure(&tls)?;
    Ok(tls)
}

/// The text of a file with certificates of authorities. The verification would take every certificate in it for one: who has
/// the key of a client's certificate could issue others.
fn read_authorities(file: &NamedFile) -> Result<String> {
    let (text, certificates) = pem::read_certificates(file)?;
    for (index, certificate) in certificates.iter().enumerate() {
        if !x509::may_be_authority(certificate)? {
            let about = x509::about(certificate)?;
            bail!(
                "certificate {} ({}) is not that of an authority (CA:FALSE); name the authority that has issued the \
                 certificates of the clients",
                index + 1,
                names(&about)
            );
        }
    }
    Ok(text)
}

fn read_certificate(source: &CertificateSource) -> Result<Certified> {
    let CertificateSource { certificate, key } = source;
    let read = pem::read_certificates(certificate).and_then(|(chain, certificates)| {
        let first = certificates.first().context("it has no certificate")?;
        Ok((chain, x509::about(first)?))
    });
    let (chain, about) = pem::about(read, "certificate", certificate)?;
    let text = pem::about(pem::read_key(key), "key", key)?;
    let certified = Certified { chain, key: Secret::from(text), about };
    // By itself, because the error is to name the place of this pair.
    let fits = ServerConfig::new(&[of_pair(source, &certified)?], None);
    fits.map_err(|error| {
        let file = if error.faulty() == Faulty::Key { key } else { certificate };
        match &file.position {
            Some(position) => anyhow!("{position}: {error}"),
            None => anyhow!(error),
        }
    })?;
    Ok(certified)
}

/// How the clients of each listener are served.
pub fn configure_all(listeners: &[PlannedListener]) -> Result<Vec<Rc<Listening>>> {
    let mut configured: Vec<Rc<Listening>> = Vec::new();
    for (number, listener) in listeners.iter().enumerate() {
        // An entry may stand for several sockets.
        let same = listeners[..number].iter().position(|earlier| earlier.tls == listener.tls);
        let tls = match same {
            Some(earlier) => configured[earlier].tls.clone(),
            None => listener.tls.as_deref().map(configure).transpose()?,
        };
        configured.push(Rc::new(Listening { settings: listener.settings.clone(), tls }));
    }
    Ok(configured)
}

fn configure(tls: &Tls) -> Result<Arc<ServerConfig>> {
    let pairs = tls.source.certificates.iter().zip(&tls.certificates);
    let pairs = pairs.map(|(source, certified)| of_pair(source, certified)).collect::<Result<Vec<_>>>()?;
    let authorities = tls.source.client_certificates.as_ref().zip(tls.client_authorities.as_ref());
    let authorities = authorities.map(|(file, text)| of_file(file, text)).transpose()?;
    let place = tls.source.client_certificates.as_ref().and_then(|file| file.position.as_ref());
    let protocols = if tls.source.http2 { &[HTTP_2, HTTP_1][..] } else { &[HTTP_1] };
    ServerConfig::offering(protocols, &pairs, authorities).map_err(|error| match place {
        // The pairs have been checked.
        Some(position) => anyhow!("{position}: {error}"),
        None => anyhow!(error),
    })
}

fn of_pair<'t>(source: &'t CertificateSource, certified: &'t Certified) -> Result<CertifiedPem<'t>> {
    let certificate = of_file(&source.certificate, &certified.chain)?;
    Ok(CertifiedPem { certificate, key: of_file(&source.key, certified.key.expose())? })
}

fn of_file<'t>(file: &'t NamedFile, text: &'t str) -> Result<Pem<'t>> {
    // The settings have no other paths.
    let path = file.path.to_str().context("a path is not UTF-8")?;
    Ok(Pem { file: path, bytes: text.as_bytes() })
}

/// The certificates that have changed: `example.com until 2027-02-28`. Those of new listeners do not count.
pub fn changed(old: &[PlannedListener], new: &[PlannedListener]) -> Vec<String> {
    let has_changed = |new: &&PlannedListener| old.iter().any(|old| old.id == new.id && old.tls != new.tls);
    let certificates =
        new.iter().filter(has_changed).flat_map(|new| new.tls.iter().flat_map(|tls| &tls.certificates));
    let mut changed: Vec<_> = certificates.map(|certificate| summary(&certificate.about)).collect();
    changed.dedup();
    changed
}

/// `example.com, www.example.com until 2027-02-28`
pub fn summary(about: &AboutCertificate) -> String {
    format!("{} until {}", names(about), Date(about.not_after))
}

fn names(about: &AboutCertificate) -> String {
    match &about.names[..] {
        [] => match &about.common_name {
            Some(name) => format!("no name, common name {name}"),
            None => "no name".to_owned(),
        },
        names if names.len() > NAMES_MAX => {
            format!("{} and {} more", names[..NAMES_MAX].join(", "), names.len() - NAMES_MAX)
        }
        names => names.join(", "),
    }
}

/// What the operator should know about the certificates, a sentence each.
pub fn warnings<'t>(tls: impl Iterator<Item = &'t Arc<Tls>>) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut warnings: Vec<(&NamedFile, String)> = Vec::new();
    for tls in tls {
        for (CertificateSource { certificate, key }, certified) in
            tls.source.certificates.iter().zip(&tls.certificates)
        {
            warnings.extend(validity(certificate, &certified.about, now).map(|text| (certificate, text)));
            warnings.extend(exposed(key).map(|text| (key, text)));
            warnings.extend(nameless(certificate, &certified.about).map(|text| (certificate, text)));
        }
        warnings.extend(unreachable(tls));
    }
    // Listeners may share their files.
    let mut seen = std::collections::HashSet::new();
    warnings.retain(|(_, text)| seen.insert(text.clone()));
    warnings.into_iter().map(|(file, text)| file.place() + &text).collect()
}

/// A certificate that clients reject, or will soon.
fn validity(file: &NamedFile, about: &AboutCertificate, now: i64) -> Option<String> {
    let what = format!("certificate {} ({})", file.path.display(), names(about));
    let left = about.not_after - now;
    let hint = "replace it, and reload with SIGHUP or `callsign reload`";
    match left {
        ..0 => Some(format!("{what} expired on {}: clients reject it; {hint}", Date(about.not_after))),
        _ if about.not_before > now => Some(format!(
            "{what} is not valid before {}: clients reject it until then",
            Date(about.not_before)
        )),
        _ if left < WARN_DAYS * DAY => {
            let days = match left / DAY {
                0 => "in less than a day".to_owned(),
                1 => "in 1 day".to_owned(),
                days => format!("in {days} days"),
            };
            Some(format!("{what} expires {days}, on {}; {hint}", Date(about.not_after)))
        }
        _ => None,
    }
}

/// A certificate that is for nothing.
fn nameless(file: &NamedFile, about: &AboutCertificate) -> Option<String> {
    about.names.is_empty().then(|| {
        format!(
            "certificate {} ({}): clients reject it, because it has no names in subjectAltName, and a common name does not \
             count; have one issued that has them",
            file.path.display(),
            names(about)
        )
    })
}

/// Certificates that no client gets.
fn unreachable(tls: &Tls) -> Vec<(&NamedFile, String)> {
    let Ok(config) = configure(tls) else { return Vec::new() };
    let pairs: Vec<_> = tls.source.certificates.iter().zip(&tls.certificates).collect();
    let named = config.unreachable().iter().filter_map(|index| pairs.get(*index));
    let named = named.filter(|(_, certified)| !certified.about.names.is_empty());
    let warning = |(source, certified): &(&CertificateSource, &Certified)| {
        format!(
            "certificate {} ({}): no client gets it, because the certificates before it in `tls` have all names that \
             clients can ask for; remove it, or put it first",
            source.certificate.path.display(),
            names(&certified.about)
        )
    };
    named.map(|pair| (&pair.0.certificate, warning(pair))).collect()
}

/// A key that every user of the machine can read.
fn exposed(file: &NamedFile) -> Option<String> {
    if file.variable.is_some() {
        return None;
    }
    let mode = mode(&file.path)? & 0o777;
    (mode & 0o004 != 0).then(|| {
        format!("key {}: every user can read it (mode {mode:o}); chmod 600 {0}", file.path.display())
    })
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|about| about.mode())
}

#[cfg(test)]
mod tests;
