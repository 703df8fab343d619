//! A session continues from bytes.

use super::*;
use crate::Version;

#[test]
fn a_session_continues_in_both_directions_after_it_was_thawed() {
    let setup = Setup::new();
    for (suite, ours) in SUITES {
        let mut pair = setup.connect(suite);
        for round in 0..5_u8 {
            let data = vec![round; 3000 * usize::from(round)];
            assert_eq!(pair.deliver(&data), data);
            let sent = pair.send(&data);
            assert_eq!(open_pieces(pair.session(), &sent, 500), (data, None));
            if ours.version() == Version::Tls13 && round % 2 == 1 {
                // The next answer has a KeyUpdate before it.
                pair.client.refresh_traffic_keys().expect("TLS 1.3");
                let update = sent_by(&mut pair.client);
                assert_eq!(open_pieces(pair.session(), &update, 3), (Vec::new(), None));
            }
            let Pair { client, established } = pair;
            let frozen = established.session.freeze();
            let session = Session::thaw(&frozen).expect("a frozen session");
            assert_eq!(session.suite(), ours);
            pair = Pair { client, established: Established { session, ..unestablished(&setup) } };
        }
    }
}

/// The other fields.
fn unestablished(setup: &Setup) -> Established {
    setup.connect(TLS13).established
}

#[test]
fn part_of_a_key_update_is_frozen_too() {
    let setup = Setup::new();
    let mut pair = setup.connect(TLS13);
    let mut peer = mirror(pair.session());
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (part, out) in [(&[24, 0, 0][..], &mut first), (&[1, 0], &mut second)] {
        let at = peer.begin(out);
        out.extend_from_slice(part);
        peer.finish(22, out, at).expect("a record");
    }
    assert_eq!(open_pieces(pair.session(), &first, 100), (Vec::new(), None));
    let mut session = Session::thaw(&Session::freeze_copy(pair.session())).expect("a frozen session");
    assert_eq!(open_pieces(&mut session, &second, 100), (Vec::new(), None));
    peer.sending.update(peer.suite).expect("TLS 1.3");
    let mut out = Vec::new();
    peer.seal([&b"with the next key"[..]], usize::MAX, &mut out).expect("a record");
    assert_eq!(open_pieces(&mut session, &out, 100), (b"with the next key".to_vec(), None));
}

#[test]
fn damaged_bytes_are_rejected() {
    let setup = Setup::new();
    for (suite, ours) in SUITES {
        let frozen = Session::freeze_copy(&setup.connect(suite).established.session);
        for length in 0..frozen.len() {
            assert!(Session::thaw(&frozen[..length]).is_err(), "{length} bytes");
        }
        assert!(Session::thaw(&[&frozen[..], &[0]].concat()).is_err());
        let changed = |at: usize, value: u8| {
            let mut bytes = frozen.to_vec();
            bytes[at] = value;
            Session::thaw(&bytes)
        };
        assert!(changed(0, 2).is_err(), "version");
        assert!(changed(1, 0).is_err() && changed(1, 7).is_err(), "suite");
        assert!(changed(2, 16).is_err(), "flags");
        assert_eq!(changed(2, 8).is_err(), ours.version() == Version::Tls12, "KeyUpdate");
        assert!(changed(4, 5).is_err() && changed(4, 1).is_err(), "fragment");
        // The highest byte of each number.
        assert!(changed(6, 9).is_err(), "key updates");
        assert!(changed(14, 0x80).is_err() && changed(22, 0x80).is_err(), "counter");
        let again = Session::freeze_copy(&Session::thaw(&frozen).expect("a frozen session"));
        assert_eq!(again[..], frozen[..]);
    }
}
