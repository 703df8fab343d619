//! Background work and timers: what runs concurrently, what ends with its connection, and what a failure
//! costs. Work of the plugin `offloop` waits for permits, so no test depends on timing.

use crate::support::{Host, TEXT, WebSocket, frame};

/// Background threads of the host, and the limit of its queue.
const THREADS: usize = 16;
const MAX_JOBS: usize = 1024;

fn serve(plugin: &str) -> Host {
    Host::serve(plugin, &["--workers", "1"])
}

/// Sends the texts so that the server reads all of them in one turn.
fn send_in_one_turn(c: &mut WebSocket, texts: &[&str]) {
    c.send_raw(texts.iter().flat_map(|text| frame(TEXT, text.as_bytes())).collect::<Vec<_>>());
}

/// Line numbers in the log of the first lines that contain these texts.
fn order<const N: usize>(host: &Host, texts: [&str; N]) -> [usize; N] {
    texts.iter().for_each(|text| _ = host.log_line(text));
    let log = host.log();
    texts.map(|text| log.lines().position(|line| line.contains(text)).expect("log_line has found it"))
}

#[test]
fn a_callback_that_blocks_delays_later_callbacks() {
    let host = serve("slow");
    let mut c = host.open("/");
    send_in_one_turn(&mut c, &["/block 50", "hi"]);
    assert_eq!(c.next_text(), "blocked 50 ms");
    assert_eq!(c.next_text(), "hi");
}

#[test]
fn background_work_delays_nobody_and_its_answer_comes_later() {
    let host = serve("slow");
    let mut c = host.open("/");
    send_in_one_turn(&mut c, &["/work 50", "hi"]);
    assert_eq!(c.next_text(), "hi");
    assert_eq!(c.next_text(), "worked 50 ms");
}

#[test]
fn a_repeating_timer_runs_until_it_is_stopped_and_starts_anew_when_set_again() {
    let host = serve("slow");
    let mut c = host.open("/");
    assert_eq!(c.ask("/tick 5"), "tick 1");
    assert_eq!(c.next_text(), "tick 2");
    assert_eq!(c.next_text(), "tick 3");
    send_in_one_turn(&mut c, &["/stop", "stopped"]);
    while c.next_text() != "stopped" {}
    assert_eq!(c.ask("/tick 1"), "tick 1");
    assert_eq!(c.next_text(), "tick 2");
}

#[test]
fn others_are_served_while_work_runs() {
    let host = serve("offloop");
    let (mut one, mut other) = (host.open("/"), host.open("/"));
    one.text("wait x");
    host.log_line("begun x");
    assert_eq!(other.ask("hi"), "hi");
    assert_eq!(one.ask("still here"), "still here");
    other.text("permit 1");
    assert_eq!(one.next_text(), "x");
    host.log_line("dropped x on the worker's thread");
}

#[test]
fn results_arrive_in_the_order_in_which_work_ends() {
    let host = serve("offloop");
    let mut c = host.open("/");
    c.text("wait long");
    // This work finishes at once. Its thread has neither timers nor a pool.
    assert_eq!(c.ask("elsewhere"), "false NoHost");
    assert_eq!(c.ask("permit 1"), "long");
}

#[test]
fn a_result_for_a_closed_connection_is_dropped_on_the_workers_thread() {
    let host = serve("offloop");
    let (mut one, mut other) = (host.open("/"), host.open("/"));
    one.text("wait gone");
    host.log_line("begun gone");
    assert_eq!(one.close(1000, ""), Some((1000, String::new())));
    host.log_line("left; timer false, work Closed");
    assert_eq!(host.log_lines("dropped gone"), [""; 0]);
    other.text("permit 1");
    host.log_line("dropped gone on the worker's thread");
    assert_eq!(other.ask("hi"), "hi");
}

#[test]
fn waiting_work_for_a_closed_connection_is_not_run() {
    let host = serve("offloop");
    let (mut one, mut other) = (host.open("/"), host.open("/"));
    assert_eq!(other.ask(&format!("flood {THREADS}")), format!("{THREADS} taken, 0 refused"));
    one.text("wait unwanted");
    host.log_line("taken unwanted");
    one.close(1000, "");
    other.text(&format!("permit {THREADS}"));
    host.log_line("dropped unwanted on the worker's thread");
    assert_eq!(host.log_lines("begun unwanted"), [""; 0]);
}

#[test]
fn work_beyond_the_queue_limit_is_rejected_and_the_rest_runs() {
    let host = serve("offloop");
    host.log_line("work from onload: 42"); // this job would count towards the limit
    let (mut one, mut other) = (host.open("/"), host.open("/"));
    let flood = format!("flood {}", MAX_JOBS + 7);
    assert_eq!(one.ask(&flood), format!("{MAX_JOBS} taken, 7 refused"));
    assert_eq!(other.ask("flood 1"), "0 taken, 1 refused");
    other.text(&format!("permit {MAX_JOBS}"));
    let mut results: Vec<usize> = (0..MAX_JOBS).map(|_| one.next_text().parse().expect("a number")).collect();
    results.sort_unstable();
    assert_eq!(results, (0..MAX_JOBS).collect::<Vec<_>>());
    assert_eq!(other.ask("flood 1"), "1 taken, 0 refused");
    assert_eq!(other.ask("permit 1"), "0");
}

#[test]
fn a_timer_fires_once_and_its_closure_is_dropped_on_the_workers_thread() {
    let host = serve("offloop");
    let mut c = host.open("/");
    assert_eq!(c.ask("after a while"), "a while");
    host.log_line("dropped a while on the worker's thread");
    // The next tick comes from the other timer; no tick came before it.
    assert_eq!(c.ask("after b"), "b");
    c.text("burst");
    assert_eq!([c.next_text(), c.next_text(), c.next_text()], ["a", "b", "c"]);
}

#[test]
fn a_repeated_timer_ends_when_it_is_cancelled_by_itself_or_before_it_has_fired() {
    let host = serve("offloop");
    let mut c = host.open("/");
    assert_eq!(c.ask("twice t"), "t 1");
    assert_eq!([c.next_text(), c.next_text()], ["t 2", "cancelled true"]);
    host.log_line("dropped t on the worker's thread");
    assert_eq!(c.ask("cancel"), "true false");
    assert_eq!(c.next_text(), "first");
    host.log_line("dropped cancelled on the worker's thread");
}

#[test]
fn a_timer_ends_with_its_connection_after_ondisconnect() {
    let host = serve("offloop");
    let mut c = host.open("/");
    c.text("never x");
    assert_eq!(c.ask("hi"), "hi");
    c.close(1000, "");
    let [ended, dropped] = order(&host, ["left; timer false", "dropped x on the worker's thread"]);
    assert!(ended < dropped, "{}", host.log());
    assert_eq!(host.log_lines("of a connection that has ended"), [""; 0]);
}

#[test]
fn a_timer_can_close_its_connection() {
    let host = serve("offloop");
    let mut c = host.open("/");
    c.text("timer-closes");
    assert_eq!(c.closed(), Some((4001, "time is up".to_owned())));
}

#[test]
fn thousands_of_timers_leave_room_for_others() {
    let host = serve("offloop");
    let (mut one, mut other) = (host.open("/"), host.open("/"));
    one.text("many 5000");
    (0..10).for_each(|_| assert_eq!(other.ask("hi"), "hi"));
    assert_eq!(one.next_text(), "all three times");
    one.close(1000, "");
    assert_eq!(other.ask("after x"), "x");
}

#[test]
fn a_panic_in_a_timer_or_in_work_closes_its_connection_with_1011_and_is_logged_with_its_line() {
    let host = serve("offloop");
    let mut neighbour = host.open("/");
    for (command, what) in [
        ("work-panics", "background work failed: panicked: lost at work"),
        ("done-panics", "background work failed: panicked: lost at the end"),
        ("timer-panics", "timer failed: panicked: lost in time"),
    ] {
        let mut c = host.open("/");
        c.text(command);
        assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())), "{command}");
        let line = host.log_line(&format!("plugin `offloop`: {what} ("));
        assert!(line.contains("src/lib.rs:") && line.contains("with 1011"), "{line}");
        assert_eq!(neighbour.ask("after x"), "x");
        assert_eq!(host.log_lines(what).len(), 1, "{command}");
    }
}

#[test]
fn a_panic_without_a_connection_is_only_logged() {
    let host = serve("offloop");
    let mut c = host.open("/");
    for (command, what) in [
        ("free-work-panics", "background work failed: panicked: nobody's work"),
        ("free-timer-panics", "timer failed: panicked: nobody's time"),
        ("drop-panics", "timer: its data cannot be freed: panicked: lost in a drop"),
    ] {
        c.text(command);
        let line = host.log_line(&format!("plugin `offloop`: {what} ("));
        assert!(line.contains("src/lib.rs:"), "{line}");
        assert_eq!(c.ask("hi"), "hi");
    }
}

#[test]
fn a_panic_in_the_drop_of_a_done_callback_after_panicked_work_affects_nothing_else() {
    let host = serve("offloop");
    let mut neighbour = host.open("/");
    let mut c = host.open("/");
    c.text("work-and-drop-panic");
    assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
    host.log_line("plugin `offloop`: background work failed: panicked: lost at work (");
    host.log_line("background work: its data cannot be freed: panicked: lost in a drop (");
    assert_eq!(neighbour.ask("hi"), "hi");
}

#[test]
fn a_panic_in_work_for_a_closed_connection_is_logged() {
    let host = serve("offloop");
    let (mut one, mut other) = (host.open("/"), host.open("/"));
    one.text("wait-panics");
    host.log_line("taken");
    // A later job has run, so this one has started.
    assert_eq!(one.ask("elsewhere"), "false NoHost");
    one.close(1000, "");
    host.log_line("left;");
    other.text("permit 1");
    host.log_line("background work panicked: lost alone (");
    assert_eq!(other.ask("hi"), "hi");
}

#[test]
fn timers_and_work_may_begin_at_load() {
    let host = serve("offloop");
    host.log_line("a timer from onload");
    host.log_line("work from onload: 42");
}

#[test]
fn a_drain_runs_the_work_that_ondisconnect_starts_and_frees_all_timers() {
    let mut host = serve("offloop");
    let mut c = host.open("/");
    ["save", "never mine", "keep ours"].into_iter().for_each(|command| c.text(command));
    assert_eq!(c.ask("hi"), "hi");
    host.ask_to_stop();
    assert_eq!(c.closed().map(|(code, _)| code), Some(1001));
    assert!(host.ended().success());
    order(&host, ["saved", "dropped mine on the worker's thread", "dropped ours on the worker's thread"]);
    assert_eq!(host.log_lines("elsewhere"), [""; 0]);
}

#[test]
fn the_server_does_not_wait_for_endless_work_beyond_the_drain_timeout() {
    // Without workers, because no parent would end the process if it did not exit by itself.
    let mut host = Host::serve("offloop", &["--workers", "0", "--drain-timeout", "100ms"]);
    let mut c = host.open("/");
    c.text("wait for ever");
    host.log_line("begun for ever");
    host.ask_to_stop();
    assert_eq!(c.closed().map(|(code, _)| code), Some(1001));
    assert!(host.ended().success());
    assert_eq!(host.log_lines("dropped for ever"), [""; 0]);
}
