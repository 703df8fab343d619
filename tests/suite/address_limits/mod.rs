//! Limits of one address: connections at a time, new ones, requests and WebSocket handshakes in a time. The tests connect
//! from several addresses of the loopback network. `host/src/system/addresses` has the counts, on a clock of its own.

mod proxies; // clients behind reverse proxies

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::Signal;
use serde_json::Value;
use tungstenite::HandshakeError;

use crate::support::{
    Answer, Authority, DEADLINE, Host, Raw, Trust, empty_folder, eventually, path, plugin, scratch,
    serve_crash, status, worker_of,
};
use crate::tls::{echo, listen, port};

/// Serves the web example at `/echo`, the echo example at `/ws`, with a control socket of that name.
fn serve(control: &Path, options: &[&str]) -> Host {
    let (web, echo) = (plugin("web"), plugin("echo"));
    let routes = ["--route", "/echo=web:onrequest", "--route", "/ws=,echo:onmessage,"];
    let control = ["--control", path(control)];
    Host::start(&[&["serve", path(&web), path(&echo)], &routes[..], &control, options].concat())
}

/// A socket from 127.0.0.`last`.
fn from(last: u8, port: u16) -> Raw {
    let address = |last, port| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), port);
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &address(last, 0)).expect("the loopback network has that address");
    connect(&socket, &address(1, port)).expect("the server listens");
    Raw::of(TcpStream::from(socket))
}

fn get(client: &mut Raw) -> Answer {
    client.request("GET", "/echo", &[], b"")
}

/// The response of a server that has turned a client away, and no more.
#[track_caller]
fn turned_away(client: &mut Raw) -> Answer {
    let answer = client.read_answer(true);
    assert_eq!((answer.status, answer.header("connection")), (429, Some("close")), "{answer:?}");
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")));
    assert_eq!(client.read_to_eof(), b"");
    answer
}

/// How often clients have reached that limit, on all workers.
fn reached(control: &Path, limit: &str) -> u64 {
    let status = status(control);
    let of_worker = |worker: &Value| worker["limits"][limit].as_u64().unwrap_or_else(|| panic!("{status}"));
    status["workers"].as_array().expect("an array").iter().map(of_worker).sum()
}

/// The seconds of Retry-After, which the text repeats.
#[track_caller]
fn retry_after(answer: &Answer) -> u64 {
    let seconds = answer.header("retry-after").unwrap_or_else(|| panic!("no Retry-After: {answer:?}"));
    assert!(answer.text().ends_with(&format!("; try again in {seconds} s\n")), "{}", answer.text());
    seconds.parse().expect("seconds")
}

#[test]
fn an_address_has_as_many_connections_as_it_may_have() {
    let control = scratch("connections.sock");
    let host = serve(&control, &["--workers", "3", "--max-per-address", "4"]);
    let mut sockets: Vec<_> = (0..3).map(|_| from(2, host.port).upgrade("/ws", &[])).collect();
    // One without WebSocket counts as well.
    let mut idle = from(2, host.port);
    assert_eq!(get(&mut idle).status, 200);
    for number in 1..4 {
        let mut client = from(2, host.port);
        client.send_request("GET", "/echo", &[], b"");
        let answer = turned_away(&mut client);
        assert_eq!(answer.text(), "your address has too many connections; close one first\n");
        assert_eq!(answer.header("retry-after"), None, "nobody knows when one ends");
        assert_eq!(reached(&control, "max_per_address"), number);
    }
    host.log_line(": more connections of its address than --max-per-address allows (4); disconnecting it");
    // They are served on, and others too.
    sockets.iter_mut().for_each(|c| assert_eq!(c.ask("served on"), "served on"));
    assert_eq!(get(&mut idle).status, 200);
    assert_eq!(get(&mut from(3, host.port)).status, 200);
    sockets.pop().expect("there are three").close(1000, "");
    drop(idle);
    let again = || {
        let mut client = from(2, host.port);
        client.send_request("GET", "/echo", &[], b"");
        (client.read_answer(true).status == 200).then_some(client)
    };
    let mut back = Vec::new();
    eventually("two connections are given back", || {
        back.extend(again());
        back.len() == 2
    });
    assert!(again().is_none(), "two and no more");
}

#[test]
fn a_worker_that_dies_gives_back_the_connections_of_its_clients() {
    const MAX: usize = 8;
    let host = serve_crash(2, &["--max-per-address", "8"]);
    let mut clients: Vec<_> = (0..MAX).map(|_| host.open("/")).collect();
    turned_away(&mut host.connect());
    let workers: Vec<_> = clients.iter_mut().map(worker_of).collect();
    let dying = workers[0];
    dying.signal(Signal::KILL);
    let (lost, kept): (Vec<_>, Vec<_>) =
        clients.into_iter().zip(workers).partition(|(_, worker)| *worker == dying);
    let lost = lost.into_iter().map(|(c, _)| c.dropped()).count();
    assert!(lost > 0);
    host.log_line("died of SIGKILL");
    let _back: Vec<_> = (0..lost).map(|_| host.open("/")).collect();
    turned_away(&mut host.connect());
    for (mut c, _) in kept {
        assert_eq!(c.ask("served on"), "served on");
    }
}

#[test]
fn new_connections_of_an_address_have_a_rate() {
    let control = scratch("connection-rate.sock");
    let host = serve(&control, &["--workers", "2", "--connection-rate", "4/h"]);
    for _ in 0..4 {
        assert_eq!(get(&mut from(2, host.port)).status, 200);
    }
    let answer = turned_away(&mut from(2, host.port));
    assert!((1..=900).contains(&retry_after(&answer)), "{answer:?}");
    assert!(answer.text().starts_with("too many connections from your address; "));
    assert_eq!(get(&mut from(3, host.port)).status, 200);
    host.log_line(
        ": more new connections of its address than --connection-rate allows (4/h); disconnecting it",
    );
    assert_eq!(reached(&control, "connection_rate"), 1);
}

#[test]
fn requests_of_an_address_have_a_rate_and_its_connection_stays() {
    let control = scratch("request-rate.sock");
    let host = serve(&control, &["--workers", "2", "--request-rate", "6/h"]);
    let (mut one, mut other) = (from(2, host.port), from(2, host.port));
    for _ in 0..2 {
        assert_eq!(get(&mut one).status, 200);
        assert_eq!(other.request("POST", "/nowhere", &[], b"body").status, 404);
        let twice = [("Host", "a")];
        assert_eq!(from(2, host.port).request("GET", "/echo", &twice, b"").status, 400);
    }
    for client in [&mut one, &mut other] {
        let answer = get(client);
        assert_eq!((answer.status, answer.header("connection")), (429, None));
        assert!((1..=600).contains(&retry_after(&answer)), "{answer:?}");
        assert!(answer.text().starts_with("too many requests from your address; "));
    }
    assert_eq!(one.handshake("/ws", &[]).status, 429, "a handshake is a request");
    let mut third = from(3, host.port).upgrade("/ws", &[]);
    (0..20).for_each(|_| assert_eq!(third.ask("messages are not"), "messages are not"));
    host.log_line(": more requests of its address than --request-rate allows (6/h); answering with 429");
    assert_eq!(reached(&control, "request_rate"), 3);
    assert_eq!(reached(&control, "handshake_rate"), 0);
}

#[test]
fn handshakes_of_an_address_have_a_rate_of_their_own() {
    let control = scratch("handshake-rate.sock");
    let host = serve(&control, &["--workers", "2", "--handshake-rate", "3/m"]);
    let _sockets: Vec<_> = (0..3).map(|_| from(2, host.port).upgrade("/ws", &[])).collect();
    let mut client = from(2, host.port);
    let answer = client.handshake("/ws", &[]);
    assert_eq!(answer.status, 429);
    assert!((1..=20).contains(&retry_after(&answer)), "{answer:?}");
    assert!(answer.text().starts_with("too many WebSocket handshakes from your address; "));
    (0..10).for_each(|_| assert_eq!(get(&mut client).status, 200));
    assert_eq!(from(3, host.port).handshake("/ws", &[]).status, 101);
    host.log_line(
        ": more WebSocket handshakes of its address than --handshake-rate allows (3/m); answering with 429",
    );
    assert_eq!(reached(&control, "handshake_rate"), 1);
}

#[test]
fn after_retry_after_the_next_one_is_served() {
    let control = scratch("recovery.sock");
    for (option, status) in [("--request-rate", 200), ("--handshake-rate", 101), ("--connection-rate", 200)] {
        let host = serve(&control, &["--workers", "2", option, "2/3s"]);
        let ask = || match status {
            101 => from(2, host.port).handshake("/ws", &[]),
            _ => {
                let mut client = from(2, host.port);
                client.send_request("GET", "/echo", &[], b"");
                client.read_answer(true)
            }
        };
        let end = Instant::now() + DEADLINE;
        let limited = loop {
            let answer = ask();
            if answer.status == 429 {
                break answer;
            }
            assert_eq!(answer.status, status);
            assert!(Instant::now() < end, "{option} does not limit");
        };
        let seconds = retry_after(&limited);
        assert!((1..=2).contains(&seconds), "{limited:?}");
        thread::sleep(Duration::from_secs(seconds)); // the client does as it is told
        assert_eq!(ask().status, status, "{option}");
    }
}

#[test]
fn clients_above_a_limit_have_a_few_lines() {
    let control = scratch("lines.sock");
    let mut host = serve(&control, &["--request-rate", "1/h", "--connection-rate", "2/h"]);
    let mut client = from(2, host.port);
    assert_eq!(get(&mut client).status, 200);
    for _ in 0..25 {
        assert_eq!(get(&mut client).status, 429);
        let _ = from(3, host.port);
    }
    eventually("all are counted", || reached(&control, "connection_rate") == 23);
    assert_eq!(reached(&control, "request_rate"), 25);
    host.terminate();
    for option in ["--request-rate", "--connection-rate"] {
        assert_eq!(host.log_lines(option).len(), 10, "{option}");
    }
}

/// A handshake costs more than all else.
#[test]
fn a_client_of_tls_is_disconnected_before_its_handshake() {
    let folder = empty_folder("tls");
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    let config = crate::tls::config(&folder, &listen(&files, ""), "echo");
    let host = crate::tls::serve(&config, &["--max-per-address", "1", "--handshake-rate", "1/h"]);
    let (port, trust) = (port(&host, "https"), Trust::of(&authority));
    let mut socket = trust.open(port, "/");
    echo(&mut socket, "the first one");
    let mut refused = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    refused.set_read_timeout(Some(DEADLINE)).expect("a time");
    assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)), "it is disconnected without a word");
    host.log_line("more connections of its address than --max-per-address allows (1); disconnecting it");
    echo(&mut socket, "served on");
    socket.close(None).expect("it is open");
    while socket.read().is_ok() {}
    drop(socket);
    // A client that has completed its handshake gets a response.
    let mut secure = None;
    eventually("the connection is given back", || {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        secure = trust.over(stream, "localhost").ok();
        secure.is_some()
    });
    let secure = secure.expect("it is there");
    let url = format!("wss://localhost:{port}/");
    match tungstenite::client(url, secure) {
        Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => assert_eq!(answer.status(), 429),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn clients_of_unix_sockets_have_no_address_and_no_limits() {
    let socket = scratch("clients.sock");
    let _ = fs::remove_file(&socket);
    let listen = format!("127.0.0.1:0,unix:{}", path(&socket));
    let (web, control) = (plugin("web"), scratch("unix.sock"));
    let limits = ["--max-per-address", "1", "--request-rate", "1/h", "--connection-rate", "1/h"];
    let options = ["serve", path(&web), "--listen", &listen, "--control", path(&control)];
    let host = Host::exactly(&[&options[..], &limits].concat()).served();
    let connect = || {
        use std::io::Write;
        let mut client = UnixStream::connect(&socket).expect("the server listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("the server reads it");
        let mut answer = [0; 15];
        client.read_exact(&mut answer).expect("the server answers");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        client
    };
    let _clients: Vec<_> = (0..5).map(|_| connect()).collect();
    assert_eq!(from(2, host.port).request("GET", "/", &[], b"").status, 200);
    turned_away(&mut from(2, host.port));
}

#[test]
fn an_option_of_0_turns_a_limit_of_the_file_off() {
    let config = scratch("off.toml");
    let text = format!(
        "[worker]\nmax_per_address = 1\nconnection_rate = '1/h'\n[http]\nrequest_rate = '1/h'\n\
         handshake_rate = '1/h'\n[plugin.echo]\npath = {:?}\n",
        plugin("echo")
    );
    fs::write(&config, text).expect("the scratch folder can be written");
    let limits = ["max-per-address", "connection-rate", "request-rate", "handshake-rate"];
    let off: Vec<_> = limits.iter().map(|limit| format!("--{limit}=0")).collect();
    let mut options = vec!["serve", "--config", path(&config)];
    options.extend(off.iter().map(String::as_str));
    let host = Host::start(&options);
    let mut sockets: Vec<_> = (0..5).map(|_| host.open("/")).collect();
    sockets.iter_mut().for_each(|c| assert_eq!(c.ask("served"), "served"));
    let limited = Host::start(&["serve", "--config", path(&config)]);
    let _socket = limited.open("/");
    turned_away(&mut limited.connect());
}
