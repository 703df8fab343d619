//! The functions of the Kore API that the examples do not use, and invalid calls.

use tungstenite::Message;

use super::{compile, cookies, root};
use crate::support::{Answer, Host, WebSocket, path, run, scratch};

fn serve(test: &str) -> Host {
    let library = scratch(&format!("libkoreapi-{test}.so"));
    compile("cc", &["-O2"], &root().join("tests/plugins/c/kore.c"), &library);
    let pages =
        ["/check=check", "/method=method", "/argument=argument", "/cookies=cookies", "/answers=answers"];
    let routes = [&pages[..], &["/null=null", "/socket=open_socket", "/early=free_early"]].concat();
    let routes = routes.iter().flat_map(|route| ["--route", route]);
    let options = ["--workers", "1", "--max-message", "1KiB", "--log", "debug"];
    let args: Vec<&str> = ["serve", path(&library)].into_iter().chain(routes).chain(options).collect();
    Host::start(&args)
}

fn request(host: &Host, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    host.connect().request(method, path, headers, body.as_bytes())
}

#[test]
fn buffers_texts_numbers_headers_and_body() {
    let host = serve("check");
    let answer = request(&host, "POST", "/check", &[("X-Number", "65535")], "0123456789");
    assert_eq!((answer.status, answer.text()), (200, ""));
    assert_eq!((answer.header("x-kept"), answer.header("content-length")), (Some("yes"), Some("0")));
    host.log_line("http_response_header: `Content-Length` is left out");
    host.log_line("http_response_header: `bad name` is left out");
}

#[test]
fn hooks_that_run_elsewhere_or_never_are_logged_once() {
    let host = serve("hooks");
    host.log_line("plugin `koreapi-hooks`: configured");
    for hook in [
        "kore_parent_configure runs in every worker",
        "kore_parent_daemonized is never called",
        "kore_parent_teardown is never called",
        "kore_worker_signal is never called",
    ] {
        host.log_line(hook);
        assert_eq!(host.log_lines(hook).len(), 1, "{hook}: {}", host.log());
    }
    assert_eq!(host.log_lines("kore_seccomp_hook"), [""; 0], "the plugin has none");
    for command in ["check", "inspect"] {
        let (code, stdout, _) = run(&[command, path(&scratch("libkoreapi-hooks.so"))]);
        assert_eq!(code, 0);
        assert!(stdout.contains("kore_parent_configure runs in every worker, not in the parent"), "{stdout}");
        assert!(stdout.contains("kore_worker_signal is never called: the server handles"), "{stdout}");
        assert!(!stdout.contains("kore_seccomp_hook"), "{stdout}");
    }
}

#[test]
fn methods_have_the_numbers_that_they_have_in_kore() {
    let host = serve("methods");
    for (name, number) in
        [("GET", 0x01), ("POST", 0x02), ("PUT", 0x04), ("DELETE", 0x10), ("OPTIONS", 0x40), ("PATCH", 0x80)]
    {
        let answer = request(&host, name, "/method", &[], "");
        assert_eq!((answer.status, answer.text()), (200, &*format!("{number} {name}")));
    }
    assert_eq!(request(&host, "BREW", "/method", &[], "").text(), "0 ", "any other");
    assert_eq!(request(&host, "HEAD", "/method", &[], "").header("content-length"), Some("7"), "32 HEAD");
}

#[test]
fn an_argument_is_a_number_of_each_type_that_it_fits() {
    let host = serve("arguments");
    let types = |value: &str| {
        let answer = request(&host, "GET", &format!("/argument?v={value}"), &[], "");
        assert_eq!(answer.status, 200);
        answer.text().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = |value: &str, byte: &str| {
        let types = ["int16", "uint16", "int32", "uint32", "int64", "uint64", "float", "double"]
            .map(|name| format!("{name} {value}"));
        [&[format!("string {value}"), format!("byte {byte}")], &types[..]].concat()
    };
    assert_eq!(types("7"), all("7", "55"));
    assert_eq!(types("0"), all("0", "48"));
    let without = |value: &str, byte: &str, missing: &[&str]| {
        let is_there = |line: &String| !missing.iter().any(|name| line.starts_with(&format!("{name} ")));
        all(value, byte).into_iter().filter(is_there).collect::<Vec<_>>()
    };
    assert_eq!(types("-1"), without("-1", "45", &["uint16", "uint32", "uint64"]));
    assert_eq!(types("32768"), without("32768", "51", &["int16"]));
    assert_eq!(types("65536"), without("65536", "54", &["int16", "uint16"]));
    assert_eq!(types("text"), ["string text", "byte 116"]);
    assert_eq!(types("1.5"), ["string 1.5", "byte 49", "float 1.5", "double 1.5"]);
    assert_eq!(types("1e300"), ["string 1e300", "byte 49", "double 1e+300"]);
    assert_eq!(types("%31%30+"), ["string 10 ", "byte 49"], "trailing characters are invalid");
    assert_eq!(types("%zz%4"), ["string %zz%4", "byte 37"], "invalid percent encoding is kept");
    // Control characters, an empty value, an empty name.
    for none in ["%00", "a%0ab", "%7f", "", "&=7", "&v", "&w=7"] {
        assert_eq!(types(none), [""; 0], "{none}");
    }
    let post = request(&host, "POST", "/argument", &[], "w=1&v=a%0Ab");
    assert_eq!(post.text(), "string a\nb\nbyte 97\n", "a body may have lines");
    assert_eq!(request(&host, "PUT", "/argument", &[], "v=1").text(), "", "only a POST has arguments");
    // Many and long arguments, which are freed with their request.
    let long = format!("/argument?{}v={}", "a=b&".repeat(1000), "x".repeat(5000));
    assert_eq!(request(&host, "GET", &long, &[], "").text().len(), "string \nbyte 120\n".len() + 5000);
}

#[test]
fn cookies_come_and_go() {
    let host = serve("cookies");
    let answer = request(&host, "GET", "/cookies", &[("Cookie", "a=1;b=x=y; ;c; =d;a=2")], "");
    assert_eq!(answer.text(), "a is 1, b is x=y");
    assert_eq!(
        cookies(&answer),
        [
            "one=1; Domain=test; HttpOnly; Secure",
            "two=2; Path=/two; Domain=test; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Max-Age=60; HttpOnly; Secure",
            "three=3",
        ]
    );
    assert_eq!(request(&host, "GET", "/cookies", &[], "").text(), "a is none, b is none");
    for (host_header, domain) in [("a.example:8080", "a.example"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
    {
        let mut raw = host.connect();
        raw.send(format!("GET /cookies HTTP/1.1\r\nHost: {host_header}\r\n\r\n"));
        let answer = raw.read_answer(true);
        assert_eq!(cookies(&answer)[0], format!("one=1; Domain={domain}; HttpOnly; Secure"));
    }
}

#[test]
fn a_handler_that_fails_is_a_500_and_nothing_else() {
    let host = serve("answers");
    for (query, status) in [("error", 500), ("status", 500), ("", 204)] {
        assert_eq!(request(&host, "GET", &format!("/answers?{query}"), &[], "").status, status, "{query}");
    }
    host.log_line("http_response: status 42 is not one of 200 to 599");
    assert_eq!(host.connect().handshake("/answers?missing", &[]).status, 500);
    host.log_line("no onconnect handler `nobody`");
    assert_eq!(request(&host, "GET", "/answers?missing", &[], "").status, 426);
}

fn open(host: &Host) -> WebSocket {
    let mut c = host.open("/socket");
    assert_eq!(c.next_text(), "mine");
    c
}

#[test]
fn a_handshake_has_the_cookies_of_its_request() {
    let host = serve("handshake");
    let answer = host.connect().handshake("/socket", &[]);
    assert_eq!((answer.status, cookies(&answer)), (101, vec!["joined=yes; Domain=test; HttpOnly; Secure"]));
}

#[test]
fn memory_that_a_handler_frees_after_its_handshake_is_not_freed_again() {
    let host = serve("early");
    for _ in 0..3 {
        let mut c = host.open("/early");
        assert_eq!(c.next_text(), "mine");
        assert_eq!(request(&host, "GET", "/cookies", &[], "").status, 200);
        assert_eq!(c.ask("e"), "127.0.0.1");
    }
}

#[test]
fn null_is_rejected_and_crashes_nothing() {
    let host = serve("null");
    let answer = request(&host, "GET", "/null?a=1", &[("Cookie", "a=1")], "");
    assert_eq!((answer.status, answer.text(), cookies(&answer).len()), (200, "", 0));
    // The handler logs this line last.
    host.log_line("kore_msg_send: there is no worker 1000");
    assert_eq!(host.log_lines("http_response_cookie: a cookie without").len(), 2);
    assert_eq!(host.log_lines("kore_timer_add: there is nothing to call").len(), 1);
}

#[test]
fn a_source_in_cpp_compiles_without_a_warning_and_is_served() {
    for (compiler, standard) in
        [("g++", "c++11"), ("g++", "c++17"), ("clang++", "c++11"), ("clang++", "c++17")]
    {
        let library = scratch(&format!("libkore-{compiler}-{standard}.so").replace('+', "p"));
        let source = root().join("tests/plugins/c/kore_cpp.cpp");
        compile(compiler, &["-O1", &format!("-std={standard}")], &source, &library);
        let options = ["--workers", "2", "--route", "/=page", "--route", "/old=old"];
        let mut host = Host::start(&[&["serve", path(&library)][..], &options].concat());
        let answer = request(&host, "GET", "/?name=Ann", &[], "");
        assert_eq!((answer.text(), cookies(&answer).len()), ("hello Ann", 1));
        assert_eq!(host.open("/").ask("hi"), "said: hi");
        assert_eq!(host.open("/old").ask("hi"), "said: hi");
        host.log_line("worker 2 begins");
        assert!(host.terminate().success());
    }
}

#[test]
fn timers_fire_once_at_their_time_or_not_at_all() {
    let host = serve("timers");
    let mut c = open(&host);
    assert_eq!(c.ask("t"), "once");
    assert_eq!(c.ask("t"), "once");
    assert_eq!(host.log_lines("a timer that was removed"), [""; 0]);
}

#[test]
fn messages_to_this_worker_itself_come_later_and_in_order() {
    let host = serve("messages");
    let mut c = open(&host);
    assert_eq!(c.ask("m"), "13 is refused");
    for text in [
        "201 once",
        "201 from 1 to 1: me",
        "201 from 1 to 1: all",
        "201 from 1 to 1: ",
        "14 from 1 to 1: low",
    ] {
        assert_eq!(c.next_text(), text);
    }
    for id in [1, 13] {
        host.log_line(&format!("kore_msg_register: message id {id} is one of Kore's own (1 to 13)"));
    }
    host.log_line("kore_msg_send: there is no worker 0");
    host.log_line("kore_msg_send: there is no worker 1000");
    assert_eq!(c.ask("u"), "unregistered");
    assert_eq!(c.ask("m"), "13 is refused", "the unregistered receiver got nothing");
    assert_eq!(c.next_text(), "201 once");
}

#[test]
fn invalid_sends_are_logged() {
    let mut host = serve("bad");
    let mut c = open(&host);
    c.text("b");
    assert_eq!(c.next(), Message::binary(Vec::new()), "nothing arrived before");
    for line in [
        "kore_websocket_send: op 0 cannot be sent",
        "kore_websocket_send: op 200 cannot be sent",
        "kore_websocket_send: text that is not UTF-8; send it as WEBSOCKET_OP_BINARY",
        "kore_websocket_send: 2000 bytes are more than a message may have",
        "kore_websocket_send: no data, no connection, an unknown scope or a close code that is reserved",
        "kore_websocket_broadcast: no data, no connection, an unknown scope or a close code that is reserved",
    ] {
        host.log_line(line);
    }
    assert!(host.terminate().success());
    assert_eq!(host.log_lines("kore_websocket_").len(), 8, "{}", host.log());
}

#[test]
fn control_frames_and_a_close_with_code_and_reason() {
    let host = serve("control");
    let mut c = open(&host);
    c.text("p");
    assert_eq!(c.next(), Message::Ping("pi".into()));
    assert_eq!(c.next(), Message::Pong("po".into()));
    c.text("c");
    assert_eq!(c.closed(), Some((4000, "over".to_owned())));
}

#[test]
fn the_log_has_the_levels_of_syslogs_priorities() {
    let host = serve("log");
    open(&host).text("l");
    for line in [
        "ERROR plugin `koreapi-log`: log emerg",
        "WARN  plugin `koreapi-log`: log warning",
        "INFO  plugin `koreapi-log`: log notice",
    ] {
        let (level, text) = line.split_once(" plugin").expect("the text has both parts");
        assert!(host.log_line(&format!("plugin{text}")).contains(level.trim()), "{line}");
    }
    assert!(host.log_line("log debug").contains("DEBUG"));
    let long = host.log_line("log 00");
    assert!(long.contains("INFO") && long.ends_with(&format!("log {}1", "0".repeat(699))), "{long}");
}

#[test]
fn fatal_ends_one_worker_and_is_reported_with_its_reason() {
    let host = serve("fatal");
    let mut c = open(&host);
    c.text("x");
    c.dropped();
    host.log_line("plugin `koreapi-fatal`: it is over");
    assert!(host.log_line("; starting another").contains("onmessage handler `told`"));
    open(&host);
}
