//! Invalid calls from a plugin in C. Each returns the status that `callsign.h` documents, and costs at most
//! its own connection or request. Opcodes, scopes, sizes and UTF-8 are tested in `callbacks`.

use tungstenite::Message;

use crate::support::{Answer, Host, Process, WebSocket, c_plugin_with, path};

/// A server, and the workers that must still run at the end of the test.
struct Bad {
    host: Host,
    workers: Vec<Process>,
}

fn start() -> Bad {
    start_with(1)
}

fn start_with(workers: usize) -> Bad {
    let (library, count) = (c_plugin_with("bad_input.c", &["-pthread"]), workers.to_string());
    let options = ["--route", "/*=page", "--log", "debug", "--max-message", "1KiB", "--workers", &count];
    let host = Host::start(&[&["serve", path(&library)], &options[..]].concat());
    host.workers_serve(workers);
    host.log_has("load: 30 checks, 0 wrong", workers);
    let workers = host.workers();
    Bad { host, workers }
}

impl Bad {
    /// Runs a command of the plugin, which must make at least `at_least` checks and find nothing wrong.
    #[track_caller]
    fn ask(&self, command: &str, at_least: usize) -> WebSocket {
        let mut c = self.host.open("/ws");
        c.text(command);
        let text = loop {
            // The plugin also pings every client.
            match c.next() {
                Message::Text(text) => break text,
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        };
        let count = text.strip_suffix(" checks, 0 wrong").unwrap_or_else(|| panic!("{text}"));
        assert!(count.parse::<usize>().expect("a number") >= at_least, "{text}");
        c
    }

    /// The response of a handler; its body contains the result of the checks.
    fn request(&self, path: &str) -> Answer {
        self.host.connect().request("GET", path, &[], b"")
    }

    /// No worker was replaced, and the server exits without an error.
    #[track_caller]
    fn check(mut self) {
        self.ask("", 2).close(1000, "bye");
        self.host.log_line("ended: 14 checks, 0 wrong");
        assert_eq!(self.host.workers(), self.workers);
        assert!(self.host.terminate().success());
        let wrong = self.host.log_lines("wrong, line");
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn null_and_length_0_get_the_documented_status_everywhere() {
    let bad = start();
    bad.ask("nulls", 35).close(1000, "");
    bad.host.log_line("INFO  worker 0: plugin `bad`: a level that is none");
    bad.host.log_line("plugin `?`: a caller that is none");
    bad.host.log_line("plugin `bad`: \u{fffd} no UTF-8");
    bad.check();
}

#[test]
fn a_timer_may_have_any_delay_but_no_interval_of_0() {
    let bad = start();
    bad.ask("far timer", 4).close(1000, "");
    bad.check();
}

#[test]
fn calls_from_another_thread_have_no_effect_and_return_a_status() {
    let bad = start();
    bad.ask("thread", 20).close(1000, "");
    bad.host.log_line("plugin `bad`: from another thread");
    bad.check();
}

#[test]
fn calls_from_the_background_pool_have_no_effect_and_return_a_status() {
    let bad = start();
    bad.ask("pool", 20).close(1000, "");
    bad.host.log_line("plugin `bad`: from another thread");
    bad.check();
}

#[test]
fn messages_to_unknown_workers_are_rejected_and_only_accepted_ones_arrive() {
    let bad = start_with(1);
    bad.ask("workers", 13).close(1000, "");
    bad.ask("", 2).close(1000, "");
    assert_eq!(bad.host.log_lines("received"), [""; 0], "there is no other worker");
    bad.check();

    let bad = start_with(2);
    bad.ask("workers", 14).close(1000, "");
    bad.host.log_line("received 23: 4 bytes");
    let received = bad.host.log_lines("received");
    let arrived =
        ["received 20: 0 bytes", "received 21: 0 bytes", "received 22: 1024 bytes", "received 23: 4 bytes"];
    assert_eq!(received.len(), arrived.len(), "{received:#?}");
    assert!(received.iter().zip(arrived).all(|(line, end)| line.ends_with(end)), "{received:#?}");
    bad.check();
}

#[test]
fn a_closed_connection_is_not_found_by_its_id_and_accepts_nothing() {
    let bad = start();
    bad.host.open("/ws").close(1000, "");
    bad.host.log_line("ended: 14 checks, 0 wrong");
    bad.ask("after", 4).close(1000, "");
    bad.check();
}

#[test]
fn a_failing_timer_or_done_callback_closes_its_connection() {
    for (command, what) in [("timer fails", "timer"), ("done fails", "background work")] {
        let bad = start();
        let mut c = bad.host.open("/ws");
        let mut other = bad.host.open("/ws");
        c.text(command);
        assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
        // The last call of `fail` wins.
        bad.host
            .log_line(&format!("plugin `bad`: {what} failed: a later callback fails; closing connection"));
        bad.host
            .log_line(&format!("plugin `bad`: {what}: its data cannot be freed: what is freed fails (:0)"));
        bad.host.log_line("ended: 17 checks, 0 wrong");
        other.text("");
        for callback in ["ondisconnect", "release"] {
            assert!(matches!(other.next(), Message::Ping(_)), "one of {callback}");
        }
        assert_eq!(other.next_text(), "2 checks, 0 wrong");
        other.close(1000, "");
        bad.check();
    }
    let bad = start();
    let c = bad.ask("nobody's timer fails", 2);
    bad.host.log_line("plugin `bad`: timer failed: a later callback fails");
    c.close(1000, "");
    bad.check();
}

#[test]
fn handlers_that_fail_without_a_reason_are_logged_and_cost_their_own_connection() {
    let bad = start();
    let c = bad.host.open("/ws?fail");
    assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
    bad.host
        .log_line("plugin `bad`: onconnect handler `join` failed: it gave no reason; closing connection 1");
    bad.host.log_line("plugin `bad`: ondisconnect handler `leave` failed: it gave no reason (");
    bad.host.log_line("ended: 14 checks, 0 wrong");
    bad.check();
}

#[test]
fn a_response_that_is_invalid_in_http_is_rejected_by_the_call_that_makes_it() {
    let bad = start();
    let answer = bad.request("/answers");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-empty"), Some(""));
    let count = answer.text().strip_suffix(" checks, 0 wrong").expect("all checks passed");
    assert!(count.parse::<usize>().expect("a number") > 25, "{count}");
    bad.check();
}

#[test]
fn an_onrequest_handler_that_does_not_return_1_has_failed() {
    let bad = start();
    for number in ["0", "2", "-1", "2147483647"] {
        let answer = bad.request(&format!("/answer/{number}"));
        assert_eq!((answer.status, answer.text()), (500, "the handler failed\n"), "{number}");
        bad.host.log_line(&format!("`page` failed: it gave no reason (500 for GET /answer/{number} "));
    }
    assert_eq!(bad.request("/answer/1").status, 200);
    let answer = bad.request("/fail");
    assert_eq!((answer.status, answer.text()), (500, "the handler failed\n"));
    bad.host.log_line("plugin `bad`: onrequest handler `page` failed: it fails (");
    bad.check();
}

#[test]
fn a_handshake_with_invalid_names_is_a_500() {
    let bad = start();
    let upgrade = |path| bad.host.connect().handshake(path, &[]).status;
    assert_eq!(upgrade("/no-utf-8"), 500);
    bad.host.log_line("onrequest handler `page` failed: its handshake: ");
    assert_eq!(upgrade("/wrong-kind"), 500);
    bad.host.log_line("(500 for GET /wrong-kind from ");
    // The last call wins.
    assert_eq!(upgrade("/corrected"), 101);
    assert_eq!(bad.request("/no-upgrade").status, 426);
    assert_eq!(bad.request("/ws").status, 426);
    bad.host.log_line("ended: ");
    let (host, workers) = (&bad.host, &bad.workers);
    assert_eq!(&host.workers(), workers);
    assert!(host.log_lines("wrong, line").is_empty());
}
