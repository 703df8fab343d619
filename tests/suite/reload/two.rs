//! Two plugins that are reloaded together, with connections that have handlers of both.

use super::*;

/// A server of `reload` and `other`; ondisconnect belongs to `other`.
fn serve(first: &[&str], other: &[&str]) -> Reloading {
    let other = variant("1", &[&["-DOTHER_NAME"], other].concat());
    let route = "/=reload:join,reload:message,other:leave";
    Reloading::serve(&variant("1", first), &[path(&other), "--workers", "1", "--route", route])
}

#[test]
fn a_connection_of_two_plugins_runs_ondisconnect_and_onconnect_once() {
    let reloading = serve(&[], &[]);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    assert_eq!(client.next_text(), "join 2");
    assert_eq!(client.ask("get"), "2 nothing");
    client.close(1000, "");
    reloading.host.log_line("left with 1000");
    assert_eq!(reloading.host.log_lines("left with 0").len(), 1, "{}", reloading.host.log());
    assert_eq!(reloading.host.log_lines("left with").len(), 2);
}

/// The state is carried over no matter which plugin saved it, and no callback runs.
#[test]
fn state_carried_over_by_one_of_two_plugins_is_not_dropped_by_the_other() {
    let reloading = serve(&["-DHOOKS"], &[]);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    reloading.reload_with(&variant("2", &["-DHOOKS"])).expect("the reload is accepted");
    assert_eq!(client.ask("get"), "2 ann v0");
    reloading.host.log_line("reloaded reload: generation 2");
    assert!(reloading.host.log_lines("left with").is_empty(), "{}", reloading.host.log());
}

#[test]
fn a_reload_in_which_two_plugins_save_the_same_state_changes_nothing() {
    let reloading = serve(&["-DHOOKS"], &["-DHOOKS", "-DGREEDY"]);
    let mut client = clients(&reloading, 1).remove(0);
    assert_eq!(client.ask("set ann"), "set");
    reloading.put(&variant("2", &["-DHOOKS"]));
    let reason = reloading.reload_again().expect_err("the reload must be rejected");
    assert!(reason.contains("plugins `reload` and `other` have both saved what is in it"), "{reason}");
    assert_eq!(client.ask("get"), "1 ann");
    // Each new generation frees what it saved.
    reloading.host.log_has(": released ann v0", 2);
}

/// A worker that is restarted loads the parent's copies and does not need the original files.
#[test]
fn only_a_reload_needs_the_original_libraries() {
    let other = c_plugin_with("reload.c", &["-DGENERATION=\"0\"", "-DOTHER_NAME"]);
    let second = scratch("second.so");
    fs::copy(other, &second).expect("the library was built");
    let route = "/=reload:join,reload:message,reload:leave";
    let reloading =
        Reloading::serve(&variant("1", &[]), &[path(&second), "--workers", "1", "--route", route]);
    for library in [&second, &reloading.library] {
        fs::remove_file(library).expect("the path exists");
    }
    reloading.host.workers().remove(0).signal(Signal::KILL);
    reloading.host.log_line("starting another");
    assert_eq!(reloading.host.open("/").next_text(), "join 1");
}
