//! What is installed with the program: shells load the scripts of `callsign completions`, `man` formats the pages of
//! `callsign man`, and the files of the Debian package exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{empty_folder, path, root, run, scratch, skip};

/// The completion script of a shell.
fn script(shell: &str) -> String {
    let (code, stdout, stderr) = run(&["completions", shell]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout
}

/// What the program prints. None: this machine does not have it.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{program} {arguments:?}: {stderr}");
    Some(String::from_utf8(output.stdout).expect("it is UTF-8"))
}

#[test]
fn bash_completes_commands_and_options() {
    let file = scratch("completions.bash");
    fs::write(&file, script("bash")).expect("the scratch folder can be written");
    let complete = |words: &str, current: usize| {
        let (file, before) = (path(&file), current - 1);
        let line = format!(
            "source '{file}'; complete -p callsign >/dev/null || exit 1; COMP_WORDS=({words}); COMP_CWORD={current}; \
             _callsign callsign \"${{COMP_WORDS[{current}]}}\" \"${{COMP_WORDS[{before}]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        output("bash", &["--norc", "-c", &line]).expect("there is a bash")
    };
    assert_eq!(complete("callsign se", 1), "serve\n");
    assert_eq!(complete("callsign serve --max-m", 2), "--max-message\n");
    assert!(complete("callsign completions ''", 2).lines().any(|shell| shell == "zsh"));
}

#[test]
fn each_shell_gets_a_script_that_names_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = script(shell);
        for word in ["serve", "dev", "completions", "max-message"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let (code, _, stderr) = run(&["completions", "cmd"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("[possible values: bash, elvish, fish, powershell, zsh]"), "{stderr}");
}

#[test]
fn zsh_loads_its_script_for_the_program() {
    let file = scratch("completions.zsh");
    fs::write(&file, script("zsh")).expect("the scratch folder can be written");
    let load = "autoload -Uz compinit; compinit -D -u; source $1; print -r -- $_comps[callsign] $+functions[_callsign]";
    match output("zsh", &["-f", "-c", load, "zsh", path(&file)]) {
        Some(loaded) => assert_eq!(loaded, "_callsign 1\n"),
        None => skip_shell("zsh"),
    }
}

#[test]
fn fish_completes_commands_and_options() {
    let file = scratch("completions.fish");
    fs::write(&file, script("fish")).expect("the scratch folder can be written");
    let complete = |line: &str| {
        let source = format!("source '{}'; complete -C '{line}'", path(&file));
        output("fish", &["--no-config", "-c", &source])
    };
    let Some(commands) = complete("callsign se") else { return skip_shell("fish") };
    assert_eq!(commands.split('\t').next(), Some("serve"));
    let options = complete("callsign serve --max-m").expect("there is a fish");
    assert!(options.starts_with("--max-message\t") && options.lines().count() == 1, "{options}");
}

fn skip_shell(shell: &str) {
    skip(&format!("there is no {shell}"));
}

#[test]
fn man_formats_a_page_for_each_command() {
    let folder = empty_folder("pages").join("man1");
    let (code, stdout, stderr) = run(&["man", path(&folder)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let pages: BTreeSet<String> = fs::read_dir(&folder)
        .expect("it was made")
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(stdout.starts_with(&format!("wrote {} pages to ", pages.len())), "{stdout}");
    let (_, help, _) = run(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = commands.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        Some(name).filter(|name| !matches!(*name, "" | "help"))
    });
    let mut wanted: BTreeSet<String> = names.map(|name| format!("callsign-{name}.1")).collect();
    assert!(wanted.len() > 8, "{help}");
    wanted.insert("callsign.1".to_owned());
    assert_eq!(pages, wanted);
    for page in &pages {
        assert_is_good(&folder.join(page));
    }
}

/// `man` has no complaint, and each line of the examples is on its own.
fn assert_is_good(page: &Path) {
    let Some(text) = output("man", &["--warnings", "--encoding=utf8", "--local-file", path(page)]) else {
        skip("there is no man");
        return;
    };
    for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES"] {
        assert!(text.lines().any(|line| line == heading), "{}: no {heading}: {text}", page.display());
    }
    assert!(
        text.lines().any(|line| line.trim_start().starts_with("callsign ") && line.starts_with("       c")),
        "{text}"
    );
}

/// `cargo deb` makes the package from this list; a missing file would be noticed only then.
#[test]
fn what_the_debian_package_is_made_of_exists() {
    let host = root().join("host");
    let manifest = fs::read_to_string(host.join("Cargo.toml")).expect("it can be read");
    let manifest: toml::Table = manifest.parse().expect("it is TOML");
    let deb = &manifest["package"]["metadata"]["deb"];
    let text = |value: &toml::Value| value.as_str().expect("it is a string").to_owned();
    let assets: Vec<[String; 2]> = deb["assets"]
        .as_array()
        .expect("it is a list")
        .iter()
        .map(|asset| [text(&asset[0]), text(&asset[1])])
        .collect();
    let is_made = |source: &str| source.starts_with("target/") || source.contains("/generated/");
    for [source, _] in assets.iter().filter(|[source, _]| !is_made(source)) {
        assert!(host.join(source).is_file(), "{source}");
    }
    let folder = host.join(text(&deb["systemd-units"]["unit-scripts"]));
    for unit in ["callsign.service", "callsign.socket"] {
        assert!(folder.join(unit).is_file(), "{unit}");
    }
    let config = root().join("packaging/debian/callsign.toml");
    assert!(assets.iter().any(|asset| *asset == ["../packaging/debian/callsign.toml", "etc/callsign/"]));
    let (code, _, stderr) = run(&["check", "--config", path(&config)]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no plugin to serve: name "), "{stderr}");
}
