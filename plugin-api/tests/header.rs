//! `include/callsign.h` says what `src/abi.rs` says. It is generated from that file and from
//! `header/helpers.h`, which is written by hand; this compares, or with `UPDATE_HEADER=1` writes.
#![forbid(unsafe_code)]

#[path = "header/generate.rs"]
mod generate; // Rust declarations to C declarations

#[path = "header/text.rs"]
mod text; // doc comments to C comments

use std::path::Path;
use std::{env, fs};

const COMMAND: &str = "UPDATE_HEADER=1 cargo test -p callsign-plugin --test header";

#[test]
fn the_header_is_what_the_abi_module_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let header = generate::header(&read("src/abi.rs"), &read("tests/header/helpers.h"), COMMAND);
    let path = folder.join("include/callsign.h");
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&path, &header).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    if let Some(line) = first_difference(&there, &header) {
        panic!(
            "plugin-api/include/callsign.h differs from plugin-api/src/abi.rs and tests/header/helpers.h, \
             first in line {line}:\n  there:  {}\n  wanted: {}\nRun `{COMMAND}` and commit the header.",
            there.lines().nth(line - 1).unwrap_or("(the end)"),
            header.lines().nth(line - 1).unwrap_or("(the end)"),
        );
    }
}

/// Number of the first line, from 1, that is not the same in both.
fn first_difference(a: &str, b: &str) -> Option<usize> {
    let (mut a, mut b) = (a.split('\n'), b.split('\n'));
    (1..).find_map(|number| match (a.next(), b.next()) {
        (None, None) => Some(None),
        (one, other) => (one != other).then_some(Some(number)),
    })?
}

#[test]
fn a_difference_is_told_by_its_line() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
    assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
    assert_eq!(first_difference("", "a"), Some(1));
}
