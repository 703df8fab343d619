//! Files that a plugin finds beside its library, although workers load a copy of it elsewhere.

use std::fs;

use crate::support::{Host, c_plugin, change, empty_folder, path, run};

#[test]
fn a_plugin_finds_and_writes_the_files_beside_its_library() {
    let folder = empty_folder("beside");
    let (library, tmpdir) = (folder.join("beside.so"), format!("TMPDIR={}", folder.display()));
    fs::copy(c_plugin("beside.c"), &library).expect("the folder can be written");
    fs::create_dir(folder.join("pages")).expect("the folder can be written");
    for (name, text) in [("motd.txt", "be kind"), ("pages/index.html", "a page"), ("book.txt", "")] {
        fs::write(folder.join(name), text).expect("the folder can be written");
    }
    // A short path, because the path of a Unix socket is limited to about 100 bytes.
    let short = tempfile::tempdir().expect("a folder can be made");
    let control = short.path().join("control");
    let host =
        Host::start_through(&["env", &tmpdir], &["serve", path(&library), "--control", path(&control)]);
    let mut c = host.open("/");
    assert_eq!(c.ask("read motd.txt"), "be kind");
    assert_eq!(c.ask("read pages/index.html"), "a page");
    assert_eq!(c.ask("append book.txt"), "");
    assert_eq!(fs::read_to_string(folder.join("book.txt")).expect("it is there"), "more");
    fs::write(folder.join("motd.txt"), "be brief").expect("the folder can be written");
    assert_eq!(c.ask("read motd.txt"), "be brief");

    // A new file is found from the next generation on.
    fs::write(folder.join("new.txt"), "new").expect("the folder can be written");
    assert_eq!(c.ask("read new.txt"), "no such file");
    change(&library);
    let (code, _, stderr) = run(&["reload", "--control", path(&control)]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(c.ask("read new.txt"), "new");
}

#[test]
fn a_folder_with_too_many_files_is_logged_for_a_plugin_that_looks_there() {
    let folder = empty_folder("crowded");
    let library = folder.join("beside.so");
    fs::copy(c_plugin("beside.c"), &library).expect("the folder can be written");
    for number in 0..1000 {
        fs::write(folder.join(number.to_string()), "").expect("the folder can be written");
    }
    let host = Host::start(&["serve", path(&library)]);
    assert_eq!(host.open("/").ask("read 1"), "no such file");
    host.log_line("has more than 1000 files beside it");
}
