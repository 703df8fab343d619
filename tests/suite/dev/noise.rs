//! Files that change and are no reason for a build: what the plugin writes, what builds write, what is ignored.

use std::fs;

use super::{assert_answers, c_project, c_source, crate_project, dev, rust_source, write};
use crate::support::{Host, busy, eventually, path, scratch};

/// A plugin in C that appends to a file in its folder at every message.
fn writing(answer: &str, file: &str) -> String {
    format!(
        "#include <stdio.h>\n{}",
        c_source(answer).replace(
            "{ (void)op;",
            &format!("{{ FILE *f = fopen(\"{file}\", \"a\"); if (f) {{ fputs(\"line\\n\", f); fclose(f); }} (void)op;")
        )
    )
}

/// The program runs in the plugin's folder, so that a relative path of the plugin is there.
fn dev_inside(project: &std::path::Path, options: &[&str]) -> Host {
    let cd = ["sh", "-c", "cd \"$0\" && exec \"$@\"", path(project)];
    let host = Host::start_through(&cd, &[&["dev", "."], options].concat());
    host.log_line("dev: watching ");
    host
}

#[test]
fn a_file_that_make_does_not_need_starts_no_build() {
    let project = c_project("writes-text", "one");
    write(project.join("plugin.c"), &writing("one", "scores.txt"));
    let host = dev_inside(&project, &[]);
    let mut client = host.open("/");
    for _ in 0..50 {
        assert_answers(&mut client, "one");
    }
    write(project.join("plugin.c"), &writing("two", "scores.txt"));
    host.log_line("dev: tried generation 2: ");
    for _ in 0..50 {
        assert_answers(&mut client, "two");
    }
    // While the build fails, make cannot say. A file that is written all the time does not start builds.
    write(project.join("plugin.c"), "oops");
    host.log_line("dev: the build failed after ");
    for _ in 0..50 {
        assert_answers(&mut client, "two");
    }
    write(project.join("plugin.c"), &writing("three", "scores.txt"));
    host.log_line("dev: tried generation 3: ");
    // On a busy machine, the plugin may seem to pause.
    assert!(host.log_lines("scores.txt changed; building").len() <= 1, "{}", host.log());
    assert!(host.log_lines("; building").len() <= 4, "{}", host.log());
}

/// make compares dates, and the library is newer than the source that changed while the library was made.
#[test]
fn a_source_that_changes_while_make_compiles_it_is_compiled_again() {
    let project = c_project("overtaken", "one");
    let (begun, go) = (scratch("overtaken-c.begun"), scratch("overtaken-c.go"));
    // Removes the files of an earlier run.
    let _ = (fs::remove_file(&begun), fs::remove_file(&go));
    let wait = format!("touch {begun:?}; until test -e {go:?}; do sleep 0.01; done");
    let rule =
        format!("plugin.so: plugin.c\n\tcp plugin.c read.c\n\t{wait}\n\tcc -shared -fPIC -o $@ read.c\n");
    write(project.join("Makefile"), &rule);
    let host = Host::begin(&["dev", path(&project), "--ignore", "read.c"]);
    eventually("make has read the source", || begun.exists());
    write(project.join("plugin.c"), &c_source("two"));
    write(&go, "");
    let host = host.served();
    host.log_line("dev: tried generation 2: ");
    assert_eq!(host.open("/").ask("?"), "two");
}

#[test]
fn logs_and_ignored_files_start_no_build() {
    let project = c_project("ignores", "one");
    write(project.join(".gitignore"), "*.csv\n!kept.csv\n");
    write(project.join("deep/.gitignore"), "/out.json\n");
    let command = ["--build", "make", "--library", "plugin.so", "--ignore", "*.dat", "--ignore", "!geo.db"];
    let host = dev(&project, &command);
    for file in
        ["chat.log", "chat.db", "chat.db-wal", "a.csv", "deep/b.csv", "deep/out.json", "c.dat", "deep/d.dat"]
    {
        write(project.join(file), "1");
    }
    for (number, file) in ["kept.csv", "geo.db", "out.json"].into_iter().enumerate() {
        write(project.join(file), "1");
        host.log_line(&format!("dev: {file} changed; building"));
        host.log_has("the library is the same", number + 1);
    }
    assert_eq!(host.log_lines("; building").len(), 3, "{}", host.log());
}

#[test]
fn a_file_that_was_built_in_vain_starts_no_other_build() {
    let project = c_project("in-vain", "one");
    write(project.join("plugin.c"), &writing("one", "state.json"));
    let host = dev_inside(&project, &["--build", "make", "--library", "plugin.so"]);
    let mut client = host.open("/");
    for build in 1..=3 {
        assert_answers(&mut client, "one");
        host.log_has("the library is the same", build);
    }
    host.log_line(
        "dev: note: 3 builds of state.json have made the same library; no other build for that file",
    );
    assert_answers(&mut client, "one");
    write(project.join("plugin.c"), &writing("two", "state.json"));
    host.log_line("dev: tried generation 2: ");
    assert_answers(&mut client, "two");
    assert_eq!(host.log_lines("state.json changed; building").len(), 3, "{}", host.log());
}

#[test]
fn a_file_that_cargo_does_not_read_starts_no_build() {
    let _busy = busy();
    let project = crate_project("timed", "\"one\"");
    let source = |answer: &str| {
        let timer = "#[onload]\nfn load(load: &Load) -> Result<(), String> {\n    if !load.is_probe() {\n        \
                     every(std::time::Duration::from_millis(20), || {\n            \
                     std::fs::write(\"state.json\", format!(\"{:?}\", std::time::Instant::now())).unwrap();\n        \
                     });\n    }\n    Ok(())\n}\n";
        rust_source(&format!("{answer:?}")) + timer
    };
    write(project.join("src/lib.rs"), &source("one"));
    let host = dev_inside(&project, &[]);
    let mut client = host.open("/");
    eventually("the plugin writes", || project.join("state.json").exists());
    assert_answers(&mut client, "one");
    write(project.join("src/lib.rs"), &source("two"));
    host.log_line("dev: timed generation 2: ");
    assert_answers(&mut client, "two");
    // A file that the failed build misses is built when it appears, although no build has read it before.
    write(project.join("src/lib.rs"), &(source("three") + "mod more;\n"));
    host.log_line("dev: the build failed after ");
    write(project.join("src/more.rs"), "");
    host.log_line("dev: timed generation 3: ");
    assert_answers(&mut client, "three");
    assert_eq!(host.log_lines("; building").len(), 3, "{}", host.log());
    assert_eq!(host.log_lines("state.json changed"), [""; 0]);
}

#[test]
fn what_a_build_script_generates_into_the_target_folder_is_no_source() {
    let _busy = busy();
    let project = crate_project("generated", "include_str!(concat!(env!(\"OUT_DIR\"), \"/page.txt\"))");
    let script = "fn main() {\n    println!(\"cargo::rerun-if-changed=pages\");\n    \
                  let page = std::fs::read_to_string(\"pages/page.txt\").unwrap();\n    \
                  let out = std::path::PathBuf::from(std::env::var(\"OUT_DIR\").unwrap());\n    \
                  std::fs::write(out.join(\"page.txt\"), page.trim()).unwrap();\n}\n";
    write(project.join("build.rs"), script);
    write(project.join("pages/page.txt"), "one");
    let host = dev(&project, &[]);
    let mut client = host.open("/");
    assert_answers(&mut client, "one");
    write(project.join("pages/page.txt"), "two");
    host.log_line("dev: generated generation 2: ");
    assert_answers(&mut client, "two");
    // A new file in a folder that the script names is a source too.
    write(project.join("pages/more.txt"), "more");
    host.log_line("dev: pages/more.txt changed; building");
    host.log_line("the library is the same");
    assert_eq!(host.log_lines("; building").len(), 2, "{}", host.log());
}

#[test]
fn a_build_script_that_writes_into_the_sources_settles() {
    let _busy = busy();
    let project = crate_project("generates", "\"one\"");
    let count = scratch("generates.count");
    write(&count, "");
    let script = format!(
        "use std::io::Write;\nfn main() {{\n    let now = std::time::SystemTime::now();\n    \
         std::fs::write(\"src/generated.rs\", format!(\"// {{now:?}}\\n\")).unwrap();\n    \
         let mut count = std::fs::OpenOptions::new().append(true).open({count:?}).unwrap();\n    \
         writeln!(count, \"built\").unwrap();\n}}\n"
    );
    write(project.join("build.rs"), &script);
    write(project.join("src/lib.rs"), &(rust_source("\"one\"") + "mod generated;\n"));
    let host = dev(&project, &[]);
    host.log_line("dev: note: src/generated.rs changes during every build; no other build for that");
    let builds = || fs::read_to_string(&count).unwrap().lines().count();
    let settled = builds();
    let mut client = host.open("/");
    assert_answers(&mut client, "one");
    write(project.join("src/lib.rs"), &(rust_source("\"two\"") + "mod generated;\n"));
    host.log_line("built in ");
    eventually("the new code answers", || {
        client.text("?");
        client.next_text() == "two"
    });
    assert!(builds() <= settled + 1, "{settled} builds, then {}", builds());
}
