//! The units in `examples/systemd`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{empty_folder, path, root};

/// Exposure of a service to the faults of its program, of 100, above which it does not count as hardened.
const EXPOSURE_MAX: &str = "20";

/// Copies of the units in a folder of that name, with the program of these tests.
fn units(name: &str) -> [PathBuf; 2] {
    let folder = empty_folder(name);
    ["callsign.service", "callsign.socket"].map(|name| {
        let text =
            fs::read_to_string(root().join("examples/systemd").join(name)).expect("the example is there");
        let copy = folder.join(name);
        fs::write(&copy, text.replace("/usr/bin/callsign", env!("CARGO_BIN_EXE_callsign")))
            .expect("the scratch folder can be written");
        copy
    })
}

/// The output of `systemd-analyze`, which has to succeed.
fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).output().expect("tests/setup installs it");
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    let [service, socket] = units("verified");
    // Faults that are no errors are output only.
    assert_eq!(analyze(&["verify", "--man=no", path(&service), path(&socket)]), "");
}

#[test]
fn the_service_is_hardened() {
    let [service, _] = units("hardened");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let text = analyze(&["security", "--offline=true", "--no-pager", &threshold, path(&service)]);
    assert!(text.contains("Overall exposure level"), "{text}");
}
