//! How a server is shown as tables.

use super::*;

#[test]
fn tables_fit_into_80_columns_and_say_what_runs() {
    let plugin = |generation, retained| WorkerPlugin { name: "chat".into(), generation, retained };
    let bound = |kind: &str, name: &str| RouteHandler {
        kind: kind.into(),
        plugin: "chat".into(),
        name: name.into(),
        generation: 4,
    };
    let worker =
        WorkerStatus { index: 0, accepted: 1234, callbacks: 88_211, clients: 250, ..Default::default() };
    let status = Status {
        version: "0.1.0".into(),
        pid: 4711,
        uptime_ms: 11_560_000,
        draining_for_ms: None,
        config: Some("callsign.toml".into()),
        sandbox: None,
        addresses: vec!["127.0.0.1:8080".into(), "127.0.0.1:8443".into()],
        listeners: vec![
            ListenerStatus { address: "127.0.0.1:8080".into(), redirect: true, ..Default::default() },
            ListenerStatus {
                address: "127.0.0.1:8443".into(),
                tls: true,
                redirect: false,
                certificates: vec![CertificateStatus {
                    path: "/etc/chat.pem".into(),
                    names: vec!["a.example".into(), "*.b.example".into()],
                    not_before: "2026-11-27T13:05:09Z".into(),
                    not_after: "2027-02-28T13:05:09Z".into(),
                }],
            },
        ],
        workers: vec![
            WorkerStatus {
                pid: Some(4712),
                uptime_ms: Some(11_559_000),
                serves: true,
                resident_bytes: Some(39_007_000),
                reload_growth_bytes: 31 << 20,
                plugins: vec![plugin(4, 3)],
                running: Some(RunningStatus {
                    plugin: "chat".into(),
                    generation: 4,
                    kind: "onmessage handler".into(),
                    name: "message".into(),
                    running_for_ms: Some(3200),
                }),
                ..worker.clone()
            },
            WorkerStatus {
                index: 1,
                pid: Some(4799),
                uptime_ms: Some(59_000),
                serves: true,
                receive_memory_bytes: 3 << 19,
                send_memory_bytes: 200 << 20,
                compressed: 249,
                shed: 7,
                limits: [("request_rate", 12), ("max_head", 1), ("max_body", 0), ("send_timeout", 3)]
                    .map(|(key, count)| (key.to_owned(), count))
                    .into(),
                plugins: vec![plugin(4, 0)],
                ..worker.clone()
            },
            WorkerStatus { index: 2, clients: 0, accepted: 0, callbacks: 0, ..worker },
        ],
        plugins: vec![PluginStatus {
            name: "chat".into(),
            version: "0.1.0".into(),
            generation: 4,
            path: "target/release/libchat.so".into(),
        }],
        routes: vec![
            RouteStatus {
                path: "/*".into(),
                handlers: vec![bound("onrequest", "page")],
                ..RouteStatus::default()
            },
            RouteStatus {
                path: "/{page}".into(),
                methods: vec!["GET".into(), "PUT".into()],
                hosts: vec!["a.example".into(), "*.b.example".into(), "c.example".into()],
                hosts_more: 2,
                handlers: vec![bound("onrequest", "page")],
                files: None,
            },
            RouteStatus { path: "/css/*".into(), files: Some("public".into()), ..RouteStatus::default() },
            RouteStatus {
                path: "/chat".into(),
                handlers: vec![bound("onconnect", "join"), bound("onmessage", "message")],
                ..RouteStatus::default()
            },
        ],
        routes_more: 0,
    };
    let expected = "\
callsign 0.1.0, process 4711, up 3h 12m
config file callsign.toml
listening on http://127.0.0.1:8080/, which redirects to https
listening on https://127.0.0.1:8443/
  certificate of a.example, *.b.example until 2027-02-28 (/etc/chat.pem)

WORKER  PROCESS      UP  CLIENTS  ACCEPTED  CALLBACKS    MEMORY    GROWTH
     0     4712  3h 12m      250      1234      88211  37.1 MiB  31.0 MiB
        in onmessage handler chat:message (generation 4), for 3.2s
     1     4799     59s      250      1234      88211         -   0.0 MiB
        1.5 MiB incomplete messages, 200.0 MiB write queues, 7 clients shed
        249 connections with compression
        limits reached: 1 max_head, 12 request_rate
        limits reached: 3 send_timeout
     2        -       -        0         0          0         -         -
        has died; the next one is about to start

PLUGIN  VERSION  GENERATION  RETAINED  LIBRARY
chat    0.1.0    4           0 to 3    target/release/libchat.so

ROUTE                                                  HANDLER    CODE          GENERATION
/*                                                     onrequest  chat:page     4
GET, PUT /{page} on a.example, *.b.example and 3 more  onrequest  chat:page     4
/css/*                                                 files      public        -
/chat                                                  onconnect  chat:join     4
                                                       onmessage  chat:message  4
";
    assert_eq!(status.to_string(), expected);
    let json = serde_json::to_string(&status).expect("it is plain data");
    assert_eq!(serde_json::from_str::<Status>(&json).expect("it was written so"), status);
}

#[test]
fn a_worker_that_does_not_run_has_a_note() {
    let worker = WorkerStatus {
        shed: 1,
        pid: Some(4712),
        uptime_ms: Some(59_000),
        serves: true,
        stalled_for_ms: Some(3200),
        ..Default::default()
    };
    let text = Status { workers: vec![worker], ..Default::default() }.to_string();
    let row = "     0     4712  59s        0         0          0       -  0.0 MiB\n";
    assert!(text.contains(&format!("{row}        has not run its event loop for 3.2s\n")), "{text}");
    assert!(text.contains("0.0 MiB write queues, 1 client shed\n"), "{text}");
}

#[test]
fn a_server_that_is_stopping_says_so() {
    let workers = vec![WorkerStatus::default()];
    let text = Status { draining_for_ms: Some(3200), workers, ..Default::default() }.to_string();
    assert!(
        text.contains("\ndraining for 3s: it accepts no clients, and stops when all have closed\n"),
        "{text}"
    );
    assert!(text.contains("\n        has ended\n"), "{text}");
}

#[test]
fn times_have_two_units() {
    for (ms, text) in
        [(0, "0s"), (59_999, "59s"), (60_000, "1m 0s"), (3_600_000, "1h 0m"), (90_000_000, "1d 1h")]
    {
        assert_eq!(time(ms), text);
    }
}

#[test]
fn a_sandbox_is_shown_with_what_it_allows() {
    let sandbox = SandboxStatus {
        level: "best-effort".into(),
        read: vec!["/srv/chat".into()],
        system: vec!["/usr/lib".into()],
        write: vec!["/var/lib/chat".into()],
        network: true,
        system_calls: vec!["ptrace".into(), "bpf".into()],
        missing: vec!["access to files".into()],
        ..SandboxStatus::default()
    };
    let expected = "sandbox best-effort, with network\n  may read /srv/chat\n  may write /var/lib/chat\n  \
                    may make the system calls ptrace, bpf\n  does not restrict access to files\n";
    assert_eq!(sandbox.to_string(), expected);
}
