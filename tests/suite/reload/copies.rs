//! The parent's folder for copied libraries: who can read it, what it is protected against, and when it is
//! removed.

use std::os::unix::fs::PermissionsExt;

use rustix::fs::{FlockOperation, Mode, flock, mkfifoat};

use super::*;

/// An empty temporary folder, and a server that keeps its copies in there.
fn serve(name: &str, before: &[&str], prepare: impl FnOnce(&Path)) -> (std::path::PathBuf, Host) {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the scratch folder can be written");
    prepare(&folder);
    let library = variant("1", &[]);
    let tmpdir = format!("TMPDIR={}", path(&folder));
    let program = [&["env", tmpdir.as_str()], before].concat();
    let host = Host::start_through(&program, &["serve", path(&library), "--route", ROUTE]);
    (folder, host)
}

/// The folders that contain a copy.
fn copies(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("the path exists")
        .map(|entry| entry.expect("the path can be read").path());
    entries.filter(|folder| folder.join("1").is_dir()).collect()
}

#[test]
fn nobody_else_can_read_them_under_any_umask() {
    let shell = ["sh", "-c", "umask 000; exec \"$@\"", "sh"];
    let (folder, host) = serve("umask", &shell, |_| {});
    assert_eq!(host.open("/").next_text(), "join 1");
    let [copies] = &copies(&folder)[..] else { panic!("one server has one folder") };
    for (path, mode) in
        [(copies.clone(), 0o700), (copies.join("1"), 0o700), (only_file(&copies.join("1")), 0o400)]
    {
        let found = fs::metadata(&path).expect("the path exists").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
}

fn only_file(folder: &Path) -> std::path::PathBuf {
    let entries = fs::read_dir(folder).expect("the path exists").flatten();
    // Links lead to what is beside the original.
    let mut files = entries.map(|entry| entry.path()).filter(|path| !path.is_symlink());
    files.next().expect("a copy")
}

/// Programs that clean up temporary files skip locked folders.
#[test]
fn the_folder_of_the_copies_is_locked_while_the_server_lives() {
    let (folder, mut host) = serve("locked", &[], |_| {});
    let [copies] = &copies(&folder)[..] else { panic!("one server has one folder") };
    let opened = fs::File::open(copies).expect("the path can be read");
    flock(&opened, FlockOperation::NonBlockingLockShared).expect_err("the folder must be locked");
    assert!(host.terminate().success());
    assert!(!copies.exists());
}

/// Anybody can create files in a folder for temporary files.
#[test]
fn a_strange_file_beside_the_folder_delays_no_server() {
    let prepare = |folder: &Path| {
        let trap = folder.join("callsign-trap");
        fs::create_dir(&trap).expect("the scratch folder can be written");
        let trap = fs::File::open(&trap).expect("the path can be read");
        mkfifoat(&trap, "lock", Mode::from_raw_mode(0o666)).expect("the scratch folder can be written");
    };
    let (folder, host) = serve("trap", &[], prepare);
    assert_eq!(host.open("/").next_text(), "join 1");
    assert!(folder.join("callsign-trap/lock").exists());
}

/// `$ORIGIN` is the folder of a library. The worker loads a copy, so the parent translates it.
#[test]
fn dependencies_beside_a_plugin_are_found_from_its_copy() {
    let folder = scratch("brings");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("plugins/more")).expect("the scratch folder can be written");
    let copies = folder.join("copies");
    fs::create_dir(&copies).expect("the scratch folder can be written");
    let [top, plugins, more] = ["", "plugins", "plugins/more"].map(|name| folder.join(name));
    let search = [&top, &plugins, &more].map(|folder| format!("-L{}", path(folder)));
    // For the dependencies of dependencies.
    let deeper = format!("-Wl,--no-as-needed,-rpath-link,{}", path(&plugins));
    let compile = |file: &str, library: &str, options: &[&str]| {
        let search = search.iter().map(String::as_str);
        let options: Vec<&str> = search.chain([deeper.as_str()]).chain(options.iter().copied()).collect();
        compile_c(file, &options, &folder.join(library));
    };
    compile("part.c", "libabove.so", &["-DPART=above"]);
    compile("part.c", "plugins/more/libbelow.so", &["-DPART=below"]);
    compile("part.c", "plugins/libdeep.so", &["-DPART=deep"]);
    let beside = ["-DPART=beside", "-DNEEDS=deep", "-Wl,-rpath,$ORIGIN", "-ldeep"];
    compile("part.c", "plugins/libbeside.so", &beside);
    let plugin = |generation: &str, library: &str| {
        let generation = format!("-DGENERATION=\"{generation}\"");
        let run_path = "-Wl,-rpath,$ORIGIN:${ORIGIN}/../:$ORIGIN/more:$ORIGIN/nowhere";
        compile("brings.c", library, &[&generation, run_path, "-labove", "-lbelow", "-lbeside"]);
    };
    plugin("one", "plugins/brings.so");
    let library = folder.join("plugins/brings.so");
    // A short path, because the path of a Unix socket is limited to about 100 bytes. The server removes the
    // socket.
    let control = std::env::temp_dir().join(format!("callsign-brings-{}", std::process::id()));
    let tmpdir = format!("TMPDIR={}", path(&copies));
    let mut host =
        Host::start_through(&["env", &tmpdir], &["serve", path(&library), "--control", path(&control)]);
    let mut client = host.open("/");
    assert_eq!(client.ask("?"), "one");

    plugin("two", "plugins/next.so");
    fs::rename(folder.join("plugins/next.so"), &library).expect("the path exists");
    let (code, _, stderr) = run(&["reload", "--control", path(&control)]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(client.ask("?"), "two");

    drop(client);
    assert!(host.terminate().success());
    assert_eq!(fs::read_dir(&copies).expect("the path exists").count(), 0, "all copied files were removed");
    let mut entries = fs::read_dir(folder.join("plugins")).expect("the path exists").collect::<Vec<_>>();
    entries.retain(|entry| entry.as_ref().expect("the path can be read").file_name() != "brings.so");
    assert_eq!(entries.len(), 3, "the dependencies are untouched, and nothing else exists: {entries:?}");
}
