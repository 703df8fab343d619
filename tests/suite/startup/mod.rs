//! A start that fails exits with status 1 (2 for wrong usage) and one message: the file, plugin, symbol or
//! route, what was expected and found, the nearest existing name, and what to do.

mod listen;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::{Host, c_plugin_with, faulty, good, path, plugin, run, scratch};

/// The message of a start that fails, without the leading program name.
#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    let message = stderr.strip_prefix("callsign: ").and_then(|rest| rest.strip_suffix('\n'));
    message.unwrap_or_else(|| panic!("not one message: {stderr}")).to_owned()
}

/// The library must be rejected with a message that begins with its path.
#[track_caller]
fn assert_refused(library: &Path, message: &str) {
    assert_eq!(refusal(&[path(library)]), format!("plugin {}: {message}", library.display()));
}

/// A scratch file with this content.
fn file(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let file = scratch(name);
    fs::write(&file, content).expect("the scratch folder can be written");
    file
}

/// An empty `main`, compiled with these options.
fn compiled(name: &str, options: &[&str]) -> PathBuf {
    let (source, output) = (file(&format!("{name}.c"), "int main(void) { return 0; }\n"), scratch(name));
    let status = Command::new("cc").args(options).args([Path::new("-o"), &output, &source]).status();
    assert!(status.expect("there is a compiler").success());
    output
}

#[test]
fn a_missing_file_is_refused_with_the_nearest_one() {
    let folder = scratch("nearest");
    fs::create_dir_all(&folder).expect("the scratch folder can be written");
    fs::write(folder.join("libchat.so"), "").expect("the scratch folder can be written");
    assert_refused(
        &folder.join("libcaht.so"),
        "no such file; did you mean `libchat.so`? Build it, or fix the path",
    );
    assert_refused(&folder.join("web.so"), "no such file; build it, or fix the path");
    assert_refused(&folder.join("debug/libchat.so"), "no such file, nor folder; build it, or fix the path");
}

#[test]
fn a_file_that_is_no_library_is_refused_with_its_kind() {
    const BUILD: &str = "not a shared library; build one (crate-type cdylib, in C -shared) and pass that";
    assert_refused(&file("notes.so", "some notes\n"), &format!("a text file, {BUILD}"));
    assert_refused(&file("zeros.so", [0; 4096]), &format!("a file of another format, {BUILD}"));
    assert_refused(&compiled("program", &[]), &format!("a program, {BUILD}"));
    assert_refused(&compiled("old-program", &["-no-pie"]), &format!("a program, {BUILD}"));

    let object = compiled("object.o", &["-c"]);
    assert_refused(&object, &format!("an object file (.o), {BUILD}"));
    let archive = scratch("archive.a");
    let status = Command::new("ar").args([Path::new("rcs"), &archive, &object]).status();
    assert!(status.expect("there is an archiver").success());
    let build = BUILD.replace("not a shared library", "not a shared one");
    assert_refused(&archive, &format!("a static library (.a), {build}"));

    let message = "a folder, not a shared library; `callsign dev FOLDER` builds a plugin and serves it";
    assert_refused(scratch("folder").parent().expect("the file is in a folder"), message);
}

#[test]
fn a_library_that_is_still_being_written_is_refused() {
    assert_refused(&file("empty.so", ""), "the file is empty; is the build still writing it?");
    let whole = fs::read(good()).expect("the library was built");
    let message = "the file is damaged or cut short; is the build still writing it?";
    assert_refused(&file("half.so", &whole[..whole.len() / 2]), message);
    assert_refused(&file("little.so", &whole[..20]), message);
}

/// As when `dev` builds again while the server starts.
#[test]
fn a_start_waits_for_a_library_that_is_being_written() {
    let whole = fs::read(plugin("echo")).expect("the plugin was built");
    let library = scratch("libgrowing.so");
    let mut growing = fs::File::create(&library).expect("the scratch folder can be written");
    let (first, rest) = whole.split_at(whole.len() / 2);
    growing.write_all(first).expect("the file can be written");
    thread::scope(|scope| {
        scope.spawn(|| {
            for piece in rest.chunks(rest.len() / 20) {
                thread::sleep(Duration::from_millis(50)); // a linker that writes in pieces
                growing.write_all(piece).expect("the file can be written");
            }
        });
        let host = Host::start(&["serve", path(&library)]);
        assert_eq!(host.open("/").ask("whole"), "whole");
    });
}

#[test]
fn a_library_for_another_machine_is_refused_with_both_architectures() {
    const E_MACHINE: usize = 18;
    let (here, other, number) = match cfg!(target_arch = "x86_64") {
        true => ("X86_64", "Aarch64", 183_u16),
        false => ("Aarch64", "X86_64", 62),
    };
    let mut library = fs::read(good()).expect("the library was built");
    library[E_MACHINE..E_MACHINE + 2].copy_from_slice(&number.to_le_bytes());
    let message = format!("built for {other}, this host runs on {here}; build it for this machine");
    assert_refused(&file("foreign.so", library), &message);
}

#[test]
fn a_library_with_an_unresolved_symbol_is_refused_with_the_symbol() {
    let message = "cannot be loaded: undefined symbol: defined_nowhere; link the library that defines it, or remove \
                   the call";
    assert_refused(&faulty("-DFAULT_UNRESOLVED"), message);
}

#[test]
fn a_library_that_needs_a_missing_library_is_refused_with_its_name() {
    let needed = scratch("libneeded.so");
    let status =
        Command::new("cc").args(["-shared", "-fPIC", "-xc", "/dev/null", "-o"]).arg(&needed).status();
    assert!(status.expect("there is a compiler").success());
    let needing = c_plugin_with("faulty.c", &["-DNAME=\"needing\"", "-Wl,--no-as-needed", path(&needed)]);
    fs::remove_file(&needed).expect("the library was built");
    let message = "cannot be loaded: libneeded.so: cannot open shared object file: No such file or directory";
    let message = message.replace("libneeded.so", path(&needed));
    assert_refused(&needing, &message);
}

#[test]
fn a_library_without_a_valid_descriptor_is_refused_with_the_way_to_make_one() {
    const ADD: &str = "add `callsign_plugin::plugin!();` to the library, or in C, with callsign.h, `CALLSIGN_PLUGIN(\"name\", \"version\");`";
    for (option, message) in [
        ("-DFAULT_NO_DESCRIPTOR", format!("no plugin descriptor (symbol `callsign_plugin`); {ADD}")),
        (
            "-DFAULT_MAGIC",
            format!(
                "its symbol `callsign_plugin` is no descriptor, which would begin with the bytes `callsign`; {ADD}"
            ),
        ),
        ("-DFAULT_SHORT", format!("its descriptor has 64 bytes, that of ABI 1.0 has 168; {ADD}")),
        (
            "-DFAULT_NO_SLOT",
            "its descriptor has no place for the host's functions (`host` is NULL)".to_owned(),
        ),
        (
            "-DFAULT_KIND",
            "handler `release` is of kind 77, which this host (ABI 1.1) does not know; use a later host"
                .to_owned(),
        ),
    ] {
        assert_refused(&faulty(option), &message);
    }
    let message = "the plugin's name `chat room` is not 1 to 63 letters, digits, `-`, `_` and `.`; rename it";
    assert_refused(&c_plugin_with("faulty.c", &["-DNAME=\"chat room\""]), message);
}

#[test]
fn another_abi_major_is_refused_with_both_numbers_and_a_higher_minor_is_served() {
    let message = "built for ABI 2.0, this host has ABI 1.1; rebuild the plugin with the SDK of this host";
    assert_refused(&faulty("-DABI_MAJOR=2"), message);
    let message = message.replace("2.0", "0.0");
    assert_refused(&faulty("-DABI_MAJOR=0"), &message);

    let later = faulty("-DABI_MINOR=7");
    let host = Host::start(&["serve", path(&later), "--route", "/=join,message,"]);
    assert_eq!(host.open("/").next_text(), "welcome");
}

#[test]
fn two_plugins_of_one_name_are_refused_with_both_files() {
    let (first, second) = (good(), c_plugin_with("faulty.c", &["-DNAME=\"good\"", "-O1"]));
    assert_eq!(
        refusal(&[path(&first), path(&second)]),
        format!(
            "plugin {}: its name `good` is taken by {}; give one of them another name: `[plugin.NAME]` in the \
             configuration file, or in its source",
            second.display(),
            first.display()
        )
    );
}

/// Two plugins from one file would share its statics.
#[test]
fn a_library_can_be_loaded_only_once() {
    let good = good();
    let twice = format!("[plugin.one]\npath = {good:?}\n[plugin.two]\npath = {good:?}\n");
    assert_eq!(
        refusal(&["--config", path(&file("twice.toml", twice))]),
        format!(
            "{}:4:8: plugin `two` ({}): this library is given twice, and is loaded already as plugin `one`; name it once, on \
             the command line or in the config file",
            scratch("twice.toml").display(),
            good.display()
        )
    );
}

#[test]
fn a_route_to_a_missing_handler_is_refused_with_the_nearest_one() {
    let good = good();
    let plugin = format!("plugin `good` ({})", good.display());
    for (names, message) in [
        ("pgae", format!("{plugin}: no onrequest handler `pgae`; did you mean `page`? Fix the name")),
        ("home", format!("{plugin}: no onrequest handler `home`; found: page. Fix the name")),
        (
            ",mesage,",
            format!("{plugin}: no onmessage handler `mesage`; did you mean `message`? Fix the name"),
        ),
        (
            ",,leave",
            format!("{plugin}: no ondisconnect handler `leave`; none of that kind is exported. Fix the name"),
        ),
        ("good:pag", format!("{plugin}: no onrequest handler `pag`; did you mean `page`? Fix the name")),
    ] {
        let route = format!("/chat={names}");
        assert_eq!(
            refusal(&[path(&good), "--route", &route]),
            format!("{message} in route `/chat` (--route '{route}'), or export it")
        );
    }
}

#[test]
fn a_route_to_a_missing_handler_names_every_plugin_that_was_searched() {
    let (good, echo) = (good(), plugin("echo"));
    assert_eq!(
        refusal(&[path(&good), path(&echo), "--route", "/=,onmesage,"]),
        format!(
            "plugin `good` ({}), plugin `echo` ({}): no onmessage handler `onmesage`; did you mean `onmessage`? Fix \
             the name in route `/` (--route '/=,onmesage,'), or export it",
            good.display(),
            echo.display()
        )
    );
}

#[test]
fn a_route_to_a_missing_plugin_is_refused_with_the_nearest_one() {
    let good = good();
    for (plugin, hint) in [("goood", "did you mean `good`?"), ("chat", "loaded: good.")] {
        let route = format!("/={plugin}:page");
        assert_eq!(
            refusal(&[path(&good), "--route", &route]),
            format!(
                "no plugin `{plugin}` is loaded, as `{plugin}:page` asks for; {hint} Fix the name in route `/` \
                 (--route '{route}'), or load that plugin"
            )
        );
    }
}

#[test]
fn a_route_to_a_handler_of_another_kind_is_refused_with_both_kinds() {
    let good = good();
    for (names, handler, kind, needed) in [
        ("join", "join", "onconnect", "onrequest"),
        ("page,,", "page", "onrequest", "onconnect"),
        (",join,", "join", "onconnect", "onmessage"),
        (",,good:join", "join", "onconnect", "ondisconnect"),
    ] {
        let route = format!("/a/*={names}");
        assert_eq!(
            refusal(&[path(&good), "--route", &route]),
            format!(
                "plugin `good` ({}): `{handler}` is an {kind} handler, and an {needed} handler is needed here. Fix \
                 the name in route `/a/*` (--route '{route}'), or change the handler's kind",
                good.display()
            )
        );
    }
}

#[test]
fn plugins_without_a_handler_to_serve_are_refused_with_a_list_of_their_handlers() {
    assert_eq!(
        refusal(&[path(&good())]),
        "nothing to serve: no route is given, and no plugin has a handler called `onrequest`, `onconnect`, `onmessage` \
         or `ondisconnect`. Name handlers in a route: --route '/=ONREQUEST' or --route \
         '/=ONCONNECT,ONMESSAGE,ONDISCONNECT'. Found: plugin `good`: onconnect join, onmessage message, onrequest page"
    );
}

#[test]
fn a_plugin_that_refuses_to_be_loaded_is_refused_with_its_reason() {
    assert_refused(&faulty("-DFAULT_REFUSES"), "its onload hook `load` refused the load and gave no reason");
    assert_refused(
        &faulty("-DFAULT_TWO_HOOKS"),
        "it has two onload hooks, `again` and `load`; keep one, or name the one that is meant: `onload` in [plugin.faulty]",
    );

    let library = plugin("test-probe");
    let config = |key: &str| {
        let text = format!("[plugin.mine]\npath = {library:?}\nconfig = {{ {key} = true }}\n");
        file(&format!("{key}.toml"), text)
    };
    let source = include_str!("../../plugins/probe/src/lib.rs").lines();
    let line = source.take_while(|line| !line.contains("load panics")).count() + 1;
    for (key, reason) in [
        ("refuse", "refusing {\"refuse\":true}".to_owned()),
        ("panic", format!("panicked: load panics (tests/plugins/probe/src/lib.rs:{line})")),
    ] {
        let config = config(key);
        assert_eq!(
            refusal(&["--config", path(&config)]),
            format!(
                "plugin `mine` ({}): its onload hook `load` refused the load: {reason} (its config: {}:3:10)",
                library.display(),
                config.display()
            )
        );
    }
}

#[test]
fn a_mistake_in_a_config_file_is_refused_with_its_place() {
    let good = good();
    let config = |name: &str, text: &str| file(name, format!("[plugin.mine]\npath = {good:?}\n{text}"));

    let unknown = config("unknown.toml", "[[route]]\npath = '/'\nhandlr = 'page'\n");
    assert_eq!(
        refusal(&["--config", path(&unknown)]),
        format!("{}:5:1: unknown key `handlr` in [[route]]; did you mean `handler`?", unknown.display())
    );

    let missing = config("missing.toml", "[[route]]\npath = '/'\nhandler = 'pagge'\n");
    assert_eq!(
        refusal(&["--config", path(&missing)]),
        format!(
            "plugin `mine` ({}): no onrequest handler `pagge`; did you mean `page`? Fix the name in route `/` ({}:3), or \
             export it",
            good.display(),
            missing.display()
        )
    );

    for (name, shown) in [("'c:d'", "c:d"), ("''", "")] {
        let named = config("named.toml", &format!("[plugin.{name}]\npath = {good:?}\n"));
        assert_eq!(
            refusal(&["--config", path(&named)]),
            format!(
                "{}:3:9: `{shown}` cannot be a plugin's name; it is 1 to 63 letters, digits, `-`, `_` and `.`",
                named.display()
            )
        );
    }

    let no_library = config("no-library.toml", "[plugin.other]\npath = 'libother.so'\n");
    assert_eq!(
        refusal(&["--config", path(&no_library)]),
        format!(
            "{}:4:8: plugin `other` ({}): no such file; build it, or fix the path",
            no_library.display(),
            no_library.with_file_name("libother.so").display()
        )
    );

    let no_file = scratch("no-such-file.toml");
    assert_eq!(
        refusal(&["--config", path(&no_file)]),
        format!("cannot read config file {}: No such file or directory (os error 2)", no_file.display())
    );
}

#[test]
fn a_max_message_that_exceeds_the_link_is_refused() {
    assert_eq!(
        refusal(&[path(&good()), "--route", "/=page", "--max-message", "2049MiB"]),
        "max_message is 2049MiB, expected at most 2GiB"
    );
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_option() {
    for (arguments, named) in [
        (&["serve"][..], "--config FILE"),
        (&["serve", "libchat.so", "--rout", "/=page"], "'--route'"),
        (&["serve", "libchat.so", "--route", "/chat"], "'--route <PATH=HANDLERS>'"),
        (&["serve", "libchat.so", "--listen", "8080"], "'--listen <HOST:PORT>'"),
        (&["sreve", "libchat.so"], "'serve'"),
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(named), "{stderr}");
    }
}
