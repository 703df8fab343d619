//! `include/callsign.h` is generated from `src/abi.rs` and from `header/helpers.h`, which is written by hand.
//! The test compares the file with the generated text; with `UPDATE_HEADER=1` it writes the file.
#![forbid(unsafe_code)]

#[path = "header/generate.rs"]
mod generate; // translates Rust declarations to C

#[path = "header/text.rs"]
mod text; // translates doc comments to C comments

use std::path::Path;
use std::{env, fs};

const COMMAND: &str = "UPDATE_HEADER=1 cargo test -p callsign-plugin --test header";

#[test]
fn the_header_matches_the_abi_module() {
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
    let found = fs::read_to_string(&path).unwrap_or_default();
    if let Some(line) = first_difference(&found, &header) {
        panic!(
            "plugin-api/include/callsign.h is out of date, first difference in line {line}:\n  \
             found:    {}\n  expected: {}\nRun `{COMMAND}` and commit the header.",
            found.lines().nth(line - 1).unwrap_or("(end of file)"),
            header.lines().nth(line - 1).unwrap_or("(end of file)"),
        );
    }
}

/// Number of the first line that differs, counted from 1.
fn first_difference(a: &str, b: &str) -> Option<usize> {
    let (mut a, mut b) = (a.split('\n'), b.split('\n'));
    (1..).find_map(|number| match (a.next(), b.next()) {
        (None, None) => Some(None),
        (one, other) => (one != other).then_some(Some(number)),
    })?
}

#[test]
fn the_first_difference_is_reported_by_its_line() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
    assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
    assert_eq!(first_difference("", "a"), Some(1));
}
