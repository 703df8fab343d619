//! Data in both directions.

use super::*;
use crate::{PLAINTEXT_MAX, RECORD_MAX, Version};

/// Bytes that show where they come from.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

const LENGTHS: [usize; 10] =
    [0, 1, 15, 16, 17, 4096, PLAINTEXT_MAX - 1, PLAINTEXT_MAX, PLAINTEXT_MAX + 1, 3 * PLAINTEXT_MAX + 5];

#[test]
fn data_of_every_length_arrives_in_both_directions_with_every_suite() {
    let setup = Setup::new();
    for (suite, _) in SUITES {
        let mut pair = setup.connect(suite);
        for length in LENGTHS {
            let data = pattern(length);
            assert_eq!(pair.deliver(&data), data);
            let sent = pair.send(&data);
            assert_eq!(open_pieces(pair.session(), &sent, sent.len().max(1)), (data, None));
        }
    }
}

#[test]
fn records_may_arrive_in_pieces_and_many_at_once() {
    let setup = Setup::new();
    for (suite, _) in SUITES {
        let mut pair = setup.connect(suite);
        for piece in [1, 3, 22, 100, 1000, 100_000] {
            let data = pattern(2 * PLAINTEXT_MAX + 100);
            // Small records and large ones.
            let mut sent: Vec<u8> = data[..100].chunks(7).flat_map(|part| pair.send(part)).collect();
            sent.extend(pair.send(&data[100..]));
            assert_eq!(open_pieces(pair.session(), &sent, piece), (data, None), "pieces of {piece}");
        }
    }
}

#[test]
fn pieces_of_data_are_sealed_as_one_record_and_the_most_is_kept() {
    let setup = Setup::new();
    for (suite, _) in SUITES {
        let mut pair = setup.connect(suite);
        let mut out = Vec::new();
        let pieces = [&b"one"[..], b"", b"two", b"three"];
        assert_eq!(pair.session().seal(pieces, usize::MAX, &mut out), Ok(11));
        assert_eq!(usize::from(u16::from_be_bytes([out[3], out[4]])), out.len() - 5);
        assert_eq!(give(&mut pair.client, &out), Ok(b"onetwothree".to_vec()));

        out.clear();
        assert_eq!(pair.session().seal(pieces, 5, &mut out), Ok(5));
        assert_eq!(give(&mut pair.client, &out), Ok(b"onetw".to_vec()));

        out.clear();
        assert_eq!(pair.session().seal([], 5, &mut out), Ok(0));
        assert_eq!(pair.session().seal([&b""[..]], 5, &mut out), Ok(0));
        assert_eq!(pair.session().seal(pieces, 0, &mut out), Ok(0));
        assert!(out.is_empty());

        assert_eq!(
            pair.session().seal([&pattern(PLAINTEXT_MAX)[..]], usize::MAX, &mut out),
            Ok(PLAINTEXT_MAX)
        );
        assert!(out.len() <= RECORD_MAX);
    }
}

#[test]
fn no_record_has_the_nonce_of_another() {
    let setup = Setup::new();
    for (suite, ours) in SUITES {
        let mut pair = setup.connect(suite);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut out = Vec::new();
            pair.session().seal([&b"the same"[..]], usize::MAX, &mut out).expect("a record");
            // In TLS 1.2 AES-GCM the nonce is in the record; else the same data would give the same record.
            let explicit = ours.explicit_nonce();
            let shown = if explicit > 0 { &out[5..5 + explicit] } else { &out[..] };
            assert!(seen.insert(shown.to_vec()));
        }
    }
}

#[test]
fn the_byte_behind_the_data_is_free() {
    let setup = Setup::new();
    let mut pair = setup.connect(TLS13);
    let mut sent = pair.send(b"first");
    let next = pair.send(b"second");
    sent.extend_from_slice(&next[..next.len() - 1]);
    let opened = pair.session().open(&mut sent);
    assert_eq!((&sent[..opened.length], opened.rest.len()), (&b"first"[..], next.len() - 1));
    assert!(opened.length < opened.rest.start);
    sent[opened.length] = 0;
    let mut rest = [&sent[opened.rest], &next[next.len() - 1..]].concat();
    let opened = pair.session().open(&mut rest);
    assert_eq!(&rest[..opened.length], b"second");
}

#[test]
fn a_changed_byte_anywhere_ends_the_session() {
    let setup = Setup::new();
    for (suite, _) in SUITES {
        let mut pair = setup.connect(suite);
        let sent = pair.send(b"hello");
        let frozen = Session::freeze_copy(pair.session());
        for at in 0..sent.len() {
            let mut changed = sent.clone();
            changed[at] ^= 1;
            let mut session = Session::thaw(&frozen).expect("a frozen session");
            let opened = session.open(&mut changed);
            // A longer record is not complete.
            let is_longer = at == 3 || at == 4 && sent[4] & 1 == 0;
            assert_eq!((opened.length, opened.end.is_none()), (0, is_longer), "byte {at}");
        }
    }
}

#[test]
fn padding_of_tls_1_3_is_removed() {
    let setup = Setup::new();
    for (suite, ours) in SUITES.into_iter().filter(|(_, ours)| ours.version() == Version::Tls13) {
        let mut pair = setup.connect(suite);
        let mut peer = mirror(pair.session());
        for padding in [1, 100, 5000] {
            let mut out = Vec::new();
            let at = peer.begin(&mut out);
            // The type of the content, and zeros: the last of them becomes the type.
            out.extend_from_slice(b"padded\x17");
            out.resize(out.len() + padding - 1, 0);
            peer.finish(0, &mut out, at).expect("a record");
            assert_eq!(open_pieces(pair.session(), &out, 999), (b"padded".to_vec(), None), "{ours:?}");
        }
    }
}
