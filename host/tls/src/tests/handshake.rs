//! From the hello to the session.

use super::*;
use crate::Work;

#[test]
fn every_suite_leads_to_a_session_however_the_bytes_are_split() {
    let setup = Setup::new();
    for (suite, ours) in SUITES {
        for piece in [1, 7, 100, usize::MAX] {
            let pair = connect_in_pieces(&setup.server, setup.client(suite), piece);
            let mut pair = pair.map_err(|(error, _)| error).expect("both sides support the suite");
            assert_eq!(pair.session().suite(), ours);
            assert_eq!(pair.established.server_name.as_deref(), Some("localhost"));
            assert_eq!(pair.established.protocol.as_deref(), Some(&b"http/1.1"[..]));
            assert!(pair.established.client_certificates.is_empty() && pair.established.leftover.is_empty());
            assert_eq!(pair.deliver(b"hello"), b"hello");
        }
    }
}

#[test]
fn the_server_prefers_aes_256_in_tls_1_3() {
    let setup = Setup::new();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let config = builder.with_root_certificates(setup.ca.roots()).with_no_client_auth();
    let pair = connect(&setup.server, client(config, "localhost"));
    let pair = pair.map_err(|(error, _)| error).expect("common suites");
    assert_eq!(pair.established.session.suite(), Suite::Aes256Gcm);
}

#[test]
fn the_next_step_tells_what_it_costs_before_it_is_taken() {
    let (ca, setup) = (Ca::new("people"), Setup::new());
    let (files, people) = (setup.ca.issue(&["localhost"]), ca.pem());
    let asking = ServerConfig::new(&[files.pair()], Some(pem("people.pem", &people))).expect("valid");
    for (server, suite, rest) in [
        (&setup.server, TLS13, Work::Hashes),
        (&setup.server, TLS12, Work::Rest),
        (&asking, TLS13, Work::Rest),
        (&asking, TLS12, Work::Rest),
    ] {
        let mut client = setup.client(suite);
        let mut handshake = Handshake::new(server).expect("a configuration");
        let hello = sent_by(&mut client);
        // A hello in several records.
        let (first, second) = hello[5..].split_at(40);
        for part in [first, second] {
            assert_eq!(handshake.next_work(), Work::Signature);
            let header = [0x16, 3, 1, 0, part.len() as u8];
            assert!(part.len() < 256, "one byte has the length");
            handshake.receive(&[&header, part].concat()).expect("it has room");
            handshake.advance(&mut Vec::new()).expect("a hello");
        }
        assert_eq!(handshake.next_work(), rest, "{suite:?}");
    }
}

#[test]
fn data_behind_the_handshake_is_left_for_the_session() {
    let setup = Setup::new();
    for (suite, _) in SUITES {
        let mut client = setup.client(suite);
        let mut handshake = Handshake::new(&setup.server).expect("a configuration");
        let mut early = false;
        let mut established = loop {
            let mut bytes = sent_by(&mut client);
            if !early && !client.is_handshaking() {
                client.writer().write_all(b"GET / HTTP/1.1\r\n\r\n").expect("a buffer");
                bytes.extend(sent_by(&mut client));
                early = true;
            }
            let mut out = Vec::new();
            handshake.receive(&bytes).expect("it has room");
            let progress = handshake.advance(&mut out).expect("a handshake");
            give(&mut client, &out).expect("a handshake");
            if let Progress::Established(established) = progress {
                break established;
            }
        };
        let mut leftover = std::mem::take(&mut established.leftover);
        // In TLS 1.2 the client's last message is answered before it sends data.
        assert_eq!(leftover.is_empty(), !early);
        let opened = established.session.open(&mut leftover);
        let expected = if early { &b"GET / HTTP/1.1\r\n\r\n"[..] } else { b"" };
        assert_eq!((&leftover[..opened.length], opened.end), (expected, None));
    }
}

#[test]
fn a_protocol_that_the_server_does_not_speak_is_rejected_with_an_alert() {
    let setup = Setup::new();
    let mut config = client_config(&setup.ca, TLS13);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let Err((error, mut client)) = connect(&setup.server, client(config, "localhost")) else {
        panic!("accepted")
    };
    assert_eq!(error.to_string(), rustls::Error::NoApplicationProtocol.to_string());
    let error = client.process_new_packets().expect_err("the alert has arrived");
    assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol));
    let mut config = client_config(&setup.ca, TLS13);
    config.alpn_protocols = Vec::new();
    let pair = connect(&setup.server, super::client(config, "localhost"));
    assert_eq!(pair.map_err(|(error, _)| error).expect("no protocol is needed").established.protocol, None);
}

#[test]
fn client_certificates_are_verified_and_reported() {
    let (ca, people, strangers) = (Ca::new("servers"), Ca::new("people"), Ca::new("strangers"));
    let (files, people_pem) = (ca.issue(&["localhost"]), people.pem());
    let server = ServerConfig::new(&[files.pair()], Some(pem("people.pem", &people_pem))).expect("valid");
    let with = |files: &Files, suite| {
        let provider =
            Arc::new(rustls::crypto::CryptoProvider { cipher_suites: vec![suite], ..default_provider() });
        let versions: &[_] =
            if suite == TLS13 { &[&rustls::version::TLS13] } else { &[&rustls::version::TLS12] };
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let builder = builder.with_root_certificates(ca.roots());
        client(
            builder.with_client_auth_cert(files.chain(), files.private_key()).expect("a pair"),
            "localhost",
        )
    };
    for suite in [TLS13, TLS12] {
        let person = people.issue(&["person"]);
        let pair = connect(&server, with(&person, suite)).map_err(|(error, _)| error).expect("a person");
        assert_eq!(pair.established.client_certificates, person.chain());
        let stranger = strangers.issue(&["stranger"]);
        assert!(connect(&server, with(&stranger, suite)).is_err());
        let Err((_, mut nobody)) = connect(&server, client(client_config(&ca, suite), "localhost")) else {
            panic!("a client without a certificate was accepted")
        };
        let error = nobody.process_new_packets().expect_err("the alert has arrived");
        assert!(matches!(error, rustls::Error::AlertReceived(_)), "{error}");
    }
}

#[test]
fn what_is_no_handshake_is_rejected() {
    let setup = Setup::new();
    let advance = |bytes: &[u8]| {
        let mut handshake = Handshake::new(&setup.server).expect("a configuration");
        let mut out = Vec::new();
        handshake.receive(bytes)?;
        handshake.advance(&mut out).map(|progress| matches!(progress, Progress::Waiting))
    };
    for wrong in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\xff\xff",
        b"\x16\x02\x01\0\x01\x01",
        b"\x17\x03\x03\0\x01\x01",
        b"\x16\x03\x01\0\0",
        b"\x15\x03\x01\0\x02\x02\x28",
        b"\x16\x03\x01\0\x04\x02\0\0\0",
    ] {
        assert!(advance(wrong).is_err(), "{wrong:?}");
    }
    for part in [&b""[..], b"\x16", b"\x16\x03\x01\x10\0\x01\0\x0f\xfc"] {
        assert_eq!(advance(part), Ok(true), "{part:?}");
    }
}

#[test]
fn memory_of_a_handshake_is_bounded() {
    let setup = Setup::new();
    let mut handshake = Handshake::new(&setup.server).expect("a configuration");
    // A hello of 64 KiB, in records of one byte.
    let first = [&[0x16, 3, 1, 0, 4, 1, 0, 0xff, 0xff][..]];
    let mut sent = 0;
    let mut records = first.into_iter().chain(std::iter::repeat(&[0x16, 3, 1, 0, 1, 0][..]));
    let error = loop {
        let record = records.next().expect("it is endless");
        match handshake.receive(record).and_then(|_| handshake.advance(&mut Vec::new())) {
            Ok(_) => sent += record.len(),
            Err(error) => break error,
        }
        assert!(handshake.room() <= 32 * 1024);
    };
    assert!(sent <= 32 * 1024, "{error} after {sent} bytes");
}

#[test]
fn a_handshake_that_has_ended_reports_that() {
    let setup = Setup::new();
    let mut handshake = Handshake::new(&setup.server).expect("a configuration");
    handshake.receive(b"GET / HTTP/1.1\r\n\r\n").expect("it has room");
    assert!(handshake.advance(&mut Vec::new()).is_err());
    handshake.receive(b"more and more").expect("it has room");
    let error = handshake.advance(&mut Vec::new()).expect_err("it has ended");
    assert_eq!(error.to_string(), "the handshake has ended before");
}
