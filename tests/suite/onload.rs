//! The key `onload` in a config file: it selects one of several hooks, and passes a plain function to the
//! hook or makes it the hook.

use std::fs;

use crate::support::{Host, c_plugin_with, path, run, scratch};

/// A config file for the plugin built with `hooks` load hooks; `onload` is the configured function.
fn config(hooks: u32, onload: Option<&str>) -> String {
    let library = c_plugin_with("onload.c", &[&format!("-DHOOKS={hooks}")]);
    let onload = onload.map(|name| format!("onload = {name:?}\n"));
    let text = format!(
        "[plugin.mine]\npath = {library:?}\n{}[plugin.mine.config]\na = 1\n\
         [[route]]\npath = '/*'\nonconnect = 'greet'\n",
        onload.as_deref().unwrap_or_default()
    );
    let name = onload.as_deref().unwrap_or_default();
    let file = scratch(&format!("{hooks}-{}.toml", name.replace(|c: char| !c.is_alphabetic(), "_")));
    fs::write(&file, text).expect("the scratch folder can be written");
    path(&file).to_owned()
}

/// The log lines of the load hooks, from a server that starts.
fn log_lines(hooks: u32, onload: Option<&str>) -> Vec<String> {
    let mut host = Host::start(&["serve", "--config", &config(hooks, onload)]);
    assert_eq!(host.open("/").next_text(), "welcome");
    host.terminate();
    let lines = host.log_lines("plugin `mine`: ");
    lines.iter().filter_map(|line| Some(line.split_once("plugin `mine`: ")?.1.to_owned())).collect()
}

/// The error of a server that does not start.
fn refused(hooks: u32, onload: Option<&str>) -> String {
    let (code, _, stderr) = run(&["serve", "--listen", "127.0.0.1:0", "--config", &config(hooks, onload)]);
    assert_eq!(code, 1, "{stderr}");
    let reason = stderr.trim_end().split_once(".so): ");
    reason.unwrap_or_else(|| panic!("it does not say which library: {stderr}")).1.to_owned()
}

#[test]
fn a_plain_function_is_the_hook_of_a_library_that_has_none() {
    assert_eq!(log_lines(0, None), [""; 0], "plain functions are not found by kind");
    assert_eq!(log_lines(0, Some("init")), ["init of mine with {\"a\":1}"]);
}

#[test]
fn a_plain_function_is_passed_to_the_existing_hook() {
    assert_eq!(log_lines(1, None), ["first without a function"]);
    assert_eq!(log_lines(1, Some("init")), ["first with a function", "init with 42"]);
    let refused = refused(1, Some("refuses"));
    let (reason, place) = refused.split_once(" (its config: ").expect("the place of the config");
    assert_eq!(reason, "its onload hook `first` refused the load: not today");
    assert!(place.ends_with(".toml:4:1)"), "{refused}");
}

#[test]
fn one_of_several_hooks_must_be_named() {
    assert_eq!(log_lines(2, Some("first")), ["first without a function"]);
    assert_eq!(log_lines(2, Some("second")), ["second"]);
    let two = "it has two onload hooks, `first` and `second`; keep one, or name the one that is meant: \
               `onload` in [plugin.mine]";
    assert_eq!(refused(2, None), two);
    assert_eq!(refused(2, Some("init")), two);
}

#[test]
fn a_name_that_is_no_hook_is_refused_with_the_nearest_one() {
    assert_eq!(
        refused(0, Some("inti")),
        "`onload` in [plugin.mine] names `inti`, and there is no such function; did you mean `init`?"
    );
    assert_eq!(
        refused(2, Some("seconds")),
        "`onload` in [plugin.mine] names `seconds`, and there is no such function; did you mean `second`?"
    );
    assert_eq!(
        refused(0, Some("nothing_like_it")),
        "`onload` in [plugin.mine] names `nothing_like_it`, and there is no such function; export it, or fix the name"
    );
    assert_eq!(
        refused(0, Some("greet")),
        "`onload` in [plugin.mine] names `greet`, which is an onconnect handler; name an onload hook or a plain function"
    );
}
