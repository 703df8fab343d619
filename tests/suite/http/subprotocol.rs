//! Subprotocols (RFC 6455 §1.9): the route's `protocols`, the choice of a handler, and the warnings about clients that
//! get none.

use std::fs;

use super::{get, serve, values};
use crate::support::{Host, c_plugin_with, path, plugin, scratch};

/// Serves `requests`, which sends each client its subprotocol: by the callback route `/ws` and by the handlers
/// `/chooses` and `/plain`, and at `/c` the same in C. All routes but `/none` have the protocols `v2` and `v1`.
fn serve_protocols(name: &str) -> Host {
    let (requests, c) = (plugin("requests"), c_plugin_with("subprotocol.c", &[]));
    let mut text = format!("[plugin.requests]\npath = {requests:?}\n[plugin.c]\npath = {c:?}\n");
    for (path, handler) in [
        ("/ws", "onmessage = 'requests:speak'"),
        ("/plain", "handler = 'requests:speaks'"),
        ("/chooses", "handler = 'requests:chooses'"),
        ("/c", "handler = 'c:chooses'"),
    ] {
        text += &format!("[[route]]\npath = '{path}'\n{handler}\nprotocols = ['v2', 'v1']\n");
    }
    text += "[[route]]\npath = '/none'\nonmessage = 'requests:speak'\n";
    let config = scratch(name);
    fs::write(&config, text).expect("the scratch folder can be written");
    Host::start(&["serve", "--config", path(&config)])
}

/// What the 101 selects, and what the plugin then says.
fn select(host: &Host, path: &str, offers: &[&str]) -> (Vec<String>, String) {
    let offers: Vec<_> = offers.iter().map(|offer| ("Sec-WebSocket-Protocol", *offer)).collect();
    let mut client = host.connect();
    let answer = client.handshake(path, &offers);
    assert_eq!(answer.status, 101, "{path} {offers:?}: {}", answer.text());
    client.send_frame(0x81, b"?");
    let (_, said) = client.read_frame();
    let selected = values(&answer, "sec-websocket-protocol").into_iter().map(str::to_owned).collect();
    (selected, String::from_utf8(said).expect("it is text"))
}

#[test]
fn the_first_protocol_of_the_route_that_the_client_offers_is_selected() {
    let host = serve_protocols("subprotocol_selects.toml");
    for path in ["/ws", "/plain"] {
        for (offers, selected) in [
            (&["v1"][..], "v1"),
            (&["v1, v2"], "v2"),
            (&["v0 ,v1,\tv2"], "v2"),
            (&["v1", "v0, v2"], "v2"),
            (&["mqtt, v1"], "v1"),
        ] {
            assert_eq!(
                select(&host, path, offers),
                (vec![selected.to_owned()], selected.to_owned()),
                "{path}"
            );
        }
        for offers in [&[][..], &["V2"], &["v2.1"], &["mqtt"], &[""], &[", ,"]] {
            assert_eq!(select(&host, path, offers), (vec![], String::new()), "{path} {offers:?}");
        }
    }
}

#[test]
fn a_handler_chooses_in_rust_and_in_c_and_the_route_is_the_default() {
    let host = serve_protocols("subprotocol_chosen.toml");
    for path in ["/chooses", "/c"] {
        // The handlers prefer `v3`, then `v1`.
        for (offer, selected) in
            [("v1, v2, v3", "v3"), ("v2, v1", "v1"), ("x, v2", "v2"), ("xv3, v33, v1", "v1")]
        {
            let expected = (vec![selected.to_owned()], selected.to_owned());
            assert_eq!(select(&host, path, &[offer]), expected, "{path} {offer}");
        }
        assert_eq!(select(&host, path, &[]), (vec![], String::new()), "{path}");
    }
}

#[test]
fn a_client_whose_offer_nobody_selects_is_logged_with_what_to_set() {
    let host = serve_protocols("subprotocol_offered.toml");
    assert_eq!(select(&host, "/none", &["mqtt, b, c, d"]).0.len(), 0);
    let line = host.log_line("route `/none` selects none of the subprotocols that the client offers");
    assert!(
        line.contains("offers (`mqtt`, `b`, `c` and 1 more); browsers then close the connection."),
        "{line}"
    );
    assert!(line.contains("To accept one, set protocols = [\"mqtt\"] in the route ("), "{line}");
    assert!(line.ends_with("subprotocol_offered.toml:21)"), "{line}");

    select(&host, "/ws", &["mqtt"]);
    let line = host.log_line("route `/ws` selects none");
    assert!(line.contains("To accept one, add \"mqtt\" to `protocols` in the route ("), "{line}");
    select(&host, "/plain", &["mqtt"]);
    assert!(host.log_line("route `/plain` selects none").ends_with(", or select one in `requests:speaks`"));

    // The same again is not logged, and a long name is not logged in full.
    (0..5).for_each(|_| drop(select(&host, "/ws", &["mqtt"])));
    select(&host, "/ws", &[&"secret".repeat(20)]);
    let line = host.log_line("`secretsecretsecretsecret…`");
    assert!(!line.contains("secretsecretsecretsecrets"), "{line}");
    assert!(line.contains("To accept one, add its full name to `protocols` in the route ("), "{line}");
    assert_eq!(host.log_lines("route `/ws` selects none").len(), 2, "{}", host.log());
}

#[test]
fn an_offer_that_is_no_name_is_called_so_and_not_suggested() {
    let host = serve_protocols("subprotocol_headers.toml");
    for offer in ["\"a\"", "a b", "a;q=1"] {
        assert_eq!(select(&host, "/none", &[offer]).0.len(), 0);
        let line = host.log_line(&format!("the client offers (`{offer}`: no subprotocol name)"));
        assert!(
            line.ends_with(" None can be selected: a name has no spaces, quotes or other separators"),
            "{line}"
        );
    }
    assert_eq!(select(&host, "/none", &["a b, mqtt"]).0.len(), 0);
    let line = host.log_line("offers (`a b`: no subprotocol name, `mqtt`)");
    assert!(line.contains("To accept one, set protocols = [\"mqtt\"] in the route ("), "{line}");
}

#[test]
fn on_the_command_line_and_without_routes_the_log_names_the_config_file() {
    for (options, path) in [(&["--route", "/chat=,onmessage,"][..], "/chat"), (&[], "/*")] {
        let host = Host::serve("echo", options);
        host.connect().upgraded("/chat", &[("Sec-WebSocket-Protocol", "mqtt")]);
        let line = host.log_line("selects none");
        let end = format!("set protocols = [\"mqtt\"] in a [[route]] for `{path}` in the config file");
        assert!(line.ends_with(&end), "{line}");
    }
}

#[test]
fn a_protocol_that_the_client_does_not_offer_is_left_out_with_a_warning() {
    let host = serve(&[]);
    for (offer, of_client) in [(None, ""), (Some("soap, wamp"), " (`soap`, `wamp`)")] {
        let headers =
            [("answer-sec-websocket-protocol", "mqtt"), ("Sec-WebSocket-Protocol", offer.unwrap_or("-"))];
        let headers = if offer.is_some() { &headers[..] } else { &headers[..1] };
        let answer = host.connect().handshake("/socket", headers);
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None));
        host.log_line(&format!(
            "plugin `requests`: onrequest handler `socket` selects the subprotocol `mqtt`, which the client does not \
             offer{of_client}; the 101 has none"
        ));
    }
}

#[test]
fn a_plugin_cannot_set_an_extension_two_protocols_or_a_malformed_one() {
    let host = serve(&[]);
    let mut client = host.connect();
    for (headers, name) in [
        (
            &[("answer-sec-websocket-extensions", "permessage-deflate")][..],
            "sec-websocket-extensions: permessage-deflate",
        ),
        (
            &[("answer-sec-websocket-protocol", "a"), ("answer-sec-websocket-protocol", "b")],
            "sec-websocket-protocol: b",
        ),
        (&[("answer-sec-websocket-protocol", "a, b")], "sec-websocket-protocol: a, b"),
        (&[("answer-sec-websocket-protocol", "")], "sec-websocket-protocol: "),
    ] {
        let offer = [("Sec-WebSocket-Protocol", "a, b"), ("Sec-WebSocket-Extensions", "permessage-deflate")];
        let answer = client.handshake("/socket", &[headers, &offer].concat());
        assert_eq!(answer.status, 500, "{name}");
        host.log_line(&format!(
            "the answer's header `{name}` is malformed, is a second subprotocol, or is one that"
        ));
    }
    assert_eq!(get(&mut client, "/upgrades").text(), "4");
    assert_eq!(client.handshake("/socket", &[]).status, 101);
}
