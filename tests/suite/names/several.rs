//! Names with several plugins in one server: a name that more than one plugin has must say which one it means.

use super::{both, left, refusal, right};
use crate::support::{Host, c_plugin_with, path, plugin, run};

/// The error of a server with `left` and `right` that must not start.
fn refusal_of_both(route: &str) -> String {
    let (left, right) = (left(), right());
    refusal(&["serve", path(&left), path(&right), "--route", route])
}

#[test]
fn a_name_in_a_route_is_found_in_any_plugin_if_only_one_has_it() {
    let host = both(&["/other=,only_right,"]);
    assert_eq!(host.open("/other").ask(""), "who of right");
    // Each of these names is in one plugin, and they are in the same one.
    let (left, probe) = (left(), plugin("test-probe"));
    let host = Host::start(&["serve", path(&left), path(&probe), "--route", "/=,message,leave"]);
    assert_eq!(host.open("/").ask("x"), "x");
}

#[test]
fn a_name_that_several_plugins_have_must_say_which() {
    assert_eq!(
        refusal_of_both("/=join,who,"),
        "callsign: several plugins have an onconnect handler `join`: `left`, `right`; write `left:join` or \
         `right:join`. Fix the name in route `/` (--route '/=join,who,'), or load only one of the plugins\n"
    );
    let error = refusal_of_both("/=ask");
    assert!(
        error.contains("several plugins have an onrequest handler `ask`: `left`, `right`; write"),
        "{error}"
    );
    // A qualified name beside it does not say which plugin the other one is of.
    let error = refusal_of_both("/=left:join,who,");
    assert!(error.contains("several plugins have an onmessage handler `who`"), "{error}");

    let host = both(&["/=left:join,left:who,", "/mixed=right:join,left:who,"]);
    let mut c = host.open("/mixed");
    assert_eq!((c.next_text(), c.ask("")), ("join of right".to_owned(), "who of left".to_owned()));
}

#[test]
fn a_handshake_for_a_name_that_several_other_plugins_have_fails_with_all_of_them() {
    let (left, right, probe) = (left(), right(), plugin("test-probe"));
    let host = Host::start(&["serve", path(&probe), path(&left), path(&right), "--route", "/=bind"]);
    assert_eq!(host.connect().handshake("/?message=who", &[]).status, 500);
    host.log_line(
        "its handshake: several plugins have an onmessage handler `who`: `left`, `right`; write `left:who` or \
         `right:who` (500 for GET /",
    );
    assert_eq!(host.open("/?message=right:who").ask(""), "who of right");
    // The plugin's own handler comes first.
    assert_eq!(host.open("/?connect=join&message=message").next_text(), "id 2");
}

#[test]
fn the_names_of_one_route_are_of_one_plugin_unless_they_say_which() {
    let (left, probe, echo) = (left(), plugin("test-probe"), plugin("echo"));
    let error = refusal(&["serve", path(&left), path(&probe), "--route", "/=,who,leave"]);
    assert!(
        error.ends_with(
            "callsign: `who` is in plugin `left` and `leave` in plugin `probe`, and the names of one route must be of one \
             plugin, unless they say which: write `left:who` and `probe:leave`. Fix the name in route `/` (--route \
             '/=,who,leave'), or name handlers of one plugin\n"
        ),
        "{error}"
    );
    let route = "/=,left:who,leave";
    let host = Host::start(&["serve", path(&left), path(&probe), "--route", route]);
    assert_eq!(host.open("/").ask(""), "who of left");

    // Without routes the rule is the same.
    let plain = c_plugin_with("convention.c", &["-DNO_ONMESSAGE", "-DNAME=\"plain\""]);
    let error = refusal(&["serve", path(&plain), path(&echo)]);
    assert!(error.contains("`onconnect` is in plugin `plain` and `onmessage` in plugin `echo`"), "{error}");
    assert!(
        error.contains("name the handlers of each path in a route: --route '/*=PLUGIN:ONREQUEST' or"),
        "{error}"
    );
    let error = refusal(&["serve", path(&plugin("chat")), path(&plugin("web"))]);
    assert!(
        error.contains("several plugins have an onrequest handler `onrequest`: `chat`, `web`;"),
        "{error}"
    );
}

#[test]
fn a_plugin_whose_onrequest_no_route_reaches_is_warned_about() {
    let (chat, web) = (plugin("chat"), plugin("web"));
    let warning = "plugin `web`: no route reaches its onrequest handler `onrequest`; name it in a route, such as \
                   --route '/web/*=web:onrequest'";
    let all = [path(&chat), path(&web), "--route", "/*=chat:onrequest"];
    for workers in ["0", "2"] {
        let host = Host::start(&[&["serve", "--workers", workers], &all[..]].concat());
        let line = host.log_line("no route reaches");
        assert!(line.ends_with(warning) && line.contains(" WARN "), "{line}");
        assert_eq!(host.open("/").next_text().split('-').next(), Some("* you are guest"));
        assert_eq!(host.log_lines("no route reaches").len(), 1, "{}", host.log());
    }
    let (code, stdout, stderr) = run(&[&["check"], &all[..]].concat());
    assert_eq!((code, stderr), (0, format!("callsign: warning: {warning}\n")));
    assert!(stdout.contains("\ngood: 2 plugins"), "{stdout}");
    // Without routes `check` does not know them, and one plugin may have handlers that no route names.
    let two = [path(&chat), path(&web), "--route", "/*=chat:onrequest", "--route", "/web/*=web:onrequest"];
    for args in [&all[..2], &[path(&chat), "--route", "/=join,message,leave"], &two] {
        let (code, _, stderr) = run(&[&["check"], args].concat());
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
    }
}
