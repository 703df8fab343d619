//! A handler that panics or returns an Err costs its own connection or request, and no other.

use super::*;

#[test]
fn a_failing_onmessage_ends_its_connection_with_1011_and_no_other() {
    let host = probe(&[]);
    let (mut other, other_id) = join(&host);
    for (command, reason) in [
        ("panic", format!("panicked: message panics ({})", place("\"message panics\""))),
        ("fail", "message fails".to_owned()),
    ] {
        let (mut c, id) = join(&host);
        let peer = c.address();
        c.send_raw([frame(TEXT, command.as_bytes()), frame(TEXT, b"late")].concat());
        assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
        host.log_line(&format!(
            "ERROR worker 0: plugin `probe`: onmessage handler `message` failed: {reason}; closing connection {id} \
             ({peer}) with 1011"
        ));
        host.log_line(&format!("#{id} drop"));
        let message = format!("message Text({command:?})");
        assert_eq!(
            seen(&host, id),
            ["connect", &message, "disconnect 1011 \"handler failed\" by Server", "drop"]
        );
        assert_eq!(other.ask("still here"), "still here");
    }
    other.close(1000, "");
    assert_eq!(life(host, other_id).len(), 5);
}

#[test]
fn a_failing_onconnect_ends_its_connection_with_1011_and_ondisconnect_is_called() {
    for (handler, reason) in [
        ("join_panics", format!("panicked: connect panics ({})", place("connect panics"))),
        ("join_fails", "connect fails".to_owned()),
    ] {
        let host = bound(&format!("{handler},message,leave"));
        let mut other = host.open("/other");
        assert!(other.next_text().starts_with("id "));
        let c = host.open("/");
        let peer = c.address();
        assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
        let line = host.log_line(&format!(
            "ERROR worker 0: plugin `probe`: onconnect handler `{handler}` failed: {reason}"
        ));
        assert!(line.ends_with(&format!(" ({peer}) with 1011")), "{line}");
        host.log_line("disconnect 1011 \"handler failed\" by Server, no data");
        assert_eq!(other.ask("still here"), "still here");
    }
}

#[test]
fn a_failing_ondisconnect_costs_a_log_line() {
    for (handler, reason) in [
        ("leave_panics", format!("panicked: disconnect panics ({})", place("disconnect panics"))),
        ("leave_fails", "disconnect fails".to_owned()),
    ] {
        let host = bound(&format!("join,message,{handler}"));
        let mut other = host.open("/other");
        assert!(other.next_text().starts_with("id "));
        let (c, id) = join(&host);
        let peer = c.address();
        assert_eq!(c.close(1000, "bye"), Some((1000, "bye".to_owned())));
        host.log_line(&format!(
            "ERROR worker 0: plugin `probe`: ondisconnect handler `{handler}` failed: {reason}; connection {id} ({peer}) \
             has ended already"
        ));
        host.log_line(&format!("#{id} drop"));
        assert_eq!(other.ask("still here"), "still here");
        other.close(1000, "");
        assert_eq!(life(host, id), ["connect", "drop"]);
    }
}

#[test]
fn a_failing_onrequest_is_a_500_and_the_connection_can_be_used_on() {
    let host = Host::serve("test-probe", &["--route", "/*=page"]);
    let mut c = host.connect();
    let peer = c.address();
    for (path, reason) in [
        ("/panic", format!("panicked: request panics ({})", place("request panics"))),
        ("/fail", "request fails".to_owned()),
    ] {
        let answer = c.request("GET", path, &[], b"");
        assert_eq!((answer.status, answer.text()), (500, "the handler failed\n"));
        host.log_line(&format!(
            "ERROR worker 0: plugin `probe`: onrequest handler `page` failed: {reason} (500 for GET {path} from {peer}, \
             route `/*`)"
        ));
        assert_eq!(c.request("GET", "/next", &[], b"").text(), "/next");
    }
}

/// A server with `test-state` that has logged this line, because a client has sent this message.
fn log_after(environment: &str, route: &str, message: &str, line: &str) -> Host {
    let library = plugin("test-state");
    let routes = ["--route", "/=onconnect,onmessage,ondisconnect", "--route", "/chain=,chained,"];
    let arguments = [&["serve", path(&library)], &routes[..]].concat();
    let host = Host::start_through(&["env", environment], &arguments);
    let mut c = host.open(route);
    if route == "/" {
        c.next_text(); // the greeting
    }
    c.text(message);
    assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
    host.log_line(line);
    host
}

/// The source line of the test plugin with this text.
fn line_of(file: &str, text: &str) -> String {
    let source = root().join("tests/plugins/state/src").join(file);
    let source = std::fs::read_to_string(source).expect("the source is there");
    let line = source.lines().position(|line| line.contains(text)).expect("the text is there") + 1;
    format!("tests/plugins/state/src/{file}:{line}")
}

#[test]
fn a_panic_of_the_sdk_names_the_line_of_its_caller() {
    let place = line_of("variant.rs", "let _second = ");
    let host = log_after("X=", "/", "borrow", &format!("({place})"));
    assert_eq!(host.log_lines("backtrace"), [""; 0], "nobody has asked for one");
}

#[test]
fn the_backtrace_of_a_panic_is_logged_if_it_is_asked_for() {
    let host = log_after("RUST_BACKTRACE=1", "/", "borrow", "backtrace of the panic at ");
    host.log_line(
        "onmessage handler `onmessage` failed: panicked: the state `Session` of connection 1 is borrowed",
    );
    let frames = host.log_lines(" ERROR worker 0: plugin `state`:   ");
    let place = line_of("variant.rs", "let _second = ");
    assert!(
        frames.iter().any(|frame| frame.contains("declared::borrow at ") && frame.contains(&place)),
        "{frames:#?}"
    );
    assert!(frames.len() < 8, "only the plugin's own frames are shown: {frames:#?}");
}

#[test]
fn an_error_is_logged_with_its_causes() {
    log_after(
        "X=",
        "/chain",
        "x",
        "onmessage handler `chained` failed: no room: no such file; closing connection ",
    );
}
