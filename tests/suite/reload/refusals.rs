//! What is refused, and that it changes nothing: every worker keeps its code, every connection stays.

use super::*;

/// The server with eight clients of which none may notice anything.
struct Untouched {
    reloading: Reloading,
    clients: Vec<WebSocket>,
    workers: Vec<u32>,
}

impl Untouched {
    fn new(defines: &[&str]) -> Self {
        Self::of(Reloading::serve_c(defines))
    }

    fn of(reloading: Reloading) -> Self {
        let clients = clients(&reloading, 8);
        let workers = reloading.host.workers().iter().map(|worker| worker.0).collect();
        Self { reloading, clients, workers }
    }

    /// A reload with that library is refused for a reason that has all of `parts` in it.
    fn refuses(&mut self, library: &Path, parts: &[&str]) {
        self.reloading.put(library);
        self.is_refused(parts);
    }

    fn is_refused(&mut self, parts: &[&str]) {
        let reason = self.reloading.reload().expect_err("it has to be refused");
        assert!(reason.starts_with("callsign: not reloaded: "), "{reason}");
        for part in parts {
            assert!(reason.contains(part), "no `{part}` in: {reason}");
        }
        // The operator does not know the copies.
        assert!(!reason.contains("/tmp/callsign-"), "{reason}");
        self.reloading.host.log_line("nothing was reloaded: ");
        self.is_untouched();
    }

    fn is_untouched(&mut self) {
        for client in &mut self.clients {
            assert_eq!(client.ask("who"), "1");
        }
        let workers: Vec<u32> = self.reloading.host.workers().iter().map(|worker| worker.0).collect();
        assert_eq!(workers, self.workers);
        assert!(self.reloading.host.log_lines("left with").is_empty());
        let status = self.reloading.ask("status", &["--json"]).expect("it serves");
        let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
        assert_eq!(find(&status["plugins"], "generation"), BTreeSet::from(["1".to_owned()]), "{status}");
    }

    /// And is as good as before: a good one is taken.
    fn then_takes_a_good_one(mut self, defines: &[&str]) {
        let said = self.reloading.reload_with(&variant("2", defines)).expect("nothing is wrong with it");
        assert!(said.contains("generation 2; 2 workers, 8 connections kept"), "{said}");
        assert!(self.clients.iter_mut().all(|client| client.ask("who") == "2"));
    }
}

#[test]
fn what_is_not_a_library_changes_nothing() {
    let mut server = Untouched::new(&[]);
    let file = scratch("not-a-library");
    for (content, part) in [
        (&b"not a library"[..], "a text file, not a shared library"),
        (b"", "the file is empty"),
        (b"\x7fELF and nothing more", "the file is damaged or cut short"),
    ] {
        fs::write(&file, content).expect("the scratch folder can be written");
        server.refuses(&file, &[part, path(&server.reloading.library.clone())]);
    }
    fs::remove_file(&server.reloading.library).expect("it is there");
    server.is_refused(&["no such file"]);
    server.then_takes_a_good_one(&[]);
}

#[test]
fn another_abi_changes_nothing() {
    let mut server = Untouched::new(&[]);
    let faulty = c_plugin_with("faulty.c", &["-DNAME=\"reload\"", "-DABI_MAJOR=2"]);
    server.refuses(&faulty, &["built for ABI 2.0, this host has ABI 1.0"]);
    server.then_takes_a_good_one(&[]);
}

#[test]
fn a_name_that_a_route_uses_and_is_gone_or_of_another_kind_changes_nothing() {
    let mut server = Untouched::new(&[]);
    server.refuses(
        &variant("2", &["-DRENAMED"]),
        &["no onmessage handler `message`", "did you mean `messages`?", "Fix the name in route `/`"],
    );
    server.refuses(
        &variant("2", &["-DOTHER_KIND"]),
        &["`message` is an onconnect handler, and an onmessage handler is needed here", "route `/`"],
    );
    server.then_takes_a_good_one(&[]);
}

/// No route names it: the handshake of a page's own did.
#[test]
fn a_name_that_only_a_live_connection_uses_is_missed_as_well() {
    let route = ["--workers", "2", "--route", "/=upgrade"];
    let mut server = Untouched::of(Reloading::serve(&variant("1", &[]), &route));
    server.refuses(
        &variant("2", &["-DRENAMED"]),
        &["no onmessage handler `message`", "did you mean `messages`?", "live client", "such as connection "],
    );
    server.refuses(&variant("2", &["-DOTHER_KIND"]), &["is an onconnect handler", "live client"]);
    // When they have left, nobody misses it.
    for client in std::mem::take(&mut server.clients) {
        client.close(1000, "");
    }
    server.reloading.reload().expect("nobody uses the name any more");
}

#[test]
fn a_candidate_that_crashes_or_hangs_while_it_loads_changes_nothing() {
    let mut server = Untouched::of(Reloading::serve(
        &variant("1", &[]),
        &["--workers", "2", "--route", ROUTE, "--reload-timeout", "1s"],
    ));
    server.refuses(
        &variant("2", &["-DCRASH_CONSTRUCTOR"]),
        &["plugin `reload`", "SIGSEGV", "before its onload hook"],
    );
    server.refuses(&variant("2", &["-DCRASH_ONLOAD"]), &["SIGSEGV", "in its onload hook `load`"]);
    server
        .refuses(&variant("2", &["-DHANG_CONSTRUCTOR"]), &["hangs while the library is loaded", "within 1s"]);
    server.refuses(&variant("2", &["-DHANG_ONLOAD"]), &["hangs in its onload hook `load`", "within 1s"]);
    server.then_takes_a_good_one(&[]);
}

#[test]
fn a_load_hook_that_says_no_changes_nothing() {
    let mut server = Untouched::new(&[]);
    server.refuses(&variant("2", &["-DREFUSE"]), &["its onload hook `load` refused the load: not today"]);
    server.refuses(
        &variant("2", &["-DREFUSE_IN_WORKER"]),
        &["worker 1: ", "refused the load: not on worker 1"],
    );
    // More than a message between worker and parent holds.
    server.refuses(&variant("2", &["-DLONG_REASON"]), &["refused the load: \u{fffd}\u{fffd}", "…"]);
    server.then_takes_a_good_one(&[]);
}

#[test]
fn a_worker_that_is_not_ready_in_time_changes_nothing() {
    let mut server = Untouched::of(Reloading::serve(
        &variant("1", &[]),
        &["--workers", "2", "--route", ROUTE, "--reload-timeout", "1s"],
    ));
    server.refuses(
        &variant("2", &["-DSLOW_IN_WORKER"]),
        &["worker 1 was not ready within 1s (--reload-timeout)", "onload hook `load`"],
    );
    // It forgets what it has loaded as soon as the hook returns.
    server.reloading.host.log_line("onload hook `load` has returned after");
    server.is_untouched();
    server.then_takes_a_good_one(&[]);
}

#[test]
fn a_worker_that_dies_meanwhile_changes_nothing_for_the_others() {
    let reloading = Reloading::serve_c(&[]);
    let mut clients = clients(&reloading, 8);
    reloading.put(&variant("2", &["-DCRASH_IN_WORKER"]));
    let reason = reloading.reload().expect_err("it has to be refused");
    assert!(reason.contains("worker 1 died meanwhile"), "{reason}");
    reloading.host.log_line("worker 1 (process ");
    // Its code is in no file of the operator's any more, but can still be read.
    reloading.host.log_line("  load at ");
    // Those of the other worker are there, with the old code.
    clients.retain_mut(|client| {
        client.text("who");
        client.try_next_text().is_some_and(|text| text == "1")
    });
    assert!(!clients.is_empty(), "the other worker has clients");
    let said = reloading.reload_with(&variant("2", &[])).expect("nothing is wrong with it");
    assert!(said.contains("generation 2; 2 workers"), "{said}");
}

#[test]
fn a_plugin_that_changes_its_name_changes_nothing() {
    let mut server = Untouched::new(&[]);
    server
        .refuses(&variant("2", &["-DOTHER_NAME"]), &["calls itself `other` now, and was loaded as `reload`"]);
    let reason = server.reloading.ask("reload", &["relaod"]).expect_err("there is no such plugin");
    assert!(reason.contains("no plugin `relaod` is loaded; did you mean `reload`?"), "{reason}");
    server.then_takes_a_good_one(&[]);
}

#[test]
fn a_state_that_cannot_be_saved_or_restored_changes_nothing() {
    let mut server = Untouched::new(&["-DHOOKS"]);
    assert_eq!(server.clients[2].ask("set mine"), "set");
    for (note, parts) in [
        ("unsavable", ["connection ", "its state cannot be saved: this note is not for saving"]),
        ("unrestorable", ["connection ", "its state cannot be restored: field `text`: not a note"]),
    ] {
        assert_eq!(server.clients[5].ask(&format!("set {note}")), "set");
        server.refuses(&variant("2", &["-DHOOKS"]), &parts);
        assert_eq!(server.clients[5].ask("get"), format!("1 {note}"));
        assert_eq!(server.clients[2].ask("get"), "1 mine");
    }
    // What the refused copies have made is freed by them, and the rest is where it was.
    assert!(server.reloading.host.log_lines("1: released").is_empty());
    assert_eq!(server.clients[5].ask("set fine"), "set");
    assert_eq!(server.clients[2].ask("get"), "1 mine");
    server.then_takes_a_good_one(&["-DHOOKS"]);
}
