//! The benchmark's own servers answer its load without a mistake, and its failures are told.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn load(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callsign-load"));
    command.args(arguments);
    command
}

#[test]
fn every_server_of_the_binary_echoes_without_a_mistake() {
    let file = std::env::temp_dir().join(format!("callsign-load-{}.json", std::process::id()));
    let output = load(&[
        "--rounds=1",
        "--seconds=0.2",
        "--only=echo,echo-32,echo-16k",
        "--servers=tungstenite,fastwebsockets,floor",
        "--json",
        file.to_str().expect("a path of text"),
    ])
    .output()
    .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::remove_file(&file).unwrap();

    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let lanes = row["lanes"].as_array().unwrap();
        let names: Vec<_> = lanes.iter().map(|lane| lane["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["tungstenite", "fastwebsockets", "floor"]);
        for lane in lanes {
            let figure = |key: &str| lane["medians"][key].as_f64().unwrap();
            assert!(figure("messages_per_second") > 0.0, "{lane}");
            assert!(figure("cpu_us_per_message") > 0.0, "{lane}");
            assert!(figure("p50_us") <= figure("p99_us") && figure("p99_us") <= figure("p999_us"), "{lane}");
        }
    }
    assert_eq!(report["failures"], Value::Array(vec![]));
}

#[test]
fn a_server_that_dies_is_named_and_fails_the_run() {
    let mut command = load(&["--rounds=1", "--seconds=20", "--only=echo", "--servers=floor"]);
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", running.id());
    let server: i32 = loop {
        assert_eq!(running.try_wait().unwrap(), None, "the run ended before its server was found");
        if let Ok(pid) = std::fs::read_to_string(&children).unwrap().trim().parse() {
            break pid;
        }
        std::thread::yield_now();
    };
    kill_process(Pid::from_raw(server).unwrap(), Signal::KILL).unwrap();

    let output = running.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED: floor, row echo, round 1: the server"), "{text}");
    assert!(text.contains("signal: 9"), "{text}");
}
