//! The server's copies of libraries: only plugins are copied, only workers can read them, and they survive what cleans
//! up temporary files. The folder goes where workers can load from.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Host, ROUTE, is_root, isolate, may_unshare, needs_root, path, run, skip, variant};

/// A folder that every user can enter, with an empty folder `copies` for TMPDIR, and a plugin `plugin.so`.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let copies = folder.path().join("copies");
    fs::create_dir(&copies).expect("it is ours");
    for folder in [folder.path(), &copies] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("it is ours");
    }
    fs::copy(variant("1", &[]), folder.path().join("plugin.so")).expect("it is ours");
    folder
}

fn serve(folder: &Path, options: &[&str]) -> Host {
    let (tmpdir, library) = (format!("TMPDIR={}", path(&folder.join("copies"))), folder.join("plugin.so"));
    let arguments = ["serve", path(&library), "--route", ROUTE];
    Host::start_through(&["env", &tmpdir], &[&arguments, options].concat())
}

/// The program's end, run through a script in a mount namespace of its own.
fn run_in_namespace(script: &str, folder: &Path) -> Output {
    let mut command = Command::new("unshare");
    isolate(&mut command);
    command
        .env("TMPDIR", folder.join("copies"))
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("XDG_RUNTIME_DIR");
    command.args(["--mount", "sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"]);
    command.args(["timeout", "3", env!("CARGO_BIN_EXE_callsign"), "serve"]).arg(folder.join("plugin.so"));
    command.args(["--route", ROUTE, "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
    command.output().expect("unshare is there")
}

fn stderr_of_failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

/// Every file below, which is no folder and no link.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| !path.is_symlink());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The only copy there.
fn copy_in(folder: &Path) -> PathBuf {
    let mut files = files_below(&folder.join("copies"));
    files.retain(|file| file.file_name().is_some_and(|name| name != "lock"));
    let [copy] = &files[..] else { panic!("one copy: {files:?}") };
    copy.clone()
}

fn can(user: u32, group: u32, program: &[&str]) -> bool {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).uid(user).gid(group).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("it is there").success()
}

#[test]
fn what_is_no_plugin_is_never_copied() {
    let folder = open_folder();
    let [copies, secret, library] = ["copies", "secret", "plugin.so"].map(|name| folder.path().join(name));
    // Large, so that a copy would be there long enough to be seen.
    fs::write(&secret, "the secret of root\n".repeat(2_000_000)).expect("it is ours");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("it is ours");
    let control = folder.path().join("control");
    let host = serve(folder.path(), &["--control", path(&control)]);
    fs::remove_file(&library).expect("it is ours");
    symlink(&secret, &library).expect("it is ours");

    let is_over = AtomicBool::new(false);
    let (seen, outcome) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let new =
                    files_below(&copies).into_iter().filter(|file| !file.to_string_lossy().contains("/1/"));
                seen.extend(new.filter(|file| !file.ends_with("lock")));
            }
            seen
        });
        let outcome = run(&["reload", "--control", path(&control)]);
        is_over.store(true, Ordering::Relaxed);
        (watch.join().expect("it does not panic"), outcome)
    });
    let (code, stdout, stderr) = outcome;
    assert_eq!(code, 1, "{stdout}");
    assert!(stderr.contains("a text file, not a shared library"), "{stderr}");
    assert!(seen.is_empty(), "{} times: {:?}", seen.len(), seen.first());
    assert!(!stderr.contains("secret of root") && !host.log().contains("secret of root"));
    assert_eq!(host.open("/").next_text(), "join 1");
}

#[test]
fn nobody_but_the_workers_can_read_a_copy_or_list_the_folder() {
    if !needs_root() {
        return;
    }
    for options in [&[][..], &["--user", "65534", "--group", "65534"]] {
        let folder = open_folder();
        let library = folder.path().join("plugin.so");
        fs::set_permissions(&library, Permissions::from_mode(0o600)).expect("it is ours");
        let host = serve(folder.path(), options);
        assert_eq!(host.open("/").next_text(), "join 1");
        let copy = copy_in(folder.path());
        // The group of the workers is not theirs alone.
        for group in [4242, 65534] {
            assert!(!can(4242, group, &["cat", path(&copy)]), "{options:?} {group}");
            for folder in copy.ancestors().skip(1).take(2) {
                assert!(!can(4242, group, &["ls", path(folder)]), "{options:?} {group} {}", folder.display());
            }
        }
        assert_eq!(can(65534, 65534, &["cat", path(&copy)]), !options.is_empty(), "the workers can");
        assert!(!can(65534, 65534, &["rm", "-f", path(&copy)]), "and cannot replace it");
    }
}

#[test]
fn a_deleted_copy_is_made_again_even_if_the_library_has_changed() {
    for library_changes in [false, true] {
        let folder = open_folder();
        let mut host = serve(folder.path(), &[]);
        let copy = copy_in(folder.path());
        if library_changes {
            fs::write(folder.path().join("plugin.so"), "half of a new one").expect("it is ours");
        }
        let server = copy.ancestors().nth(2).expect("it is in a folder of the server");
        // Once its content, and once the whole folder.
        for deleted in [copy.parent().expect("it has one"), server] {
            fs::remove_dir_all(deleted).expect("it is ours");
            host.workers()[0].signal(Signal::KILL);
            assert_eq!(host.open("/").next_text(), "join 1");
            assert_eq!(copy_in(folder.path()), copy);
        }
        host.log_has("was deleted or changed, and is made again", 2);
        assert_eq!(host.log_lines("no such file"), [""; 0]);
        assert!(host.terminate().success());
        assert_eq!(files_below(&folder.path().join("copies")), [""; 0].map(PathBuf::from));
    }
}

/// A runtime directory ends with the session of its user.
#[test]
fn copies_move_if_their_place_is_gone() {
    let folder = open_folder();
    let (copies, next) = (folder.path().join("copies"), folder.path().join("next"));
    fs::create_dir(&next).expect("it is ours");
    let library = folder.path().join("plugin.so");
    let variables = ["TMPDIR", "RUNTIME_DIRECTORY"].into_iter().zip([&copies, &next]);
    let variables: Vec<_> = variables.map(|(name, folder)| format!("{name}={}", path(folder))).collect();
    let control = folder.path().join("control");
    let options = ["--control", path(&control)];
    let arguments = [&["serve", path(&library), "--route", ROUTE][..], &options].concat();
    let mut host = Host::start_through(&["env", &variables[0], &variables[1]], &arguments);
    fs::remove_dir_all(&copies).expect("it is ours");
    for _ in 0..2 {
        host.workers()[0].signal(Signal::KILL);
        assert_eq!(host.open("/").next_text(), "join 1");
    }
    host.log_line(&format!("from now on the copies of the plugins are in {}", path(&next)));
    host.log_has("was deleted or changed, and is made again", 1);
    fs::copy(variant("2", &[]), &library).expect("it is ours");
    for generation in ["2", "3"] {
        let (code, stdout, stderr) = run(&[&["reload", "--force"][..], &options].concat());
        assert!(code == 0 && stdout.contains(&format!("generation {generation}")), "{stderr}");
    }
    host.workers()[0].signal(Signal::KILL);
    assert_eq!(host.open("/").next_text(), "join 2");
    assert!(host.terminate().success());
    assert_eq!(files_below(&next), [""; 0].map(PathBuf::from));
}

/// The user that workers run as owns the copies.
#[test]
fn a_copy_that_was_written_to_is_not_loaded() {
    let folder = open_folder();
    let host = serve(folder.path(), &[]);
    let (copy, library) = (copy_in(folder.path()), folder.path().join("plugin.so"));
    let overwrite = || {
        fs::set_permissions(&copy, Permissions::from_mode(0o600)).expect("it is ours");
        // Not truncated: a worker has mapped it.
        let content = fs::read(&copy).expect("it is ours");
        let file = fs::File::options().write(true).open(&copy).expect("it is ours");
        std::os::unix::fs::FileExt::write_all_at(&file, b"changed", content.len() as u64)
            .expect("it is ours");
        host.workers()[0].signal(Signal::KILL);
    };
    overwrite();
    assert_eq!(host.open("/").next_text(), "join 1");
    assert_eq!(fs::read(&copy).expect("it is ours"), fs::read(&library).expect("it is ours"));
    // Nothing has its content any more.
    let changed = folder.path().join("new");
    fs::copy(variant("2", &[]), &changed).expect("it is ours");
    fs::rename(&changed, &library).expect("it is ours");
    overwrite();
    let line = host.log_line("worker 0 cannot start: ");
    for words in
        ["the server's copy of it", "the library has changed since", "restart the server", "callsign reload"]
    {
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn a_folder_that_the_workers_cannot_enter_is_not_used() {
    if !needs_root() {
        return;
    }
    let folder = open_folder();
    let copies = folder.path().join("copies");
    fs::set_permissions(&copies, Permissions::from_mode(0o700)).expect("it is ours");
    let mut host = serve(folder.path(), &["--user", "65534"]);
    assert_eq!(host.open("/").next_text(), "join 1");
    let line = host.log_line("the copies of the plugins are in ");
    assert!(
        line.contains(&format!("TMPDIR {0}: user 65534 (--user) cannot enter {0}", path(&copies))),
        "{line}"
    );
    assert!(host.terminate().success());
}

/// Whoever can rename the folder of the copies could have the parent write elsewhere, or have workers load other code.
#[test]
fn a_folder_in_which_others_can_replace_things_is_not_used() {
    let others: &[(u32, u32)] = if is_root() { &[(0o777, 0), (0o755, 4242)] } else { &[(0o777, 0)] };
    for &(mode, owner) in others {
        let folder = open_folder();
        let copies = folder.path().join("copies");
        fs::set_permissions(&copies, Permissions::from_mode(mode)).expect("it is ours");
        if owner != 0 {
            std::os::unix::fs::chown(&copies, Some(owner), None).expect("the test runs as root");
        }
        let host = serve(folder.path(), &[]);
        assert_eq!(host.open("/").next_text(), "join 1");
        let line = host.log_line("the copies of the plugins are in ");
        let who = if owner == 0 { "every user".to_owned() } else { format!("user {owner}") };
        let expected = format!("TMPDIR {0}: {who} can replace what is in {0}", path(&copies));
        assert!(line.contains(&expected), "{line}");
        assert_eq!(files_below(&copies), [""; 0].map(PathBuf::from));
        drop(host);
        // Sticky, as /tmp is: others can rename only what is theirs.
        fs::set_permissions(&copies, Permissions::from_mode(0o1777)).expect("it is ours");
        if owner == 0 {
            serve(folder.path(), &[]);
            assert_ne!(files_below(&copies), [""; 0].map(PathBuf::from));
        }
    }
}

#[test]
fn where_no_folder_can_be_written_the_error_says_which_were_tried_and_what_helps() {
    if !may_unshare() {
        return;
    }
    let folder = open_folder();
    let script =
        "for f in \"$TMPDIR\" /run /tmp /var/tmp; do mount --bind $f $f; mount -o remount,bind,ro $f; done";
    let text = stderr_of_failure(&run_in_namespace(script, folder.path()));
    let tmpdir = format!("TMPDIR {}: Read-only file system", path(&folder.path().join("copies")));
    for words in
        [&tmpdir, "/run: Read-only", "/tmp: Read-only", "/var/tmp: Read-only", "set TMPDIR to a folder"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    // The next one is taken.
    let script = "mount -t tmpfs -o noexec tmpfs \"$TMPDIR\"";
    let output = run_in_namespace(script, folder.path());
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(stdout.contains("listening on") && stderr.contains("mounted noexec"), "{stdout}{stderr}");
}

#[test]
fn a_missing_file_of_the_system_is_named() {
    if !may_unshare() {
        return;
    }
    let folder = open_folder();
    let text = stderr_of_failure(&run_in_namespace("mount -t tmpfs tmpfs /dev", folder.path()));
    assert!(text.contains("cannot open /dev/null, which is the standard input of worker"), "{text}");
    let text = stderr_of_failure(&run_in_namespace("mount -t tmpfs tmpfs /proc", folder.path()));
    assert!(text.contains("cannot run /proc/self/exe, from which") && text.contains("mount /proc"), "{text}");
}

/// The C library removes TMPDIR from the environment of a program with capabilities.
#[test]
fn a_program_with_capabilities_keeps_copies_in_the_runtime_directory() {
    if !needs_root() {
        return;
    }
    let folder = open_folder();
    let program = folder.path().join("callsign");
    // By another process, as in `bounds`.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_callsign")).arg(&program).status();
    assert!(copied.expect("cp is there").success());
    let set = Command::new("setcap").arg("cap_net_bind_service+ep").arg(&program).status();
    if !set.is_ok_and(|status| status.success()) && !skip("setcap is not permitted") {
        return;
    }
    let runtime = folder.path().join("runtime");
    fs::create_dir(&runtime).expect("it is ours");
    fs::set_permissions(&runtime, Permissions::from_mode(0o1777)).expect("it is ours");
    let mut command = Command::new("setpriv");
    isolate(&mut command);
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "timeout", "--preserve-status", "3"]);
    command.arg(&program).arg("serve").arg(folder.path().join("plugin.so"));
    command.args(["--route", ROUTE, "--listen", "127.0.0.1:0", "--log", "debug"]);
    command.env("TMPDIR", folder.path()).env("RUNTIME_DIRECTORY", &runtime).env_remove("XDG_RUNTIME_DIR");
    let output = command.output().expect("setpriv is there");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(stdout.contains("listening on"), "{stderr}");
    assert!(stderr.contains(&format!("the copies of the plugins are in {}", path(&runtime))), "{stderr}");
}
