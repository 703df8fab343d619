//! Work off the loop and timers: what runs beside what, what ends with what, and what a failure costs. The
//! plugin `offloop` has its work wait for permits, so nothing here depends on how long anything takes.

use crate::support::{Host, TEXT, WebSocket, frame};

/// Jobs that the host does at once, and that it takes in all.
const THREADS: usize = 16;
const MAX_JOBS: usize = 1024;

fn serve(plugin: &str) -> Host {
    Host::serve(plugin, &["--workers", "1"])
}

/// Sends texts so that the server reads them at once.
fn together(c: &mut WebSocket, texts: &[&str]) {
    c.send_raw(texts.iter().flat_map(|text| frame(TEXT, text.as_bytes())).collect::<Vec<_>>());
}

/// Line numbers of the log, of the first lines with these texts.
fn order<const N: usize>(host: &Host, texts: [&str; N]) -> [usize; N] {
    texts.iter().for_each(|text| _ = host.log_line(text));
    let log = host.log();
    texts.map(|text| log.lines().position(|line| line.contains(text)).expect("it was there"))
}

#[test]
fn a_callback_that_blocks_holds_up_what_comes_after_it() {
    let host = serve("slow");
    let mut c = host.open("/");
    together(&mut c, &["/block 50", "hi"]);
    assert_eq!(c.next_text(), "blocked 50 ms");
    assert_eq!(c.next_text(), "hi");
}

#[test]
fn work_off_the_loop_holds_up_nobody_and_its_answer_comes_later() {
    let host = serve("slow");
    let mut c = host.open("/");
    together(&mut c, &["/work 50", "hi"]);
    assert_eq!(c.next_text(), "hi");
    assert_eq!(c.next_text(), "worked 50 ms");
}

#[test]
fn a_ticking_timer_runs_until_it_is_stopped_and_counts_anew_when_it_is_set_again() {
    let host = serve("slow");
    let mut c = host.open("/");
    assert_eq!(c.ask("/tick 5"), "tick 1");
    assert_eq!(c.next_text(), "tick 2");
    assert_eq!(c.next_text(), "tick 3");
    together(&mut c, &["/stop", "stopped"]);
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
fn results_come_in_the_order_in_which_work_ends() {
    let host = serve("offloop");
    let mut c = host.open("/");
    c.text("wait long");
    // Work that is over at once. On its thread there are no timers, and no pool.
    assert_eq!(c.ask("elsewhere"), "false NoHost");
    assert_eq!(c.ask("permit 1"), "long");
}

#[test]
fn a_result_for_a_connection_that_has_left_is_dropped_on_the_workers_thread() {
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
fn work_that_waits_for_a_connection_that_has_left_is_not_done() {
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
fn more_work_than_may_wait_is_refused_and_the_rest_is_done() {
    let host = serve("offloop");
    host.log_line("work from onload: 42"); // which would count
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
    // Another timer's turn, and nothing before it.
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
    let [left, dropped] = order(&host, ["left; timer false", "dropped x on the worker's thread"]);
    assert!(left < dropped, "{}", host.log());
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
fn a_panic_in_any_of_it_closes_that_connection_with_1011_and_is_logged_with_its_place() {
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
fn a_panic_for_no_connection_is_only_logged() {
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
fn a_panic_in_the_drop_of_what_was_to_come_after_work_that_panicked_ends_nothing_else() {
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
fn a_panic_at_work_for_a_connection_that_has_left_is_logged_too() {
    let host = serve("offloop");
    let (mut one, mut other) = (host.open("/"), host.open("/"));
    one.text("wait-panics");
    host.log_line("taken");
    // It has begun when something that came later has.
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
fn a_stop_does_the_work_that_ondisconnect_hands_over_and_frees_all_timers() {
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
fn work_that_does_not_end_is_not_waited_for_beyond_the_drain_timeout() {
    // Alone: there is no parent to end it if it does not end by itself.
    let mut host = Host::serve("offloop", &["--workers", "0", "--drain-timeout", "100ms"]);
    let mut c = host.open("/");
    c.text("wait for ever");
    host.log_line("begun for ever");
    host.ask_to_stop();
    assert_eq!(c.closed().map(|(code, _)| code), Some(1001));
    assert!(!host.ended().success());
    assert_eq!(host.log_lines("dropped for ever"), [""; 0]);
}
