//! What a plugin can send, to whom, and which status it gets.

use super::*;

#[test]
fn a_send_returns_a_status() {
    let host = probe(&["--max-message", "4096"]);
    let (mut c, _) = join(&host);
    assert_eq!(c.ask("statuses"), "x");
    let bad = ["BadArgument"; 7].join(", ");
    assert_eq!(c.next_text(), format!("Sent TooLarge TooLarge TooLarge [{bad}]"));
    const TOO_LARGE: &str = "was not sent, because it exceeds --max-message (4KiB)";
    host.log_line(TOO_LARGE);
    let lines = host.log_lines(TOO_LARGE);
    assert_eq!(lines.len(), 1, "only the first: {lines:?}");
}

#[test]
fn a_send_to_a_slow_client_returns_queued() {
    let host = probe(&["--high-water", "16KiB", "--max-backlog", "1GiB"]);
    let (mut c, id) = join_raw(&host);
    c.send_frame(TEXT, b"fill");
    host.log_line(&format!("#{id} filled Queued"));
}

#[test]
fn a_plugin_in_c_gets_a_status_for_each_mistake() {
    let library = c_plugin_with("statuses.c", &["-D_POSIX_C_SOURCE=200809L"]);
    let host = Host::start(&["serve", path(&library), "--max-message", "4096", "--route", "/=join,message,"]);
    let mut c = host.open("/?its-data");
    c.text("try");
    for expected in [
        "op 8 -3",
        "bad UTF-8 -4",
        "cut UTF-8 -4",
        "too large -2",
        "large ping -2",
        "no data -5",
        "no connection -5",
        "broadcast op -3",
        "broadcast UTF-8 -4",
        "broadcast large -2",
        "broadcast scope 0 -5",
        "broadcast scope 3 -5",
        "close UTF-8 -4",
        "close code -5",
        "find 1",
        "extension 1",
        "in callback 1",
        "header 1",
        "header at 0",
        "header at 0",
        "",
        "empty 0",
        "its-data",
    ] {
        assert_eq!(c.next_text(), expected);
    }
    c.text("fail");
    assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
    host.log_line("onmessage handler `message` failed: it fails (statuses.c:7); closing connection");
    host.log_line(": release its-data");
}

#[test]
fn a_broadcast_reaches_everyone_but_its_source() {
    let host = probe(&[]);
    let (mut source, mut others) = (join(&host).0, [join(&host).0, join(&host).0]);
    join(&host).0.close(1000, "");
    for command in ["others", "others-global"] {
        source.text(&format!("{command} news by {command}"));
        others.iter_mut().for_each(|other| assert_eq!(other.next_text(), format!("news by {command}")));
        assert_eq!(source.ask("fence"), "fence", "nothing arrived before");
    }
    others.iter_mut().for_each(|other| assert_eq!(other.ask("fence"), "fence", "no message arrived twice"));
}

#[test]
fn a_broadcast_without_a_source_reaches_everyone() {
    let host = probe(&[]);
    let mut clients = [join(&host).0, join(&host).0, join(&host).0];
    for command in ["all", "all-global"] {
        clients[0].text(&format!("{command} news by {command}"));
        clients.iter_mut().for_each(|client| assert_eq!(client.next_text(), format!("news by {command}")));
    }
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.ask("fence"), "fence", "no message arrived twice"));
}

#[test]
fn a_plugin_can_ping_and_pong_and_its_answers_are_no_messages() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.text("ping are you there");
    assert_eq!(c.next(), Message::Ping("are you there".into()));
    c.text("pong i am");
    assert_eq!(c.next(), Message::Pong("i am".into()));
    c.close(1000, "");
    let life = life(host, id);
    assert_eq!(life[1..3], ["message Text(\"ping are you there\")", "message Text(\"pong i am\")"]);
    assert_eq!(life.len(), 5, "{life:?}");
}

#[test]
fn a_connection_is_found_by_its_id_while_it_is_open() {
    let host = probe(&[]);
    let ((mut a, a_id), (mut b, b_id)) = (join(&host), join(&host));
    assert_eq!(a.ask(&format!("to {b_id} hello")), format!("Some(({b_id}, Sent))"));
    assert_eq!(b.next_text(), "hello");
    assert_eq!(a.ask(&format!("to {a_id} myself")), "myself");
    assert_eq!(a.next_text(), format!("Some(({a_id}, Sent))"));
    b.close(1000, "");
    host.log_line(&format!("#{b_id} drop"));
    for nobody in [b_id, 0, u64::MAX] {
        assert_eq!(a.ask(&format!("to {nobody} hello")), "None");
    }
}

#[test]
fn another_thread_may_log_and_nothing_else() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    assert_eq!(c.ask("thread"), "(None, NoHost)");
    host.log_line(&format!("plugin `probe`: #{id} from a thread"));
    assert_eq!(c.ask("fence"), "fence", "nothing was broadcast");
}
