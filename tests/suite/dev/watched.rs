//! What `dev` watches besides the files in its folder, and how it notices changes that the system does not report.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::{assert_answers, c_project, c_source, dev, write};
use crate::support::{Host, empty_folder, may_run, path};

/// A source that answers with `ANSWER`, from a header.
fn including(header: &str) -> String {
    format!("#include \"{header}\"\n{}", c_source("ANSWER").replace("\"ANSWER\"", "ANSWER"))
}

#[test]
fn headers_outside_of_the_folder_are_watched() {
    // gcc says what it has read; with -MMD it writes that beside the object, as other compilers do.
    for (name, flags) in [("outside", ""), ("outside-rules", "-MMD -MF plugin.d")] {
        let project = c_project(name, "one");
        let header = empty_folder(&format!("{name}-headers")).join("answer.h");
        write(&header, "#define ANSWER \"one\"\n");
        write(project.join("plugin.c"), &including(path(&header)));
        let rule =
            format!("plugin.so: plugin.c {}\n\tcc {flags} -shared -fPIC -o $@ plugin.c\n", path(&header));
        write(project.join("Makefile"), &rule);
        let host = dev(&project, &[]);
        let mut client = host.open("/");
        assert_answers(&mut client, "one");
        write(&header, "#define ANSWER \"two\"\n");
        host.log_line("answer.h changed; building");
        host.log_line("dev: tried generation 2: ");
        assert_answers(&mut client, "two");
    }
}

#[test]
fn what_symbolic_links_lead_to_is_watched() {
    let project = c_project("linked", "one");
    let elsewhere = empty_folder("linked-elsewhere");
    write(elsewhere.join("one.c"), &including("common/answer.h"));
    write(elsewhere.join("other.c"), &including("common/answer.h").replace("ANSWER)", "\"other\")"));
    write(elsewhere.join("common/deep/answer.h"), "#define ANSWER \"one\"\n");
    symlink("deep/answer.h", elsewhere.join("common/answer.h")).unwrap();
    // A link back, which is not followed without end.
    symlink(&elsewhere, elsewhere.join("common/top")).unwrap();
    fs::remove_file(project.join("plugin.c")).unwrap();
    symlink(elsewhere.join("one.c"), project.join("plugin.c")).unwrap();
    symlink(elsewhere.join("common"), project.join("common")).unwrap();
    // clang does not say what it has read; the links alone lead there.
    write(
        project.join("Makefile"),
        ".PHONY: all\nall:\n\tenv -u DEPENDENCIES_OUTPUT cc -I. -shared -fPIC -o plugin.so plugin.c\n",
    );
    let host = dev(&project, &[]);
    let mut client = host.open("/");
    assert_answers(&mut client, "one");
    write(elsewhere.join("common/deep/answer.h"), "#define ANSWER \"two\"\n");
    host.log_line("dev: tried generation 2: ");
    assert_answers(&mut client, "two");
    write(elsewhere.join("one.c"), &including("common/answer.h").replace("ANSWER)", "ANSWER \"!\")"));
    host.log_line("dev: tried generation 3: ");
    assert_answers(&mut client, "two!");
    let next = empty_folder("linked-next").join("plugin.c");
    symlink(elsewhere.join("other.c"), &next).unwrap();
    fs::rename(next, project.join("plugin.c")).unwrap();
    host.log_line("dev: tried generation 4: ");
    assert_answers(&mut client, "other");
    assert_eq!(host.log_lines("; building").len(), 3, "{}", host.log());
}

#[test]
fn with_poll_dev_looks_for_changes_itself() {
    let project = c_project("polled", "one");
    let host = dev(&project, &["--poll"]);
    let inotify = |file: &std::path::PathBuf| file.to_string_lossy().contains("inotify");
    assert!(!host.process().files().iter().any(inotify), "{:?}", host.process().files());
    let mut client = host.open("/");
    write(project.join("plugin.c"), &c_source("two"));
    host.log_line("dev: tried generation 2: ");
    assert_answers(&mut client, "two");
    write(project.join("new/part.inc"), "");
    host.log_line("dev: new/part.inc changed; building");
}

#[test]
#[cfg(target_os = "linux")]
fn at_a_limit_of_inotify_the_limit_is_named_and_changes_are_noticed() {
    for (name, value, sysctl) in [
        ("max_inotify_instances", 0, "fs.inotify.max_user_instances"),
        ("max_inotify_watches", 1, "fs.inotify.max_user_watches"),
    ] {
        let script = format!("echo {value} > /proc/sys/user/{name} && exec \"$0\" \"$@\"");
        let program = ["unshare", "--user", "--map-root-user", "sh", "-c", &script];
        if !may_run(&program) {
            return;
        }
        let project = c_project(name, "one");
        write(project.join("deep/part.inc"), "");
        let host = Host::start_through(&program, &["dev", path(&project)]);
        let line = host.log_line(&format!("({sysctl} = "));
        assert!(line.contains("the system cannot report changes") && line.contains("sysctl"), "{line}");
        host.log_line("dev: watching ");
        let mut client = host.open("/");
        write(project.join("plugin.c"), &c_source("two"));
        host.log_line("dev: tried generation 2: ");
        assert_answers(&mut client, "two");
        write(project.join("deep/part.inc"), "// changed\n");
        host.log_line("dev: deep/part.inc changed; building");
        drop(host);

        let library = project.join("plugin.so");
        let host = Host::start_through(&program, &["serve", path(&library), "--watch"]);
        if name == "max_inotify_instances" {
            host.log_line(&format!("({sysctl} = "));
        }
        let mut client = host.open("/");
        let three = c_project("three", "three");
        super::succeeds(Command::new("make").current_dir(&three));
        fs::rename(three.join("plugin.so"), &library).unwrap();
        host.log_line("has changed, and was reloaded: tried: generation 2; ");
        assert_answers(&mut client, "three");
    }
}
