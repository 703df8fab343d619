//! Clients that are frozen anywhere in a conversation and thawed lose no byte.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use callsign_deflate::{Agreement, Direction};
use callsign_websocket::{Event, Input, State, op, write_frame};

use super::*;
use crate::client::outbox::Pool;
use crate::client::tls;
use crate::plugin::call::Function;
use crate::plugin::handler::Handler;
use crate::system::access_log::{RequestNote, Traffic};

const MAX: usize = 1 << 20;

fn resolve(plugin: &str, name: &str, kind: Kind) -> Option<HandlerRef> {
    let known = matches!(
        (plugin, name, kind),
        ("chat", "message", Kind::OnMessage)
            | ("chat", "leave", Kind::OnDisconnect)
            | ("chat", "go_on", Kind::OnDrain)
    );
    known.then(|| -> HandlerRef {
        Box::leak(Box::new(Handler {
            plugin: 0,
            plugin_name: plugin.to_owned(),
            name: name.to_owned(),
            kind,
            function: std::cell::Cell::new(Function::None),
            guard: std::cell::Cell::new(None),
            index: std::cell::Cell::new(0),
        }))
    })
}

/// An open connection over `transport`.
fn client(transport: Transport) -> Client {
    let request = hyper::Request::get("/chat?room=7").header("cookie", "a=b").body(()).expect("a request");
    let client = Client::requested(Head::new(&request.into_parts().0, "/chat", "127.0.0.1:9"));
    let handlers = Callbacks {
        onconnect: None,
        onmessage: resolve("chat", "message", Kind::OnMessage),
        ondisconnect: resolve("chat", "leave", Kind::OnDisconnect),
        ondrain: resolve("chat", "go_on", Kind::OnDrain),
    };
    client.set_subprotocol(b"chat.v2");
    client.set_certificate(Rc::new(ClientCertificate::new(b"der")));
    client.set_params(Params::from_bytes(b"room\0a b\0").expect("one parameter"));
    let (server, client_side) =
        (Direction { context: true, window_bits: 9 }, Direction { context: true, window_bits: 12 });
    let mut compression = Compression::new(Agreement { server, client: client_side }, 6, 64);
    compression.sent.push(&[b's'; 600], server);
    compression.received.push(b"received", client_side);
    client.set_compression(compression);
    let note = RequestNote::new([b"127.0.0.1:9", b"GET", b"/chat", b"", b"", b"", b""], Instant::now());
    client.set_recorded(Recorded::new(note));
    client.open(4711, transport, handlers);
    client
}

fn thaw(frozen: Frozen) -> Result<Client, ThawError> {
    Client::thaw(frozen, MAX, Instant::now(), resolve)
}

/// A client's frame; the mask of zeros leaves the payload as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads what the socket has, and records the messages.
fn receive(client: &Client, messages: &mut Vec<Vec<u8>>) {
    let mut buffer = [0; 32 * 1024 + 1];
    loop {
        let read = client.transport().read(&mut buffer[..32 * 1024]);
        match read.map(|read| read.length) {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                client.endpoint.receive(&mut Input::new(&mut buffer[..n + 1]), MAX, Instant::now, |event| {
                    if let Event::Message { data, .. } = event {
                        messages.push(data.to_vec());
                    }
                })
            }
        }
    }
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (ours, _) = listener.accept().expect("it has connected");
    (ours, peer)
}

/// Freezes and thaws in the middle of a fragmented message and with a full queue, and again while it drains.
fn nothing_is_lost(transport: Transport, mut peer: impl Read + Write + Send) {
    let (pool, mut messages) = (Pool::default(), Vec::new());
    let client = client(transport);
    peer.write_all(&frame(0x01, b"begun, ")).expect("it fits");
    // Half a header, too.
    peer.write_all(&frame(0x80, b"and ended")[..1]).expect("it fits");
    while client.endpoint.held_bytes() == 0 {
        receive(&client, &mut messages);
    }
    let mut expected = Vec::new();
    for n in 0..200_u8 {
        let payload = vec![n; 50_000];
        write_frame(&mut expected, op::BINARY, &payload);
        client.queue(|outbox| match n % 2 {
            0 => outbox.push(op::BINARY, &payload, &pool),
            _ => {
                let mut shared = Vec::new();
                write_frame(&mut shared, op::BINARY, &payload);
                outbox.push_shared(pool.share(shared), &pool);
            }
        });
    }
    assert!(!client.flush(&pool).expect("the socket works"), "the socket's buffer is full");
    let waiting = client.backlog();
    assert!((1..expected.len()).contains(&waiting));

    let mut client = thaw(client.freeze(Instant::now()).expect("it is open")).expect("it is whole");
    assert_eq!((client.id(), client.backlog(), client.phase()), (4711, waiting, Phase::Open));
    assert_eq!(client.head.header(b"Cookie"), Some(c"a=b"));
    client.with_subprotocol(|name| assert_eq!(name, c"chat.v2"));
    client.with_certificate(|it| assert_eq!(it.map(ClientCertificate::der), Some(&b"der"[..])));
    client.with_params(|it| assert_eq!(it.and_then(|it| it.get(b"room")), Some(c"a b")));
    client.with_compression(|it| {
        let it = it.expect("compression is kept");
        assert_eq!((it.level, it.threshold, it.agreement.client.window_bits), (6, 64, 12));
        assert_eq!((it.sent.bytes(), it.received.bytes()), (&[b's'; 512][..], &b"received"[..]));
    });
    assert!(client.endpoint.extensions().deflate);
    let names = client.callbacks();
    assert!(names.onconnect.is_none());
    assert_eq!(names.ondisconnect.map(|handler| handler.name.as_str()), Some("leave"));

    peer.write_all(&frame(0x80, b"and ended")[1..]).expect("it fits");
    std::thread::scope(|scope| {
        let total = expected.len();
        let reader = scope.spawn(move || {
            let mut received = vec![0; total];
            peer.read_exact(&mut received).expect("everything arrives");
            (received, peer)
        });
        let mut moves = 0;
        while !client.flush(&pool).expect("the socket works") {
            receive(&client, &mut messages);
            if moves < 100 {
                client = thaw(client.freeze(Instant::now()).expect("it is open")).expect("it is whole");
                moves += 1;
            }
            std::thread::yield_now();
        }
        let (received, _peer) = reader.join().expect("it has read everything");
        assert!(received == expected, "bytes were lost, repeated or swapped");
        while messages.is_empty() {
            receive(&client, &mut messages);
        }
    });
    assert_eq!(messages, [b"begun, and ended"]);
    let sent = Traffic { messages: 200, bytes: expected.len() as u64 };
    assert_eq!(client.recorded().map(|recorded| recorded.traffic()[1]), Some(sent));
}

#[test]
fn a_tcp_client_with_half_a_message_and_a_full_queue_continues_without_losing_a_byte() {
    let (ours, peer) = tcp_pair();
    ours.set_nonblocking(true).expect("it can be set");
    nothing_is_lost(Transport::Tcp(ours), peer);
}

#[test]
fn a_client_on_a_unix_socket_does_so_too() {
    let (ours, peer) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("it can be set");
    nothing_is_lost(Transport::Unix(ours), peer);
}

#[test]
fn a_client_with_tls_does_so_too() {
    let (ours, peer) = tls::tests::socket_pair();
    nothing_is_lost(ours, peer);
}

#[test]
fn bytes_of_a_frozen_client_are_not_shown() {
    let (ours, _peer) = tls::tests::socket_pair();
    let frozen = client(ours).freeze(Instant::now()).expect("it is open");
    let shown = format!("{frozen:?}");
    assert!(shown.len() < 100 && !shown.contains(&format!("{:?}", &frozen.bytes[..4])), "{shown}");
}

#[test]
fn a_closing_client_stays_closing_and_its_time_to_close_begins_anew() {
    let (ours, _peer) = UnixStream::pair().expect("a pair of sockets");
    let client = client(Transport::Unix(ours));
    let close =
        client.endpoint.close(1001, "bye", Instant::now()).expect("it may be sent").expect("it is the first");
    client.queue(|outbox| outbox.push_framed(&close, &Pool::default()));
    client.departed.set(true);
    client.is_secure.set(true);
    let frozen = client.freeze(Instant::now()).expect("it is closing");
    let now = Instant::now() + Duration::from_secs(1000);
    let thawed = Client::thaw(frozen, MAX, now, resolve).expect("it is whole");
    assert_eq!((thawed.phase(), thawed.endpoint.state()), (Phase::Closing, State::Closing));
    assert_eq!((thawed.backlog(), thawed.departed.get()), (close.len(), true));
    assert!(thawed.is_secure.get());
    assert_eq!(thawed.endpoint.deadline(Duration::from_secs(5)), Some(now + Duration::from_secs(5)));
}

#[test]
fn only_open_and_closing_clients_with_a_socket_freeze() {
    let request = hyper::Request::get("/").body(()).expect("a request");
    let requested = Client::requested(Head::new(&request.into_parts().0, "/", "unix:"));
    assert!(requested.freeze(Instant::now()).is_none(), "hyper has its socket");
    let (ours, _peer) = UnixStream::pair().expect("a pair of sockets");
    let lost = client(Transport::Unix(ours));
    lost.abort(Instant::now());
    assert!(lost.freeze(Instant::now()).is_none(), "its socket is gone");
}

#[test]
fn bytes_that_were_read_and_not_handled_are_kept() {
    let (ours, _peer) = UnixStream::pair().expect("a pair of sockets");
    let client = client(Transport::Unix(ours));
    client.keep_rest(Rest { bytes: (*b"handled, not handled\0").into(), handled: 9 });
    let thawed = thaw(client.freeze(Instant::now()).expect("it is open")).expect("it is whole");
    assert!(thawed.turn.has_rest.get());
    assert_eq!(thawed.take_rest().expect("it was kept").unhandled(), b"not handled");
    let again = thaw(thawed.freeze(Instant::now()).expect("it is open")).expect("it is whole");
    assert!(!again.turn.has_rest.get() && again.take_rest().is_none());
}

#[test]
fn damaged_bytes_are_rejected_and_never_panic() {
    let frozen = |change: &dyn Fn(&mut Vec<u8>)| {
        let (ours, _peer) = UnixStream::pair().expect("a pair of sockets");
        let client = client(Transport::Unix(ours));
        client.queue(|outbox| outbox.push(op::TEXT, b"waiting", &Pool::default()));
        let mut frozen = client.freeze(Instant::now()).expect("it is open");
        change(&mut frozen.bytes);
        thaw(frozen)
    };
    let length = {
        let (ours, _peer) = UnixStream::pair().expect("a pair of sockets");
        client(Transport::Unix(ours)).freeze(Instant::now()).expect("it is open").bytes.len()
    };
    assert!(frozen(&|_| ()).is_ok());
    for end in 0..length {
        assert!(frozen(&|bytes| bytes.truncate(end)).is_err(), "cut at {end}");
    }
    assert!(frozen(&|bytes| bytes.push(0)).is_err());
    for at in 0..length {
        for bit in 0..8 {
            // Some changes make another client, such as one with another id; none may panic.
            if let Ok(client) = frozen(&|bytes| bytes[at] ^= 1 << bit) {
                let mut frame = [&frame(0x81, b"hi")[..], &[0]].concat();
                client.endpoint.receive(&mut Input::new(&mut frame), MAX, Instant::now, |_| ());
                let _ = client.transport().write(&[IoSlice::new(b"x")]);
            }
        }
    }
    assert_eq!(
        frozen(&|bytes| bytes[0] = VERSION + 1).err(),
        Some(ThawError::Format("the client has another version"))
    );
    let renamed = frozen(&|bytes| {
        let at = bytes.windows(7).position(|window| window == b"message").expect("its name");
        bytes[at..at + 7].copy_from_slice(b"massage");
    });
    let error = renamed.err().expect("there is no such handler");
    assert_eq!(error.to_string(), "plugin `chat`: no onmessage handler `massage`");
}

#[test]
fn what_a_client_has_used_of_its_routes_limits_goes_with_it() {
    use crate::client::limited::Due;
    use crate::config::route_limits::{MessageRate, OnFull, RouteLimits};
    let second = Duration::from_secs(1);
    let rate = MessageRate { messages: 1, per: 100 * second, burst: 3 };
    let limits = RouteLimits {
        max_message: Some(MAX + 1),
        ping_interval: Some(5000 * second),
        idle_timeout: Some(1000 * second),
        max_lifetime: Some(3000 * second),
        message_rate: Some(rate),
        on_full: OnFull::Drop,
    };
    let (ours, _peer) = UnixStream::pair().expect("a pair of sockets");
    let client = client(Transport::Unix(ours));
    let start = Instant::now();
    client.set_limits(Rc::new(limits.clone()), start);
    client.turn.ondrain.set(Ondrain::Due);
    client.with_limited(|limited| {
        limited.begin(1, start);
        assert!(limited.admit() && limited.admit());
        limited.has_dropped = true;
    });
    // Elsewhere, with another clock.
    let there = start + 100_000 * second;
    let frozen = client.freeze(start + 600 * second).expect("it is open");
    let thawed = Client::thaw(frozen, MAX, there, resolve).expect("it is whole");
    assert!(thawed.turn.ondrain.get() == Ondrain::Due && thawed.turn.watched.is_limited());
    assert_eq!(thawed.callbacks().ondrain.map(|handler| handler.name.as_str()), Some("go_on"));
    let looked = thawed.with_limited(|limited| {
        assert!(*limited.limits == limits && limited.has_dropped);
        limited.begin(1, there);
        assert_eq!(limited.next_look(), Some(there));
        assert_eq!(limited.look(there, false), Due::Nothing);
        // Idle for 600 s already; the lifetime ends after 2400 s, or up to an eighth of it before.
        assert_eq!(limited.next_look(), Some(there + 400 * second));
        limited.note_data(there + 300 * second);
        // Two of three messages were paid for before, and are free again.
        assert_eq!([(); 4].map(|()| limited.admit()), [true, true, true, false]);
        assert_eq!(limited.look(there + 400 * second, false), Due::Nothing);
        limited.look(there + 2400 * second, false)
    });
    assert_eq!(looked, Some(Due::Lifetime));
    // Limits that no route has are rejected.
    let mut frozen = thawed.freeze(there).expect("it is open");
    let zero = b"\"burst\":3";
    let at = frozen.bytes.windows(zero.len()).position(|window| window == zero).expect("as JSON");
    frozen.bytes[at + zero.len() - 1] = b'0';
    let error = Client::thaw(frozen, MAX, there, resolve).err().expect("a burst of 0");
    assert_eq!(error, ThawError::Format("the limits exceed what a route may have"));
}
