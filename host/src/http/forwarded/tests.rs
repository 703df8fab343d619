//! Tables of headers and the client that they tell, and headers that a client has invented.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::config::trusted_proxies::TrustedProxy;

/// The address of the nearest proxy in all tests.
const NEAREST: &str = "10.0.0.1:4000";

fn trusted(proxies: &str) -> TrustedProxies {
    let proxies = proxies.split(' ').map(|proxy| TrustedProxy::parse(proxy).expect(proxy));
    proxies.collect::<Vec<_>>().into()
}

fn peer(text: &str) -> Peer {
    match text {
        "unix:" => Peer::Unix,
        address => Peer::Address(address.parse().expect(address)),
    }
}

fn headers<V: AsRef<[u8]>>(lines: &[(&'static str, V)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, V)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_ref()).expect("a value"))
    };
    lines.iter().map(line).collect()
}

/// The client behind the nearest proxy, if all of 10.0.0.0/8 and fd00::/8 is trusted.
fn found<V: AsRef<[u8]>>(lines: &[(&'static str, V)]) -> (String, Option<Problem>) {
    let (client, problem) = find(&trusted("10.0.0.0/8 fd00::/8"), peer(NEAREST), &headers(lines));
    (client.to_string(), problem)
}

fn told<V: AsRef<[u8]>>(name: &'static str, value: V) -> String {
    found(&[(name, value)]).0
}

#[test]
fn forwarded_tells_the_last_untrusted_address() {
    for (value, client) in [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60:0"),
        ("For=\"192.0.2.60:47011\"", "192.0.2.60:47011"),
        ("for=192.0.2.60:47011", "192.0.2.60:47011"),
        ("for=\"[2001:db8:cafe::17]:4711\"", "[2001:db8:cafe::17]:4711"),
        ("for=\"[2001:DB8::17]\"", "[2001:db8::17]:0"),
        ("for=[2001:db8::17]", "[2001:db8::17]:0"),
        ("for=\"2001:db8::17\"", "[2001:db8::17]:0"),
        ("for=\"[::ffff:192.0.2.60]:1\"", "192.0.2.60:1"),
        ("for=\"192.0.2.60:_port\"", "192.0.2.60:0"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17:0"),
        ("for=192.0.2.43,for=10.1.2.3;proto=https , for=10.1.2.4", "192.0.2.43:0"),
        ("for=192.0.2.43, for=\"[fd00::1]:80\"", "192.0.2.43:0"),
        ("for=10.0.0.3, for=10.0.0.2", "10.0.0.3:0"),
        (", ,for=192.0.2.43 ; proto=http;; , ,", "192.0.2.43:0"),
        ("for=192.0.2.43;ext=\"a, \\\"for=6.6.6.6\\\\\";host=\"x;y\"", "192.0.2.43:0"),
        ("ext=\"\\\\\";for=192.0.2.43", "192.0.2.43:0"),
        // The proxy does not tell its client.
        ("for=unknown", NEAREST),
        ("for=Unknown", NEAREST),
        ("for=_hidden", NEAREST),
        ("for=\"_SEVKISEK:_x\"", NEAREST),
        ("for=192.0.2.43, for=unknown", NEAREST),
        ("for=192.0.2.43, for=_gazonk, for=10.0.0.2", "10.0.0.2:0"),
        ("proto=https;host=example.com", NEAREST),
        ("", NEAREST),
        (",", NEAREST),
    ] {
        assert_eq!(found(&[("forwarded", value)]), (client.to_owned(), None), "{value}");
    }
    let lines = [("forwarded", "for=192.0.2.43, for=198.51.100.17"), ("forwarded", "for=10.0.0.2")];
    assert_eq!(found(&lines), ("198.51.100.17:0".to_owned(), None), "several lines are one list");
}

#[test]
fn x_forwarded_for_tells_the_last_untrusted_address() {
    for (value, client) in [
        ("192.0.2.43", "192.0.2.43:0"),
        ("192.0.2.43:5000", "192.0.2.43:5000"),
        ("2001:db8::17", "[2001:db8::17]:0"),
        ("[2001:db8::17]", "[2001:db8::17]:0"),
        ("[2001:db8::17]:5000", "[2001:db8::17]:5000"),
        ("::ffff:192.0.2.43", "192.0.2.43:0"),
        ("192.0.2.43, 198.51.100.17", "198.51.100.17:0"),
        ("192.0.2.43,10.0.0.3,fd00::2 ", "192.0.2.43:0"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3:0"),
        ("192.0.2.43, unknown", NEAREST),
        ("192.0.2.43, unknown, 10.0.0.2", "10.0.0.2:0"),
        ("192.0.2.43, , ", "192.0.2.43:0"),
        ("", NEAREST),
    ] {
        assert_eq!(found(&[("x-forwarded-for", value)]), (client.to_owned(), None), "{value}");
    }
    let lines = [("x-forwarded-for", "192.0.2.43"), ("x-forwarded-for", "10.0.0.3, 10.0.0.2")];
    assert_eq!(found(&lines), ("192.0.2.43:0".to_owned(), None), "several lines are one list");
}

#[test]
fn what_is_malformed_names_nobody() {
    for text in [
        "for",
        "for=",
        "for=\"\"",
        "for=\"192.0.2.1",
        "for=192.0.2.1\"",
        "for==192.0.2.1",
        "=192.0.2.1",
        "192.0.2.1",
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1;FOR=unknown",
        "for=192.0.2.1 proto=http",
        "for=192.0.2.1;proto",
        "for =192.0.2.1",
        "for=\"192.0.2.1\"x",
        "for=\"\\192.0.2.1\"",
        "for=256.0.0.1",
        "for=192.0.2.1:65536",
        "for=192.0.2.1:",
        "for=192.0.2.1:-1",
        "for=192.0.2",
        "for=\"[2001:db8::1\"",
        "for=\"[192.0.2.1]\"",
        "for=\"[2001:db8::1]80\"",
        "for=_",
        "for=_a/b",
        "for=example.com",
        "for=fe80::1%eth0",
    ] {
        let (client, problem) = found(&[("forwarded", format!("for=6.6.6.6, {text}"))]);
        assert_eq!(client, NEAREST, "{text}");
        assert!(matches!(problem, Some(Problem::Malformed(_))), "{text}");
    }
    for text in
        ["for=192.0.2.1", "example.com", "192.0.2.1:x", "192.0.2.1 192.0.2.2", "\"192.0.2.1\"", "1", "-"]
    {
        let expected = (NEAREST.to_owned(), Some(Problem::Malformed(text.to_owned())));
        assert_eq!(found(&[("x-forwarded-for", format!("6.6.6.6, {text}"))]), expected);
    }
    let long = "x".repeat(5000);
    let (_, problem) = found(&[("x-forwarded-for", long)]);
    assert!(problem.expect("it is malformed").to_string().len() < 250);
    assert_eq!(told("x-forwarded-for", b"6.6.6.6, \xff"), NEAREST);
    assert_eq!(told("x-forwarded-for", b"\xff, 192.0.2.1"), "192.0.2.1:0");
    assert_eq!(told("forwarded", b"for=\xff, for=192.0.2.1"), "192.0.2.1:0");
}

#[test]
fn two_headers_have_to_agree() {
    let found =
        |forwarded: &str, listed: &str| found(&[("forwarded", forwarded), ("x-forwarded-for", listed)]);
    for (forwarded, listed, client) in [
        ("for=192.0.2.1", "192.0.2.1", "192.0.2.1:0"),
        ("for=192.0.2.1", "192.0.2.1:80", "192.0.2.1:80"),
        ("for=\"192.0.2.1:81\"", "192.0.2.1", "192.0.2.1:81"),
        // An inner proxy continues one of the lists.
        ("for=192.0.2.1", "192.0.2.1, 10.0.0.2", "192.0.2.1:0"),
        ("", "192.0.2.1", "192.0.2.1:0"),
        ("for=192.0.2.1", " , ", "192.0.2.1:0"),
    ] {
        assert_eq!(found(forwarded, listed), (client.to_owned(), None), "{forwarded} {listed}");
    }
    for (forwarded, listed) in [
        ("for=6.6.6.6", "192.0.2.1"),
        ("for=192.0.2.1", "6.6.6.6"),
        ("for=unknown", "6.6.6.6"),
        ("proto=https", "6.6.6.6"),
        ("for=6.6.6.6", "unknown"),
        ("for=\"", "192.0.2.1"),
    ] {
        let expected = (NEAREST.to_owned(), Some(Problem::Contradiction));
        assert_eq!(found(forwarded, listed), expected, "{forwarded} {listed}");
    }
}

#[test]
fn only_a_trusted_proxy_is_believed() {
    let lines =
        headers(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-host", "a.example"), ("host", "b.example")]);
    for (proxies, nearest, client) in [
        ("10.0.0.0/8", "192.0.2.1:4000", "192.0.2.1:4000"),
        ("10.0.0.0/8", "unix:", "unix:"),
        ("unix:", "10.0.0.1:4000", "10.0.0.1:4000"),
        ("unix:", "unix:", "6.6.6.6:0"),
        ("192.0.2.1", "192.0.2.1:4000", "6.6.6.6:0"),
        ("192.0.2.1", "[::ffff:192.0.2.1]:4000", "6.6.6.6:0"),
    ] {
        let (proxies, nearest) = (trusted(proxies), peer(nearest));
        let found = find(&proxies, nearest, &lines);
        assert_eq!(found, (peer(client), None), "{proxies:?} {nearest}");
        let host = if found.0 == nearest { "b.example" } else { "a.example" };
        assert_eq!(target(&proxies, nearest, &lines).host, host);
    }
    let nobody = TrustedProxies::default();
    assert_eq!(find(&nobody, Peer::Unix, &lines), (Peer::Unix, None));
}

#[test]
fn the_target_is_what_the_first_proxy_has_seen() {
    let target = |lines: &[(&'static str, &str)]| {
        let lines = headers(&[lines, &[("host", "upstream")]].concat());
        let target = target(&trusted("10.0.0.0/8"), peer(NEAREST), &lines);
        (target.host.into_owned(), target.is_tls)
    };
    for (lines, host, is_tls) in [
        (&[][..], "upstream", false),
        (&[("x-forwarded-host", "a.example"), ("x-forwarded-proto", "https")], "a.example", true),
        (
            &[("x-forwarded-host", "a.example, b.example"), ("x-forwarded-proto", "WSS, http")],
            "a.example",
            true,
        ),
        (&[("x-forwarded-proto", "http")], "upstream", false),
        (&[("forwarded", "for=192.0.2.1;host=a.example;proto=https")], "a.example", true),
        (&[("forwarded", "for=192.0.2.1;host=\"a.example:8\\443\";proto=Https")], "a.example:8443", true),
        (&[("forwarded", "for=192.0.2.1;proto=https")], "upstream", true),
        (&[("forwarded", "for=unknown;proto=wss")], "upstream", true),
        // The outermost trusted proxy is the one at 10.0.0.2.
        (
            &[(
                "forwarded",
                "for=6.6.6.6;host=evil;proto=http, for=192.0.2.1;host=a;proto=https, for=10.0.0.2;host=b",
            )],
            "a",
            true,
        ),
        (&[("forwarded", "for=192.0.2.1"), ("x-forwarded-host", "a.example")], "a.example", false),
        (&[("forwarded", "for=192.0.2.1;host=a;host=b;proto=https")], "upstream", false),
    ] {
        assert_eq!(target(lines), (host.to_owned(), is_tls), "{lines:?}");
    }
}

#[test]
fn a_client_is_secure_if_all_that_tell_say_so() {
    const TOLD: &str = "x-forwarded-proto";
    let secure = |nearest: &str, lines: &[(&'static str, &str)]| {
        [false, true].map(|is_tls| is_secure(&trusted("10.0.0.0/8"), peer(nearest), &headers(lines), is_tls))
    };
    for lines in
        [&[][..], &[(TOLD, "https")], &[(TOLD, "http")], &[("forwarded", "for=192.0.2.1;proto=https")]]
    {
        assert_eq!(secure("192.0.2.9:1", lines), [false, true], "of a client that is no proxy: {lines:?}");
    }
    // Without TLS between proxy and server, and with it.
    for (lines, expected) in [
        (&[][..], [false, true]),
        (&[(TOLD, "https")], [true, true]),
        (&[(TOLD, "WSS")], [true, true]),
        (&[(TOLD, "http")], [false, false]),
        (&[(TOLD, "\u{e9}")], [false, false]),
        (&[(TOLD, "https, https")], [true, true]),
        (&[(TOLD, "https, http")], [false, false]),
        (&[(TOLD, "https"), (TOLD, "http")], [false, false]),
        (&[(TOLD, "")], [false, true]),
        // The proxy names a client, and tells no scheme.
        (&[("x-forwarded-for", "192.0.2.1")], [false, false]),
        (&[("forwarded", "for=192.0.2.1")], [false, false]),
        (&[("forwarded", "for=unknown")], [false, false]),
        (&[("x-forwarded-for", "192.0.2.1"), (TOLD, "https")], [true, true]),
        (&[("forwarded", "for=192.0.2.1;proto=https")], [true, true]),
        (&[("forwarded", "for=192.0.2.1;proto=http")], [false, false]),
        (&[("forwarded", "for=192.0.2.1;proto=https"), (TOLD, "http")], [false, false]),
        (&[("forwarded", "for=192.0.2.1;proto=http"), (TOLD, "https")], [false, false]),
        (&[("forwarded", "for=192.0.2.1"), (TOLD, "https")], [true, true]),
        // One of them is the client's own.
        (&[("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-for", "192.0.2.1")], [false, false]),
        // The outermost trusted proxy is the one at 10.0.0.2, and what it has received counts.
        (&[("forwarded", "for=192.0.2.1;proto=https, for=10.0.0.2;proto=http")], [true, true]),
        (&[("forwarded", "for=6.6.6.6;proto=https, for=192.0.2.1;proto=http, for=10.0.0.2")], [false, false]),
    ] {
        assert_eq!(secure(NEAREST, lines), expected, "{lines:?}");
    }
}

/// Pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// Pieces of such headers in any order, and some other bytes.
    fn invented(&mut self) -> Vec<u8> {
        const PIECES: [&str; 24] = [
            "for=",
            "for=\"",
            "\"",
            "\\",
            "\\\"",
            "\\\\",
            ",",
            ", ",
            ";",
            "=",
            "6.6.6.6",
            "10.0.0.9",
            "[",
            "]",
            "[::1]",
            ":80",
            "unknown",
            "_x",
            "host=",
            "proto=https",
            " ",
            "\t",
            "for=6.6.6.6, ",
            "x=\"",
        ];
        let mut text = Vec::new();
        for _ in 0..self.below(12) {
            match self.below(30) {
                0 => text.push(b"\x80\xff~!"[self.below(4)]),
                piece => text.extend_from_slice(PIECES[piece % PIECES.len()].as_bytes()),
            }
        }
        text
    }
}

/// Whatever a client sends: the proxy adds the client's address to it, and that one counts.
#[test]
fn a_client_cannot_invent_its_address() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let added = [
        ("forwarded", "for=192.0.2.1", "192.0.2.1:0"),
        ("forwarded", "for=\"[2001:db8::1]:80\";proto=\"https\";host=\"a\\\"b, c\"", "[2001:db8::1]:80"),
        ("forwarded", "host=\"\\\\\";for=192.0.2.1;by=\"_x\", for=10.0.0.2;x=\"\\\"\"", "192.0.2.1:0"),
        ("x-forwarded-for", "192.0.2.1", "192.0.2.1:0"),
        ("x-forwarded-for", "2001:db8::1, 10.0.0.2", "[2001:db8::1]:0"),
    ];
    for _ in 0..5_000 {
        let invented = random.invented();
        for (name, suffix, client) in added {
            let one_line = [&invented[..], b", ", suffix.as_bytes()].concat();
            let two_lines = [(name, &invented[..]), (name, suffix.as_bytes())];
            for lines in [&[(name, &one_line[..])][..], &two_lines] {
                let shown = || String::from_utf8_lossy(&one_line).into_owned();
                assert_eq!(found(lines), (client.to_owned(), None), "{name}: {}", shown());
            }
        }
        // With the other header, it may at most hide behind the proxy.
        let lines = [("forwarded", &invented[..]), ("x-forwarded-for", b"192.0.2.1")];
        let client = found(&lines).0;
        assert!(
            client == NEAREST || client == "192.0.2.1:0",
            "{}: {client}",
            String::from_utf8_lossy(&invented)
        );
    }
}
