//! Worker messages: each arrives once at its destination, in the order of its sender. Neither a flood nor a
//! receiver that fails blocks anything else.

use rustix::process::Signal;

use crate::support::{Host, Reloading, WebSocket, alone, plugin};

fn start(workers: usize) -> Host {
    let host = Host::serve("test-worker-messages", &["--workers", &workers.to_string(), "--log", "debug"]);
    host.workers_serve(workers.max(1));
    host
}

/// One client in each worker, in the order of the workers.
fn one_in_each(host: &Host, workers: usize) -> Vec<WebSocket> {
    let mut clients: Vec<Option<WebSocket>> = (0..workers).map(|_| None).collect();
    for _ in 0..500 {
        let mut c = host.open("/");
        let who = c.ask("who");
        let (index, count) = who.split_once(" of ").expect("the answer has index and count");
        assert_eq!(count.parse(), Ok(workers));
        clients[index.parse::<usize>().expect("a number")] = Some(c);
        if clients.iter().all(Option::is_some) {
            return clients.into_iter().flatten().collect();
        }
    }
    panic!("not every worker has a client");
}

/// Waits until the worker has received `total` numbers. Any other answer fails the test.
fn wait_for_total(c: &mut WebSocket, total: u64) {
    while c.ask("total").parse::<u64>().expect("the plugin received a wrong number") < total {}
}

#[test]
fn a_message_reaches_its_worker_or_all_others() {
    let host = start(3);
    let mut clients = one_in_each(&host, 3);
    assert_eq!(clients[0].ask("send 2 1 hello"), "Sent");
    assert_eq!(clients[2].next_text(), "0 says hello");
    assert_eq!(clients[1].ask("all 1 news"), "Sent");
    assert_eq!(clients[0].next_text(), "1 says news");
    assert_eq!(clients[2].next_text(), "1 says news");
    assert_eq!(clients[2].ask("send 1 1 last"), "Sent");
    assert_eq!(clients[1].next_text(), "2 says last", "a worker does not receive its own message");
    assert_eq!(clients[0].ask("who"), "0 of 3", "the message was for another worker");
}

#[test]
fn invalid_messages_are_rejected_with_a_status() {
    let host = Host::serve("test-worker-messages", &["--workers", "2", "--max-message", "1KiB"]);
    host.log_line("in onload: NotNow");
    let mut clients = one_in_each(&host, 2);
    for (command, answer) in [
        ("send 0 1 myself", "NotFound"),
        ("send 2 1 nobody", "NotFound"),
        ("send 4294967295 1 all", "NotFound"),
        ("large 1025", "TooLarge"),
        ("large 1024", "Sent"),
    ] {
        assert_eq!(clients[0].ask(command), answer, "{command}");
    }
    assert_eq!(clients[1].next_text(), "1024 bytes from 0");
    // No receiver is registered for this id.
    assert_eq!(clients[0].ask("all 99 hm"), "Sent");
    assert_eq!(clients[0].ask("all 1 end"), "Sent");
    assert_eq!(clients[1].next_text(), "0 says end");
}

#[test]
fn a_single_worker_has_no_other_worker_to_send_to() {
    for workers in [0, 1] {
        let host = start_alone(workers);
        let mut c = host.open("/");
        assert_eq!(c.ask("who"), "0 of 1");
        assert_eq!(c.ask("all 1 news"), "Sent");
        assert_eq!(c.ask("send 1 1 you"), "NotFound");
        assert_eq!(c.ask("send 0 1 me"), "NotFound");
        assert_eq!(c.ask("who"), "0 of 1");
    }
}

fn start_alone(workers: usize) -> Host {
    Host::serve("test-worker-messages", &["--workers", &workers.to_string()])
}

#[test]
fn a_receiver_can_replace_and_end_itself() {
    let host = start(2);
    let mut clients = one_in_each(&host, 2);
    let id = u32::MAX;
    (0..3).for_each(|_| assert_eq!(clients[0].ask(&format!("send 1 {id} x")), "Sent"));
    assert_eq!(clients[1].next_text(), "once from 0");
    assert_eq!(clients[1].next_text(), "again from 0: Sent");
    assert_eq!(clients[0].ask("send 1 1 end"), "Sent");
    assert_eq!(clients[1].next_text(), "0 says end", "the third message had no receiver");
}

#[test]
fn a_panic_in_a_receiver_is_logged_and_the_next_message_comes() {
    let host = start(2);
    let mut clients = one_in_each(&host, 2);
    assert_eq!(clients[0].ask("send 1 3 x"), "Sent");
    let line = host.log_line("plugin `worker-messages`: worker message failed: panicked: cannot bear it (");
    assert!(line.contains("src/lib.rs:") && line.contains("(message 3 of worker 0)"), "{line}");
    assert_eq!(clients[0].ask("send 1 1 end"), "Sent");
    assert_eq!(clients[1].next_text(), "0 says end");
}

#[test]
fn a_receiver_is_dropped_in_a_callback_when_its_generation_is_replaced_and_when_its_worker_ends() {
    let mut server = Reloading::serve(&plugin("test-worker-messages"), &["--workers", "1"]);
    server.host.log_line("in onload: NotNow");
    server.reload_again().expect("the reload is accepted");
    server.host.log_line("receiver dropped in a callback");
    server.host.ask_to_stop();
    assert!(server.host.ended().success());
    assert_eq!(server.host.log_lines("receiver dropped in a callback").len(), 2);
    assert_eq!(server.host.log_lines("receiver dropped too late"), [""; 0]);
}

#[test]
fn all_messages_arrive_in_the_order_of_their_sender() {
    let _alone = alone();
    const EACH: u64 = 5000;
    let host = start(3);
    let mut clients = one_in_each(&host, 3);
    clients.iter_mut().for_each(|c| c.text(&format!("numbers {EACH} 8")));
    for c in &mut clients {
        assert_eq!(c.next_text(), "sent");
        wait_for_total(c, 2 * EACH);
    }
    for c in &mut clients {
        assert_eq!(c.ask("total"), (2 * EACH).to_string(), "no message arrived twice");
    }
}

#[test]
fn two_workers_that_flood_each_other_in_one_callback_lose_nothing() {
    let _alone = alone();
    const EACH: u64 = 20_000;
    let host = start(2);
    let mut clients = one_in_each(&host, 2);
    // 20 MB from each worker, far more than the links hold.
    clients.iter_mut().for_each(|c| c.text(&format!("numbers {EACH} 1000")));
    for c in &mut clients {
        assert_eq!(c.next_text(), "sent");
        wait_for_total(c, EACH);
    }
    assert_eq!(host.log_lines("ERROR").len(), 0, "{}", host.log());
}

#[test]
fn a_restarted_worker_receives_messages() {
    let host = start(3);
    let mut clients = one_in_each(&host, 3);
    host.workers()[2].signal(Signal::KILL);
    host.log_line("; starting another");
    // The remaining worker works whether or not messages were lost.
    assert_eq!(clients[0].ask("who"), "0 of 3");
    host.workers_serve(4);
    drop(clients);
    let mut clients = one_in_each(&host, 3);
    assert_eq!(clients[0].ask("all 1 again"), "Sent");
    assert_eq!(clients[1].next_text(), "0 says again");
    assert_eq!(clients[2].next_text(), "0 says again");
}
