//! Two plugins that are reloaded together, with connections that have handlers of both.

use super::*;

/// A server of `reload` and `other`: a client's last callback is the other's.
fn serve(first: &[&str], other: &[&str]) -> Reloading {
    let other = variant("1", &[&["-DOTHER_NAME"], other].concat());
    let route = "/=reload:join,reload:message,other:leave";
    Reloading::serve(&variant("1", first), &[path(&other), "--workers", "1", "--route", route])
}

#[test]
fn a_connection_of_two_plugins_leaves_once_and_comes_once() {
    let reloading = serve(&[], &[]);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    reloading.reload_with(&variant("2", &[])).expect("nothing is wrong with it");
    assert_eq!(client.next_text(), "join 2");
    assert_eq!(client.ask("get"), "2 nothing");
    client.close(1000, "");
    reloading.host.log_line("left with 1000");
    assert_eq!(reloading.host.log_lines("left with 0").len(), 1, "{}", reloading.host.log());
    assert_eq!(reloading.host.log_lines("left with").len(), 2);
}

/// Whoever has saved it, it is carried over, and nobody begins anew.
#[test]
fn what_one_of_two_plugins_carries_over_is_not_the_others_to_drop() {
    let reloading = serve(&["-DHOOKS"], &[]);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    reloading.reload_with(&variant("2", &["-DHOOKS"])).expect("nothing is wrong with it");
    assert_eq!(client.ask("get"), "2 ann v0");
    reloading.host.log_line("reloaded reload: generation 2");
    assert!(reloading.host.log_lines("left with").is_empty(), "{}", reloading.host.log());
}

#[test]
fn two_plugins_that_both_save_what_is_in_a_connection_change_nothing() {
    let reloading = serve(&["-DHOOKS"], &["-DHOOKS", "-DGREEDY"]);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    let reason = reloading.reload_with(&variant("2", &["-DHOOKS"])).expect_err("it has to be refused");
    assert!(reason.contains("plugins `reload` and `other` have both saved what is in it"), "{reason}");
    assert_eq!(client.ask("get"), "1 ann");
    // What both copies have made is freed, each by its own.
    reloading.host.log_has(": released ann v0", 2);
}

/// A worker that dies then starts from the copies, and needs nothing else.
#[test]
fn nobody_needs_the_libraries_but_a_reload() {
    let other = c_plugin_with("reload.c", &["-DGENERATION=\"0\"", "-DOTHER_NAME"]);
    let second = scratch("second.so");
    fs::copy(other, &second).expect("it is built");
    let reloading =
        Reloading::serve(&variant("1", &[]), &[path(&second), "--workers", "1", "--route", ROUTE]);
    for library in [&second, &reloading.library] {
        fs::remove_file(library).expect("it is there");
    }
    reloading.host.workers().remove(0).signal(Signal::KILL);
    reloading.host.log_line("starting another");
    assert_eq!(reloading.host.open("/").next_text(), "join 1");
}
