//! Rejected reloads change nothing: every worker keeps its code, every connection stays.

use super::*;

/// A server with eight clients, none of which may notice the rejected reload.
struct Untouched {
    reloading: Reloading,
    clients: Vec<WebSocket>,
    workers: Vec<Process>,
}

impl Untouched {
    fn new(defines: &[&str]) -> Self {
        Self::of(Reloading::serve_c(defines))
    }

    fn of(reloading: Reloading) -> Self {
        let clients = clients(&reloading, 8);
        let workers = workers(&reloading);
        Self { reloading, clients, workers }
    }

    /// Reloads with this library. The reload must be rejected with a reason that contains all of `parts`.
    fn assert_rejected(&mut self, library: &Path, parts: &[&str]) {
        self.reloading.put(library);
        self.assert_reload_rejected(parts);
    }

    fn assert_reload_rejected(&mut self, parts: &[&str]) {
        let reason = self.reloading.reload().expect_err("the reload must be rejected");
        assert!(reason.starts_with("callsign: not reloaded: "), "{reason}");
        for part in parts {
            assert!(reason.contains(part), "no `{part}` in: {reason}");
        }
        // The message names the operator's file, not the parent's copy.
        assert!(!reason.contains("/tmp/callsign-"), "{reason}");
        self.reloading.host.log_line("nothing was reloaded: ");
        self.assert_untouched();
    }

    fn assert_untouched(&mut self) {
        for client in &mut self.clients {
            assert_eq!(client.ask("who"), "1");
        }
        assert_eq!(self.reloading.host.workers(), self.workers);
        assert!(self.reloading.host.log_lines("left with").is_empty());
        let status = self.reloading.status();
        assert_eq!(find(&status["plugins"], "generation"), BTreeSet::from(["1".to_owned()]), "{status}");
    }

    /// The server is as good as before: it accepts a good library.
    fn assert_accepts_a_good_one(mut self, defines: &[&str]) {
        let said = self.reloading.reload_with(&variant("2", defines)).expect("the reload is accepted");
        assert!(said.contains("generation 2; 2 workers, 8 connections kept"), "{said}");
        assert!(self.clients.iter_mut().all(|client| client.ask("who") == "2"));
    }
}

#[test]
fn a_file_that_is_no_library_changes_nothing() {
    let mut server = Untouched::new(&[]);
    let file = scratch("not-a-library");
    for (content, part) in [
        (&b"not a library"[..], "a text file, not a shared library"),
        (b"", "the file is empty"),
        (b"\x7fELF and nothing more", "the file is damaged or cut short"),
    ] {
        fs::write(&file, content).expect("the scratch folder can be written");
        server.assert_rejected(&file, &[part, path(&server.reloading.library.clone())]);
    }
    fs::remove_file(&server.reloading.library).expect("the path exists");
    server.assert_reload_rejected(&["no such file"]);
    server.assert_accepts_a_good_one(&[]);
}

#[test]
fn another_abi_changes_nothing() {
    let mut server = Untouched::new(&[]);
    let faulty = c_plugin_with("faulty.c", &["-DNAME=\"reload\"", "-DABI_MAJOR=2"]);
    server.assert_rejected(&faulty, &["built for ABI 2.0, this host has ABI 1.1"]);
    server.assert_accepts_a_good_one(&[]);
}

#[test]
fn a_missing_or_mismatched_handler_of_a_route_changes_nothing() {
    let mut server = Untouched::new(&[]);
    server.assert_rejected(
        &variant("2", &["-DRENAMED"]),
        &["no onmessage handler `message`", "did you mean `messages`?", "Fix the name in route `/`"],
    );
    server.assert_rejected(
        &variant("2", &["-DOTHER_KIND"]),
        &["`message` is an onconnect handler, and an onmessage handler is needed here", "route `/`"],
    );
    server.assert_accepts_a_good_one(&[]);
}

/// No route names this handler; a handshake by the onrequest handler did.
#[test]
fn a_missing_handler_of_a_live_connection_changes_nothing() {
    let route = ["--workers", "2", "--route", "/=upgrade"];
    let mut server = Untouched::of(Reloading::serve(&variant("1", &[]), &route));
    server.assert_rejected(
        &variant("2", &["-DRENAMED"]),
        &["no onmessage handler `message`", "did you mean `messages`?", "live client", "such as connection "],
    );
    server.assert_rejected(&variant("2", &["-DOTHER_KIND"]), &["is an onconnect handler", "live client"]);
    // After these clients have disconnected, nothing needs the missing handler.
    for client in std::mem::take(&mut server.clients) {
        client.close(1000, "");
    }
    server.reloading.reload().expect("the reload is accepted");
}

#[test]
fn a_candidate_that_crashes_or_hangs_while_it_loads_changes_nothing() {
    let mut server = Untouched::of(Reloading::serve(
        &variant("1", &[]),
        &["--workers", "2", "--route", ROUTE, "--reload-timeout", "1s"],
    ));
    server.assert_rejected(
        &variant("2", &["-DCRASH_CONSTRUCTOR"]),
        &["plugin `reload`", "SIGSEGV", "before its onload hook"],
    );
    server.assert_rejected(&variant("2", &["-DCRASH_ONLOAD"]), &["SIGSEGV", "in its onload hook `load`"]);
    server.assert_rejected(
        &variant("2", &["-DHANG_CONSTRUCTOR"]),
        &["hangs while the library is loaded", "within 1s"],
    );
    server.assert_rejected(
        &variant("2", &["-DHANG_ONLOAD"]),
        &["hangs in its onload hook `load`", "within 1s"],
    );
    server.assert_accepts_a_good_one(&[]);
}

#[test]
fn a_load_hook_that_refuses_changes_nothing() {
    let mut server = Untouched::new(&[]);
    server.assert_rejected(
        &variant("2", &["-DREFUSE"]),
        &["its onload hook `load` refused the load: not today"],
    );
    server.assert_rejected(
        &variant("2", &["-DREFUSE_IN_WORKER"]),
        &["worker 1: ", "refused the load: not on worker 1"],
    );
    // Longer than a message between worker and parent may be.
    server.assert_rejected(&variant("2", &["-DLONG_REASON"]), &["refused the load: \u{fffd}\u{fffd}", "…"]);
    server.assert_accepts_a_good_one(&[]);
}

#[test]
fn a_worker_that_is_not_ready_in_time_changes_nothing() {
    let mut server = Untouched::of(Reloading::serve(
        &variant("1", &[]),
        &["--workers", "2", "--route", ROUTE, "--reload-timeout", "1s"],
    ));
    server.assert_rejected(
        &variant("2", &["-DSLOW_IN_WORKER"]),
        &[
            "worker 1 had not run the hooks of the new code within",
            "waited for it; it is in plugin `reload` (generation 2): onload hook `load`",
        ],
    );
    // The worker drops the rejected generation as soon as its hook returns.
    server.reloading.host.log_line("onload hook `load` has returned after");
    server.assert_untouched();
    server.assert_accepts_a_good_one(&[]);
}

#[test]
fn a_worker_that_dies_during_the_reload_changes_nothing_for_the_others() {
    let reloading = Reloading::serve_c(&[]);
    let mut clients = clients(&reloading, 8);
    reloading.put(&variant("2", &["-DCRASH_IN_WORKER"]));
    let reason = reloading.reload().expect_err("the reload must be rejected");
    assert!(reason.contains("worker 1 died meanwhile"), "{reason}");
    reloading.host.log_line("worker 1 (process ");
    // The operator's file no longer contains this code, but the parent's copy does.
    reloading.host.log_line("  load at ");
    // The clients of the other worker are connected, and the old code answers them.
    clients.retain_mut(|client| {
        client.text("who");
        client.try_next_text().is_some_and(|text| text == "1")
    });
    assert!(!clients.is_empty(), "the other worker has clients");
    let said = reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    assert!(said.contains("generation 2; 2 workers"), "{said}");
}

#[test]
fn a_plugin_that_changes_its_name_changes_nothing() {
    let mut server = Untouched::new(&[]);
    server.assert_rejected(
        &variant("2", &["-DOTHER_NAME"]),
        &["calls itself `other` now, and was loaded as `reload`"],
    );
    let reason = server.reloading.ask("reload", &["relaod"]).expect_err("an unknown plugin must be rejected");
    assert!(reason.contains("no plugin `relaod` is loaded; did you mean `reload`?"), "{reason}");
    server.assert_accepts_a_good_one(&[]);
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
        server.assert_rejected(&variant("2", &["-DHOOKS"]), &parts);
        assert_eq!(server.clients[5].ask("get"), format!("1 {note}"));
        assert_eq!(server.clients[2].ask("get"), "1 mine");
    }
    // The rejected generations free what they restored; the old generation keeps its states.
    assert!(server.reloading.host.log_lines("1: released").is_empty());
    assert_eq!(server.clients[5].ask("set fine"), "set");
    assert_eq!(server.clients[2].ask("get"), "1 mine");
    server.assert_accepts_a_good_one(&["-DHOOKS"]);
}
