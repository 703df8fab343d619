//! Offers and answers.

use super::*;

const ON: Policy = Policy { server_context: false, client_context: false, window_bits: 15 };
const CONTEXT: Policy = Policy { server_context: true, client_context: true, window_bits: 12 };

/// The answer, without the name of the extension; "-": no offer was accepted.
fn answer(policy: Policy, header: &str) -> String {
    match negotiate([header.as_bytes()], policy) {
        Ok(Some((_, answer))) => answer.strip_prefix("permessage-deflate").expect("its name").to_owned(),
        Ok(None) => "-".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn agreement(policy: Policy, header: &str) -> Agreement {
    negotiate([header.as_bytes()], policy).expect("a list").expect("an offer").0
}

#[test]
fn without_context_both_sides_forget_each_message() {
    let forgets = "; server_no_context_takeover; client_no_context_takeover";
    for offer in
        ["", "; server_no_context_takeover", "; client_no_context_takeover", "; client_max_window_bits"]
    {
        assert_eq!(answer(ON, &format!("permessage-deflate{offer}")), forgets, "{offer}");
    }
    for (offer, window) in [("server_max_window_bits=15", 15), ("server_max_window_bits=\"10\"", 10)] {
        assert_eq!(
            answer(ON, &format!("permessage-deflate; {offer}")),
            format!(
                "; server_no_context_takeover; server_max_window_bits={window}; client_no_context_takeover"
            )
        );
    }
    let it = agreement(ON, "permessage-deflate");
    assert_eq!((it.server.context, it.server.window_bits, it.client.context), (false, 15, false));
}

#[test]
fn with_context_windows_have_at_most_the_bits_of_the_policy() {
    for (offer, expected) in [
        // What Chromium offers.
        ("; client_max_window_bits", "; server_max_window_bits=12; client_max_window_bits=12"),
        // A client that cannot be limited gets no context: its window would have 32 KiB.
        ("", "; server_max_window_bits=12; client_no_context_takeover"),
        ("; client_max_window_bits=10", "; server_max_window_bits=12; client_max_window_bits=10"),
        ("; client_max_window_bits=15", "; server_max_window_bits=12; client_max_window_bits=12"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9; client_no_context_takeover"),
        (
            "; server_no_context_takeover; client_max_window_bits",
            "; server_no_context_takeover; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            "; client_no_context_takeover; client_max_window_bits",
            "; server_max_window_bits=12; client_no_context_takeover",
        ),
    ] {
        assert_eq!(answer(CONTEXT, &format!("permessage-deflate{offer}")), expected, "{offer}");
    }
    let it = agreement(CONTEXT, "permessage-deflate; client_max_window_bits=10; server_max_window_bits=11");
    assert_eq!(it.server, Direction { context: true, window_bits: 11 });
    assert_eq!(it.client, Direction { context: true, window_bits: 10 });
}

#[test]
fn the_largest_window_needs_no_limit() {
    let policy = Policy { window_bits: 15, ..CONTEXT };
    assert_eq!(answer(policy, "permessage-deflate"), "");
    assert!(agreement(policy, "permessage-deflate").client.context);
    assert_eq!(answer(policy, "permessage-deflate; client_max_window_bits"), "; client_max_window_bits=15");
}

#[test]
fn each_direction_has_a_policy_of_its_own() {
    let policy = Policy { client_context: false, ..CONTEXT };
    assert_eq!(
        answer(policy, "permessage-deflate; client_max_window_bits"),
        "; server_max_window_bits=12; client_no_context_takeover"
    );
}

#[test]
fn a_server_window_of_8_bits_is_declined_and_the_next_offer_counts() {
    assert_eq!(answer(ON, "permessage-deflate; server_max_window_bits=8"), "-");
    assert_eq!(
        answer(ON, "permessage-deflate; server_max_window_bits=8, permessage-deflate"),
        "; server_no_context_takeover; client_no_context_takeover"
    );
    // Nobody who says 8 can mean less than zlib's 9.
    let it = agreement(CONTEXT, "permessage-deflate; client_max_window_bits=8");
    assert_eq!(it.client.window_bits, 9);
}

#[test]
fn an_offer_that_breaks_a_rule_is_declined() {
    for parameters in [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=\"\\1\"",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=+9",
        "server_max_window_bits=x",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=09",
        "client_max_window_bits; client_max_window_bits=10",
        "Server_No_Context_Takeover",
    ] {
        for policy in [ON, CONTEXT] {
            let offer = format!("permessage-deflate; {parameters}");
            assert_eq!(answer(policy, &offer), "-", "{parameters}");
            // Another offer may follow, as in RFC 7692 §5.2.
            assert_ne!(answer(policy, &format!("{offer}, permessage-deflate")), "-", "{parameters}");
        }
    }
    for other in ["", " , ,", "x-webkit-deflate-frame", "permessage-bzip2; a=b", "Permessage-Deflate"] {
        assert_eq!(answer(ON, other), "-", "{other}");
    }
}

#[test]
fn offers_may_be_on_several_lines_and_the_first_possible_one_counts() {
    let lines = [
        &b"x-custom; a=\"b\", permessage-deflate; nonsense"[..],
        b"permessage-deflate;server_max_window_bits=10 ;client_max_window_bits",
        b"permessage-deflate",
    ];
    let (it, answer) = negotiate(lines, CONTEXT).expect("a list").expect("an offer");
    assert_eq!(it.server.window_bits, 10);
    assert_eq!(answer, "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12");
}

#[test]
fn what_is_no_list_is_an_error() {
    for header in [
        "permessage-deflate;",
        "permessage-deflate; =1",
        "permessage-deflate; a=",
        "permessage-deflate; a=\"",
        "permessage-deflate; a=\"\"",
        "permessage-deflate; a=\"b\\",
        "permessage-deflate; a=\"b c\"",
        "permessage-deflate; a b",
        "permessage-deflate x",
        "permessage-deflate/1",
        "\u{e9}",
        ";",
    ] {
        assert_eq!(negotiate([header.as_bytes()], ON), Err(Malformed), "{header}");
    }
}

#[test]
fn an_agreement_becomes_bytes_and_back() {
    for header in
        ["permessage-deflate", "permessage-deflate; client_max_window_bits=9; server_max_window_bits=11"]
    {
        for policy in [ON, CONTEXT] {
            let it = agreement(policy, header);
            assert_eq!(Agreement::from_bytes(it.to_bytes()), Some(it));
        }
    }
    for bytes in [[2, 12, 0, 15], [0, 8, 0, 15], [0, 12, 0, 16], [0, 12, 255, 15]] {
        assert_eq!(Agreement::from_bytes(bytes), None, "{bytes:?}");
    }
}
