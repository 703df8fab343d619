//! Limits of clients with TLS: time, and floods of handshakes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::Message;

use super::{config, echo, listen, port, serve};
use crate::support::{Authority, DEADLINE, Host, Trust, alone, empty_folder};

/// The echo plugin behind TLS, with these lines in the table of the address and before it.
fn serve_echo(name: &str, more: &str, before: &str, options: &[&str]) -> (Host, u16, Trust) {
    let folder = empty_folder(name);
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    let host = serve(&config(&folder, &format!("{before}{}", listen(&files, more)), "echo"), options);
    let port = port(&host, "https");
    (host, port, Trust::of(&authority))
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream
}

#[test]
fn half_a_record_is_closed_after_the_message_timeout() {
    let (host, port, trust) = serve_echo("half-record", "", "", &["--message-timeout", "1s"]);
    let mut socket = trust.open(port, "/");
    echo(&mut socket, "a message before it");
    // Of a record with 16 KiB.
    let half = [&[23, 3, 3, 0x40, 0x11][..], &[7; 8000]].concat();
    socket.get_mut().sock.write_all(&half).expect("the socket has room");
    match socket.read().expect("a Close") {
        Message::Close(Some(close)) => assert_eq!(u16::from(close.code), 1008),
        other => panic!("{other:?}"),
    }
    host.log_line("a message is not complete after 1s (--message-timeout)");
}

/// PROXY header, TLS and request together.
#[test]
fn the_whole_handshake_has_one_handshake_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let http = "http = { trusted_proxies = '127.0.0.1', handshake_timeout = '3s' }\n";
    let (_host, port, trust) = serve_echo("deadline", "proxy_protocol = true", http, &[]);
    let mut stream = connect(port);
    let start = Instant::now();
    thread::sleep(TIMEOUT * 2 / 3); // the client is slow
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 51314 80\r\n").expect("it is open");
    let mut secure = trust.over(stream, "localhost").expect("there is time left");
    secure.write_all(b"GET / HTTP/1.1\r\nHost: half").expect("it is open");
    let _ = secure.read(&mut [0; 16]);
    let elapsed = start.elapsed();
    // With a time for each part it would be 5 s.
    assert!(elapsed >= TIMEOUT && elapsed < TIMEOUT * 3 / 2, "{elapsed:?}");
}

#[test]
fn a_flood_of_handshakes_does_not_stop_a_client_that_is_connected() {
    const HALF_OPEN: usize = 200;
    const FLOODERS: usize = 4;
    const HANDSHAKES: usize = 75;
    let _alone = alone();
    let (_host, port, trust) = serve_echo("flood", "", "", &["--workers", "1"]);
    let mut socket = trust.open(port, "/");
    echo(&mut socket, "before");
    // Each has got its answer, and sends no more.
    let hello = trust.hello();
    let mut half_open: Vec<_> = (0..HALF_OPEN).map(|_| connect(port)).collect();
    for stream in &mut half_open {
        stream.write_all(&hello).expect("it is open");
    }
    echo(&mut socket, "while the server signs");
    for stream in &mut half_open {
        assert_eq!(stream.read(&mut [0]).expect("a hello"), 1);
    }
    let is_over = AtomicBool::new(false);
    let echoes = thread::scope(|scope| {
        let counter = scope.spawn(|| {
            let mut echoes = 0;
            while !is_over.load(Relaxed) {
                echo(&mut socket, "meanwhile");
                echoes += 1;
            }
            echoes
        });
        let flood = || {
            for _ in 0..HANDSHAKES {
                drop(trust.connect(port, "localhost").expect("there is time for all of them"));
            }
        };
        let flooders: Vec<_> = (0..FLOODERS).map(|_| scope.spawn(flood)).collect();
        flooders.into_iter().for_each(|flooder| flooder.join().expect("all have been served"));
        is_over.store(true, Relaxed);
        counter.join().expect("it is answered")
    });
    // At least every second turn is that of others.
    assert!(echoes >= FLOODERS * HANDSHAKES / 3, "{echoes} answers during the flood");
}
