//! The state that a plugin in C keeps in a connection, across a reload: with hooks, with a version only, and
//! with neither.

use super::*;

/// A client with the note `ann`, after a reload to this variant.
fn carried(old: &[&str], new: &[&str]) -> (Reloading, WebSocket) {
    let reloading = Reloading::serve_c(old);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    reloading.reload_with(&variant("2", new)).expect("the reload is accepted");
    (reloading, client)
}

#[test]
fn hooks_carry_state_over_and_the_old_generation_frees_its_own() {
    let (reloading, mut client) =
        carried(&["-DHOOKS", "-DSTATE_VERSION=7"], &["-DHOOKS", "-DSTATE_VERSION=8"]);
    assert_eq!(client.ask("get"), "2 ann v7");
    reloading.host.log_line("1: released ann");
    client.close(1000, "");
    reloading.host.log_line("2: released ann v7");
}

#[test]
fn hooks_carry_over_the_plugins_state_and_the_load_hook_sees_it() {
    let (reloading, mut client) = carried(&["-DHOOKS"], &["-DHOOKS"]);
    assert_eq!(client.ask("notes"), "2 1 1");
    assert_eq!(client.ask("set bob"), "set");
    reloading.reload_with(&variant("3", &["-DHOOKS"])).expect("the reload is accepted");
    assert_eq!(client.ask("notes"), "3 2 2");
}

#[test]
fn data_that_a_load_hook_attaches_is_used_only_if_the_reload_is_accepted() {
    let options = ["--workers", "1", "--route", ROUTE];
    let reloading = Reloading::serve(&variant("1", &["-DHOOKS"]), &options);
    let (mut with, mut without) = {
        let mut clients = clients(&reloading, 2);
        (clients.remove(0), clients.remove(0))
    };
    assert_eq!(with.ask("set ann"), "set");
    let rejected = variant("2", &["-DHOOKS", "-DEARLY", "-DREFUSE_AT_LAST"]);
    let reason = reloading.reload_with(&rejected).expect_err("the reload must be rejected");
    assert!(reason.contains("not after all"), "{reason}");
    reloading.host.log_line("2: released early");
    assert_eq!((with.ask("get"), without.ask("get")), ("1 ann".to_owned(), "1 nothing".to_owned()));
    reloading.reload_with(&variant("3", &["-DHOOKS", "-DEARLY"])).expect("the reload is accepted");
    assert_eq!((with.ask("get"), without.ask("get")), ("3 ann v0".to_owned(), "3 early".to_owned()));
    without.close(1000, "");
    reloading.host.log_line("3: released early");
}

#[test]
fn data_that_an_unload_hook_attaches_is_freed_by_its_own_generation() {
    let options = ["--workers", "1", "--route", ROUTE];
    let reloading = Reloading::serve(&variant("1", &["-DHOOKS", "-DLATE"]), &options);
    let mut client = clients(&reloading, 1).remove(0);
    reloading.reload_with(&variant("2", &["-DHOOKS"])).expect("the reload is accepted");
    reloading.host.log_line("1: unloaded");
    assert_eq!(client.ask("get"), "2 nothing");
    reloading.host.log_line("1: released late");
}

#[test]
fn without_hooks_equal_versions_carry_the_pointer_over() {
    let (reloading, mut client) = carried(&["-DSTATE_VERSION=3"], &["-DSTATE_VERSION=3"]);
    assert_eq!(client.ask("get"), "2 ann");
    assert!(reloading.host.log_lines("released").is_empty());
    client.close(1000, "");
    reloading.host.log_line("2: released ann");
}

#[test]
fn without_hooks_and_version_ondisconnect_and_onconnect_run_and_the_connection_stays_open() {
    for (old, new) in [
        (&[][..], &[][..]),
        (&["-DSTATE_VERSION=3"], &["-DSTATE_VERSION=4"]),
        (&["-DHOOKS"], &[]),
        (&[], &["-DHOOKS"]),
    ] {
        let (reloading, mut client) = carried(old, new);
        assert_eq!(client.next_text(), "join 2");
        assert_eq!(client.ask("get"), "2 nothing");
        reloading.host.log_line("left with 0");
        reloading.host.log_line("1: released ann");
        client.close(1000, "");
        reloading.host.log_line("left with 1000");
        assert_eq!(reloading.host.log_lines("left with").len(), 2);
    }
}

#[test]
fn a_connection_without_data_runs_no_callbacks() {
    let reloading = Reloading::serve_c(&[]);
    let mut client = clients(&reloading, 1).remove(0);
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    assert_eq!(client.ask("get"), "2 nothing");
    assert!(reloading.host.log_lines("left with").is_empty());
}

#[test]
fn a_save_hook_may_request_a_restart_of_the_connection() {
    let reloading = Reloading::serve_c(&["-DHOOKS"]);
    let mut clients = clients(&reloading, 2);
    assert_eq!(clients[0].ask("set restart"), "set");
    assert_eq!(clients[1].ask("set ann"), "set");
    reloading.reload_with(&variant("2", &["-DHOOKS"])).expect("the reload is accepted");
    assert_eq!(clients[0].next_text(), "join 2");
    assert_eq!(clients[0].ask("get"), "2 nothing");
    assert_eq!(clients[1].ask("get"), "2 ann v0");
}
