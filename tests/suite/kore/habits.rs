//! Habits of applications for Kore, as they are found in public sources.

use super::{compile, root};
use crate::support::{Host, PING, PONG, TEXT, frame, path, run, scratch};

fn serve(test: &str, workers: &str) -> Host {
    let library = scratch(&format!("libhabits-{test}.so"));
    compile("cc", &["-O2"], &root().join("tests/plugins/c/kore_habits.c"), &library);
    let options = ["--workers", workers, "--log", "debug", "--route", "/=talk", "--route", "/count=count"];
    Host::start(&[&["serve", path(&library)][..], &options].concat())
}

#[test]
fn data_is_a_string_that_a_handler_may_end_itself() {
    let host = serve("strings", "1");
    let mut long = host.connect().upgraded("/?bare", &[]);
    long.send_frame(TEXT, &[b'x'; 4000]);
    assert_eq!(long.read_frame(), (TEXT, vec![b'x'; 4000]));
    for handler in ["/", "/?bare"] {
        let mut c = host.connect().upgraded(handler, &[]);
        c.send([frame(TEXT, b"ONE"), frame(TEXT, b""), frame(PING, b"?"), frame(TEXT, b"TWO")].concat());
        for wanted in [(TEXT, &b"ONE"[..]), (TEXT, b""), (PONG, b"?"), (TEXT, b"TWO")] {
            assert_eq!(c.read_frame(), (wanted.0, wanted.1.to_vec()));
        }
    }
    let mut c = host.open("/");
    assert_eq!(c.ask("in place"), "IN PLACE");
    // What the page handler sends after its handshake does not arrive.
    host.log_line("kore_websocket_send: a request is no connection before its page handler has returned");
}

#[test]
fn memory_of_kore_parent_configure_is_there_in_each_worker() {
    let host = serve("parent", "2");
    host.log_line("kore_parent_configure runs in every worker");
    let counts: Vec<u32> = (0..20)
        .map(|_| {
            host.connect().request("GET", "/count", &[], b"").text().parse().expect("the handler counts")
        })
        .collect();
    assert!(counts.contains(&1), "{counts:?}");
    assert_eq!(host.log_lines("; starting another"), [""; 0]);
}

#[test]
fn what_a_thread_of_the_application_sends_is_logged_and_not_sent() {
    let host = serve("thread", "1");
    let mut c = host.open("/");
    assert_eq!(c.ask("thread"), "THREAD", "nothing of the thread came before");
    host.log_line("kore_websocket_broadcast: called outside the worker thread");
    host.log_line("kore_websocket_send: called outside the worker thread");
    host.log_line("kore_msg_send: message 210");
    assert_eq!(c.ask("x"), "X");
}

#[test]
fn a_configuration_of_kore_is_refused_with_what_has_no_equivalent() {
    let config = scratch("visitors.conf");
    let text = "server plain {\n\tbind 127.0.0.1 8888\n\ttls no\n}\n\nload ./visitors.so init\n\ndomain * {\n\tattach \
                plain\n\troute /greet {\n\t\thandler greet\n\t\tmethods get\n\t\tauthenticate user\n\t}\n}\n";
    std::fs::write(&config, text).expect("the scratch folder can be written");
    for command in ["serve", "check"] {
        let (code, _, stderr) = run(&[command, "--config", path(&config)]);
        assert_eq!(code, 1);
        let begin = format!(
            "callsign: {}:1:1: this is a configuration of Kore; write a callsign.toml",
            config.display()
        );
        assert!(stderr.starts_with(&begin), "{stderr}");
        assert!(stderr.contains("`authenticate` (line 13), `methods` (line 12)"), "{stderr}");
    }
}
