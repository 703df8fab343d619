//! permessage-deflate (RFC 7692) from outside: clients with streams of zlib of their own talk to the echo plugin.

mod broken; // clients that break the rules, and bombs

mod shared; // broadcasts, memory, reloads

use crate::support::{
    BINARY, BINARY_BEGINS, CLOSE, Deflating, ENDS, GOES_ON, Host, PING, PONG, RSV1, Raw, TEXT, TEXT_BEGINS,
    empty_folder, path, plugin,
};

/// What Chromium offers.
const BROWSER: &str = "permessage-deflate; client_max_window_bits";

/// The echo plugin. A client that waits for others, on a busy machine for long, gets no Ping in between.
fn serve(mode: &str, options: &[&str]) -> Host {
    Host::serve("echo", &[&["--compression", mode, "--ping-interval", "0"], options].concat())
}

fn on() -> Host {
    serve("on", &[])
}

fn context() -> Host {
    serve("context", &[])
}

/// A message of that many bytes, such as applications send.
fn json(number: usize, length: usize) -> Vec<u8> {
    let mut text = format!("{{\"type\":\"tick\",\"number\":{number}");
    for field in 0.. {
        if text.len() + 1 >= length {
            break;
        }
        let value = (number * 7919 + field * 104_729) % 1_000_003;
        text += &format!(",\"field-{field}\":{value}");
    }
    text.truncate(length - 1);
    (text + "}").into_bytes()
}

/// The answer to an offer, without the name of the extension; "-": there is none.
fn answer(host: &Host, path: &str, offer: &str) -> String {
    let answer = host.connect().handshake(path, &[("Sec-WebSocket-Extensions", offer)]);
    assert_eq!(answer.status, 101);
    let answer = answer.header("sec-websocket-extensions").unwrap_or("-");
    answer.strip_prefix("permessage-deflate").unwrap_or(answer).to_owned()
}

#[test]
fn by_default_no_extension_is_agreed_on() {
    let host = Host::serve("echo", &[]);
    assert_eq!(answer(&host, "/", BROWSER), "-");
    let answer = host.connect().handshake("/", &[("Sec-WebSocket-Extensions", "; not a list")]);
    assert_eq!(answer.status, 101, "nobody reads it");
}

#[test]
fn a_route_decides_about_modes_and_windows() {
    let folder = empty_folder("compression-routes");
    let file = folder.join("callsign.toml");
    let route = |path: &str, compression: &str| {
        format!("[[route]]\npath = \"{path}\"\nonmessage = \"onmessage\"\n{compression}\n")
    };
    let routes = [
        route("/default", ""),
        route("/off", "compression = \"off\""),
        route("/on", "compression = \"on\""),
        route("/small", "compression = { mode = \"context\", window_bits = 9, level = 1 }"),
        route("/large", "compression = { mode = \"context\", window_bits = 15, threshold = \"1KiB\" }"),
    ];
    let library = plugin("echo");
    let text = format!(
        "[websocket]\ncompression = \"context\"\n[plugin.echo]\npath = \"{}\"\n{}",
        path(&library),
        routes.concat()
    );
    std::fs::write(&file, text).expect("the folder can be written");
    let host = Host::start(&["serve", "--config", path(&file)]);
    let forgets = "; server_no_context_takeover; client_no_context_takeover";
    for (path, offer, expected) in [
        ("/default", BROWSER, "; server_max_window_bits=12; client_max_window_bits=12"),
        ("/default", "permessage-deflate", "; server_max_window_bits=12; client_no_context_takeover"),
        ("/off", BROWSER, "-"),
        ("/on", BROWSER, forgets),
        ("/on", "permessage-deflate; server_max_window_bits=8", "-"),
        ("/on", "permessage-deflate; unknown, permessage-deflate", forgets),
        ("/on", "", "-"),
        ("/small", BROWSER, "; server_max_window_bits=9; client_max_window_bits=9"),
        ("/large", "permessage-deflate", ""),
        ("/large", BROWSER, "; client_max_window_bits=15"),
    ] {
        assert_eq!(answer(&host, path, offer), expected, "{path} {offer}");
    }
    let malformed = host.connect().handshake("/on", &[("Sec-WebSocket-Extensions", "permessage-deflate;")]);
    assert_eq!(
        (malformed.status, malformed.text()),
        (400, "Sec-WebSocket-Extensions is no list of extensions\n")
    );
    // The threshold of /large.
    let mut client = Deflating::open(&host, "/large", BROWSER);
    for (length, is_compressed) in [(1023, false), (1024, true)] {
        client.send(TEXT, &json(1, length));
        let (first, payload) = client.raw.read_frame();
        assert_eq!((first & RSV1 != 0, payload.len() < length), (is_compressed, is_compressed), "{length}");
        if !is_compressed {
            assert_eq!(payload, json(1, length));
        }
    }
}

#[test]
fn messages_are_compressed_both_ways_without_context() {
    let host = on();
    let mut client = Deflating::open(&host, "/", BROWSER);
    let mut lengths = Vec::new();
    for number in 0..10 {
        let message = json(number, 2000);
        let (content, length) = client.ask(TEXT, &message);
        assert!(content == message, "message {number}");
        assert!(length < 1300, "{length} bytes");
        lengths.push(length);
    }
    let (content, length) = client.ask(BINARY, &json(0, 2000));
    assert!(content == json(0, 2000));
    assert_eq!(length, lengths[0], "a message does not refer to earlier ones");
    // Short messages are not compressed.
    assert_eq!(client.ask(TEXT, b"short"), (b"short".to_vec(), 5));
}

#[test]
fn with_context_messages_refer_to_earlier_ones() {
    let host = context();
    let mut client = Deflating::open(&host, "/", BROWSER);
    let first = client.ask(TEXT, &json(0, 1000)).1;
    for number in 1..300 {
        let length = 100 + number * 37 % 1500;
        let (content, sent) = client.ask(if number % 2 == 0 { TEXT } else { BINARY }, &json(number, length));
        assert!(content == json(number, length), "message {number}");
        assert!(sent < length * 9 / 10, "{sent} of {length}");
    }
    let again = client.ask(TEXT, &json(299, 100 + 299 * 37 % 1500)).1;
    assert!(again < 20 && first > 300, "{again} after {first} bytes");
    // Larger than any window, and back.
    for length in [100_000, 200, 1 << 20, 300] {
        assert!(client.ask(BINARY, &json(length, length)).0 == json(length, length), "{length}");
    }
}

#[test]
fn what_does_not_shrink_and_what_clients_do_not_compress_stays_as_it_is() {
    let host = context();
    let mut client = Deflating::open(&host, "/", BROWSER);
    let mut state = 88_172_645_463_325_252_u64;
    let noise: Vec<u8> = (0..5000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    for _ in 0..3 {
        // Not compressed, a message is in no window: the next one cannot refer to it.
        client.raw.send_frame(BINARY, &noise);
        assert_eq!(client.raw.read_frame(), (BINARY, noise.clone()));
        assert!(client.ask(TEXT, &json(1, 700)).0 == json(1, 700));
    }
}

#[test]
fn fragments_of_a_compressed_message_are_inflated_together() {
    let host = context();
    let mut client = Deflating::open(&host, "/", BROWSER);
    for round in 0..5 {
        let message = json(round, 5000);
        let payload = client.compress(&message);
        let third = payload.len() / 3;
        client.raw.send_frame(TEXT_BEGINS | RSV1, &payload[..third]);
        client.raw.send_frame(PING, b"between");
        client.raw.send_frame(GOES_ON, &payload[third..2 * third]);
        client.raw.send_frame(GOES_ON, b"");
        client.raw.send_frame(ENDS, &payload[2 * third..]);
        assert_eq!(client.raw.read_frame(), (PONG, b"between".to_vec()));
        assert!(client.read().1 == message);
        // Byte by byte, as a slow network delivers it.
        let message = json(round + 100, 300);
        let payload = client.compress(&message);
        let wire = crate::support::frame(BINARY | RSV1, &payload);
        wire.iter().for_each(|byte| client.raw.send([*byte]));
        assert!(client.read().1 == message);
    }
    client.raw.send_frame(BINARY_BEGINS | RSV1, b"");
    client.raw.send_frame(ENDS, &[0x00]);
    assert_eq!(client.read(), (BINARY, Vec::new(), 0), "the empty message of RFC 7692 §7.2.3.6");
}

#[test]
fn the_close_handshake_is_as_ever() {
    let host = context();
    let mut client = Deflating::open(&host, "/", BROWSER);
    client.ask(TEXT, &json(1, 1000));
    client.raw.send_frame(CLOSE, &[&1000_u16.to_be_bytes()[..], b"bye"].concat());
    let (first, payload) = client.raw.read_frame();
    assert_eq!((first, &payload[..2]), (CLOSE, &1000_u16.to_be_bytes()[..]));
    assert_eq!(client.raw.read_to_eof(), b"");
}

/// The code of the Close that comes next.
#[track_caller]
fn closed_with(client: &mut Raw) -> u16 {
    let (first, payload) = client.read_frame();
    assert_eq!(first, CLOSE, "{payload:02x?}");
    let code = u16::from_be_bytes(*payload.first_chunk().expect("a code"));
    assert_eq!(client.read_to_eof(), b"");
    code
}
