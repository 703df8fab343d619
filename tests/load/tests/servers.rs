//! Callsign and the benchmark's own servers answer the load correctly, and failures are reported.

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn load(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callsign-load"));
    command.args(arguments);
    command
}

/// Measures the given rows for 0.2 s; returns the rows of the report.
fn rows_of(name: &str, arguments: &[&str]) -> Vec<Value> {
    let file = std::env::temp_dir().join(format!("callsign-load-{name}-{}.json", std::process::id()));
    let mut command =
        load(&["--rounds=1", "--seconds=0.2", "--json", file.to_str().expect("a path of text")]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(report["failures"], Value::Array(vec![]));
    match report["rows"].take() {
        Value::Array(rows) => rows,
        other => panic!("rows: {other}"),
    }
}

/// Checks that each line of a row has its name and plausible figures.
fn assert_lanes(row: &Value, names: &[&str]) {
    let lanes = row["lanes"].as_array().unwrap();
    assert!(lanes.iter().map(|lane| lane["name"].as_str().unwrap()).eq(names.iter().copied()), "{row}");
    for lane in lanes {
        let figure = |key: &str| lane["medians"][key].as_f64().unwrap();
        assert!(figure("messages_per_second") > 0.0, "{lane}");
        assert!(figure("cpu_us_per_message") > 0.0, "{lane}");
        assert!(figure("p50_us") <= figure("p99_us") && figure("p99_us") <= figure("p999_us"), "{lane}");
    }
}

#[test]
fn every_server_of_the_binary_echoes_without_a_mistake() {
    let servers = ["tungstenite", "fastwebsockets", "floor"];
    let rows = rows_of("echo", &["--only=echo,echo-32,echo-16k", "--servers", &servers.join(",")]);
    assert_eq!(rows.len(), 3);
    rows.iter().for_each(|row| assert_lanes(row, &servers));
}

#[test]
fn compressed_messages_come_back_and_are_smaller_with_context() {
    let rows = rows_of(
        "deflate",
        &[
            "--only=deflate-on,deflate-on-1000,deflate-context,deflate-context-1000",
            "--servers=callsign,yawc",
        ],
    );
    let mut ratios = Vec::new();
    for row in &rows {
        assert_lanes(row, &["callsign", "callsign, off", "yawc"]);
        let ratio = |lane: usize| row["lanes"][lane]["medians"]["sent_over_plain"].as_f64().unwrap();
        assert_eq!(ratio(1), 1.0);
        assert!((ratio(0) / ratio(2) - 1.0).abs() < 0.1, "both compress equally well: {row}");
        ratios.push(ratio(0));
    }
    assert!(ratios[0] < 0.6 && ratios[2] < ratios[0] && ratios[3] < ratios[1], "{ratios:?}");
}

#[test]
fn messages_come_back_over_tls() {
    let rows = rows_of("tls", &["--only=tls-echo,tls-echo-16k,tls-idle", "--connections=100"]);
    let [echo, large, idle] = &rows[..] else { panic!("{} rows", rows.len()) };
    assert_lanes(echo, &["callsign", "tokio-rustls"]);
    assert_lanes(large, &["callsign", "tokio-rustls"]);
    for lane in idle["lanes"].as_array().expect("lanes") {
        assert!(lane["medians"]["kib_per_connection"].as_f64().is_some_and(|kib| kib > 0.0), "{lane}");
    }
}

#[test]
fn callsign_delivers_every_broadcast_with_any_number_of_workers() {
    let rows = rows_of("fan-out", &["--only=broadcast,fan-out,fan-out-32,scoreboard", "--servers=callsign"]);
    let [broadcast, fan_out, fan_out_32, scoreboard] = &rows[..] else { panic!("{} rows", rows.len()) };
    assert_lanes(broadcast, &["callsign x 1", "callsign x 32"]);
    for row in [fan_out, fan_out_32] {
        assert_lanes(row, &["LOCAL 1 worker", "GLOBAL 1 worker", "GLOBAL 2 workers", "GLOBAL 4 workers"]);
        assert_eq!(row["lanes"][0]["over_reference"], 1.0);
    }
    let cost = &scoreboard["lanes"][0]["medians"]["scoreboard_ns_per_callback"];
    assert!(cost.as_f64().is_some_and(f64::is_finite), "{scoreboard}");
}

#[test]
fn gaps_around_reloads_are_measured_without_and_with_states() {
    let rows = rows_of("reload", &["--only=reload", "--connections=300", "--servers=callsign"]);
    let [reload] = &rows[..] else { panic!("{} rows", rows.len()) };
    let lanes = reload["lanes"].as_array().unwrap();
    assert!(
        lanes.iter().map(|lane| lane["name"].as_str().unwrap()).eq(["no state", "small states"]),
        "{reload}"
    );
    for lane in lanes {
        let figure = |key: &str| lane["medians"][key].as_f64().unwrap();
        assert!(figure("gap_without_reload_ms") > 0.0, "{lane}");
        assert!(
            0.0 < figure("longest_gap_ms") && figure("longest_gap_ms") <= figure("worst_gap_ms"),
            "{lane}"
        );
    }
}

#[test]
fn an_edit_of_the_chat_example_answers() {
    let rows = rows_of("edit", &["--only=edit", "--servers=callsign"]);
    let medians = &rows[0]["lanes"][0]["medians"];
    let figure = |key: &str| medians[key].as_f64().unwrap();
    assert!(figure("build_ms") > 0.0 && figure("build_by_hand_ms") > 0.0, "{medians}");
    assert!(figure("rest_ms") > 0.0 && figure("rest_ms") < figure("save_to_answer_ms"), "{medians}");
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
