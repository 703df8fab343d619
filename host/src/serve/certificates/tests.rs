//! Certificates as an operator gives them, right and wrong.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::*;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder can be made"))
    }

    fn write(&self, name: &str, text: &str) -> NamedFile {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("it is ours");
        NamedFile { path, position: Some(format!("callsign.toml: {name}")), variable: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A certificate with this name, and its key.
    fn pair(&self, name: &str) -> CertificateSource {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        CertificateSource {
            certificate: self.write(&format!("{name}.pem"), &certificate),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }
}

fn source(certificates: &[&CertificateSource]) -> TlsSource {
    TlsSource { certificates: certificates.iter().map(|&it| it.clone()).collect(), ..TlsSource::default() }
}

fn read_one(source: &TlsSource) -> Result<Arc<Tls>, String> {
    let read = read_sources([Some(source)].into_iter()).map_err(|error| format!("{error:#}"))?;
    Ok(read.into_iter().flatten().next().expect("there is one"))
}

fn listeners<const N: usize>(tls: [Option<Arc<Tls>>; N]) -> Vec<PlannedListener> {
    let settings = |at: usize| Listen::default().settings(format!("127.0.0.1:{at}"));
    let planned = |(at, tls)| PlannedListener { id: at as u32, settings: settings(at), tls };
    tls.into_iter().enumerate().map(planned).collect()
}

#[test]
fn certificates_and_keys_are_read_and_can_be_used() {
    let folder = Folder::new();
    let (a, b) = (folder.pair("a.example"), folder.pair("b.example"));
    let tls = read_one(&source(&[&a, &b])).expect("they are right");
    let names: Vec<_> = tls.certificates.iter().flat_map(|it| it.about.names.clone()).collect();
    assert_eq!(names, ["a.example", "b.example"]);
    let listeners = listeners([None, Some(tls.clone()), Some(tls.clone())]);
    let configs = configure_all(&listeners).expect("they can be used");
    assert_eq!(configs.iter().map(|it| it.tls.is_some()).collect::<Vec<_>>(), [false, true, true]);
    let [_, Some(one), Some(other)] = [0, 1, 2].map(|at| configs[at].tls.as_ref()) else {
        panic!("two have TLS")
    };
    assert!(Arc::ptr_eq(one, other), "both sockets of an entry have the same");
    assert!(!format!("{tls:?}").contains("PRIVATE KEY"));
}

#[test]
fn an_error_names_file_and_place() {
    let folder = Folder::new();
    let (a, b) = (folder.pair("a.example"), folder.pair("b.example"));
    let mixed = CertificateSource { certificate: a.certificate.clone(), key: b.key.clone() };
    let error = read_one(&source(&[&b, &mixed])).expect_err("the key is another one");
    let [certificate, key] = [folder.path("a.example.pem"), folder.path("b.example.key")];
    let expected = format!(
        "callsign.toml: a.example.pem: the key in {} does not belong to the certificate in {}",
        key.display(),
        certificate.display()
    );
    assert!(error.starts_with(&expected), "{error}");
    fs::remove_file(&key).expect("it is there");
    let error = read_one(&source(&[&a, &b])).expect_err("a file is missing");
    assert_eq!(error, format!("callsign.toml: b.example.key: key {}: there is no such file", key.display()));
    let swapped = CertificateSource { certificate: a.key.clone(), key: a.certificate };
    let error = read_one(&source(&[&swapped])).expect_err("they are exchanged");
    assert!(
        error.ends_with("it has a private key and no certificate; are `certificate` and `key` exchanged?"),
        "{error}"
    );
}

#[test]
fn authorities_of_clients_are_read() {
    let folder = Folder::new();
    let a = folder.pair("a.example");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let mut source = source(&[&a]);
    source.client_certificates = Some(folder.write("ca.pem", &authority.pem()));
    assert!(read_one(&source).expect("it is right").client_authorities.is_some());
    source.client_certificates = Some(folder.write("ca.pem", "nothing"));
    let error = read_one(&source).expect_err("there is none");
    let place = format!("callsign.toml: ca.pem: client certificates {}: ", folder.path("ca.pem").display());
    assert_eq!(error, format!("{place}it has no certificate (-----BEGIN CERTIFICATE-----)"));
}

#[test]
fn certificates_that_clients_reject_or_will_soon_are_warned_about() {
    let file = NamedFile::of_flag("a.pem".into());
    let about = AboutCertificate {
        names: vec!["a.example".to_owned()],
        common_name: None,
        not_before: 0,
        not_after: 100 * DAY,
    };
    let warning = |now| validity(&file, &about, now).unwrap_or_default();
    assert_eq!((warning(0), warning(86 * DAY)), (String::new(), String::new()));
    let hint = "replace it, and reload with SIGHUP or `callsign reload`";
    let what = "certificate a.pem (a.example)";
    for (now, expected) in [
        (86 * DAY + 1, format!("{what} expires in 13 days, on 1970-04-11; {hint}")),
        (98 * DAY + 1, format!("{what} expires in 1 day, on 1970-04-11; {hint}")),
        (100 * DAY - 1, format!("{what} expires in less than a day, on 1970-04-11; {hint}")),
        (100 * DAY + 1, format!("{what} expired on 1970-04-11: clients reject it; {hint}")),
        (-1, format!("{what} is not valid before 1970-01-01: clients reject it until then")),
    ] {
        assert_eq!(warning(now), expected);
    }
}

#[test]
fn a_key_that_everybody_can_read_is_warned_about_once() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    let a = folder.pair("a.example");
    let tls = read_one(&source(&[&a])).expect("it is right");
    let set = |mode| fs::set_permissions(&a.key.path, fs::Permissions::from_mode(mode)).expect("it is ours");
    set(0o640);
    assert_eq!(warnings([&tls].into_iter()), Vec::<String>::new());
    set(0o644);
    let path = a.key.path.display();
    let place = a.key.place();
    let expected = format!("{place}key {path}: every user can read it (mode 644); chmod 600 {path}");
    assert_eq!(warnings([&tls, &tls].into_iter()), [expected]);
}

#[test]
fn changes_are_shown_with_names_and_end() {
    let certified = |names: &[&str]| Certified {
        chain: names.concat(),
        key: Secret::from(String::new()),
        about: AboutCertificate {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            common_name: None,
            not_before: 0,
            not_after: 100 * DAY,
        },
    };
    let tls = |names: &[&str]| {
        let certificates = vec![certified(names)];
        Some(Arc::new(Tls { source: TlsSource::default(), certificates, client_authorities: None }))
    };
    let old = listeners([tls(&["a"]), None, tls(&["b"])]);
    let mut new = listeners([tls(&["a"]), None, tls(&["b", "c", "d", "e"]), tls(&["new"])]);
    // The order in the file does not count.
    new.swap(0, 2);
    assert_eq!(changed(&old, &old), Vec::<String>::new());
    assert_eq!(changed(&old, &new), ["b, c, d and 1 more until 1970-04-11"]);
}

#[test]
fn only_an_authority_can_vouch_for_clients() {
    let folder = Folder::new();
    let pair = folder.pair("a.example");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["sensor.example".to_owned()]).expect("a name");
    let mut error_with = |is_ca| {
        params.is_ca = is_ca;
        let text = params.self_signed(&key).expect("a certificate").pem();
        let source =
            TlsSource { client_certificates: Some(folder.write("ca.pem", &text)), ..source(&[&pair]) };
        read_one(&source).err()
    };
    assert_eq!(error_with(IsCa::Ca(BasicConstraints::Unconstrained)), None);
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let error = error_with(is_ca).expect("it is a client's");
        assert!(error.starts_with("callsign.toml: ca.pem: client certificates "), "{error}");
        assert!(error.contains("certificate 1 (sensor.example) is not that of an authority"), "{error}");
    }
}

#[test]
fn certificates_that_nobody_gets_are_warned_about() {
    let folder = Folder::new();
    let (a, b) = (folder.pair("a.example"), folder.pair("b.example"));
    let again = CertificateSource {
        certificate: folder.write("again.pem", &fs::read_to_string(&a.certificate.path).expect("it is ours")),
        key: a.key.clone(),
    };
    let nameless = {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "chat.example");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        CertificateSource {
            certificate: folder.write("nameless.pem", &certificate),
            key: folder.write("nameless.key", &key.serialize_pem()),
        }
    };
    let warnings = |sources: &[&CertificateSource]| {
        use std::os::unix::fs::PermissionsExt;
        for source in sources {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&source.key.path, mode).expect("it is ours");
        }
        warnings([&read_one(&source(sources)).expect("they can be used")].into_iter())
    };
    assert_eq!(warnings(&[&a, &b]), Vec::<String>::new());
    let expected = format!(
        "{}certificate {} (a.example): no client gets it, because the certificates before it in `tls` have all names that \
         clients can ask for; remove it, or put it first",
        again.certificate.place(),
        again.certificate.path.display()
    );
    assert_eq!(warnings(&[&a, &b, &again]), [expected]);
    let expected = format!(
        "{}certificate {} (no name, common name chat.example): clients reject it, because it has no names in \
         subjectAltName, and a common name does not count; have one issued that has them",
        nameless.certificate.place(),
        nameless.certificate.path.display()
    );
    assert_eq!(warnings(&[&nameless]), std::slice::from_ref(&expected));
    assert_eq!(warnings(&[&a, &nameless]), [expected]);
}
