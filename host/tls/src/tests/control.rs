//! Alerts, key updates, and what a client may not do.

use super::*;
use crate::alert;
use crate::session::content;
use crate::{Exhausted, PLAINTEXT_MAX, Version, Violation};

/// A record with any content, as the client.
fn record(peer: &mut Session, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let at = peer.begin(&mut out);
    out.extend_from_slice(bytes);
    peer.finish(kind, &mut out, at).expect("a record");
    out
}

/// The reaction of a session to records of these types and contents, one after the other.
fn reaction(suite: SupportedCipherSuite, records: &[(u8, &[u8])]) -> (Vec<u8>, Option<End>) {
    let setup = Setup::new();
    let mut pair = setup.connect(suite);
    let mut peer = mirror(pair.session());
    let bytes: Vec<u8> = records.iter().flat_map(|(kind, bytes)| record(&mut peer, *kind, bytes)).collect();
    let reaction = open_pieces(pair.session(), &bytes, bytes.len());
    // Afterwards nothing is received.
    if reaction.1.is_some() {
        let mut more = record(&mut peer, content::DATA, b"more");
        let opened = pair.session().open(&mut more);
        assert!(opened.length == 0 && opened.rest.is_empty() && opened.end.is_some());
    }
    // Every violation is told to the client, and ends what is sent.
    if let Some(End::Violation(violation)) = reaction.1 {
        let mut out = Vec::new();
        pair.session().seal_violation(violation, &mut out);
        let error = give(&mut pair.client, &out);
        if violation.alert != alert::NO_RENEGOTIATION {
            assert_eq!(error, Err(rustls::Error::AlertReceived(violation.alert.into())));
        }
        assert_eq!(pair.session().seal([&b"more"[..]], 9, &mut out), Err(Exhausted));
    }
    reaction
}

fn violation(suite: SupportedCipherSuite, records: &[(u8, &[u8])]) -> u8 {
    match reaction(suite, records) {
        (_, Some(End::Violation(violation))) => violation.alert,
        other => panic!("no violation: {other:?}"),
    }
}

const DATA: u8 = content::DATA;
const ALERT: u8 = content::ALERT;
const HANDSHAKE: u8 = content::HANDSHAKE;

#[test]
fn close_notify_ends_each_direction() {
    let setup = Setup::new();
    for (suite, _) in SUITES {
        let mut pair = setup.connect(suite);
        let mut sent = pair.send(b"last");
        pair.client.send_close_notify();
        sent.extend(sent_by(&mut pair.client));
        sent.extend_from_slice(b"ignored");
        for piece in [sent.len(), 5] {
            let mut session = Session::thaw(&Session::freeze_copy(pair.session())).expect("frozen");
            assert_eq!(open_pieces(&mut session, &sent, piece), (b"last".to_vec(), Some(End::Closed)));
            let opened = session.open(&mut sent.clone());
            assert_eq!((opened.length, opened.end), (0, Some(End::Closed)));
        }

        let mut out = Vec::new();
        pair.session().seal([&b"bye"[..]], 9, &mut out).expect("a record");
        pair.session().seal_close(&mut out);
        let length = out.len();
        pair.session().seal_close(&mut out);
        pair.session().seal_violation(Violation { alert: 80, reason: "" }, &mut out);
        assert_eq!(pair.session().seal([&b"more"[..]], 9, &mut out), Err(Exhausted));
        assert_eq!(out.len(), length, "nothing follows a close_notify");
        assert!(pair.session().is_closed());
        assert_eq!(give(&mut pair.client, &out), Ok(b"bye".to_vec()));
        assert!(pair.client.process_new_packets().expect("a close").peer_has_closed());
    }
}

#[test]
fn other_alerts_of_the_client_end_the_session_or_are_ignored() {
    for suite in [TLS13, TLS12] {
        let fatal = reaction(suite, &[(DATA, b"a"), (ALERT, &[2, 40]), (DATA, b"b")]);
        assert_eq!(fatal, (b"a".to_vec(), Some(End::Alert(40))));
        let canceled = reaction(suite, &[(ALERT, &[1, alert::USER_CANCELED]), (DATA, b"b")]);
        assert_eq!(canceled, (b"b".to_vec(), None));
        for wrong in [&[][..], &[1], &[1, 0, 1, 0]] {
            assert_eq!(violation(suite, &[(ALERT, wrong)]), alert::DECODE_ERROR);
        }
    }
    // TLS 1.3 has no warnings.
    assert_eq!(reaction(TLS13, &[(ALERT, &[1, 112])]).1, Some(End::Alert(112)));
    assert_eq!(reaction(TLS12, &[(ALERT, &[1, 112]), (DATA, b"b")]), (b"b".to_vec(), None));
}

#[test]
fn key_updates_of_the_client_are_followed_and_answered_once_before_the_next_data() {
    let setup = Setup::new();
    for (suite, ours) in SUITES.into_iter().filter(|(_, ours)| ours.version() == Version::Tls13) {
        for piece in [1, 1000] {
            let mut pair = setup.connect(suite);
            let mut sent = Vec::new();
            for _ in 0..3 {
                pair.client.refresh_traffic_keys().expect("TLS 1.3");
                sent.extend(pair.send(b"new"));
            }
            assert_eq!(open_pieces(pair.session(), &sent, piece), (b"newnewnew".to_vec(), None), "{ours:?}");
            let before = pair.session().sending.secret.clone();
            assert_eq!(pair.deliver(b"answer"), b"answer");
            let after = pair.session().sending.secret.clone();
            assert_ne!(before, after, "no KeyUpdate was sent");
            assert_eq!(pair.deliver(b"answer"), b"answer");
            assert_eq!(pair.session().sending.secret, after, "a second KeyUpdate was sent");
        }
    }
}

#[test]
fn a_key_update_may_be_split_but_nothing_may_lie_between_or_behind() {
    let update: [u8; 5] = [24, 0, 0, 1, 0];
    for cut in 1..5 {
        let (first, second) = update.split_at(cut);
        assert_eq!(reaction(TLS13, &[(HANDSHAKE, first), (HANDSHAKE, second)]), (Vec::new(), None));
        let between = [(HANDSHAKE, first), (DATA, &b"x"[..])];
        assert_eq!(violation(TLS13, &between), alert::UNEXPECTED_MESSAGE);
        let between = [(HANDSHAKE, first), (ALERT, &[1, 0][..])];
        assert_eq!(violation(TLS13, &between), alert::UNEXPECTED_MESSAGE);
        let empty = [(HANDSHAKE, first), (HANDSHAKE, &[][..])];
        assert_eq!(violation(TLS13, &empty), alert::UNEXPECTED_MESSAGE);
        let behind = [second, &[24]].concat();
        assert_eq!(violation(TLS13, &[(HANDSHAKE, first), (HANDSHAKE, &behind)]), alert::UNEXPECTED_MESSAGE);
    }
    let bytes: Vec<(u8, &[u8])> = update.iter().map(|byte| (HANDSHAKE, std::slice::from_ref(byte))).collect();
    assert_eq!(reaction(TLS13, &bytes), (Vec::new(), None));
    // The second would need the next key (RFC 8446 §5.1).
    assert_eq!(violation(TLS13, &[(HANDSHAKE, &[update, update].concat())]), alert::UNEXPECTED_MESSAGE);
    assert_eq!(violation(TLS13, &[(HANDSHAKE, &[24, 0, 0, 1, 2])]), alert::ILLEGAL_PARAMETER);
    for wrong in [&[24, 0, 0, 2, 0, 0][..], &[24, 0, 0, 0], &[24, 1], &[1, 0, 0, 0], &[4], &[]] {
        assert_eq!(violation(TLS13, &[(HANDSHAKE, wrong)]), alert::UNEXPECTED_MESSAGE, "{wrong:?}");
    }
}

#[test]
fn data_sealed_with_the_old_key_after_a_key_update_is_rejected() {
    let setup = Setup::new();
    let mut pair = setup.connect(TLS13);
    let mut peer = mirror(pair.session());
    let mut bytes = record(&mut peer, HANDSHAKE, &[24, 0, 0, 1, 0]);
    bytes.extend(record(&mut peer, DATA, b"old key"));
    let (data, end) = open_pieces(pair.session(), &bytes, bytes.len());
    assert!(data.is_empty() && matches!(end, Some(End::Violation(_))));
}

#[test]
fn the_own_key_is_replaced_before_its_limit() {
    RECORDS_MAX.set(Some(10));
    let setup = Setup::new();
    for (suite, _) in SUITES.into_iter().filter(|(_, ours)| ours.version() == Version::Tls13) {
        let mut pair = setup.connect(suite);
        for round in 0..50_u8 {
            assert_eq!(pair.deliver(&[round; 20]), [round; 20]);
            assert!(pair.session().sending.counter <= 9, "one record is left for an alert");
        }
        // Several records at once.
        let data = vec![7; 30 * PLAINTEXT_MAX];
        assert_eq!(pair.deliver(&data), data);
    }
    RECORDS_MAX.set(None);
}

#[test]
fn a_session_of_tls_1_2_ends_at_the_limit_of_its_key() {
    let setup = Setup::new();
    BLOCKS_MAX.set(Some(100));
    let mut pair = setup.connect(TLS12);
    let mut out = Vec::new();
    let sealed = (0..).take_while(|_| pair.session().seal([&[0; 160][..]], 160, &mut out) == Ok(160)).count();
    BLOCKS_MAX.set(None);
    assert_eq!(sealed, 9);
    pair.session().seal_close(&mut out);
    assert_eq!(give(&mut pair.client, &out), Ok(vec![0; 9 * 160]));

    // What was sealed before the limit counts, and the rest is refused.
    RECORDS_MAX.set(Some(4));
    let mut pair = setup.connect(TLS12);
    let mut out = Vec::new();
    let data = vec![1; 10 * PLAINTEXT_MAX];
    let sealed = pair.session().seal([&data[..]], usize::MAX, &mut out).expect("some");
    assert_eq!(pair.session().seal([&data[..]], usize::MAX, &mut out), Err(Exhausted));
    RECORDS_MAX.set(None);
    assert_eq!(give(&mut pair.client, &out), Ok(data[..sealed].to_vec()));
    assert_eq!(sealed, 2 * PLAINTEXT_MAX);
}

#[test]
fn floods_of_records_without_data_end_the_session() {
    for suite in [TLS13, TLS12] {
        let few: Vec<(u8, &[u8])> = vec![(DATA, b""); 32];
        assert_eq!(reaction(suite, &few), (Vec::new(), None));
        let reset = [&few[..], &[(DATA, b"x")], &few[..]].concat();
        assert_eq!(reaction(suite, &reset), (b"x".to_vec(), None));
        assert_eq!(violation(suite, &[&few[..], &[(DATA, b"")]].concat()), alert::UNEXPECTED_MESSAGE);
        let canceled: Vec<(u8, &[u8])> = vec![(ALERT, &[1, alert::USER_CANCELED]); 33];
        assert_eq!(violation(suite, &canceled), alert::UNEXPECTED_MESSAGE);
    }
    // Key updates, each under the key of the one before.
    let setup = Setup::new();
    let mut pair = setup.connect(TLS13);
    let mut peer = mirror(pair.session());
    let mut bytes = Vec::new();
    for _ in 0..33 {
        bytes.extend(record(&mut peer, HANDSHAKE, &[24, 0, 0, 1, 1]));
        peer.sending.update(peer.suite).expect("TLS 1.3");
    }
    assert!(matches!(open_pieces(pair.session(), &bytes, 100), (_, Some(End::Violation(_)))));
}

#[test]
fn key_updates_are_limited_also_if_data_lies_between_them() {
    let setup = Setup::new();
    // How many key updates a client can make that sends so many records of data before each.
    let updates = |records: usize, most: usize| {
        let mut pair = setup.connect(TLS13);
        let mut peer = mirror(pair.session());
        let mut session = Session::thaw(&Session::freeze_copy(pair.session())).expect("a frozen session");
        for update in 0..most {
            let mut bytes: Vec<u8> = (0..records).flat_map(|_| record(&mut peer, DATA, b"x")).collect();
            bytes.extend(record(&mut peer, HANDSHAKE, &[24, 0, 0, 1, 0]));
            peer.sending.update(peer.suite).expect("TLS 1.3");
            match open_pieces(&mut session, &bytes, bytes.len()) {
                (data, None) => assert_eq!(data.len(), records),
                (_, Some(End::Violation(violation))) => {
                    assert_eq!(violation.alert, alert::UNEXPECTED_MESSAGE);
                    return update;
                }
                other => panic!("{other:?}"),
            }
            // Freezing forgives none.
            session = Session::thaw(&session.freeze()).expect("a frozen session");
        }
        most
    };
    assert_eq!(updates(1, 100), 33);
    assert_eq!(updates(31, 100), 63);
    assert_eq!(updates(64, 100), 100);
    assert_eq!(updates(3000, 3), 3);
    // 31 of them, a byte of data, and so on.
    let mut pair = setup.connect(TLS13);
    let mut peer = mirror(pair.session());
    let mut bytes = Vec::new();
    for round in 0..62 {
        if round % 31 == 0 {
            bytes.extend(record(&mut peer, DATA, b"x"));
        }
        bytes.extend(record(&mut peer, HANDSHAKE, &[24, 0, 0, 1, 1]));
        peer.sending.update(peer.suite).expect("TLS 1.3");
    }
    assert!(matches!(open_pieces(pair.session(), &bytes, bytes.len()), (_, Some(End::Violation(_)))));
}

#[test]
fn oversized_records_are_rejected_at_their_header() {
    let setup = Setup::new();
    for (suite, ours) in SUITES {
        let most = match ours.version() {
            Version::Tls13 => PLAINTEXT_MAX + 256,
            Version::Tls12 => PLAINTEXT_MAX + 16 + ours.explicit_nonce(),
        };
        for (length, alert) in
            [(most + 1, Some(alert::RECORD_OVERFLOW)), (most, None), (16, Some(alert::BAD_RECORD_MAC))]
        {
            let mut pair = setup.connect(suite);
            let [high, low] = (length as u16).to_be_bytes();
            let opened = pair.session().open(&mut [23, 3, 3, high, low]);
            let found = opened.end.map(|end| match end {
                End::Violation(violation) => violation.alert,
                other => panic!("{other:?}"),
            });
            // In TLS 1.2, 16 bytes are an empty record of ChaCha20.
            let alert = if length == 16 && ours == Suite::Tls12ChaCha20Poly1305 { None } else { alert };
            assert_eq!(found, alert, "{ours:?}, {length}");
        }
    }
    // As large as the header allows, and more data than a record may have.
    let large = vec![1; PLAINTEXT_MAX + 1];
    assert_eq!(violation(TLS13, &[(DATA, &large)]), alert::RECORD_OVERFLOW);
    assert_eq!(reaction(TLS13, &[(DATA, &large[1..])]).1, None);
}

#[test]
fn other_types_of_records_are_rejected() {
    assert_eq!(violation(TLS12, &[(HANDSHAKE, &[1, 0, 0, 0])]), alert::NO_RENEGOTIATION);
    assert_eq!(violation(TLS12, &[(content::CHANGE_CIPHER_SPEC, &[1])]), alert::UNEXPECTED_MESSAGE);
    assert_eq!(violation(TLS13, &[(content::CHANGE_CIPHER_SPEC, &[1])]), alert::UNEXPECTED_MESSAGE);
    assert_eq!(violation(TLS13, &[(24, b"heartbeat")]), alert::UNEXPECTED_MESSAGE);
    assert_eq!(violation(TLS13, &[(0, b"")]), alert::UNEXPECTED_MESSAGE);
    let setup = Setup::new();
    for (header, suite) in [
        ([20, 3, 3, 0, 20], TLS13),
        ([22, 3, 3, 0, 100], TLS13),
        ([24, 3, 3, 0, 100], TLS12),
        ([23, 3, 1, 0, 100], TLS12),
        (*b"GET /", TLS13),
    ] {
        let mut pair = setup.connect(suite);
        assert!(
            matches!(pair.session().open(&mut header.clone()).end, Some(End::Violation(_))),
            "{header:?}"
        );
    }
}

#[test]
fn a_client_that_wants_to_renegotiate_is_told_that_there_is_none() {
    let setup = Setup::new();
    let mut pair = setup.connect(TLS12);
    let mut peer = mirror(pair.session());
    let hello = record(&mut peer, HANDSHAKE, &[1, 0, 0, 1, 0]);
    let (_, end) = open_pieces(pair.session(), &hello, hello.len());
    let Some(End::Violation(violation)) = end else { panic!("accepted") };
    let mut out = Vec::new();
    pair.session().seal_violation(violation, &mut out);
    // A warning, so rustls does not fail.
    assert_eq!(give(&mut pair.client, &out), Ok(Vec::new()));
}
