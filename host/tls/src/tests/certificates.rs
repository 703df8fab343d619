//! Which certificate a client gets, and what is wrong with files.

use rustls::SignatureScheme;

use super::*;

/// The certificate that a client with that name gets, which can verify all signatures.
fn chosen(server: &ServerConfig, ca: &Ca, name: &'static str, suite: SupportedCipherSuite) -> Vec<u8> {
    chosen_of(server, ca, name, suite, |_| true)
}

fn chosen_of(
    server: &ServerConfig,
    ca: &Ca,
    name: &'static str,
    suite: SupportedCipherSuite,
    verifies: fn(&SignatureScheme) -> bool,
) -> Vec<u8> {
    // The client may not accept it; that is not the point.
    #[derive(Debug)]
    struct Anything(Arc<rustls::client::WebPkiServerVerifier>, fn(&SignatureScheme) -> bool);
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    impl ServerCertVerifier for Anything {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls12_signature(message, certificate, signed)
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls13_signature(message, certificate, signed)
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes().into_iter().filter(self.1).collect()
        }
    }
    let roots = Arc::new(ca.roots());
    let provider = Arc::new(default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let mut config = client_config(ca, suite);
    config.dangerous().set_certificate_verifier(Arc::new(Anything(verifier.expect("an issuer"), verifies)));
    let pair = connect(server, client(config, name)).map_err(|(error, _)| error).expect("a handshake");
    pair.client.peer_certificates().expect("a certificate")[0].to_vec()
}

#[test]
fn the_name_selects_exact_before_wildcard_before_the_first() {
    let ca = Ca::new("test");
    let files = [
        ca.issue(&["first.example"]),
        ca.issue(&["*.example.com", "example.com"]),
        ca.issue(&["www.example.com", "WWW.Example.ORG"]),
    ];
    let pairs: Vec<_> = files.iter().map(Files::pair).collect();
    let server = ServerConfig::new(&pairs, None).expect("valid pairs");
    for (name, wanted) in [
        ("first.example", 0),
        ("unknown.example", 0),
        ("127.0.0.1", 0), // no SNI
        ("a.example.com", 1),
        ("example.com", 1),
        ("EXAMPLE.com", 1),
        ("a.b.example.com", 0), // a wildcard stands for one label
        ("www.example.com", 2),
        ("www.example.org", 2),
    ] {
        for suite in [TLS13, TLS12] {
            assert_eq!(chosen(&server, &ca, name, suite), files[wanted].chain()[0].to_vec(), "{name}");
        }
    }
}

#[test]
fn of_two_certificates_for_a_name_a_client_gets_one_that_it_can_verify() {
    let ca = Ca::new("test");
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let files = [ca.issue_for(&ed25519, &["localhost"]), ca.issue(&["localhost"])];
    let pairs: Vec<_> = files.iter().map(Files::pair).collect();
    let server = ServerConfig::new(&pairs, None).expect("valid pairs");
    for suite in [TLS13, TLS12] {
        assert_eq!(chosen(&server, &ca, "localhost", suite), files[0].chain()[0].to_vec());
        let without = |scheme: &SignatureScheme| *scheme != SignatureScheme::ED25519;
        assert_eq!(chosen_of(&server, &ca, "localhost", suite, without), files[1].chain()[0].to_vec());
    }
}

#[test]
fn certificates_that_no_name_selects_are_found() {
    let ca = Ca::new("test");
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    for (files, unreachable) in [
        (vec![ca.issue(&["a.example"]), ca.issue(&["b.example"])], vec![]),
        (vec![ca.issue(&["a.example", "b.example"]), ca.issue(&["B.example"])], vec![1]),
        (vec![ca.issue(&["a.example"]), ca.issue(&["a.example", "b.example"])], vec![]),
        (vec![ca.issue(&["*.example"]), ca.issue(&["a.example"])], vec![]),
        (vec![ca.issue(&["*.example"]), ca.issue(&["b.c.example"]), ca.issue(&["*.example"])], vec![2]),
        (vec![ca.issue(&["a.example"]), ca.issue(&["127.0.0.1"])], vec![1]),
        (vec![ca.issue(&["a.example"]), ca.issue(&[])], vec![1]),
        (vec![ca.issue(&["127.0.0.1"]), ca.issue(&["a.example"])], vec![]),
        // A client that cannot verify the first one gets the second one.
        (vec![ca.issue_for(&ed25519, &["a.example"]), ca.issue(&["a.example"])], vec![]),
    ] {
        let pairs: Vec<_> = files.iter().map(Files::pair).collect();
        let server = ServerConfig::new(&pairs, None).expect("valid pairs");
        assert_eq!(server.unreachable(), unreachable);
    }
}

#[test]
fn every_kind_of_key_file_is_accepted() {
    let ca = Ca::new("test");
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let files = ca.issue_for(&KeyPair::generate_for(algorithm).expect("a key"), &["localhost"]);
        ServerConfig::new(&[files.pair()], None).expect("a valid pair");
        // The key may follow the certificate in one file.
        let both = files.certificate.clone() + &files.key;
        let pair = CertifiedPem { certificate: pem("both.pem", &both), key: pem("both.pem", &both) };
        ServerConfig::new(&[pair], None).expect("a valid pair");
    }
}

#[test]
fn what_is_wrong_names_the_file_and_the_remedy() {
    let ca = Ca::new("test");
    let (files, others, ca_pem) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]), ca.pem());
    let error = |certificate: &str, key: &str, client_ca: Option<&str>| {
        let pair = CertifiedPem { certificate: pem("a.pem", certificate), key: pem("a.key", key) };
        let result = ServerConfig::new(&[pair], client_ca.map(|content| pem("ca.pem", content)));
        result.expect_err("something is wrong").to_string()
    };
    let mismatch = error(&files.certificate, &others.key, None);
    assert!(mismatch.contains("a.key") && mismatch.contains("a.pem") && mismatch.contains("does not belong"));
    // The issuer first: the key belongs to the second certificate.
    let order = error(&(ca_pem.clone() + &files.certificate), &files.key, None);
    assert!(order.contains("certificate first in its file"), "{order}");
    assert!(error("", &files.key, None).starts_with("a.pem: no certificate in the file"));
    assert!(error(&files.key, &files.key, None).starts_with("a.pem: no certificate in the file"));
    assert!(
        error(&files.certificate, &files.certificate, None).starts_with("a.key: no private key in the file")
    );
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(error(&files.certificate, encrypted, None).contains("openssl pkey -in a.key"));
    let cut = &files.certificate[..files.certificate.len() / 2];
    assert!(error(cut, &files.key, None).starts_with("a.pem: its PEM is cut off: "));
    let cut_key = &files.key[..files.key.len() / 2];
    assert!(error(&files.certificate, cut_key, None).starts_with("a.key: its PEM is cut off: "));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(error(garbage, &files.key, None).starts_with("a.pem: the first certificate cannot be used"));
    let garbage_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(
        error(&files.certificate, garbage_key, None).starts_with("a.key: the private key cannot be used")
    );
    assert!(
        error(&files.certificate, &files.key, Some("")).starts_with("ca.pem: no certificate in the file")
    );
    assert!(error(&files.certificate, &files.key, Some(garbage)).starts_with("ca.pem: certificate 1 cannot"));
    assert!(ServerConfig::new(&[], None).is_err());
}

#[test]
fn neither_keys_nor_secrets_are_in_debug_output() {
    let setup = Setup::new();
    let files = setup.ca.issue(&["localhost"]);
    let pair = setup.connect(TLS13);
    let texts = [
        format!("{:?}", files.pair()),
        format!("{:?}", setup.server),
        format!("{:?}", pair.established),
        format!("{:?}", Handshake::new(&setup.server)),
    ];
    for text in texts {
        assert!(text.len() < 300 && !text.contains("PRIVATE"), "{text}");
    }
}
