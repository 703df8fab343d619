//! A change, a build, a reload: what starts a round, what does not, and what is logged about it.

use std::fs::{self, File};
use std::time::{Duration, Instant, SystemTime};

use super::{assert_answers, c_project, c_source, crate_project, dev, rust_source, write};
use crate::support::{Host, alone, busy, c_plugin_with, empty_folder, eventually, path, scratch};

#[test]
fn a_source_that_changes_is_built_and_answers_on_the_open_connection() {
    let _busy = busy();
    let project = crate_project("edited", "\"one\"");
    let host = dev(&project, &[]);
    let mut client = host.open("/");
    assert_answers(&mut client, "one");
    for (generation, answer) in [(2, "two"), (3, "three")] {
        write(project.join("src/lib.rs"), &rust_source(&format!("{answer:?}")));
        let line = host.log_line(&format!("dev: edited generation {generation}: built in "));
        assert!(line.contains(" s, swapped in ") && line.ends_with("1 connection kept"), "{line}");
        assert_answers(&mut client, answer);
    }
    assert_eq!(host.log_lines("dev: src/lib.rs changed; building").len(), 2);
}

/// The time from saving a source to the new code's answer, without the time that cargo takes.
#[test]
fn the_new_code_answers_soon_after_it_is_compiled() {
    let _alone = alone();
    let project = crate_project("soon", "\"0\"");
    let host = dev(&project, &[]);
    let mut client = host.open("/");
    let mut more: Vec<_> = (1..=9)
        .map(|round| {
            let saved = Instant::now();
            write(project.join("src/lib.rs"), &rust_source(&format!("\"{round}\"")));
            let line = host.log_line(&format!("dev: soon generation {}: built in ", round + 1));
            assert_answers(&mut client, &round.to_string());
            let took = saved.elapsed();
            let built = line.split("built in ").nth(1).and_then(|rest| rest.split_once(" s, "));
            let built: f64 = built.expect("the line has the build time").0.parse().expect("in seconds");
            took.saturating_sub(Duration::from_secs_f64(built))
        })
        .collect();
    more.sort();
    println!("from saving to the answer, without the build: {:?}, at best {:?}", more[4], more[0]);
    // Events told, and not the comparison of metadata every two seconds.
    assert!(more[0] < Duration::from_secs(1), "{more:?}");
}

#[test]
fn while_the_source_does_not_compile_the_old_code_serves_on() {
    let _busy = busy();
    let project = crate_project("broken", "\"one\"");
    let host = dev(&project, &[]);
    let mut client = host.open("/");
    write(project.join("src/lib.rs"), &rust_source("\"two\" oops"));
    let line = host.log_line("dev: the build failed after ");
    assert!(line.ends_with("; the old code serves on"), "{line}");
    // The output of cargo, with the place of the error.
    host.log_line("error: expected");
    host.log_line(" --> src/lib.rs:5:");
    assert_answers(&mut client, "one");
    write(project.join("src/lib.rs"), &rust_source("\"three\""));
    host.log_line("dev: broken generation 2: ");
    assert_answers(&mut client, "three");
}

#[test]
fn a_rejected_reload_is_logged_and_the_old_code_serves_on() {
    let project = c_project("refused", "one");
    let host = dev(&project, &[]);
    let mut client = host.open("/");
    assert_answers(&mut client, "one");
    // The open connection needs the handler that this version lacks.
    write(project.join("plugin.c"), &c_source("two").replace("onmessage", "other"));
    let line = host.log_line("dev: refused: built in ");
    assert!(line.contains("onmessage") && line.ends_with("; the old code serves on"), "{line}");
    assert_answers(&mut client, "one");
    write(project.join("plugin.c"), &c_source("three"));
    host.log_line("dev: tried generation 2: ");
    assert_answers(&mut client, "three");
}

#[test]
fn path_dependencies_and_included_files_are_watched_too() {
    let _busy = busy();
    let project = crate_project("depends", "\"one\"");
    let (dependency, page) = (scratch("crates").join("dependency"), scratch("crates").join("page.txt"));
    write(
        dependency.join("Cargo.toml"),
        "[package]\nname = \"dependency\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    write(dependency.join("src/lib.rs"), "pub fn answer() -> &'static str { \"one\" }\n");
    write(&page, "page");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    write(project.join("Cargo.toml"), &format!("{manifest}dependency = {{ path = \"../dependency\" }}\n"));
    let answer = "&format!(\"{} {}\", dependency::answer(), include_str!(\"../../page.txt\"))";
    write(project.join("src/lib.rs"), &rust_source(answer));
    let host = dev(&project, &[]);
    let mut client = host.open("/");
    assert_answers(&mut client, "one page");
    write(dependency.join("src/lib.rs"), "pub fn answer() -> &'static str { \"two\" }\n");
    host.log_line("dev: depends generation 2: ");
    assert_answers(&mut client, "two page");
    write(&page, "leaf");
    host.log_line("dev: depends generation 3: ");
    assert_answers(&mut client, "two leaf");
}

#[test]
fn touched_files_and_editors_temporary_files_start_no_build() {
    let project = c_project("touched", "one");
    let host = dev(&project, &[]);
    let source = project.join("plugin.c");
    File::options().append(true).open(&source).unwrap().set_modified(SystemTime::now()).unwrap();
    write(&source, &c_source("one"));
    for ignored in
        ["plugin.c~", ".plugin.c.swp", "4913", "#plugin.c#", ".git/index", "plugin.o", "node_modules/x/x.js"]
    {
        write(project.join(ignored), "x");
    }
    // Editors save by renaming a new file over the old one.
    write(project.join("plugin.c.tmp"), &c_source("two"));
    fs::rename(project.join("plugin.c.tmp"), &source).unwrap();
    host.log_line("dev: plugin.c changed; building");
    let mut client = host.open("/");
    host.log_line("dev: tried generation 2: ");
    assert_answers(&mut client, "two");
    assert_eq!(host.log_lines("changed; building").len(), 1, "only a changed source starts a build");
}

#[test]
fn new_files_and_folders_are_sources() {
    let project = c_project("new-files", "one");
    let host = dev(&project, &[]);
    write(project.join("more/deep/page.h"), "1");
    host.log_line("dev: more/deep/page.h changed; building");
    host.log_has("the library is the same", 1);
    write(project.join("more/deep/page.h"), "2");
    host.log_has("dev: more/deep/page.h changed; building", 2);
    host.log_has("the library is the same", 2);
    fs::remove_dir_all(project.join("more")).unwrap();
    host.log_has("dev: more/deep/page.h changed; building", 3);
    host.log_has("the library is the same", 3);
}

#[test]
fn a_build_that_writes_into_its_sources_does_not_loop() {
    let project = c_project("writes", "one");
    let makefile = fs::read_to_string(project.join("Makefile")).unwrap();
    // Every build changes the content of this file, so every build looks like a change.
    let count = scratch("writes.count");
    write(&count, "");
    let all = format!("all: plugin.so\n\tdate +%s%N > build.txt\n\techo >> {count:?}\n");
    write(project.join("Makefile"), &format!("{all}{makefile}"));
    let host = dev(&project, &[]);
    host.log_line("dev: note: build.txt changes during every build; no other build for that");
    let builds = || fs::read_to_string(&count).unwrap().lines().count();
    // A change by a person still starts a build, during the third build or after it.
    write(project.join("plugin.c"), &c_source("two"));
    host.log_line("dev: tried generation 2: ");
    eventually("the last build is over", || builds() >= 4);
    write(project.join("plugin.c"), &c_source("three"));
    host.log_line("dev: tried generation 3: ");
    assert!(builds() <= 6, "{}", builds());
    assert_eq!(host.log_lines("build.txt changed"), [""; 0]);
}

#[test]
fn any_command_builds_and_a_change_while_it_runs_is_built_after_it() {
    let project = c_project("commanded", "one");
    let go = scratch("commanded.go");
    write(&go, "");
    let count = scratch("commanded.count");
    write(&count, "");
    let wait = format!("while [ ! -e {go:?} ]; do sleep 0.01; done");
    let command = format!("{wait}; make plugin.so && cp plugin.so out.so && echo >> {count:?}");
    let host = dev(&project, &["--build", &command, "--library", "out.so"]);
    let mut client = host.open("/");
    fs::remove_file(&go).unwrap();
    write(project.join("plugin.c"), &c_source("two"));
    host.log_line("dev: plugin.c changed; building");
    write(project.join("other.inc"), "");
    write(&go, "");
    host.log_line("dev: tried generation 2: ");
    assert_answers(&mut client, "two");
    let builds = || fs::read_to_string(&count).unwrap().lines().count();
    eventually("it is built once more", || builds() == 3);
    assert_eq!(host.log_lines("out.so changed"), [""; 0]);
}

#[test]
fn the_config_of_the_folder_counts_and_is_read_again_when_it_changes() {
    let project = c_project("configured", "one");
    let config = |path: &str| {
        format!(
            "[plugin.tried]\npath = \"elsewhere.so\"\n[[route]]\npath = \"{path}\"\nonmessage = \"onmessage\"\n"
        )
    };
    write(project.join("callsign.toml"), &config("/old"));
    let host = dev(&project, &[]);
    let mut client = host.open("/old");
    assert_answers(&mut client, "one");
    write(project.join("callsign.toml"), &config("/new"));
    host.log_line("dev: callsign.toml changed; loading it");
    let line = host.log_line("dev: settings: swapped in ");
    assert!(line.ends_with("1 connection kept"), "{line}");
    let mut other = host.open("/new");
    assert_answers(&mut other, "one");
    assert_answers(&mut client, "one");
    write(project.join("callsign.toml"), "lisen = 1\n");
    host.log_line("dev: refused: ");
    assert_answers(&mut other, "one");
}

#[test]
fn without_workers_dev_builds_and_logs_that_nothing_is_reloaded() {
    let project = c_project("alone", "one");
    let host = Host::start(&["dev", path(&project), "--workers", "0"]);
    host.log_line(
        "plugins cannot be reloaded: with --workers 0 there is no parent that could reload the plugins",
    );
    host.log_line("dev: note: changes are built, and loaded only by a restart of `dev`");
    let mut client = host.open("/");
    for (count, answer) in ["two", "three"].into_iter().enumerate() {
        write(project.join("plugin.c"), &c_source(answer));
        host.log_has(
            "with --workers 0 there is no parent that could reload the plugins; the old code serves on",
            count + 1,
        );
        assert_answers(&mut client, "one");
    }
    drop(host);
    let library = path(&project.join("plugin.so")).to_owned();
    let host = Host::start(&["serve", &library, "--workers", "0", "--watch"]);
    host.log_line("--watch is ignored: with --workers 0 ");
    drop(host);
    let host = Host::start(&["serve", &library, "--workers", "0"]);
    host.log_line("plugins cannot be reloaded: with --workers 0 ");
}

#[test]
fn serve_with_watch_reloads_a_library_that_is_replaced() {
    let library = |answer: &str| {
        let project = c_project(&format!("watched-{answer}"), answer);
        super::succeeds(std::process::Command::new("make").current_dir(&project));
        fs::read(project.join("plugin.so")).unwrap()
    };
    let (one, two) = (library("one"), library("two"));
    let file = empty_folder("watched").join("libtried.so");
    fs::write(&file, one).unwrap();
    let host = Host::start(&["serve", path(&file), "--watch"]);
    let mut client = host.open("/");
    assert_answers(&mut client, "one");
    fs::write(&file, "half a library").unwrap();
    host.log_line("has changed, and cannot be loaded: ");
    assert_answers(&mut client, "one");
    fs::write(file.with_extension("new"), two).unwrap();
    fs::rename(file.with_extension("new"), &file).unwrap();
    host.log_line("has changed, and was reloaded: tried: generation 2; 1 worker, 1 connection kept");
    assert_answers(&mut client, "two");
    // This plugin has no handler for the open connection.
    fs::copy(c_plugin_with("faulty.c", &["-DNAME=\"good\""]), file.with_extension("new")).unwrap();
    fs::rename(file.with_extension("new"), &file).unwrap();
    host.log_line("has changed, and is refused: ");
    assert_answers(&mut client, "two");
}
