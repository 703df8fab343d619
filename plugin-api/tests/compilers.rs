//! `callsign.h` compiles with gcc and clang, as C99 and as C++17, without warnings. The helpers behave as
//! documented without a host. Needs both compilers, which `tests/setup` installs.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Compilers, with the options that select the language of a `.c` file.
const COMPILERS: [(&str, &[&str]); 4] = [
    ("gcc", &["-std=c99"]),
    ("clang", &["-std=c99"]),
    ("g++", &["-x", "c++", "-std=c++17"]),
    ("clang++", &["-x", "c++", "-std=c++17"]),
];

const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

fn compile(compiler: &str, options: &[&str], sources: &[&str], output: &str) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{output}-{compiler}"));
    let mut command = Command::new(compiler);
    command.args(WARNINGS).args(options).arg("-I").arg(manifest.join("include")).arg("-o").arg(&output);
    succeeded(
        compiler,
        command.args(sources.iter().map(|source| manifest.join("tests/header").join(source))),
    );
    output
}

fn succeeded(program: &str, command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}; run tests/setup"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    output
}

#[test]
fn a_plugin_compiles_without_a_warning_as_c99_and_as_cpp17() {
    for (compiler, language) in COMPILERS {
        for level in ["-O0", "-O2"] {
            let options = [language, &[level, "-fvisibility=hidden", "-shared", "-fPIC"]].concat();
            let library = compile(compiler, &options, &["sample.c"], "sample");
            let symbols = succeeded("nm", Command::new("nm").args(["-D", "--defined-only"]).arg(&library));
            let symbols = String::from_utf8_lossy(&symbols.stdout).into_owned();
            let mut exported: Vec<_> = symbols.lines().filter_map(|line| line.split(' ').nth(2)).collect();
            exported.sort_unstable();
            // Inline functions of the C++ library, at -O0.
            exported.retain(|symbol| !symbol.starts_with("_ZNKSt"));
            // Only C++ has exceptions.
            let guards = exported.iter().position(|symbol| *symbol == "callsign_guard");
            assert_eq!(
                guards.map(|at| exported.remove(at)).is_some(),
                compiler.ends_with("++"),
                "{compiler}"
            );
            let names = ["drained", "join", "leave", "load", "message", "page", "unload"];
            let handlers = names.map(|name| format!("callsign_handler_{name}"));
            assert_eq!(exported[..7], handlers, "{compiler} {level}");
            assert_eq!(exported[7..], ["callsign_plugin"], "{compiler} {level}");
        }
    }
}

#[test]
fn hooks_can_be_named_in_c() {
    for compiler in ["gcc", "clang"] {
        compile(compiler, &["-std=c99", "-DWITH", "-shared", "-fPIC"], &["sample.c"], "sample-with");
    }
}

#[test]
fn a_handler_with_a_wrong_signature_does_not_compile() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("misfit.c");
    let source = "#include <callsign.h>\nstatic void join(struct connection *c) { (void)c; }\nCALLSIGN_ONMESSAGE(join);\n";
    std::fs::write(&file, source).expect("the scratch folder is writable");
    for (compiler, language) in COMPILERS {
        let mut command = Command::new(compiler);
        command.args(language).args(["-Werror", "-fsyntax-only", "-I"]).arg(manifest.join("include"));
        let output = command.arg(&file).output().expect("the compiler ran before");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{compiler} accepts it");
        assert!(
            stderr.contains("incompatible")
                || stderr.contains("invalid conversion")
                || stderr.contains("cannot initialize"),
            "{compiler}: {stderr}"
        );
    }
}

#[test]
fn without_a_host_or_with_an_old_host_the_helpers_do_nothing() {
    for (compiler, language) in COMPILERS {
        let options = [language, &["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]].concat();
        let program = compile(compiler, &options, &["alone.c", "second.c"], "alone");
        let output = succeeded("alone", &mut Command::new(program));
        let expected = "to stderr\nformatted too, 1\n".repeat(3);
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected, "{compiler}");
    }
}
