//! `client_certificates`: clients have to prove who they are, and handlers learn it.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{DnType, SanType, SerialNumber};
use sha2::{Digest, Sha256};
use tungstenite::Message;

use super::{listen, port, serve};
use crate::support::{Authority, Host, Issued, Trust, c_plugin, empty_folder, plugin};

/// A server that asks for certificates of `authority`, with the routes of this plugin.
fn serve_asking(folder: &Path, authority: &Authority, library: &PathBuf, routes: &str) -> (Host, u16) {
    let ca = folder.join("clients.pem");
    fs::write(&ca, authority.pem()).expect("the scratch folder can be written");
    let files = authority.issue(&["localhost"]).write(folder, "server");
    let listen = listen(&files, &format!("client_certificates = {ca:?}"));
    let file = folder.join("callsign.toml");
    let text = format!("{listen}[plugin.p]\npath = {library:?}\n{routes}");
    fs::write(&file, text).expect("the scratch folder can be written");
    let host = serve(&file, &[]);
    let port = port(&host, "https");
    (host, port)
}

fn client(authority: &Authority) -> Issued {
    authority.issue_with(&["sensor.example", "10.0.0.7", "b.example"], |params| {
        params.distinguished_name.push(DnType::CommonName, "sensor,O=Admin");
        params.serial_number = Some(SerialNumber::from_slice(&[0x0b, 0xad]));
        let text = |text: &str| text.try_into().expect("it is ASCII");
        params.subject_alt_names.push(SanType::URI(text("spiffe://example/sensor")));
        params.subject_alt_names.push(SanType::Rfc822Name(text("a@b.example")));
    })
}

#[test]
fn handlers_learn_what_the_verified_certificate_of_a_client_says() {
    let folder = empty_folder("handlers");
    let authority = Authority::new("A");
    let routes =
        "[[route]]\npath = '/who'\nhandler = 'identity'\n[[route]]\npath = '/ws'\nhandler = 'identified'\n";
    let (_host, port) = serve_asking(&folder, &authority, &plugin("requests"), routes);
    let issued = client(&authority);
    let fingerprint: String = Sha256::digest(issued.der()).iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = format!(
        "CN=sensor\\,O=Admin | CN=A | Some(\"sensor,O=Admin\") | 0bad | {fingerprint} | sensor.example b.example \
         a@b.example spiffe://example/sensor 10.0.0.7 | {}",
        issued.der().len()
    );
    let trust = Trust::of(&authority).with(&issued);
    assert_eq!(trust.get(port, "/who").expect("it has a certificate"), expected);
    let mut socket = trust.open(port, "/ws");
    for _ in 0..2 {
        socket.send(Message::text("who am I?")).expect("the server reads it");
        assert_eq!(socket.read().expect("it answers"), Message::text(expected.as_str()));
    }
}

#[test]
fn handlers_in_c_learn_it_too() {
    let folder = empty_folder("handlers-c");
    let authority = Authority::new("A");
    let routes =
        "[[route]]\npath = '/who'\nhandler = 'page'\n[[route]]\npath = '/ws'\nonmessage = 'message'\n";
    let (_host, port) = serve_asking(&folder, &authority, &c_plugin("certificate.c"), routes);
    let issued = client(&authority);
    let expected = format!("CN=sensor\\,O=Admin b.example - - 48 {}", issued.der().len());
    let trust = Trust::of(&authority).with(&issued);
    assert_eq!(trust.get(port, "/who").expect("it has a certificate"), expected);
    let mut socket = trust.open(port, "/ws");
    socket.send(Message::text("who am I?")).expect("the server reads it");
    assert_eq!(socket.read().expect("it answers"), Message::text(expected));
}

#[test]
fn a_client_without_a_certificate_of_that_authority_is_not_served() {
    let folder = empty_folder("foreign");
    let authority = Authority::new("A");
    let routes = "[[route]]\npath = '/who'\nhandler = 'identity'\n";
    let (host, port) = serve_asking(&folder, &authority, &plugin("requests"), routes);
    let trust = Trust::of(&authority);
    let error = trust.get(port, "/who").expect_err("it has none").to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    host.log_line("no TLS handshake: peer sent no certificates");
    // The same name, another key.
    let foreign = client(&Authority::new("A"));
    let error =
        trust.clone().with(&foreign).get(port, "/who").expect_err("it is of another authority").to_string();
    assert!(error.contains("received fatal alert"), "{error}");
    let expired = authority.issue_between(&["sensor.example"], [2020, 1, 1], [2020, 2, 1]);
    let error = trust.clone().with(&expired).get(port, "/who").expect_err("it has expired").to_string();
    assert!(error.contains("CertificateExpired"), "{error}");
    host.log_line("no TLS handshake: invalid peer certificate: certificate expired");
    assert!(trust.with(&client(&authority)).get(port, "/who").is_ok());
    drop(host);
}

#[test]
fn a_rejected_client_that_has_sent_a_request_already_gets_the_alert_and_an_end_in_order() {
    let folder = empty_folder("alert");
    let authority = Authority::new("A");
    let routes = "[[route]]\npath = '/who'\nhandler = 'identity'\n";
    let (_host, port) = serve_asking(&folder, &authority, &plugin("requests"), routes);
    let expired = authority.issue_between(&["sensor.example"], [2020, 1, 1], [2020, 2, 1]);
    let secure =
        Trust::of(&authority).with(&expired).connect(port, "localhost").expect("TLS 1.3 answers later");
    let (alert, end) = secure.rejection(&vec![b'x'; 1 << 20]);
    assert!(alert.contains("CertificateExpired"), "{alert}");
    assert!(matches!(end, Ok(0)), "{end:?}");
}

#[test]
fn without_client_certificates_no_client_has_one() {
    let folder = empty_folder("not-asked");
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    let text = format!(
        "{}[plugin.p]\npath = {:?}\n[[route]]\npath = '/who'\nhandler = 'identity'\n",
        listen(&files, ""),
        plugin("requests")
    );
    let file = folder.join("callsign.toml");
    fs::write(&file, text).expect("the scratch folder can be written");
    let host = serve(&file, &[]);
    let trust = Trust::of(&authority).with(&client(&authority));
    assert_eq!(trust.get(port(&host, "https"), "/who").expect("it is served"), "none");
}
