//! Frames and heads that break the protocol, handmade. What RFC 9113 calls malformed ends its stream, and what breaks the
//! connection ends that, with a GOAWAY.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Server, serve};
use crate::support::{DEADLINE, TlsStream};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection that sends whatever a test wants.
struct Frames(TlsStream);

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The stream was reset.
    Stream(u32, u32),
    /// The connection was ended.
    Connection(u32),
    /// A response has come for the stream.
    Response(u32),
}

impl Frames {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        let trust = server.trust.clone().offering(&[b"h2"]);
        let mut frames = Self(trust.over(stream, "localhost").expect("it speaks TLS"));
        frames.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(SETTINGS, 0, 0, b"");
        frames
    }

    /// The server may have ended the connection.
    fn raw(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.raw(&frame(kind, flags, stream, payload))
    }

    /// A whole head.
    fn head(&mut self, stream: u32, fields: &[(&str, &str)], is_end: bool) {
        let flags = END_HEADERS | if is_end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block(fields));
    }

    fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// How the server ends a stream or the connection.
    fn end(&mut self) -> End {
        loop {
            let (kind, stream, payload) = self.next().expect("the server says why it ends the connection");
            match kind {
                RST_STREAM => return End::Stream(stream, number(&payload)),
                GOAWAY => return End::Connection(number(&payload[4..])),
                HEADERS => return End::Response(stream),
                _ => {}
            }
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields without indexing (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let string = |text: &str| {
        let mut bytes = match text.len() {
            short @ 0..127 => vec![short as u8],
            long => {
                let (mut bytes, mut rest) = (vec![127], long - 127);
                while rest >= 128 {
                    bytes.push(rest as u8 | 128);
                    rest >>= 7;
                }
                bytes.push(rest as u8);
                bytes
            }
        };
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    fields.iter().flat_map(|(name, value)| [vec![0], string(name), string(value)].concat()).collect()
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];

/// The GET request with these fields behind it.
fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&GET[..], more].concat()
}

/// The GET request with a field in place of the one with its name.
fn replacing<'a>(field: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    GET.iter().map(|&other| if other.0 == field.0 { field } else { other }).collect()
}

fn requests(name: &str) -> Server {
    serve(name, "requests", "[[route]]\npath = '/*'\nhandler = 'answer'\n", &["--max-head", "8KiB"])
}

#[test]
fn a_malformed_head_ends_its_stream_and_reaches_no_handler() {
    let server = requests("malformed");
    let mut frames = Frames::connect(&server);
    let without = |name: &str| GET.iter().copied().filter(|field| field.0 != name).collect::<Vec<_>>();
    let connect: &[_] = &[(":method", "CONNECT"), (":authority", "a:1")];
    let cases = [
        without(":method"),
        without(":scheme"),
        without(":path"),
        replacing((":path", "")),
        with(&[(":path", "/again")]),
        with(&[(":unknown", "x")]),
        with(&[(":status", "200")]),
        with(&[(":protocol", "websocket")]),
        [&[("x", "1")][..], &GET].concat(),
        with(&[("X-Upper", "1")]),
        with(&[("connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "websocket")]),
        with(&[("keep-alive", "5")]),
        with(&[("te", "gzip")]),
        with(&[("x", "a\r\nb: c")]),
        with(&[("x", "a\0b")]),
        with(&[("a b", "1")]),
        replacing((":authority", "a b")),
        replacing((":path", "/a b\r\n")),
        [connect, &[(":path", "/")]].concat(),
        [connect, &[(":protocol", "websocket"), (":scheme", "https")]].concat(),
    ];
    let mut stream = 1;
    for fields in &cases {
        frames.head(stream, fields, true);
        match frames.end() {
            End::Stream(number, PROTOCOL_ERROR) if number == stream => stream += 2,
            // Some of them break the compression of heads, too.
            End::Connection(_) => (frames, stream) = (Frames::connect(&server), 1),
            other => panic!("{fields:?}: {other:?}"),
        }
    }
    // What this server rejects itself: the connection goes on, too.
    for fields in [
        replacing((":authority", "user@localhost")),
        with(&[("host", "other.example")]),
        with(&[("host", "localhost"), ("host", "other.example")]),
        without(":authority"),
        replacing((":scheme", "ftp")),
        replacing((":path", "*")),
        with(&[("sec-websocket-version", "13")]),
        connect.to_vec(),
    ] {
        frames.head(stream, &fields, true);
        assert_eq!(frames.end(), End::Response(stream), "{fields:?}");
        stream += 2;
    }
    frames.head(stream, &GET, true);
    assert_eq!(frames.end(), End::Response(stream));
}

#[test]
fn a_body_of_another_length_than_announced_ends_its_stream() {
    let server = requests("lengths");
    let mut frames = Frames::connect(&server);
    let post =
        |length: &'static str| [&[(":method", "POST")], &GET[1..], &[("content-length", length)]].concat();
    frames.head(1, &post("5"), false);
    frames.send(DATA, END_STREAM, 1, b"1234");
    assert_eq!(frames.end(), End::Stream(1, PROTOCOL_ERROR));
    frames.head(3, &post("5"), false);
    frames.send(DATA, END_STREAM, 3, b"123456");
    assert_eq!(frames.end(), End::Stream(3, PROTOCOL_ERROR));
    frames.head(5, &post("5"), true);
    assert_eq!(frames.end(), End::Stream(5, PROTOCOL_ERROR));
    frames.head(7, &post("-1"), true);
    assert_eq!(frames.end(), End::Stream(7, PROTOCOL_ERROR));
    frames.head(9, &post("5"), false);
    frames.send(DATA, END_STREAM, 9, b"12345");
    assert_eq!(frames.end(), End::Response(9));
}

#[test]
fn frames_that_break_the_connection_end_it_and_no_other_one() {
    let server = requests("breaking");
    let mut other = server.connect();
    let cases: [(&str, Vec<u8>, u32); 7] = [
        ("DATA without a stream", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("an even stream", frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&GET)), PROTOCOL_ERROR),
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 20_000]), FRAME_SIZE_ERROR),
        (
            "an index that is in no table",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x7f]),
            PROTOCOL_ERROR,
        ),
        ("a window beyond 2^31", frame(WINDOW_UPDATE, 0, 0, &i32::MAX.to_be_bytes()), FLOW_CONTROL_ERROR),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &block(&GET)), PROTOCOL_ERROR),
        ("PING of another size", frame(PING, 0, 0, b"1234"), PROTOCOL_ERROR),
    ];
    for (what, bytes, reason) in cases {
        let mut frames = Frames::connect(&server);
        frames.raw(&bytes);
        assert_eq!(frames.end(), End::Connection(reason), "{what}");
        assert_eq!(frames.next(), None, "{what}: the end of the stream");
    }
    assert_eq!(other.get("/").status, 200);
    // No HTTP/2 at all.
    let mut frames = Frames::connect(&server);
    frames.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    while frames.next().is_some() {}
    assert_eq!(other.get("/").status, 200);
}

/// CVE-2024-27316 and its kind: a head without an end.
#[test]
fn a_head_that_does_not_end_ends_its_connection() {
    let server = requests("continuations");
    let mut frames = Frames::connect(&server);
    frames.send(HEADERS, END_STREAM, 1, &block(&GET));
    let piece = block(&[("x", &"y".repeat(1000))]);
    let _ = (0..200).take_while(|_| frames.send(CONTINUATION, 0, 1, &piece)).count();
    assert!(matches!(frames.end(), End::Connection(_)));
    assert_eq!(server.connect().get("/").status, 200);
}

#[test]
fn floods_of_small_frames_end_their_connection_or_cost_little() {
    let server = requests("floods");
    let worker = server.host.workers()[0];
    let before = worker.anonymous_kib();
    let post = [&[(":method", "POST")], &GET[1..]].concat();
    // Pings and settings whose answers nobody reads; data without bytes for a body that does not end.
    let floods: [(&str, Vec<u8>); 3] = [
        ("pings", frame(PING, 0, 0, b"12345678")),
        ("settings", frame(SETTINGS, 0, 0, b"")),
        ("empty data", frame(DATA, 0, 1, b"")),
    ];
    for (what, flood) in floods {
        let mut frames = Frames::connect(&server);
        frames.0.sock.set_write_timeout(Some(std::time::Duration::from_secs(1))).expect("a time");
        frames.head(1, &post, false);
        let many = flood.repeat(1000);
        // 200 000 frames, unless the server reads no more or ends the connection.
        let _ = (0..200).take_while(|_| frames.raw(&many)).count();
        let grown = worker.anonymous_kib().saturating_sub(before);
        assert!(grown < 16 * 1024, "{what}: {grown} KiB");
    }
    assert_eq!(server.connect().get("/").status, 200);
}

/// CVE-2023-44487: streams that are reset before they are answered, as fast as possible.
#[test]
fn a_flood_of_resets_in_one_write_ends_its_connection() {
    let server = requests("resets");
    let mut frames = Frames::connect(&server);
    let pair = |stream: u32| {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET));
        [head, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let flood: Vec<u8> = (0..1000).flat_map(|n| pair(2 * n + 1)).collect();
    frames.raw(&flood);
    assert_eq!(frames.end(), End::Connection(ENHANCE_YOUR_CALM));
}
