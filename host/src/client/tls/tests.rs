//! A layer between a client of rustls and a socket that accepts and has as little as the test wants.

use std::net::TcpListener;

use callsign_tls::{CertifiedPem, Handshake, Pem, Progress, ServerConfig};
use rustls::client::ClientConnection;
use rustls::{ClientConfig, DEFAULT_VERSIONS, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::*;
use crate::client::outbox::{Outbox, Pool};
use crate::client::transport::Transport;

/// A session, and the client that has it.
fn connect() -> (Layer, ClientConnection) {
    connect_with(DEFAULT_VERSIONS)
}

fn connect_with(versions: &[&'static SupportedProtocolVersion]) -> (Layer, ClientConnection) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let pem = |content| Pem { file: "a.pem", bytes: str::as_bytes(content) };
    let pair = CertifiedPem { certificate: pem(&certificate), key: pem(&key) };
    let server = ServerConfig::new(&[pair], None).expect("a valid pair");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(config.into(), name).expect("a configuration");
    let mut handshake = Handshake::new(&server).expect("a configuration");
    loop {
        let mut out = Vec::new();
        handshake.receive(&sent_by(&mut client)).expect("it fits");
        let progress = handshake.advance(&mut out).expect("a handshake");
        give(&mut client, &out);
        if let Progress::Established(established) = progress {
            return (Layer::new(*established), client);
        }
    }
}

/// A transport with TLS over a socket, and the client's end.
pub fn socket_pair() -> (Transport, StreamOwned<ClientConnection, TcpStream>) {
    over_socket(connect())
}

/// The same with TLS 1.2 and a key that may seal only little more.
pub fn worn_pair() -> (Transport, StreamOwned<ClientConnection, TcpStream>) {
    /// Where the blocks of the sending key are in a frozen session without a part of a KeyUpdate.
    const BLOCKS: std::ops::Range<usize> = 15..23;
    const LIMIT: u64 = 1 << 34;
    let (layer, client) = connect_with(&[&rustls::version::TLS12]);
    let mut session = layer.session.freeze();
    session[BLOCKS].copy_from_slice(&(LIMIT - LIMIT / 64).to_le_bytes());
    let session = Session::thaw(&session).expect("it is one");
    assert!(session.is_worn());
    over_socket((Layer { session, ..connect().0 }, client))
}

fn over_socket(
    (layer, client): (Layer, ClientConnection),
) -> (Transport, StreamOwned<ClientConnection, TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (ours, _) = listener.accept().expect("it has connected");
    ours.set_nonblocking(true).expect("a flag");
    (Transport::Tls(Box::new(Tls::new(ours, layer))), StreamOwned::new(client, peer))
}

fn sent_by(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a vector");
    }
    bytes
}

/// Gives the client bytes; returns the data in them.
fn give(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("a slice");
        client.process_new_packets().expect("valid records");
        let _ = client.reader().read_to_end(&mut data);
    }
    data
}

fn send(client: &mut ClientConnection, data: &[u8]) -> Vec<u8> {
    client.writer().write_all(data).expect("a buffer");
    sent_by(client)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// A socket that has these bytes, so many at a time, and ends behind them if `ends`.
fn socket<'b>(bytes: &mut &'b [u8], most: usize, ends: bool) -> impl FnMut(&mut [u8]) -> io::Result<usize> {
    move |buffer| {
        let n = bytes.len().min(most).min(buffer.len());
        if n == 0 && !ends {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (now, later) = bytes.split_at(n);
        buffer[..n].copy_from_slice(now);
        *bytes = later;
        Ok(n)
    }
}

/// Everything that the layer reads until the socket has nothing more, and how that ends.
fn read_all(
    layer: &mut Layer,
    mut socket: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> (Vec<u8>, io::ErrorKind) {
    let (mut buffer, mut data) = (vec![0; BUFFER], Vec::new());
    loop {
        match layer.read(&mut buffer, &mut socket) {
            Ok(Read { length: 0, .. }) => return (data, io::ErrorKind::UnexpectedEof),
            Ok(Read { length, .. }) => data.extend_from_slice(&buffer[..length]),
            Err(error) => return (data, error.kind()),
        }
    }
}

#[test]
fn data_is_read_however_the_socket_delivers_it() {
    for most in [1, 10, 1000, 50_000, usize::MAX] {
        let (mut layer, mut client) = connect();
        let data = pattern(40_000);
        let sent: Vec<u8> = data.chunks(9_000).flat_map(|part| send(&mut client, part)).collect();
        let (first, second) = sent.split_at(sent.len() - 5);
        let (read, end) = read_all(&mut layer, socket(&mut &first[..], most, false));
        assert_eq!((read.len(), end), (36_000, io::ErrorKind::WouldBlock));
        assert!(layer.partial.len() > 4000, "the beginning of the last record is kept");
        let (rest, end) = read_all(&mut layer, socket(&mut &second[..], most, true));
        assert_eq!(([read, rest].concat(), end), (data, io::ErrorKind::UnexpectedEof));
        assert_eq!((layer.partial.len(), layer.early.capacity()), (0, 0), "nothing is held");
    }
}

#[test]
fn many_small_records_are_much_work_and_a_large_one_is_not() {
    let (mut layer, mut client) = connect();
    let mut buffer = vec![0; BUFFER];
    let small: Vec<u8> = (0..1000).flat_map(|_| send(&mut client, b"x")).collect();
    let read = layer.read(&mut buffer, socket(&mut &small[..], usize::MAX, false)).expect("data");
    assert_eq!(read.length, 1000);
    assert!(layer.take_laborious() && !layer.take_laborious(), "said once");
    for data in [pattern(60_000), b"x".to_vec()] {
        let sent = send(&mut client, &data);
        layer.read(&mut buffer, socket(&mut &sent[..], usize::MAX, false)).expect("data");
        assert!(!layer.take_laborious(), "{} bytes", data.len());
    }
}

#[test]
fn a_read_that_leaves_an_end_behind_does_not_look_like_an_emptied_socket() {
    let (mut layer, mut client) = connect();
    let mut sent = send(&mut client, b"last");
    client.send_close_notify();
    sent.extend(sent_by(&mut client));
    let (mut wire, mut buffer) = (&sent[..], vec![0; BUFFER]);
    let read = layer.read(&mut buffer, socket(&mut wire, usize::MAX, false)).expect("data");
    assert_eq!(read, Read { length: 4, is_empty: false });
    let read = layer.read(&mut buffer, socket(&mut wire, usize::MAX, false)).expect("the end");
    assert_eq!(read.length, 0);
}

#[test]
fn an_end_is_frozen_too() {
    let (mut layer, mut client) = connect();
    client.send_close_notify();
    let sent = sent_by(&mut client);
    assert_eq!(
        read_all(&mut layer, socket(&mut &sent[..], usize::MAX, false)).1,
        io::ErrorKind::UnexpectedEof
    );
    let mut layer = Layer::thaw(&layer.freeze()).expect("it was frozen");
    assert_eq!(read_all(&mut layer, socket(&mut &b""[..], 1, false)).1, io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_breaks_the_protocol_is_an_error_after_the_data_before_it_and_the_client_is_told() {
    let (mut layer, mut client) = connect();
    let mut sent = send(&mut client, b"good");
    sent.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let result = read_all(&mut layer, socket(&mut &sent[..], usize::MAX, false));
    assert_eq!(result, (b"good".to_vec(), io::ErrorKind::InvalidData));
    let mut out = Vec::new();
    layer.close(|bytes| out.write(bytes));
    client.read_tls(&mut &out[..]).expect("a slice");
    let error = client.process_new_packets().expect_err("an alert");
    assert!(matches!(error, rustls::Error::AlertReceived(_)), "{error}");
    let error = layer.write(&[IoSlice::new(b"more")], |bytes| Ok(bytes.len())).expect_err("it has ended");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn sealed_bytes_are_written_once_and_in_order_to_a_socket_that_accepts_few() {
    let (mut layer, mut client) = connect();
    let (pool, mut outbox) = (Pool::default(), Outbox::default());
    let data = pattern(200_000);
    let (mut wire, mut budget) = (Vec::new(), 0);
    let mut queued = data.chunks(7000);
    let mut round = 0;
    while queued.len() > 0 || !outbox.is_empty() {
        if let Some(part) = queued.next() {
            outbox.push_framed(part, &pool);
        }
        budget += 5 + 1009 * (round % 17);
        round += 1;
        let before = outbox.len();
        let result = outbox.write_to(&pool, |slices| {
            layer.write(slices, |bytes| {
                let n = bytes.len().min(budget);
                if n == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                budget -= n;
                wire.extend_from_slice(&bytes[..n]);
                Ok(n)
            })
        });
        assert_eq!(result.expect("it only blocks"), outbox.is_empty());
        assert!(
            layer.unwritten_data <= outbox.len() && outbox.len() <= before,
            "sealed data waits in the queue"
        );
        assert!(layer.unwritten.len() <= 3 * RECORD_MAX);
        // Anywhere in it, the client moves to another process.
        if round % 5 == 0 {
            layer = Layer::thaw(&layer.freeze()).expect("it was frozen");
        }
    }
    assert_eq!(give(&mut client, &wire), data);
    assert!(layer.unwritten.is_empty() && layer.unwritten_data == 0);
    layer.close(|bytes| wire.write(bytes));
    assert!(!wire.is_empty());
}

#[test]
fn a_close_waits_for_nothing_and_breaks_nothing() {
    let (mut layer, mut client) = connect();
    let mut wire = Vec::new();
    let result = layer.write(&[IoSlice::new(b"half written")], |bytes| {
        if !wire.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.extend_from_slice(&bytes[..10]);
        Ok(10)
    });
    assert_eq!(result.expect_err("it blocks").kind(), io::ErrorKind::WouldBlock);
    layer.close(|_| panic!("it would lie inside a record"));
    let written = layer.write(&[IoSlice::new(b"half written")], |bytes| wire.write(bytes));
    assert_eq!(written.expect("all"), 12);
    layer.close(|bytes| wire.write(bytes));
    assert_eq!(give(&mut client, &wire), b"half written");
    assert!(client.process_new_packets().expect("a close").peer_has_closed());
}

#[test]
fn damaged_bytes_are_rejected() {
    let (layer, _) = connect();
    let frozen = layer.freeze();
    for length in 0..frozen.len() {
        assert!(Layer::thaw(&frozen[..length]).is_err(), "{length} bytes");
    }
    let mut data_without_bytes = frozen.clone();
    let count = frozen.len() - 8;
    data_without_bytes[count] = 1;
    assert!(Layer::thaw(&data_without_bytes).is_err());
    assert!(Layer::thaw(&[&frozen[..], &[0]].concat()).is_err());
    assert!(Layer::thaw(&frozen).is_ok());
}

#[test]
fn the_length_on_the_wire_is_that_of_all_records() {
    let (transport, mut client) = socket_pair();
    let (mut outbox, pool) = (Outbox::default(), Pool::default());
    outbox.push_framed(&pattern(32 << 20), &pool);
    let whole = transport.length_on_wire(outbox.len());
    assert!(whole > outbox.len());
    client.sock.set_nonblocking(true).expect("a flag");
    let (mut received, mut is_written, mut buffer) = (0, false, vec![0; 1 << 16]);
    while received < whole {
        if !is_written {
            is_written =
                outbox.write_to(&pool, |slices| transport.write(slices)).expect("the socket is open");
        }
        let before = received;
        while let Ok(length @ 1..) = client.sock.read(&mut buffer) {
            received += length;
        }
        if !is_written && received > before {
            // Nothing is on its way: the rest is in the queue, a part of it sealed.
            assert!(received + transport.length_on_wire(outbox.len()) >= whole - (8 << 20));
        }
    }
    assert_eq!((received, outbox.len(), transport.length_on_wire(0)), (whole, 0, 0));
}

#[test]
fn a_worn_key_is_reported_once_and_seals_what_is_left() {
    let (transport, mut client) = worn_pair();
    let write = |data: &[u8]| transport.write(&[IoSlice::new(data)]);
    let error = write(b"message").expect_err("the key is worn");
    assert!(is_worn_out(&error));
    assert_eq!(write(b"message").expect("it is said once"), 7);
    let mut read = [0; 7];
    client.read_exact(&mut read).expect("valid records");
    assert_eq!(&read, b"message");
}
