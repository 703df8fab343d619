//! Sources written for the Kore API. The examples are built with both compilers, served by two workers,
//! reloaded, and run under AddressSanitizer and valgrind. A test plugin covers the rest of the API, a library
//! may consist of several files, and the headers agree with the ABI.

mod api;

mod assets;

mod habits;

mod layout;

mod reload;

mod sanitizer;

mod two_files;

mod valgrind;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Host, WebSocket, path, root, scratch};

const WARNINGS: [&str; 6] = ["-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"];

/// Compiles a source to a library; any warning is an error.
#[track_caller]
fn compile(compiler: &str, options: &[&str], source: &Path, library: &Path) {
    compile_all(compiler, options, &[source], library);
}

/// The same with several sources.
#[track_caller]
fn compile_all(compiler: &str, options: &[&str], sources: &[&Path], library: &Path) {
    let include = root().join("plugin-api/include");
    let mut command = Command::new(compiler);
    command.args(WARNINGS).args(options).arg("-I").arg(&include).args(sources).arg("-o").arg(library);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder of this test with the library of `examples/kore/NAME` and its `callsign.toml`; returns the config
/// file.
fn build(name: &str, test: &str, compiler: &str, options: &[&str]) -> PathBuf {
    let (example, folder) = (root().join("examples/kore").join(name), scratch(&format!("{name}-{test}")));
    fs::create_dir_all(&folder).expect("the scratch folder can be written");
    compile(compiler, options, &example.join(format!("{name}.c")), &folder.join(format!("{name}.so")));
    fs::copy(example.join("callsign.toml"), folder.join("callsign.toml")).expect("the file can be copied");
    folder.join("callsign.toml")
}

/// The example, served by two workers.
fn serve(name: &str, test: &str) -> Host {
    let config = build(name, test, "cc", &["-O2"]);
    let host = Host::start(&["serve", "--config", path(&config), "--workers", "2", "--log", "debug"]);
    host.workers_serve(2);
    host
}

fn cookies(answer: &crate::support::Answer) -> Vec<&str> {
    let cookies = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
    cookies.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn the_examples_compile_without_a_warning() {
    let sources = fs::read_dir(root().join("examples/kore")).expect("there is such a folder");
    let folders =
        sources.map(|entry| entry.expect("the path can be read")).filter(|entry| entry.path().is_dir());
    let names: Vec<String> = folders.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        for (compiler, standard) in [("gcc", "gnu17"), ("gcc", "c99"), ("clang", "gnu17"), ("clang", "c99")] {
            build(name, &format!("{compiler}-{standard}"), compiler, &["-O1", &format!("-std={standard}")]);
        }
    }
}

#[test]
fn the_makefiles_build_the_libraries_of_the_config_files() {
    for name in ["chat", "clock", "visitors"] {
        let (example, folder) = (root().join("examples/kore").join(name), scratch(&format!("{name}-make")));
        fs::create_dir_all(&folder).expect("the scratch folder can be written");
        for file in ["Makefile", "callsign.toml", &format!("{name}.c")] {
            fs::copy(example.join(file), folder.join(file)).expect("the file can be copied");
        }
        let include = format!("INCLUDE={}", path(&root().join("plugin-api/include")));
        let output = Command::new("make").args(["-B", "-C"]).arg(&folder).arg(include).output();
        let output = output.expect("there is make");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut host = Host::start(&["serve", "--config", path(&folder.join("callsign.toml"))]);
        assert!(host.terminate().success());
    }
}

#[test]
fn chat_reaches_the_clients_of_both_workers_except_the_sender() {
    let host = serve("chat", "test");
    let page = host.connect().request("GET", "/", &[], b"");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("<title>Chat</title>"), "{}", page.text());
    let refused = host.connect().request("POST", "/", &[], b"x");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET")));
    assert_eq!(host.connect().request("GET", "/connect", &[], b"").status, 426);

    let mut clients: Vec<WebSocket> = Vec::new();
    while [0, 1]
        .iter()
        .any(|worker| count_of(&host, &format!("worker {worker}: plugin `chat`: 127.0.0.1 has come")) < 2)
    {
        let mut c = host.open("/connect");
        // The 101 is sent before onconnect runs.
        c.send(tungstenite::Message::Ping(Default::default()));
        while !matches!(c.next(), tungstenite::Message::Pong(_)) {}
        clients.push(c);
        assert!(clients.len() < 200, "all clients are in one worker");
    }
    for speaker in 0..clients.len() {
        let text = format!("hello of {speaker}");
        clients[speaker].text(&text);
        for (index, c) in clients.iter_mut().enumerate().filter(|(index, _)| *index != speaker) {
            assert_eq!(next_said(c), text, "client {index}");
        }
    }
    // All messages about new guests have arrived before this one.
    clients[0].binary(&[0, 255, 1]);
    assert!(clients[1..].iter_mut().all(|c| c.next_binary() == [0, 255, 1]));
    let leaver = clients.remove(0);
    assert_eq!(leaver.close(1000, "done"), Some((1000, "done".to_owned())));
    assert!(clients.iter_mut().all(|c| c.next_text() == "a guest has left"));
    assert_eq!(host.log_lines("ERROR"), [""; 0]);
}

/// The next text that does not announce a guest; announcements from the other worker may come first.
fn next_said(c: &mut WebSocket) -> String {
    loop {
        match c.next_text() {
            text if text == "a guest has come" => {}
            text => return text,
        }
    }
}

fn count_of(host: &Host, text: &str) -> usize {
    host.log_lines(text).len()
}

#[test]
fn visitors_are_known_by_argument_then_by_cookie_then_by_their_connection() {
    let mut host = serve("visitors", "test");
    let get = |target: &str, headers: &[(&str, &str)]| host.connect().request("GET", target, headers, b"");
    let first = get("/greet?name=J%C3%BCrgen+O%27X&days=2", &[]);
    assert_eq!((first.status, first.text()), (200, "hello Jürgen O'X from 127.0.0.1\n"));
    assert_eq!(cookies(&first), ["name=Jürgen O'X; Path=/; Domain=test; Max-Age=172800; HttpOnly"]);
    assert_eq!(
        cookies(&get("/greet?name=Ann&days=65536", &[])),
        ["name=Ann; Path=/; Domain=test; Max-Age=86400; HttpOnly"]
    );
    let again = get("/greet", &[("Cookie", "theme=dark; name=Ann")]);
    assert_eq!((again.status, again.text(), cookies(&again).len()), (200, "hello Ann from 127.0.0.1\n", 0));
    assert_eq!(get("/greet?name=", &[]).status, 400);

    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    for (body, status, text) in [
        ("a=40&b=2", 200, "42\n"),
        ("a=-40&b=%32", 200, "-38\n"),
        ("b=1&b=2&a=0", 200, "1\n"),
        ("a=40", 400, ""),
        ("a=4O&b=2", 400, ""),
        ("a=9223372036854775808&b=2", 400, ""),
    ] {
        let answer = host.connect().request("POST", "/sum", &form, body.as_bytes());
        assert_eq!((answer.status, answer.text()), (status, text), "{body}");
    }
    assert_eq!(host.connect().request("POST", "/sum", &[], b"a=1&b=2").status, 415);
    // Arguments in the query are not arguments of the body.
    assert_eq!(host.connect().request("POST", "/sum?a=1&b=2", &form, b"c=3").status, 400);

    assert_eq!(host.connect().handshake("/talk", &[]).status, 403);
    let mut ann = host.connect().upgrade("/talk", &[("Cookie", "name=Ann")]);
    let mut bob = host.connect().upgrade("/talk", &[("Cookie", "name=Bob")]);
    assert_eq!(ann.ask("one"), "Ann 1: one");
    assert_eq!(bob.ask("one"), "Bob 1: one");
    assert_eq!(ann.ask("two"), "Ann 2: two");
    ann.text("bye");
    assert_eq!(ann.closed(), Some((1000, String::new())));
    host.log_line("plugin `visitors`: Ann has said 2 things");
    assert!(host.terminate().success());
    assert_eq!(count_of(&host, "plugin `visitors`: visitors loaded"), 2);
    assert_eq!(count_of(&host, "ERROR"), 0, "{}", host.log());
}

/// A client in each of the two workers.
fn one_in_each(host: &Host) -> [WebSocket; 2] {
    let mut clients = [None, None];
    for _ in 0..200 {
        let mut c = host.open("/");
        let worker = usize::from(c.ask("count").starts_with("worker 2"));
        clients[worker].get_or_insert(c);
        if let [Some(_), Some(_)] = clients {
            return clients.map(|c| c.expect("both were just matched"));
        }
    }
    panic!("all clients are in one worker");
}

/// Asks until the worker counts `count` clients.
fn knows_of(c: &mut WebSocket, count: u32) {
    let deadline = std::time::Instant::now() + crate::support::DEADLINE;
    while !c.ask("count").ends_with(&format!(", {count} here")) {
        assert!(std::time::Instant::now() < deadline, "the worker never counts {count} clients");
    }
}

#[test]
fn clock_ticks_in_one_worker_and_counts_the_clients_of_both() {
    let mut host = serve("clock", "test");
    let [mut one, mut two] = one_in_each(&host);
    knows_of(&mut one, 2);
    knows_of(&mut two, 2);
    one.text("start");
    for tick in 1..=3 {
        assert_eq!(one.next_text(), format!("tick {tick}, 2 here"));
    }
    one.text("stop");
    while one.next_text() != "stopped" {}
    assert_eq!(one.ask("count"), "worker 1, 2 here", "no tick comes after the end of the timer");
    assert_eq!(two.ask("count"), "worker 2, 2 here", "the other worker received no tick");
    two.close(1000, "");
    knows_of(&mut one, 1);
    // The other worker tells a restarted worker its count.
    let worker = host.workers()[1];
    worker.signal(rustix::process::Signal::KILL);
    host.workers_serve(3);
    let [mut again, mut new] = one_in_each(&host);
    knows_of(&mut new, 3);
    knows_of(&mut again, 3);
    assert!(host.terminate().success());
    for worker in [1, 2] {
        host.log_line(&format!("plugin `clock`: worker {worker} of 2 begins"));
        host.log_line(&format!("plugin `clock`: worker {worker} ends after "));
    }
}

/// Clients of the chat join, talk and disconnect in several ways.
fn use_chat(host: &Host, rounds: usize) {
    for round in 0..rounds {
        let mut clients: Vec<_> = (0..3).map(|_| host.open("/connect")).collect();
        clients[0].text("hello");
        while clients[1].next_text() != "hello" {}
        assert_eq!(host.connect().request("GET", "/", &[], b"").status, 200);
        let leaver = clients.remove(2);
        if round % 2 == 0 { leaver.reset() } else { drop(leaver) }
    }
}

/// Visitors likewise, with requests that are answered and requests that are not.
fn use_visitors(host: &Host, rounds: usize) {
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    for _ in 0..rounds {
        assert_eq!(host.connect().request("GET", "/greet?name=A%20B&days=3&x=y", &[], b"").status, 200);
        assert_eq!(host.connect().request("POST", "/sum", &form, b"a=1&b=2").text(), "3\n");
        let mut c = host.connect().upgrade("/talk", &[("Cookie", "name=Ann; b=c")]);
        assert_eq!(c.ask("one"), "Ann 1: one");
        // This request is not an upgrade, so the state for the connection is freed.
        assert_eq!(host.connect().request("GET", "/talk", &[("Cookie", "name=Ann")], b"").status, 426);
        let mut leaver = host.connect();
        leaver.send("GET /talk HTTP/1.1\r\nHost: test\r\nCookie: name=Bob\r\n\r\n");
        leaver.reset();
        c.text("bye");
        assert_eq!(c.closed(), Some((1000, String::new())));
    }
}

/// Starts and stops the clock; the clock runs when this returns.
fn use_clock(one: &mut WebSocket) {
    for _ in 0..3 {
        one.text("start");
        while !one.next_text().starts_with("tick") {}
        one.text("stop");
        while one.next_text() != "stopped" {}
    }
    // One timer is still active at the end.
    one.text("start");
    while !one.next_text().starts_with("tick") {}
}
