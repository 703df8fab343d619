//! Wrong usage: the message names the option or the environment variable that is wrong, and says what is expected.

use std::process::Command;

use crate::support::{isolate, path, plugin};

/// What the program says about these arguments, with these environment variables: exit code and stderr.
fn said(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_callsign"));
    isolate(&mut program);
    program.env_remove("CALLSIGN_WORKERS").env_remove("CALLSIGN_CONTROL");
    let output = program.args(arguments).envs(variables.iter().copied()).output();
    let output = output.expect("the program can be run");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or_else(|| panic!("{stderr}")), stderr)
}

/// The first line of the message about wrong usage.
#[track_caller]
fn wrong(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let (code, stderr) = said(arguments, variables);
    assert_eq!(code, 2, "{stderr}");
    stderr.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn serve_and_check_without_a_plugin_mention_the_library_and_the_config_file() {
    for command in ["serve", "check"] {
        assert_eq!(
            wrong(&[command], &[]),
            format!(
                "error: no plugin to {command}: name a library's file, such as libchat.so, or a config file with \
                 --config FILE"
            )
        );
    }
}

#[test]
fn a_wrong_number_says_what_is_expected_and_where_it_comes_from() {
    const COUNT: &str = "expected a whole number, such as 4";
    const SIZE: &str = "expected a size in bytes, such as 65536, 64KiB or 16MiB";
    const TIME: &str = "expected a duration of at most 365 days, such as 10s, 250ms, 1.5m or 10 (seconds)";
    const RATE: &str = "expected a number in a time of at most an hour, such as 10/s, 600/m or 100/10s";
    for (option, variable, name, expected) in [
        ("--workers", "CALLSIGN_WORKERS", "N", COUNT),
        ("--max-connections", "CALLSIGN_MAX_CONNECTIONS", "N", COUNT),
        ("--max-message", "CALLSIGN_MAX_MESSAGE", "SIZE", SIZE),
        ("--hang-timeout", "CALLSIGN_HANG_TIMEOUT", "TIME", TIME),
        ("--request-rate", "CALLSIGN_REQUEST_RATE", "RATE", RATE),
    ] {
        for value in ["abc", "", "1e3x", "99999999999999999999999"] {
            let rest = format!("error: invalid value '{value}' for '");
            let of_option = wrong(&["serve", "a.so", option, value], &[]);
            let of_variable = wrong(&["serve", "a.so"], &[(variable, value)]);
            if value.is_empty() {
                // Nothing can be quoted.
                assert!(of_option.contains(option), "{of_option}");
                assert!(of_variable.contains(variable), "{of_variable}");
                continue;
            }
            assert_eq!(of_option, format!("{rest}{option} <{name}>': {expected}"));
            assert_eq!(of_variable, format!("{rest}{variable} (environment variable)': {expected}"));
            // The option takes precedence.
            let both = wrong(&["serve", "a.so", &format!("{option}={value}")], &[(variable, "1")]);
            assert_eq!(both, of_option);
        }
    }
    let list = wrong(&["serve", "a.so"], &[("CALLSIGN_LISTEN", "127.0.0.1:0,8080")]);
    assert!(
        list.starts_with("error: invalid value '8080' for 'CALLSIGN_LISTEN (environment variable)': "),
        "{list}"
    );
}

#[test]
fn an_error_about_a_setting_names_the_environment_variable_that_decides_it() {
    let chat = plugin("chat");
    for (variable, value, expected) in [
        ("CALLSIGN_WORKERS", "300", "workers is 300, expected at most 256; one per core serves best"),
        (
            "CALLSIGN_LISTEN",
            "192.0.2.1:80",
            "cannot listen on 192.0.2.1:80: this machine has no such address; ",
        ),
        ("CALLSIGN_MAX_HEAD", "4KiB", "max_head is 4KiB, expected at least 8KiB"),
        ("CALLSIGN_HIGH_WATER", "8MiB", "high_water is 8MiB, above max_backlog, which is 4MiB: "),
        ("CALLSIGN_SEND_TIMEOUT", "0", "send_timeout is 0, which no client can meet; "),
    ] {
        let (code, stderr) = said(&["serve", path(&chat)], &[(variable, value)]);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.starts_with(&format!("callsign: {variable}: {expected}")), "{stderr}");
    }
    let (_, stderr) = said(&["serve", path(&chat), "--max-head", "4KiB"], &[("CALLSIGN_MAX_HEAD", "1MiB")]);
    assert!(stderr.starts_with("callsign: max_head is 4KiB"), "{stderr}");
}
