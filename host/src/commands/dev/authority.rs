//! `dev --tls`: a certificate for this machine, and the authority that issues it, in the data folder of the user. Both are
//! made when they are missing or about to expire, and kept otherwise, so that an authority is trusted once.
//!
//! Invariant: the authority can only issue certificates for this machine (name constraints), and only this user can read
//! its key.

use std::env;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustix::fs::{FlockOperation, flock};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::NamedTempFile;

use crate::config::calendar::Date;
use crate::config::tls::{AboutCertificate, CertificateSource, NamedFile};
use crate::system::private_folder::is_private;
use crate::system::x509;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Clocks of containers and virtual machines may be late.
const BACKDATED: Duration = DAY;
/// For how long an authority is valid, from the day that it is made.
const AUTHORITY_DAYS: u32 = 730;
/// For how long a certificate is valid, at most: until its authority expires.
const CERTIFICATE_DAYS: u32 = 90;
/// What is left of a certificate when it is made again: more than the time at which the server warns.
const LEAST: Duration = Duration::from_secs(20 * 24 * 60 * 60);
/// The names and addresses of this machine for itself.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate for this machine.
pub struct LocalCertificate {
    /// The files of certificate and key.
    pub source: CertificateSource,
    /// The file of the authority's certificate, which clients have to trust.
    pub authority: PathBuf,
    /// Whether the authority is new.
    pub is_new: bool,
    until: AboutCertificate,
    authority_until: AboutCertificate,
}

/// The files of a certificate and its key.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// Returns the certificate of this user, after it was made if there is none.
pub fn local_certificate() -> Result<LocalCertificate> {
    let folder = data_folder(env::var_os("XDG_DATA_HOME").map(PathBuf::from), env::home_dir())?;
    local_certificate_in(&folder, SystemTime::now())
        .with_context(|| format!("the certificate of `dev --tls` in {}", folder.display()))
}

/// `$XDG_DATA_HOME/callsign/tls`.
fn data_folder(data_home: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf> {
    let given = data_home.filter(|folder| folder.is_absolute());
    let in_home = || home.filter(|home| home.is_absolute()).map(|home| home.join(".local/share"));
    let folder = given.or_else(in_home).context(
        "no folder for the certificate of `dev --tls`: neither HOME nor XDG_DATA_HOME is set to an absolute path",
    )?;
    Ok(folder.join("callsign/tls"))
}

fn local_certificate_in(folder: &Path, now: SystemTime) -> Result<LocalCertificate> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).context("the folder cannot be created")?;
    if !is_private(folder)? {
        bail!(
            "another user can use the folder; remove it, or make it private: chmod 700 {}",
            folder.display()
        );
    }
    // Two `dev` that start at once make one authority. The lock ends with this function.
    let lock = File::open(folder)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let pair = |name: &str| Pair {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}-key.pem")),
    };
    let (authority, certificate) = (pair("ca"), pair("localhost"));
    let until = |days: u32, now: SystemTime| now + DAY * days;
    let known = authority.issuer(now);
    let is_new = known.is_none();
    let (issuer, authority_until) = match known {
        Some(known) => known,
        None => {
            let key = KeyPair::generate()?;
            let params = authority_params(now, until(AUTHORITY_DAYS, now));
            authority.write(&params.self_signed(&key)?.pem(), &key)?;
            authority.issuer(now).context("the authority that was just made cannot be read")?
        }
    };
    if is_new || !certificate.is_fresh(now) {
        let end = until(CERTIFICATE_DAYS, now).min(from_unix(authority_until.not_after));
        let key = KeyPair::generate()?;
        let issued = certificate_params(now, end)?.signed_by(&key, &issuer)?;
        certificate.write(&issued.pem(), &key)?;
    }
    let until = certificate.about()?;
    let Pair { certificate, key } = certificate;
    let named = |path| NamedFile::of_flag(path);
    Ok(LocalCertificate {
        source: CertificateSource { certificate: named(certificate), key: named(key) },
        authority: authority.certificate,
        is_new,
        until,
        authority_until,
    })
}

fn authority_params(now: SystemTime, until: SystemTime) -> CertificateParams {
    let mut params = valid(now, until);
    let user = env::var("USER").ok().filter(|name| !name.is_empty() && name.len() <= 32);
    let user = user.map(|user| format!(" of {user}")).unwrap_or_default();
    params.distinguished_name.push(DnType::CommonName, format!("Callsign development CA{user}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let network = |address: &str, bits| {
        address
            .parse()
            .map(|address: IpAddr| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits)))
    };
    let networks = [network("127.0.0.0", 8), network("::1", 128)];
    let mut permitted = vec![GeneralSubtree::DnsName("localhost".to_owned())];
    permitted.extend(networks.into_iter().flatten());
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
    params
}

fn certificate_params(now: SystemTime, until: SystemTime) -> Result<CertificateParams> {
    let mut params = valid(now, until);
    params.subject_alt_names = CertificateParams::new(NAMES.map(str::to_owned))?.subject_alt_names;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// Parameters without a name.
fn valid(now: SystemTime, until: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let epoch = date_time_ymd(1970, 1, 1);
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since(now - BACKDATED);
    params.not_after = epoch + since(until);
    params
}

fn from_unix(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

impl Pair {
    /// The authority, if it is complete and remains valid for long enough to issue a certificate.
    fn issuer(&self, now: SystemTime) -> Option<(Issuer<'static, KeyPair>, AboutCertificate)> {
        if !self.is_fresh(now) {
            return None;
        }
        let key = KeyPair::from_pem(&fs::read_to_string(&self.key).ok()?).ok()?;
        let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(&self.certificate).ok()?, key).ok()?;
        Some((issuer, self.about().ok()?))
    }

    /// Whether certificate and key are there, and the certificate remains valid for [`LEAST`].
    fn is_fresh(&self, now: SystemTime) -> bool {
        let until = self.about().map(|about| from_unix(about.not_after));
        until.is_ok_and(|until| until >= now + LEAST) && self.key.is_file()
    }

    fn about(&self) -> Result<AboutCertificate> {
        let text = fs::read(&self.certificate)?;
        let der = CertificateDer::from_pem_slice(&text).map_err(|error| anyhow!("{error:?}"))?;
        x509::about(&der)
    }

    /// Writes the key, then the certificate: a certificate has its key, whatever happens in between.
    fn write(&self, certificate: &str, key: &KeyPair) -> Result<()> {
        match fs::remove_file(&self.certificate) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        write(&self.key, &key.serialize_pem(), 0o600)?;
        write(&self.certificate, certificate, 0o644)
    }
}

/// Replaces a file in one step. Nobody can read it before it has its mode.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(())
}

impl LocalCertificate {
    /// What the developer has to know, a line each.
    pub fn explanation(&self) -> Vec<String> {
        let (authority, until) = (self.authority.display(), Date(self.until.not_after));
        let mut lines = vec![format!(
            "TLS, for development only: certificate for {}, valid until {until}",
            NAMES.join(", ")
        )];
        if !self.is_new {
            lines.push(format!("clients have to trust its authority, {authority}; see `callsign help dev`"));
            return lines;
        }
        lines.push(format!(
            "clients have to trust its authority, which is new and valid until {}: {authority}",
            Date(self.authority_until.not_after)
        ));
        lines.push(format!("  curl: --cacert {authority}; Node: NODE_EXTRA_CA_CERTS={authority}"));
        lines.push("  Firefox, Chromium: Settings, search `certificates`, Authorities, Import".to_owned());
        lines.push(format!(
            "  Debian, Ubuntu: sudo cp {authority} /usr/local/share/ca-certificates/callsign-dev.crt && sudo \
             update-ca-certificates"
        ));
        lines.push(
            "  It can only issue certificates for this machine's own names, and its key stays in that folder"
                .to_owned(),
        );
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it was written").permissions().mode() & 0o777
    }

    fn content(made: &LocalCertificate) -> [Vec<u8>; 3] {
        let CertificateSource { certificate, key } = &made.source;
        [&made.authority, &certificate.path, &key.path].map(|path| fs::read(path).expect("it was written"))
    }

    #[test]
    fn authority_and_certificate_are_made_once_and_their_keys_are_private() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let (folder, now) = (home.path().join("data/callsign/tls"), SystemTime::now());
        let first = local_certificate_in(&folder, now).expect("it can be made");
        assert!(first.is_new);
        let CertificateSource { certificate, key } = &first.source;
        assert_eq!((mode(&key.path), mode(&folder.join("ca-key.pem")), mode(&folder)), (0o600, 0o600, 0o700));
        let about =
            Pair { certificate: certificate.path.clone(), key: key.path.clone() }.about().expect("it is one");
        assert_eq!(about.names, NAMES);
        let days = (from_unix(about.not_after).duration_since(now).expect("it is valid")).as_secs() / 86_400;
        assert!((89..=90).contains(&days), "{days}");
        let again = local_certificate_in(&folder, now + 60 * DAY).expect("it is there");
        assert!(!again.is_new);
        assert_eq!(content(&again), content(&first));
        assert!(first.explanation().len() > again.explanation().len());
    }

    #[test]
    fn what_expires_soon_or_is_damaged_is_made_again() {
        let home = tempfile::tempdir().expect("a folder can be made");
        let folder = home.path().join("tls");
        let now = SystemTime::now();
        let make = |days: u32| local_certificate_in(&folder, now + days * DAY).expect("it can be made");
        let [authority, certificate, _] = content(&make(0));
        let [same, renewed, _] = content(&make(71));
        assert_eq!(same, authority);
        assert_ne!(renewed, certificate);
        // The last certificates expire with the authority.
        let last = make(700);
        assert!(!last.is_new);
        assert_eq!(last.until.not_after, last.authority_until.not_after);
        assert!(make(720).is_new);
        let [authority, ..] = content(&make(720));
        fs::write(folder.join("ca-key.pem"), "").expect("it is ours");
        let again = make(720);
        assert!(again.is_new);
        assert_ne!(content(&again)[0], authority);
        fs::remove_file(folder.join("localhost-key.pem")).expect("it is there");
        assert!(!make(720).is_new);
        assert!(folder.join("localhost-key.pem").exists());
    }

    #[test]
    fn a_folder_that_others_can_use_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
        let error =
            local_certificate_in(folder.path(), SystemTime::now()).map(drop).expect_err("it is not private");
        assert!(error.to_string().starts_with("another user can use the folder; "), "{error}");
    }

    #[test]
    fn the_folder_is_below_the_data_folder_of_the_user() {
        let folder = |data: Option<&str>, home: Option<&str>| {
            data_folder(data.map(PathBuf::from), home.map(PathBuf::from))
                .map(|path| path.display().to_string())
                .ok()
        };
        assert_eq!(folder(Some("/d"), Some("/h")).as_deref(), Some("/d/callsign/tls"));
        assert_eq!(folder(Some("d"), Some("/h")).as_deref(), Some("/h/.local/share/callsign/tls"));
        assert_eq!((folder(None, Some("h")), folder(None, None)), (None, None));
    }
}
