//! What the loader would share between two generations of a plugin, or between two plugins: unique symbols, which g++
//! makes of statics, and the room for thread-local data.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Host, Reloading, c_plugin_with, change, compile_cpp, cpp_plugin_with, empty_folder, path, run,
};

/// `room.cpp` as plugin `name`, whose onmessage handler has the same name and which answers with `version`.
fn room(name: &str, version: &str, options: &[&str]) -> PathBuf {
    let defines =
        [format!("-DNAME=\"{name}\""), format!("-DHANDLER={name}"), format!("-DVERSION=\"{version}\"")];
    let defines: Vec<&str> = defines.iter().map(String::as_str).chain(options.iter().copied()).collect();
    let library = cpp_plugin_with("room.cpp", &defines);
    assert!(inspect(&library)["unique"].to_string().contains("room()::room"), "g++ makes it unique");
    library
}

fn inspect(library: &Path) -> Value {
    let (code, stdout, stderr) = run(&["inspect", "--json", path(library)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    serde_json::from_str(&stdout).expect("the output is JSON")
}

#[test]
fn statics_of_inline_functions_and_templates_begin_anew_after_a_reload() {
    let server = Reloading::serve(&room("room", "one", &[]), &["--route", "/=,room,"]);
    let mut c = server.host.open("/");
    assert_eq!(["", ""].map(|_| c.ask("x")), ["one 1 1", "one 2 2"]);
    server.reload_with(&room("room", "two", &[])).expect("the reload is accepted");
    assert_eq!(["", ""].map(|_| c.ask("x")), ["two 1 1", "two 2 2"]);
    // Another layout of the object.
    server.reload_with(&room("room", "three", &["-DNAMED"])).expect("the reload is accepted");
    assert_eq!(["", ""].map(|_| c.ask("x")), ["three 1 1", "three 2 2"]);
    assert_eq!(server.host.log_lines(" died of "), [""; 0]);
}

#[test]
fn two_plugins_of_a_server_do_not_share_their_statics() {
    let (left, right) = (room("left", "left", &[]), room("right", "right", &["-DNAMED"]));
    let routes = ["--route", "/left=,left,", "--route", "/right=,right,"];
    let host = Host::start(&[&["serve", path(&left), path(&right)], &routes[..]].concat());
    let (mut a, mut b) = (host.open("/left"), host.open("/right"));
    assert_eq!(
        [a.ask(""), b.ask(""), a.ask(""), b.ask("")],
        ["left 1 1", "right 1 1", "left 2 2", "right 2 2"]
    );

    // Without a parent, nothing copies the libraries.
    let host = Host::start(&[&["serve", path(&left), path(&right), "--workers", "0"], &routes[..]].concat());
    host.log_line("plugins `left` and `right` share objects: ");
}

/// The copy of the second generation is made again, from its deleted file.
#[test]
fn a_copy_that_is_made_again_has_its_own_statics_too() {
    let folder = empty_folder("again");
    let (library, tmpdir) = (folder.join("room.so"), format!("TMPDIR={}", folder.display()));
    fs::copy(room("room", "one", &[]), &library).expect("the folder can be written");
    let serve = ["serve", path(&library), "--route", "/=,room,", "--log", "debug"];
    let host = Host::start_through(&["env", &tmpdir], &serve);
    assert_eq!(host.open("/").ask(""), "one 1 1");
    for entry in fs::read_dir(&folder).expect("it is there").flatten() {
        if entry.file_name().to_string_lossy().starts_with("callsign-") {
            fs::remove_dir_all(entry.path()).expect("it is ours");
        }
    }
    host.workers().iter().for_each(|worker| worker.signal(Signal::KILL));
    host.log_line("was deleted or changed, and is made again");
    host.workers_serve(2);
    let mut c = host.open("/");
    assert_eq!(c.ask(""), "one 1 1");
    let copy = host.workers()[0].mapped(&folder).expect("the worker has loaded a copy");
    assert_eq!(inspect(&copy)["unique"].as_array().map(Vec::len), Some(0), "{}", copy.display());
}

#[test]
fn check_and_inspect_name_a_unique_symbol_and_what_to_do() {
    let folder = empty_folder("library");
    compile_cpp("room.cpp", &["-DLIBRARY"], &folder.join("libpart.so"));
    let library = folder.join("room.so");
    let search = format!("-L{}", folder.display());
    let options = ["-DNAME=\"room\"", "-DHANDLER=room", "-DVERSION=\"one\"", "-DNEEDS", &search];
    compile_cpp("room.cpp", &[&options[..], &["-lpart", "-Wl,-rpath,$ORIGIN"]].concat(), &library);
    let own = "unique symbols, such as `room()::room` (STB_GNU_UNIQUE, as g++ makes them)";
    let needed =
        format!("it needs {}, which a worker loads once, with ", folder.join("libpart.so").display());
    for command in ["check", "inspect"] {
        let (code, stdout, stderr) = run(&[command, path(&library)]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        for part in [own, needed.as_str(), "compile with -fno-gnu-unique"] {
            assert!(stdout.contains(part), "no `{part}` in {stdout}");
        }
    }
    compile_cpp("room.cpp", &[&options[..3], &["-fno-gnu-unique"]].concat(), &library);
    assert_eq!(inspect(&library)["advice"], Value::Array(Vec::new()));
}

/// A plugin with so many bytes of thread-local data of the initial-exec model.
fn with_tls(size: usize) -> PathBuf {
    c_plugin_with("tls.c", &[&format!("-DSIZE={size}")])
}

/// Changes the file, and reloads.
fn reload_changed(server: &Reloading) -> Result<String, String> {
    change(&server.library);
    server.reload()
}

/// By default, a process has room for about two of these.
#[test]
fn a_plugin_with_static_thread_local_data_is_reloaded_many_times() {
    // The operator's own tunable stays.
    let program = ["env", "GLIBC_TUNABLES=glibc.malloc.arena_max=2"];
    let server = Reloading::serve_through(&program, &with_tls(1000), &[]);
    let mut c = server.host.open("/");
    for generation in 2..=20 {
        reload_changed(&server).unwrap_or_else(|error| panic!("generation {generation}: {error}"));
    }
    let expected = "GLIBC_TUNABLES=glibc.malloc.arena_max=2:glibc.rtld.optional_static_tls=65536";
    assert_eq!(c.ask("environment"), expected);
}

#[test]
fn a_refusal_for_lack_of_static_room_says_what_helps_and_check_says_it_before() {
    let program = ["env", "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=600"];
    let server = Reloading::serve_through(&program, &with_tls(1000), &[]);
    let refusal = (0..20).find_map(|_| reload_changed(&server).err());
    let refusal = refusal.expect("the room is for about two generations");
    for part in [
        "static TLS",
        "-ftls-model=global-dynamic",
        "optional_static_tls=BYTES (now 600)",
        "Restart the server",
    ] {
        assert!(refusal.contains(part), "no `{part}` in {refusal}");
    }
    assert_eq!(server.host.open("/").ask("still here"), "still here");

    let (code, stdout, stderr) = run(&["check", path(&server.library)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for part in
        ["note: plugin `tls` (", "1000 bytes of its thread-local data", "about 65 reloads", "-ftls-model="]
    {
        assert!(stdout.contains(part), "no `{part}` in {stdout}");
    }
    assert_eq!(inspect(&server.library)["static_tls"], 1000);
}
