//! A plugin that has not changed stays in its generation: its code would be loaded a second time for nothing.

use super::*;

/// The answer to a reload of a plugin that has not changed.
const NOTHING: &str =
    "nothing has changed; reload: generation 1 (unchanged); `callsign reload --force` loads";

#[test]
fn a_library_with_the_same_content_is_not_loaded_again_unless_that_is_forced() {
    let reloading = Reloading::serve_c(&[]);
    let mut client = clients(&reloading, 1).remove(0);
    assert!(reloading.reload().expect("nothing is wrong").starts_with(NOTHING));
    // A new file with the same content, a new time, and a content that was there for a moment.
    reloading.put(&variant("1", &[]));
    assert!(reloading.reload().expect("nothing is wrong").starts_with(NOTHING));
    let now = std::time::SystemTime::now();
    let file = fs::File::options().append(true).open(&reloading.library).expect("the file exists");
    file.set_modified(now).expect("the test may set the time");
    assert!(reloading.ask("reload", &["reload"]).expect("nothing is wrong").starts_with(NOTHING));
    reloading.host.log_has("loaded as generation", 2);
    assert_eq!(reloading.host.log_lines("loaded as generation").len(), 2, "once in each worker");

    let said = reloading.ask("reload", &["--force"]).expect("the reload is accepted");
    assert!(said.starts_with("reload: generation 2; 2 workers, 1 connection kept"), "{said}");
    reloading.host.log_has("1: loaded as generation 2", 2);
    assert_eq!(client.ask("who"), "1");
    let said = reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    assert!(said.starts_with("reload: generation 3"), "{said}");
}

/// A file of the same size and time, written in place.
#[test]
fn a_library_with_another_content_is_loaded_however_it_looks_from_outside() {
    let reloading = Reloading::serve_c(&[]);
    let about = fs::metadata(&reloading.library).expect("the file exists");
    let new = fs::read(variant("2", &[])).expect("the library was built");
    assert_eq!(new.len() as u64, about.len(), "the variants differ by one character");
    fs::write(&reloading.library, new).expect("the file can be written");
    let file = fs::File::options().append(true).open(&reloading.library).expect("the file exists");
    file.set_modified(about.modified().expect("the system has times")).expect("the test may set the time");
    let said = reloading.reload().expect("the reload is accepted");
    assert!(said.starts_with("reload: generation 2"), "{said}");
}

#[test]
fn one_of_two_plugins_is_loaded_and_the_other_stays() {
    let other = variant("1", &["-DOTHER_NAME"]);
    let route = ["--workers", "1", "--route", "/=reload:join,reload:message,other:leave"];
    let reloading = Reloading::serve(&variant("1", &[]), &[&[path(&other)], &route[..]].concat());
    let said = reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    assert!(said.starts_with("reload: generation 2, other: generation 1 (unchanged); 1 worker"), "{said}");
}

#[test]
fn sighup_loads_a_plugin_again_if_its_settings_have_changed() {
    let library = variant("1", &[]);
    let config = scratch("settings.toml");
    let write = |settings: &str| {
        let route = "[[route]]\npath = '/'\nhandler = 'upgrade'\n";
        let text = format!("workers = 1\n[plugin.reload]\npath = {library:?}\n{settings}{route}");
        fs::write(&config, text).expect("the scratch folder can be written");
    };
    write("");
    let host = Host::start(&["serve", "--config", path(&config)]);
    host.process().signal(Signal::HUP);
    host.log_line(&format!("SIGHUP: {NOTHING}"));
    write("[plugin.reload.config]\ntopic = 'birds'\n");
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded reload: generation 2; 1 worker");
    write("[plugin.reload.config]\ntopic = 'birds'\n[[route]]\npath = '/page'\nhandler = 'page'\n");
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded the settings; reload: generation 2 (unchanged); 1 worker");
    assert_eq!(get(&host, "/page").status, 200);
}

#[test]
fn sighup_names_the_plugins_that_the_config_file_has_no_more() {
    let (library, other) = (variant("1", &[]), variant("1", &["-DOTHER_NAME"]));
    let config = scratch("removed.toml");
    let write = |plugins: &str| {
        let text = format!("workers = 1\n{plugins}[[route]]\npath = '/page'\nhandler = 'reload:page'\n");
        fs::write(&config, text).expect("the scratch folder can be written");
    };
    let plugin = format!("[plugin.reload]\npath = {library:?}\n");
    write(&format!("{plugin}[plugin.other]\npath = {other:?}\n"));
    let host = Host::start(&["serve", "--config", path(&config)]);
    write(&plugin);
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded other: removed, reload: generation 1 (unchanged); 1 worker");
    assert_eq!(get(&host, "/page").status, 200);
}
