//! `callsign inspect` reads a plugin without running its code. `callsign check` loads it as a server would,
//! and survives any crash of the plugin.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::{Value, json};

use crate::support::{Host, c_plugin_with, crash_config, faulty, good, path, plugin, run, scratch};

/// Runs `check`: exit code, stdout, and stderr without the warning that root gets for a config file without a user.
fn check(arguments: &[&str]) -> (i32, String, String) {
    let (code, stdout, stderr) = run(&[&["check"], arguments].concat());
    let is_other = |line: &&str| !line.starts_with("callsign: warning: plugins run as root, ");
    (code, stdout, stderr.split_inclusive('\n').filter(is_other).collect())
}

/// The output of `check` for plugins that load.
#[track_caller]
fn good_check(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = check(arguments);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

/// The error of `check` for plugins that do not load.
#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = check(arguments);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    stderr.strip_prefix("callsign: ").unwrap_or_else(|| panic!("not one message: {stderr}")).to_owned()
}

/// The error of `check` for the plugin `crash`, which does `what` when it is loaded.
#[track_caller]
fn misfortune(what: &str, options: &[&str]) -> String {
    let (config, start) = crash_config(&format!("check {what}"));
    fs::write(&start, what).expect("the scratch folder can be written");
    refusal(&[&["--config", path(&config)], options].concat())
}

#[test]
fn inspect_lists_the_contents_of_a_plugin() {
    let library = good();
    let (code, stdout, _) = run(&["inspect", path(&library)]);
    let expected = format!(
        "plugin good 1.2 ({})\n  abi           1.0\n  built for     {}\n  hooks         release\n  \
         onconnect     join\n  onmessage     message\n  onrequest     page\n",
        library.display(),
        std::env::consts::ARCH,
    );
    assert_eq!(code, 0);
    assert!(stdout.starts_with(&expected), "{stdout}");

    let (code, stdout, _) = run(&["inspect", "--json", path(&plugin("chat"))]);
    let found: Value = serde_json::from_str(&stdout).expect("the answer is JSON");
    assert_eq!(code, 0);
    assert_eq!((&found["name"], &found["abi"]), (&json!("chat"), &json!("1.1")));
    assert_eq!(found["handlers"][0], json!({ "name": "configure", "kind": "onload" }));
    #[cfg(target_os = "linux")]
    assert!(found["needs"].to_string().contains("\"libc.so"), "{found}");
    assert!(found["functions"].is_array() && found["hooks"].is_array());
}

#[test]
fn inspect_lists_hooks() {
    let none = c_plugin_with("convention.c", &[]);
    let (code, stdout, stderr) = run(&["inspect", "--json", path(&none)]);
    let found: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    assert_eq!((code, &found["hooks"]), (0, &json!([])));
}

#[test]
fn inspect_runs_no_code_and_rejects_files_that_are_no_plugin() {
    for option in ["-DFAULT_BORN_CRASHING", "-DFAULT_BORN_HANGING"] {
        let (code, stdout, stderr) = run(&["inspect", path(&faulty(option))]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    }
    let none = faulty("-DFAULT_NO_DESCRIPTOR");
    let (code, stdout, stderr) = run(&["inspect", path(&none)]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(
        stderr.starts_with(&format!("callsign: plugin {}: no plugin descriptor", none.display())),
        "{stderr}"
    );
    let text = scratch("notes");
    fs::write(&text, "some notes\n").expect("the scratch folder can be written");
    assert_eq!(run(&["inspect", path(&text)]).0, 1);
    assert_eq!(run(&["inspect", "nowhere.so"]).0, 1);
}

#[test]
fn check_lists_the_contents_of_plugins_that_load() {
    let (good, chat) = (good(), plugin("chat"));
    let text = good_check(&[path(&good)]);
    assert!(text.starts_with(&format!("plugin good 1.2, generation 1 ({})\n", good.display())), "{text}");
    assert!(text.contains("\n  onmessage     message\n"), "{text}");
    assert!(text.contains("\ngood: 1 plugin, loaded within "), "{text}");
    // Without routes, the plugin needs no handlers of any particular name.
    assert!(!text.contains("\nroute "), "{text}");

    let routes = ["/=good:page", "/ws=good:join,,", "/chat=chat:onrequest"];
    let routes = routes.map(|route| ["--route", route]).concat();
    let text = good_check(&[&[path(&good), path(&chat)], &routes[..]].concat());
    assert!(
        text.contains(
            "\nroute /  onrequest good:page\nroute /ws  WebSocket: onconnect good:join\nroute /chat  onrequest \
             chat:onrequest\n"
        ),
        "{text}"
    );
    assert!(text.contains("\ngood: 2 plugins, loaded within "), "{text}");
}

#[test]
fn check_rejects_plugins_that_a_server_would_reject() {
    let good = good();
    let library = path(&good);
    let refused = refusal(&[library, "--route", "/=pgae"]);
    assert!(refused.contains("no onrequest handler `pgae`; did you mean `page`?"), "{refused}");
    assert!(refusal(&[library, library]).contains("this library is given twice"));
    assert!(refusal(&[path(&faulty("-DFAULT_NO_DESCRIPTOR"))]).contains("no plugin descriptor"));
    assert!(refusal(&[path(&faulty("-DABI_MAJOR=9"))]).contains("built for ABI 9.0"));
    assert!(refusal(&[path(&faulty("-DFAULT_UNRESOLVED"))]).contains("undefined symbol: defined_nowhere"));
    assert!(refusal(&[path(&faulty("-DFAULT_REFUSES"))]).contains("refused the load"));
    assert!(refusal(&["nowhere.so"]).contains("no such file"));
    assert!(refusal(&["--config", "nowhere.toml"]).contains("cannot read config file"));
}

#[test]
fn check_outlives_a_plugin_that_crashes_hangs_or_ends_its_process() {
    let library = plugin("test-crash");
    let of = |text: &str| format!("plugin `crash` ({}) {text}", library.display());
    let said = misfortune("segv", &[]);
    let expected = of("crashes in its onload hook `onload`: SIGSEGV: no access to address 0x10");
    assert!(said.starts_with(&expected), "{said}");
    let first = said.lines().next().expect("the error has a line");
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    assert!(first.contains("; at test_crash::write_nowhere at "), "{first}");
    assert!(misfortune("abort", &[]).starts_with(&of("crashes in its onload hook `onload`: SIGABRT")));
    assert!(misfortune("overflow", &[]).contains("SIGSEGV: out of stack"));
    for status in [0, 3] {
        let expected = of(&format!("ends the process with status {status} in its onload hook `onload`\n"));
        assert_eq!(misfortune(&format!("exit {status}"), &[]), expected);
    }
    let expected = of("hangs in its onload hook `onload`: it did not return within 300ms");
    for what in ["hang", "spin"] {
        let said = misfortune(what, &["--timeout", "300ms"]);
        assert!(said.starts_with(&expected), "{said}");
    }
    assert!(misfortune("refuse", &[]).contains("its onload hook `onload` refused the load: not today"));
    assert!(misfortune("panic", &[]).contains("refused the load: panicked: as asked"));
}

#[test]
fn check_outlives_a_library_that_crashes_or_hangs_before_its_hook() {
    let library = faulty("-DFAULT_BORN_CRASHING");
    let said = refusal(&[path(&library)]);
    let expected = format!(
        "plugin `faulty` ({}) crashes while the library is loaded, before its onload hook: SIGSEGV",
        library.display()
    );
    assert!(said.starts_with(&expected), "{said}");
    let said = refusal(&[path(&faulty("-DFAULT_BORN_HANGING")), "--timeout", "300ms"]);
    assert!(said.contains("hangs while the library is loaded, before its onload hook"), "{said}");
}

#[test]
fn check_puts_a_library_in_the_place_of_the_configs_plugin_of_that_name() {
    let (config, start) = crash_config("in its place");
    fs::write(&start, "refuse").expect("the scratch folder can be written");
    let copy = scratch("libnew.so");
    fs::copy(plugin("test-crash"), &copy).expect("the file can be copied");
    // `check` passes the config table to the plugin, which rejects it.
    let said = refusal(&[path(&copy), "--config", path(&config)]);
    assert!(said.starts_with(&format!("plugin `crash` ({}): its onload hook", copy.display())), "{said}");
    fs::remove_file(&start).expect("the path exists");
    let text = good_check(&[path(&copy), "--config", path(&config)]);
    assert!(text.contains("\ngood: 1 plugin, "), "{text}");
    let text = good_check(&[path(&good()), "--config", path(&config), "--route", "/=good:page"]);
    assert!(text.contains("\ngood: 2 plugins, "), "{text}");
}

#[test]
fn a_load_hook_knows_that_it_is_tried_out() {
    let library = faulty("-DFAULT_REFUSES_PROBE");
    assert!(refusal(&[path(&library)]).contains("refused the load: it is tried out"));
    let route = ["serve", path(&library), "--route", "/=page"];
    Host::start(&route).connect();
}

#[test]
#[cfg(target_os = "linux")]
fn check_leaves_no_process_behind() {
    // A path that no other process has mapped.
    let copy = scratch("libleft_behind.so");
    fs::copy(faulty("-DFAULT_BORN_HANGING"), &copy).expect("the file can be copied");
    assert!(refusal(&[path(&copy), "--timeout", "300ms"]).contains("hangs"));
    let has_it = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("maps")).is_ok_and(|maps| maps.contains(path(&copy)))
    };
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
    assert_eq!(processes.filter(has_it).count(), 0);
}

#[test]
fn a_path_that_is_no_regular_file_is_refused_without_waiting() {
    let pipe = scratch("pipe.so");
    // Removes the pipe of an earlier run.
    let _ = fs::remove_file(&pipe);
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is mkfifo").success());
    for library in [path(&pipe), "/dev/zero"] {
        for command in ["inspect", "check"] {
            let (code, stdout, stderr) = run(&[command, library]);
            assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
            assert!(stderr.contains("it is a pipe, a socket or a device, and no file"), "{stderr}");
        }
    }
}

#[test]
fn names_of_files_cannot_steer_a_terminal() {
    let library = scratch("\x1b[31mred.so");
    fs::copy(good(), &library).expect("the scratch folder can be written");
    let (code, stdout, stderr) = run(&["inspect", path(&library)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("\u{fffd}[31mred.so") && !stdout.contains('\x1b'), "{stdout:?}");
    let missing = library.with_file_name("\x1b[31mre.so");
    for command in ["inspect", "check"] {
        let (code, _, stderr) = run(&[command, path(&missing)]);
        assert_eq!(code, 1);
        assert!(
            stderr.contains("did you mean `\u{fffd}[31mred.so`") && !stderr.contains('\x1b'),
            "{stderr:?}"
        );
    }
}

#[test]
fn a_path_that_is_no_text_is_named() {
    let file = scratch("plain").with_file_name(OsStr::from_bytes(b"no-\xFF-text.so"));
    fs::copy(good(), &file).expect("the scratch folder can be written");
    for (arguments, why) in [
        (&["serve"][..], "its path is not UTF-8; rename it"),
        (&["check"], "its path is not UTF-8; rename it"),
        (&["inspect", "--json"], "path contains invalid UTF-8 characters"),
    ] {
        let arguments = arguments.iter().map(OsStr::new).chain([file.as_os_str()]);
        let (code, _, stderr) = run(&arguments.collect::<Vec<_>>());
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("no-\u{FFFD}-text.so: ") && stderr.trim_end().ends_with(why), "{stderr}");
    }
    let (code, stdout, stderr) = run(&[OsStr::new("inspect"), file.as_os_str()]);
    assert!(code == 0 && stdout.contains("no-\u{FFFD}-text.so"), "{stdout}{stderr}");
}
