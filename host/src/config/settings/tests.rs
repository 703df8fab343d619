//! Precedence of command line, config file and defaults, and settings that contradict each other.

use std::path::Path;
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::commands::cli::{Cli, Command};
use crate::config::compression::CompressionMode;
use crate::config::control_address::ControlAddress;
use crate::config::defaults::{DEFAULT_LISTEN, DEFAULT_SLOW_CALLBACK, default_serve_workers};
use crate::config::file;
use crate::config::rate::Rate;
use crate::config::route::Target;
use crate::config::trusted_proxies::{TrustedProxies, TrustedProxy};
use crate::config::web_origin::{OriginPattern, OriginRule};

fn parse(text: &str) -> Config {
    file::parse(text, Path::new("conf/callsign.toml")).unwrap()
}

/// The settings of `callsign serve` with `config` and these arguments on a machine with 3 cores.
fn serve(config: Option<Config>, arguments: &[&str]) -> anyhow::Result<Settings> {
    let Command::Serve { plugins, options, .. } =
        Cli::try_parse_from(["callsign", "serve"].iter().chain(arguments))?.command
    else {
        unreachable!("`serve` parses as Serve");
    };
    Settings::merge(config, options, plugins, 3)
}

fn words(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}

fn paths(settings: &Settings) -> Vec<String> {
    settings.routes.iter().map(|route| route.path.to_string()).collect()
}

fn addresses(settings: &Settings) -> Vec<String> {
    settings.listen.iter().map(|entry| entry.address.to_string()).collect()
}

#[test]
fn without_file_and_options_the_defaults_apply() {
    let settings = serve(None, &["libchat.so"]).unwrap();
    assert_eq!(addresses(&settings), [DEFAULT_LISTEN]);
    assert_eq!(settings.workers, 3);
    assert_eq!((settings.user, settings.group), (None, None));
    assert_eq!(settings.log, LogLevel::Info);
    assert!(settings.routes.is_empty());
    assert_eq!((settings.control, settings.config), (ControlAddress::Default, None));
    assert_eq!(settings.plugins, [PluginSource::library("libchat.so".into())]);
    assert_eq!(
        settings.limits,
        Limits {
            max_message: 1024 * 1024,
            max_backlog: 4 * 1024 * 1024,
            message_timeout: Some(Duration::from_secs(60)),
            receive_memory: 256 * 1024 * 1024,
            send_memory: 512 * 1024 * 1024,
            high_water: 64 * 1024,
            max_body: 1024 * 1024,
            max_head: 64 * 1024,
            handshake_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            ping_interval: Some(Duration::from_secs(20)),
            drain_timeout: Duration::from_secs(10),
            slow_callback: Some(Duration::from_millis(100)),
            hang_timeout: Some(Duration::from_secs(10)),
            reload_timeout: Duration::from_secs(10),
            max_connections: None,
            max_per_address: None,
            connection_rate: None,
            request_rate: None,
            handshake_rate: None,
        }
    );
}

#[test]
fn options_take_precedence_over_the_file_and_the_file_over_the_defaults() {
    let file = "listen = ['a:1', 'b:2']\nworkers = 2\nuser = 'www-data'\ngroup = 33\n\
                [plugin.p]\npath = 'libp.so'\n\
                [worker]\nslow_callback = 0\nhang_timeout = 5\nmax_connections = 9\n\
                [websocket]\nmax_message = 1000\nping_interval = 5\nclose_timeout = 1\n\
                [http]\nmax_body = 7\n";
    let from_file = serve(Some(parse(file)), &["--config", "callsign.toml"]).unwrap();
    assert_eq!(addresses(&from_file), ["a:1", "b:2"]);
    assert_eq!(from_file.workers, 2);
    assert_eq!((from_file.user.as_deref(), from_file.group.as_deref()), (Some("www-data"), Some("33")));
    assert_eq!(from_file.limits.slow_callback, None);
    assert_eq!(from_file.limits.max_connections, Some(9));
    assert_eq!(from_file.limits.max_message, 1000);
    assert_eq!(from_file.limits.ping_interval, Some(Duration::from_secs(5)));

    let arguments = "libq.so --listen c:3 --listen d:4,e:5 --workers 8 --user chat --log debug --max-message 2k \
                     --ping-interval 0 --handshake-timeout 1m --hang-timeout 0";
    let merged = serve(Some(parse(file)), &words(arguments)).unwrap();
    assert_eq!(addresses(&merged), ["c:3", "d:4", "e:5"]);
    assert_eq!(merged.workers, 8);
    assert_eq!((merged.user.as_deref(), merged.group.as_deref()), (Some("chat"), Some("33")));
    assert_eq!(merged.log, LogLevel::Debug);
    let libraries: Vec<_> = merged.plugins.into_iter().map(|plugin| plugin.path).collect();
    assert_eq!(libraries, [PathBuf::from("conf/libp.so"), PathBuf::from("libq.so")]);
    assert_eq!(merged.limits.max_message, 2048);
    assert_eq!(merged.limits.ping_interval, None);
    assert_eq!(merged.limits.hang_timeout, None);
    assert_eq!(merged.limits.handshake_timeout, Duration::from_secs(60));
    assert_eq!(merged.limits.max_body, 7);
    assert_eq!(merged.limits.close_timeout, Duration::from_secs(1));
}

#[test]
fn every_limit_option_reaches_its_own_setting() {
    let arguments = "l.so --max-message 1 --max-backlog 3 --high-water 2 --max-body 4 --max-head 8193 \
                 --handshake-timeout 6 --close-timeout 7 --ping-interval 8 --drain-timeout 9 \
                 --slow-callback 10 --hang-timeout 11 --max-connections 12 --reload-timeout 13 \
                 --keepalive-timeout 14 --send-timeout 15 \
                 --message-timeout 16 --receive-memory 17 --send-memory 18 --max-per-address 19 \
                 --connection-rate 20/s --request-rate 21/m --handshake-rate 22/2s";
    let limits = serve(None, &words(arguments)).unwrap().limits;
    assert_eq!(
        limits,
        Limits {
            max_message: 1,
            max_backlog: 3,
            high_water: 2,
            max_body: 4,
            max_head: 8193,
            handshake_timeout: Duration::from_secs(6),
            keepalive_timeout: Duration::from_secs(14),
            send_timeout: Duration::from_secs(15),
            close_timeout: Duration::from_secs(7),
            ping_interval: Some(Duration::from_secs(8)),
            drain_timeout: Duration::from_secs(9),
            slow_callback: Some(Duration::from_secs(10)),
            hang_timeout: Some(Duration::from_secs(11)),
            reload_timeout: Duration::from_secs(13),
            max_connections: Some(12),
            message_timeout: Some(Duration::from_secs(16)),
            receive_memory: 17,
            send_memory: 18,
            max_per_address: Some(19),
            connection_rate: Some(Rate { count: 20, per: Duration::from_secs(1) }),
            request_rate: Some(Rate { count: 21, per: Duration::from_secs(60) }),
            handshake_rate: Some(Rate { count: 22, per: Duration::from_secs(2) }),
        }
    );
}

#[test]
fn a_route_option_replaces_the_route_of_its_path_or_is_added() {
    let file = "[[route]]\npath = '/a'\nhandler = 'old'\n[[route]]\npath = '/b'\nhandler = 'kept'\n";
    let settings = serve(Some(parse(file)), &["l.so", "--route", "/c=new", "--route", "/a=,m,"]).unwrap();
    assert_eq!(paths(&settings), ["/a", "/b", "/c"]);
    assert_eq!(settings.routes[0].origin, "--route '/a=,m,'");
    assert_eq!(settings.routes[1].target, Target::Handler("kept".into()));
    assert_eq!(settings.routes[2].target, Target::Handler("new".into()));
}

#[test]
fn origins_and_proxies_of_the_options_replace_those_of_the_file() {
    let file = "[http]\norigins = ['https://a.example', 'null']\ntrusted_proxies = '10.0.0.0/8'\n\
                [plugin.p]\npath = 'libp.so'\n";
    let handshake = |arguments: &[&str]| {
        serve(Some(parse(file)), &[&["--config", "c"], arguments].concat()).unwrap().handshake
    };
    let origins = |list: &[&str]| -> OriginRule {
        list.iter().map(|origin| OriginPattern::parse(origin).unwrap()).collect()
    };
    let proxies = |list: &[&str]| {
        let proxies = list.iter().map(|proxy| TrustedProxy::parse(proxy).unwrap());
        TrustedProxies::from(proxies.collect::<Vec<_>>())
    };
    let of_file = handshake(&[]);
    assert_eq!(of_file.origins, origins(&["https://a.example", "null"]));
    assert_eq!(of_file.trusted_proxies, proxies(&["10.0.0.0/8"]));
    let arguments = ["--origin", "http://b.example,http://c.example", "--origin", "http://d.example"];
    let of_options = handshake(&[&arguments[..], &["--trusted-proxy", "unix:,::1"]].concat());
    assert_eq!(of_options.origins, origins(&["http://b.example", "http://c.example", "http://d.example"]));
    assert_eq!(of_options.trusted_proxies, proxies(&["unix:", "::1"]));
    assert_eq!(handshake(&["--origin", "*"]).origins, OriginRule::Any);
    assert!(serve(None, &["l.so", "--origin", "example.com"]).is_err());
    assert!(serve(None, &["l.so", "--trusted-proxy", "localhost"]).is_err());
    assert_eq!(serve(None, &["l.so"]).unwrap().handshake, HandshakePolicy::default());
}

#[test]
fn compression_of_the_options_replaces_that_of_the_file_but_not_that_of_a_route() {
    let file = "[websocket]\ncompression = { mode = 'on', level = 1 }\n[plugin.p]\npath = 'libp.so'\n\
                [[route]]\npath = '/a'\nonmessage = 'm'\ncompression = 'off'\n";
    let merge = |arguments: &[&str]| serve(Some(parse(file)), &[&["--config", "c"], arguments].concat());
    let of_file = merge(&[]).unwrap();
    let on = Compression::of(CompressionMode::On);
    assert_eq!(of_file.handshake.compression, Compression { level: 1, ..on });
    let of_options = merge(&["--compression", "context"]).unwrap();
    assert_eq!(of_options.handshake.compression, Compression::of(CompressionMode::Context));
    assert_eq!(of_options.routes[0].compression, Some(Compression::default()));
    assert!(merge(&["--compression", "gzip"]).is_err());
}

#[test]
fn the_control_option_takes_precedence_over_the_path_relative_to_the_file() {
    let file = || Some(parse("control = 'c.sock'\n[plugin.p]\npath = 'libp.so'\n"));
    assert_eq!(
        serve(file(), &["--config", "c"]).unwrap().control,
        ControlAddress::Path("conf/c.sock".into())
    );
    assert_eq!(serve(file(), &["--config", "c", "--control", "none"]).unwrap().control, ControlAddress::Off);
    assert_eq!(serve(file(), &["l.so", "--control", "a"]).unwrap().control, ControlAddress::Path("a".into()));
}

#[test]
fn settings_that_contradict_each_other_are_rejected() {
    for (arguments, message) in [
        (
            &["l.so", "--route", "/a=x", "--route", "/a=y"][..],
            "two routes for `/a`: --route '/a=x' and --route '/a=y'; keep one",
        ),
        (
            &["l.so", "--high-water", "8MiB"],
            "high_water is 8MiB, above max_backlog, which is 4MiB: no queue could reach it; lower \
             high_water or raise max_backlog",
        ),
        (
            &["l.so", "--max-message", "200MiB", "--receive-memory", "599MiB"],
            "receive_memory is 599MiB, less than three times max_message, which is 200MiB: two clients with a large \
             message could exceed it; raise receive_memory or lower max_message",
        ),
        (
            &["l.so", "--send-memory", "3MiB"],
            "send_memory is 3MiB, below max_backlog, which is 4MiB: one client would exceed it; raise \
             send_memory or lower max_backlog",
        ),
        (&["l.so", "--max-head", "4KiB"], "max_head is 4KiB, expected at least 8KiB"),
        (
            &["l.so", "--handshake-timeout", "0"],
            "handshake_timeout is 0, which no client can meet; expected more, such as 10s",
        ),
        (
            &["l.so", "--keepalive-timeout", "0"],
            "keepalive_timeout is 0, which no client can meet; expected more, such as 75s",
        ),
        (
            &["l.so", "--send-timeout", "0"],
            "send_timeout is 0, which no client can meet; expected more, such as 1m",
        ),
        (
            &["l.so", "--slow-callback", "20s"],
            "hang_timeout is 10s, below slow_callback, which is 20s: a worker would be ended before its \
             callback counts as slow; raise hang_timeout or lower slow_callback",
        ),
        (
            &["l.so", "--max-connections", "0"],
            "max_connections is 0, so that no client could connect; expected at least 1",
        ),
        (&["l.so", "--workers", "257"], "workers is 257, expected at most 256; one per core serves best"),
        (
            &["--config", "empty.toml"],
            "no plugin to serve: name a library's file, or a [plugin.NAME] in the config file",
        ),
    ] {
        assert_eq!(serve(None, arguments).unwrap_err().to_string(), message);
    }
}

#[test]
fn an_error_about_a_limit_of_the_file_has_its_position() {
    let file = |text: &str| Some(parse(&format!("[plugin.p]\npath = 'libp.so'\n{text}")));
    for (text, arguments, expected) in [
        ("[http]\nmax_head = '4KiB'", "--workers 1", "conf/callsign.toml:4:12: max_head is 4KiB, expected "),
        (
            "[websocket]\nhigh_water = '8MiB'",
            "--workers 1",
            "conf/callsign.toml:4:14: high_water is 8MiB, above ",
        ),
        // The option contradicts the file.
        (
            "[websocket]\nmax_backlog = 9",
            "--high-water 10",
            "conf/callsign.toml:4:15: high_water is 10B, above ",
        ),
        ("[http]\nmax_head = '4KiB'", "--max-head 5KiB", "max_head is 5KiB, expected "),
        ("[worker]\nmax_connections = 0", "--workers 1", "conf/callsign.toml:4:19: max_connections is 0, "),
    ] {
        let error = serve(file(text), &words(&format!("--config c {arguments}"))).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error =
        serve(Some(parse("workers = 300\n[plugin.p]\npath = 'l.so'")), &["--config", "c"]).unwrap_err();
    assert!(error.to_string().starts_with("conf/callsign.toml:1:11: workers is 300, "), "{error}");
}

#[test]
fn an_error_is_located_where_the_file_decides() {
    let file = || Some(parse("user = 'nobdy'\ncontrol = 'c.sock'\n[plugin.p]\npath = 'libp.so'\n"));
    let error = |arguments| {
        let settings = serve(file(), &words(arguments)).unwrap();
        settings.located("user", anyhow!("no user `nobdy` (--user)")).to_string()
    };
    assert_eq!(error("--config c"), "conf/callsign.toml:1:8: no user `nobdy`");
    assert_eq!(error("--config c --user nobdy"), "no user `nobdy` (--user)");
}

#[test]
fn settings_of_a_sandbox_that_is_off_are_warned_about() {
    let file = |sandbox: &str| Some(parse(&format!("[plugin.p]\npath = 'libp.so'\n[sandbox]\n{sandbox}")));
    let warnings = |sandbox: &str, arguments| serve(file(sandbox), &words(arguments)).unwrap().warnings();
    for sandbox in ["read = ['/tmp']", "network = true", "system_calls = ['ptrace']"] {
        let [warning] = &warnings(sandbox, "--config c")[..] else {
            panic!("{sandbox}: one warning is expected")
        };
        assert!(warning.starts_with("conf/callsign.toml:4:"), "{warning}");
        assert!(warning.ends_with("nothing is confined; set level = \"strict\""), "{warning}");
        assert_eq!(warnings(sandbox, "--config c --sandbox best-effort"), [""; 0]);
    }
    assert_eq!(warnings("level = 'off'", "--config c"), [""; 0]);
}

#[test]
fn implausible_durations_are_warned_about_with_the_smallest_sensible_value() {
    let file = "[plugin.p]\npath = 'libp.so'\n[worker]\nhang_timeout = '1ms'\n";
    let warnings = |arguments: &str| serve(Some(parse(file)), &words(arguments)).unwrap().warnings();
    let all = warnings("--config c --close-timeout 10ms");
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].starts_with("close_timeout is 10ms: "), "{all:?}");
    assert!(all[1].starts_with("conf/callsign.toml:4:16: hang_timeout is 1ms: "), "{all:?}");
    assert!(all[1].ends_with("; the smallest sensible value is 1s"), "{all:?}");
    assert_eq!(warnings("--config c --hang-timeout 2s"), [""; 0]);
    // 0 turns these off.
    assert_eq!(warnings("--config c --hang-timeout 0 --ping-interval 0 --slow-callback 0"), [""; 0]);
}

#[test]
fn each_duration_has_a_smallest_sensible_value() {
    let settings = serve(None, &["l.so"]).unwrap();
    let mut limits = serde_json::to_value(settings.limits).unwrap();
    let tiny = serde_json::to_value(Duration::from_nanos(1)).unwrap();
    let durations = limits.as_object_mut().unwrap().iter_mut().filter(|(_, value)| value.is_object());
    let mut keys: Vec<_> = durations.map(|(key, value)| (key.clone(), *value = tiny.clone()).0).collect();
    let limits: Limits = serde_json::from_value(limits).unwrap();
    let mut found: Vec<_> = limits.implausible().into_iter().map(|(key, _)| key.to_owned()).collect();
    keys.sort();
    found.sort();
    assert_eq!(found, keys);
}

#[test]
fn each_setting_that_differs_is_named() {
    let settings = |arguments| serve(None, &words(arguments)).unwrap();
    let other = settings("l.so --workers 8 --max-message 1 --hang-timeout 0");
    assert_eq!(settings("l.so").differences(&other), ["workers"]);
    assert_eq!(settings("l.so").limits.differences(&other.limits), ["hang_timeout", "max_message"]);
    assert_eq!(other.differences(&other), [""; 0]);
}

#[test]
fn a_small_backlog_lowers_the_default_high_water_mark() {
    assert_eq!(serve(None, &["l.so", "--max-backlog", "10KiB"]).unwrap().limits.high_water, 10 << 10);
}

#[test]
fn large_messages_and_queues_raise_the_default_memory_of_a_worker() {
    let limits = serve(None, &["l.so", "--max-message", "64MiB", "--max-backlog", "100MiB"]).unwrap().limits;
    assert_eq!((limits.receive_memory, limits.send_memory), (1024 << 20, 1600 << 20));
    let arguments = ["l.so", "--max-message", "200MiB", "--receive-memory", "600MiB"];
    assert_eq!(serve(None, &arguments).unwrap().limits.receive_memory, 600 << 20, "the minimum");
}

#[test]
fn a_short_hang_timeout_lowers_the_default_of_slow_callback() {
    let slow = |arguments| serve(None, &words(arguments)).unwrap().limits.slow_callback;
    assert_eq!(slow("l.so --hang-timeout 50ms"), Some(Duration::from_millis(50)));
    assert_eq!(slow("l.so --hang-timeout 0"), Some(DEFAULT_SLOW_CALLBACK));
}

#[test]
fn each_limit_on_callbacks_can_be_off_while_the_other_is_on() {
    let watch = |arguments| {
        let limits = serve(None, &words(arguments)).unwrap().limits;
        (limits.slow_callback, limits.hang_timeout)
    };
    let second = Some(Duration::from_secs(1));
    assert_eq!(watch("l.so --slow-callback 0 --hang-timeout 1"), (None, second));
    assert_eq!(watch("l.so --slow-callback 1 --hang-timeout 0"), (second, None));
    assert_eq!(watch("l.so --slow-callback 1 --hang-timeout 1"), (second, second));
}

#[test]
fn workers_are_0_to_the_maximum_and_the_default_of_serve_is_one_per_core() {
    let workers = |arguments| serve(None, &words(arguments)).unwrap().workers;
    assert_eq!(workers("l.so --workers 0"), 0);
    assert_eq!(workers("l.so --workers 256"), MAX_WORKERS);
    assert!((1..=MAX_WORKERS).contains(&default_serve_workers()));
}

#[test]
fn settings_survive_json() {
    let file = "listen = ['a:1', { address = 'unix:b', mode = '600', owner = 'c:d' }]\n\
                [plugin.p]\npath = 'libp.so'\n\
                config = { day = 1979-05-27, big = inf, z = 1, a = { b = [1.5] } }\n\
                [http]\ntrusted_proxies = ['10.0.0.0/8', '::1', 'unix:']\norigins = 'https://a.example'\n\
                [[route]]\npath = '/x/*'\nonmessage = 'p:m'\nprotocols = 'a'\norigins = '*'\n\
                compression = { mode = 'on', level = 1 }\n";
    let arguments = "--config c --route /=page --user chat --group 33 --max-connections 9 --hang-timeout 0";
    let settings = serve(Some(parse(file)), &words(arguments)).unwrap();
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
}
