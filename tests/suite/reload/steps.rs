//! What clients, operators and plugins do between and beside the steps of a reload.

use super::*;

/// An onrequest handler binds names for the first time while this worker has already loaded the new
/// generation and the other one has not.
#[test]
fn names_bound_between_load_and_prepare_are_reloaded_too() {
    let reloading = Reloading::serve(&variant("1", &[]), &["--workers", "2", "--route", "/=upgrade"]);
    workers(&reloading);
    for (generation, before) in [("2", "join 1"), ("3", "join 2")] {
        let gate = Gate::new(generation);
        reloading.put(&variant(generation, &[&gate.define()]));
        let mut client = thread::scope(|scope| {
            let reload = scope.spawn(|| reloading.reload());
            reloading.host.log_line(&format!("{generation}: constructed by callsign: worker 1"));
            reloading.host.log_line(&format!("{generation}: constructed by callsign: worker 0"));
            let mut client = reloading.host.open("/");
            assert_eq!(client.next_text(), before);
            gate.open();
            reload.join().expect("the thread does not panic").expect("the reload is accepted");
            client
        });
        assert_eq!(client.ask("who"), generation);
        assert_eq!(reloading.host.open("/").next_text(), format!("join {generation}"));
    }
}

/// The same with a new generation that lacks these names.
#[test]
fn missing_names_bound_between_load_and_prepare_reject_the_reload() {
    let reloading = Reloading::serve(&variant("1", &[]), &["--workers", "2", "--route", "/=upgrade"]);
    workers(&reloading);
    let gate = Gate::new("missing");
    reloading.put(&variant("2", &[&gate.define(), "-DRENAMED"]));
    thread::scope(|scope| {
        let reload = scope.spawn(|| reloading.reload());
        reloading.host.log_line("2: constructed by callsign: worker 1");
        reloading.host.log_line("2: constructed by callsign: worker 0");
        let mut client = reloading.host.open("/");
        assert_eq!(client.next_text(), "join 1");
        gate.open();
        let reason =
            reload.join().expect("the thread does not panic").expect_err("the reload must be rejected");
        assert!(reason.contains("no onmessage handler `message`"), "{reason}");
        assert_eq!(client.ask("who"), "1");
    });
}

/// The workers get the order to pause while they wait in a callback for room in each other's queues.
#[test]
fn broadcasts_beyond_all_queues_delay_no_reload_and_none_is_lost() {
    let options = ["--workers", "2", "--route", ROUTE, "--max-backlog", "256MiB"];
    let reloading = Reloading::serve(&variant("1", &[]), &options);
    workers(&reloading);
    let mut clients = clients(&reloading, 4);
    for generation in ["2", "3", "4"] {
        thread::scope(|scope| {
            for client in &mut clients {
                client.text("flood");
                scope.spawn(|| {
                    for _ in 0..4 * 24 {
                        assert_eq!(client.next_binary().len(), 256 << 10);
                    }
                });
            }
            reloading.reload_with(&variant(generation, &[])).expect("the reload is accepted");
        });
        assert!(clients.iter_mut().all(|client| client.ask("who") == generation));
    }
}

/// The request arrived on a route that existed then; its body arrives after the reload that removed the
/// handler.
#[test]
fn a_request_whose_handler_is_removed_before_its_call_gets_an_error() {
    let (config, library) = (scratch("gone.toml"), scratch("gone.so"));
    let write = |library_of: &Path, route: &str| {
        crate::support::replace(&library, library_of);
        let text = format!("workers = 1\n[plugin.reload]\npath = {library:?}\n[[route]]\n{route}\n");
        fs::write(&config, text).expect("the scratch folder can be written");
    };
    write(&variant("1", &[]), "path = '/page'\nhandler = 'page'");
    let host = Host::start(&["serve", "--config", path(&config)]);
    let mut client = host.connect();
    client.send("POST /page HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read_exact(25), b"HTTP/1.1 100 Continue\r\n\r\n");
    write(&variant("2", &["-DNO_PAGE"]), "path = '/'\nhandler = 'upgrade'");
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded");
    client.send("body");
    let answer = client.read_answer(true);
    assert_eq!((answer.status, answer.text()), (500, "the handler failed\n"));
    host.log_line("has no handler of that name any more, since it was reloaded");
}

/// The server has sent its Close and waits for the client's. ondisconnect still runs once, and sees nothing
/// that the old code has freed.
#[test]
fn a_closing_connection_runs_ondisconnect_once_and_its_data_is_freed_once() {
    let reloading = Reloading::serve_c(&[]);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    client.text("bye");
    assert_eq!(client.peek_close(), 1000);
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    assert_eq!(client.closed(), Some((1000, "bye".to_owned())));
    reloading.host.log_line("2: connection ");
    // The worker lives, and its log is complete.
    let mut guest = reloading.host.open("/");
    assert_eq!(guest.next_text(), "join 2");
    let released = reloading.host.log_lines("released");
    assert!(matches!(&released[..], [line] if line.ends_with("1: released ann")), "{released:?}");
    assert_eq!(reloading.host.log_lines("left with").len(), 1);
}

/// The unload hook runs after the decision. The parent waits for it, but not forever.
#[test]
fn a_worker_that_commits_late_is_accepted_later() {
    let options = ["--workers", "2", "--route", ROUTE, "--reload-timeout", "1s"];
    let reloading = Reloading::serve(&variant("1", &["-DSLOW_UNLOAD"]), &options);
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    reloading.host.log_line("worker 1 has not said that it uses the new code");
    reloading.host.log_has("1: unloaded", 2);
    let end = Instant::now() + Duration::from_secs(10);
    let generations = || find(&reloading.status()["workers"], "generation");
    while generations() != BTreeSet::from(["2".to_owned()]) {
        assert!(Instant::now() < end, "{}", reloading.status());
        thread::sleep(Duration::from_millis(10)); // no event announces this
    }
}

/// The other workers are paused, and must not have to wait for the slow one.
#[test]
fn a_server_that_stops_aborts_the_reload() {
    let reloading = Reloading::serve_c(&[]);
    let mut clients = clients(&reloading, 8);
    reloading.put(&variant("2", &["-DSLOW_IN_WORKER"]));
    thread::scope(|scope| {
        let reload = scope.spawn(|| reloading.reload());
        reloading.host.log_line("2: loaded as generation 2");
        reloading.host.ask_to_stop();
        let reason =
            reload.join().expect("the thread does not panic").expect_err("the reload must be rejected");
        assert!(reason.contains("the server stops"), "{reason}");
        // The slow hook is still running.
        assert!(reloading.host.log_lines("has returned after").is_empty());
    });
    let close = Some((1001, "server is shutting down".to_owned()));
    assert!(clients.drain(..).all(|client| client.closed() == close));
}

#[test]
fn a_load_hook_removes_no_timers_but_its_own() {
    let reloading = Reloading::serve(&variant("1", &["-DTIMER"]), &["--workers", "1", "--route", ROUTE]);
    reloading.reload_with(&variant("2", &["-DREMOVE_TIMERS"])).expect("the reload is accepted");
    reloading.host.log_line("2: removed 0 of others and 1 own");
}

/// A slot of the scoreboard has room for 127 labels.
#[test]
fn rejected_reloads_take_no_room_on_the_scoreboard() {
    let library = variant("1", &[]);
    let config = scratch("board.toml");
    let route = |path: &str, name: &str| format!("[[route]]\npath = '{path}'\nhandler = '{name}'\n");
    let write = |routes: &str| {
        let text = format!("workers = 1\n[plugin.reload]\npath = {library:?}\n{routes}");
        fs::write(&config, text).expect("the scratch folder can be written");
    };
    write(&route("/page", "page"));
    let host = Host::start(&["serve", "--config", path(&config)]);
    // One handler that is not in use yet, and one that does not exist.
    write(&(route("/", "upgrade") + &route("/none", "none")));
    for count in 1..=130 {
        host.process().signal(Signal::HUP);
        host.log_has("SIGHUP: nothing was reloaded: ", count);
    }
    write(&(route("/page", "page") + &route("/", "upgrade") + &route("/hang", "hang")));
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded");
    let mut client = host.connect();
    client.send_request("GET", "/hang", &[], b"");
    let line = host.log_line("has run for");
    assert!(line.contains("onrequest handler `hang`") || line.contains("reload:hang"), "{line}");
}
