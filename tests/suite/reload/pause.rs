//! How long the clients of one worker wait for the other worker in a reload.

use super::*;

/// Longest wait of a client for another worker. The other worker needs three seconds.
const SHORT: Duration = Duration::from_millis(2200);

/// A server of two workers, and a client of each.
fn serve() -> (Reloading, [WebSocket; 2]) {
    let reloading = Reloading::serve_c(&[]);
    workers(&reloading);
    let mut of_worker = [None, None];
    while of_worker.iter().any(Option::is_none) {
        let mut client = reloading.host.open("/");
        assert_eq!(client.next_text(), "join 1");
        let index = usize::from(client.ask("where") == "worker 1");
        of_worker[index] = Some(client);
    }
    (reloading, of_worker.map(|client| client.expect("the loop ends when there are two")))
}

/// The longest time that the client waits for an answer, as long as `goes_on`.
fn longest_wait(client: &mut WebSocket, goes_on: impl Fn() -> bool) -> Duration {
    let mut longest = Duration::ZERO;
    while goes_on() {
        let asked = Instant::now();
        client.ask("who");
        longest = longest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(1)); // not more messages than the worker can log or answer
    }
    longest
}

/// Worker 0 has loaded the new code before worker 1 has, and is in a callback when worker 1 is ready.
#[test]
fn a_long_callback_stops_no_client_of_another_worker() {
    let (reloading, [mut first, mut second]) = serve();
    let gate = Gate::new("callback");
    reloading.put(&variant("2", &[&gate.define()]));
    thread::scope(|scope| {
        let reload = scope.spawn(|| reloading.reload());
        reloading.host.log_line("2: constructed by callsign: worker 1");
        reloading.host.log_line("2: constructed by callsign: worker 0");
        first.text("nap");
        reloading.host.log_line("1: naps");
        gate.open();
        let longest = longest_wait(&mut second, || !reload.is_finished());
        reload.join().expect("the thread does not panic").expect("the reload is accepted");
        assert!(longest < SHORT, "{longest:?}");
    });
    assert_eq!(first.next_text(), "awake");
    assert_eq!((first.ask("who"), second.ask("who")), ("2".to_owned(), "2".to_owned()));
}

/// The worker pauses between two of them.
#[test]
fn a_worker_with_one_long_callback_after_the_other_delays_no_reload_for_long() {
    const CALLBACKS: usize = 24;
    let (reloading, [mut first, mut second]) = serve();
    reloading.put(&variant("2", &[]));
    // Half a second each: longer than paused workers wait for the last one.
    (0..CALLBACKS).for_each(|_| second.text("doze"));
    assert_eq!(second.next_text(), "awake");
    thread::scope(|scope| {
        let reload = scope.spawn(|| reloading.reload());
        let longest = longest_wait(&mut first, || !reload.is_finished());
        reload.join().expect("the thread does not panic").expect("the reload is accepted");
        assert!(longest < SHORT, "{longest:?}");
    });
    second.text("who");
    let answers: Vec<_> = (1..=CALLBACKS).map(|_| second.next_text()).collect();
    assert_eq!(answers.last().map(String::as_str), Some("2"));
}

#[test]
fn an_onload_hook_that_hangs_on_one_worker_stops_the_other_for_a_second_at_most() {
    let (reloading, [mut first, _second]) = serve();
    reloading.put(&variant("2", &["-DSLOW_IN_WORKER"]));
    thread::scope(|scope| {
        let reload = scope.spawn(|| reloading.reload());
        let longest = longest_wait(&mut first, || !reload.is_finished());
        let reason =
            reload.join().expect("the thread does not panic").expect_err("the reload must be rejected");
        assert!(reason.contains("worker 1 had not run the hooks of the new code within"), "{reason}");
        assert!(longest < SHORT, "{longest:?}");
    });
    assert_eq!(first.ask("who"), "1");
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
}
