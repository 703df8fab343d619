//! What a plugin in C keeps for a connection, over a reload: with hooks, with a version alone, and with neither.

use super::*;

/// A client that has told `note`, past a reload to that variant.
fn carried(old: &[&str], new: &[&str]) -> (Reloading, WebSocket) {
    let reloading = Reloading::serve_c(old);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    reloading.reload_with(&variant("2", new)).expect("nothing is wrong with it");
    (reloading, client)
}

#[test]
fn hooks_carry_it_over_and_the_old_copy_frees_its_own() {
    let (reloading, mut client) =
        carried(&["-DHOOKS", "-DSTATE_VERSION=7"], &["-DHOOKS", "-DSTATE_VERSION=8"]);
    assert_eq!(client.ask("get"), "2 ann v7");
    reloading.host.log_line("1: released ann");
    client.close(1000, "");
    reloading.host.log_line("2: released ann v7");
}

#[test]
fn hooks_carry_over_what_is_the_plugins_and_the_load_hook_sees_it() {
    let (reloading, mut client) = carried(&["-DHOOKS"], &["-DHOOKS"]);
    assert_eq!(client.ask("notes"), "2 1 1");
    assert_eq!(client.ask("set bob"), "set");
    reloading.reload_with(&variant("3", &["-DHOOKS"])).expect("nothing is wrong with it");
    assert_eq!(client.ask("notes"), "3 2 2");
}

#[test]
fn what_a_load_hook_puts_into_connections_is_theirs_only_when_it_was_accepted() {
    let options = ["--workers", "1", "--route", ROUTE];
    let reloading = Reloading::serve(&variant("1", &["-DHOOKS"]), &options);
    let (mut with, mut without) = {
        let mut clients = clients(&reloading, 2);
        (clients.remove(0), clients.remove(0))
    };
    assert_eq!(with.ask("set ann"), "set");
    let refused = variant("2", &["-DHOOKS", "-DEARLY", "-DREFUSE_AT_LAST"]);
    let reason = reloading.reload_with(&refused).expect_err("it refuses");
    assert!(reason.contains("not after all"), "{reason}");
    reloading.host.log_line("2: released early");
    assert_eq!((with.ask("get"), without.ask("get")), ("1 ann".to_owned(), "1 nothing".to_owned()));
    reloading.reload_with(&variant("3", &["-DHOOKS", "-DEARLY"])).expect("it accepts");
    assert_eq!((with.ask("get"), without.ask("get")), ("3 ann v0".to_owned(), "3 early".to_owned()));
    without.close(1000, "");
    reloading.host.log_line("3: released early");
}

#[test]
fn what_an_unload_hook_puts_into_connections_is_freed_by_its_own_copy() {
    let options = ["--workers", "1", "--route", ROUTE];
    let reloading = Reloading::serve(&variant("1", &["-DHOOKS", "-DLATE"]), &options);
    let mut client = clients(&reloading, 1).remove(0);
    reloading.reload_with(&variant("2", &["-DHOOKS"])).expect("nothing is wrong with it");
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
fn without_both_the_connection_sees_the_old_code_end_and_the_new_begin_and_stays_open() {
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
fn a_connection_for_which_nothing_is_kept_notices_nothing() {
    let reloading = Reloading::serve_c(&[]);
    let mut client = clients(&reloading, 1).remove(0);
    reloading.reload_with(&variant("2", &[])).expect("nothing is wrong with it");
    assert_eq!(client.ask("get"), "2 nothing");
    assert!(reloading.host.log_lines("left with").is_empty());
}

#[test]
fn a_save_hook_may_ask_for_a_new_beginning() {
    let reloading = Reloading::serve_c(&["-DHOOKS"]);
    let mut clients = clients(&reloading, 2);
    assert_eq!(clients[0].ask("set restart"), "set");
    assert_eq!(clients[1].ask("set ann"), "set");
    reloading.reload_with(&variant("2", &["-DHOOKS"])).expect("nothing is wrong with it");
    assert_eq!(clients[0].next_text(), "join 2");
    assert_eq!(clients[0].ask("get"), "2 nothing");
    assert_eq!(clients[1].ask("get"), "2 ann v0");
}
