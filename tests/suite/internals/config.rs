//! The config file: what it may contain, and how each mistake is reported.

use std::fs;
use std::path::Path;
use std::time::Duration;

use callsign::testing::file::{self as config, Config};
use callsign::testing::{
    BroadcastTo, Files, LimitOptions, Rate, RoutePath, SandboxSettings, Target, settings,
};

/// Parses `text` as the file `conf/callsign.toml`.
fn parse(text: &str) -> Config {
    config::parse(text, Path::new("conf/callsign.toml")).unwrap()
}

/// The error for `text` as the file `callsign.toml`.
fn refusal(text: &str) -> String {
    config::parse(text, Path::new("callsign.toml")).unwrap_err().to_string()
}

fn addresses(config: &Config) -> Vec<String> {
    config.listen.iter().flatten().map(|entry| entry.address.to_string()).collect()
}

#[test]
fn the_example_file_sets_every_key_and_shows_the_defaults() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/callsign.toml");
    let config = config::read(&file).unwrap();

    assert_eq!(addresses(&config), [settings::DEFAULT_LISTEN]);
    assert_eq!(
        config.limits,
        LimitOptions {
            max_message: Some(settings::DEFAULT_MAX_MESSAGE),
            max_backlog: Some(settings::DEFAULT_MAX_BACKLOG),
            high_water: Some(settings::DEFAULT_HIGH_WATER),
            max_body: Some(settings::DEFAULT_MAX_BODY),
            max_head: Some(settings::DEFAULT_MAX_HEAD),
            handshake_timeout: Some(settings::DEFAULT_HANDSHAKE_TIMEOUT),
            keepalive_timeout: Some(settings::DEFAULT_KEEPALIVE_TIMEOUT),
            send_timeout: Some(settings::DEFAULT_SEND_TIMEOUT),
            close_timeout: Some(settings::DEFAULT_CLOSE_TIMEOUT),
            ping_interval: Some(settings::DEFAULT_PING_INTERVAL),
            drain_timeout: Some(settings::DEFAULT_DRAIN_TIMEOUT),
            slow_callback: Some(settings::DEFAULT_SLOW_CALLBACK),
            hang_timeout: Some(settings::DEFAULT_HANG_TIMEOUT),
            reload_timeout: Some(settings::DEFAULT_RELOAD_TIMEOUT),
            max_connections: config.limits.max_connections,
            max_per_address: Some(0),
            connection_rate: Rate::parse("0").ok(),
            request_rate: Rate::parse("0").ok(),
            handshake_rate: Rate::parse("0").ok(),
            message_timeout: Some(settings::DEFAULT_MESSAGE_TIMEOUT),
            receive_memory: Some(settings::DEFAULT_RECEIVE_MEMORY),
            send_memory: Some(settings::DEFAULT_SEND_MEMORY),
        }
    );
    assert!(config.workers.is_some() && config.limits.max_connections.is_some());
    // These keys work only for root, so the example has them as a comment. The comment must show valid
    // settings.
    assert_eq!((config.user, config.group), (None, None));
    let text = fs::read_to_string(&file).unwrap();
    let accounts: String = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("# ").filter(|line| !line.starts_with(' ') && line.contains(" = "))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let accounts = parse(&accounts);
    assert!(accounts.user.is_some() && accounts.group.is_some());
    // The example uses the short form of `listen`, and shows the tables in a comment.
    let tables = text.lines().map(|line| line.strip_prefix("#     ").unwrap_or_default());
    let tables: Vec<_> =
        tables.skip_while(|line| *line != "[[listen]]").take_while(|line| !line.is_empty()).collect();
    assert!(parse(&tables.join("\n")).listen.is_some());
    assert_eq!(config.plugins[0].path, file.parent().unwrap().join("../target/release/libchat.so"));
    assert_eq!(config.plugins[0].onload.as_deref(), Some("configure"));
    assert_eq!(config.plugins[0].broadcast, BroadcastTo::Plugin);
    assert_eq!(config.plugins[0].config["greeting"].as_str(), Some("welcome, and be kind"));
    assert_eq!(config.routes[0].target, Target::Handler("chat:onrequest".into()));
    assert!(matches!(config.routes[1].target, Target::Callbacks { onmessage: Some(_), .. }));
    assert!(config.routes[1].origins.is_some() && !config.routes[1].protocols.is_empty());
    assert!(config.routes[1].strip_prefix.is_some());
    assert!(!config.routes[0].methods.is_empty() && !config.routes[2].hosts.is_empty());
    assert!(!config.routes[1].headers.is_empty());
    let Target::Files(files) = &config.routes[3].target else { panic!("it has files") };
    let default = parse("[[route]]\npath = '/*'\nfiles = 'public'").routes.remove(0).target;
    assert_eq!(default, Target::Files(Files { folder: "conf/public".into(), ..files.clone() }));
    assert!(config.origins.is_some());
    assert_eq!(config.trusted_proxies, Some(Vec::new()));
    assert_eq!(config.sandbox, Some(SandboxSettings::default()));
    for key in ["level", "read", "write", "execute", "network", "system_calls"] {
        assert!(config.positions.contains_key(key), "{key}");
    }
}

#[test]
fn an_empty_file_sets_nothing() {
    assert_eq!(parse(""), Config::default());
    assert_eq!(parse("[worker]\n[websocket]\n[http]\n[plugin]\n"), Config::default());
}

#[test]
fn numbers_are_bytes_and_seconds_and_strings_have_units() {
    let config = parse(
        "drain_timeout = 3\n\
         workers = 0\n\
         user = 'www-data'\n\
         group = 33\n\
         [worker]\nslow_callback = '50ms'\nhang_timeout = 0\nreload_timeout = '3s'\nmax_connections = 10_000\n\
         max_per_address = 100\nconnection_rate = '20/s'\n\
         [websocket]\nmax_message = 0x1_0000\nping_interval = 0\nclose_timeout = '250ms'\n\
         [http]\nmax_body = '2MiB'\nrequest_rate = '600/10s'\nhandshake_rate = 0\n",
    );
    assert_eq!(config.workers, Some(0));
    assert_eq!((config.user.as_deref(), config.group.as_deref()), (Some("www-data"), Some("33")));
    let set = LimitOptions {
        drain_timeout: Some(Duration::from_secs(3)),
        max_message: Some(65536),
        ping_interval: Some(Duration::ZERO),
        close_timeout: Some(Duration::from_millis(250)),
        max_body: Some(2 << 20),
        slow_callback: Some(Duration::from_millis(50)),
        hang_timeout: Some(Duration::ZERO),
        reload_timeout: Some(Duration::from_secs(3)),
        max_connections: Some(10_000),
        max_per_address: Some(100),
        connection_rate: Some(Rate { count: 20, per: Duration::from_secs(1) }),
        request_rate: Some(Rate { count: 600, per: Duration::from_secs(10) }),
        handshake_rate: Some(Rate { count: 0, per: Duration::from_secs(1) }),
        ..LimitOptions::default()
    };
    assert_eq!(config.limits, set);
}

#[test]
fn several_addresses_stand_in_an_array() {
    assert_eq!(addresses(&parse("listen = ['localhost:0', '[::1]:8080']")), ["localhost:0", "[::1]:8080"]);
}

#[test]
fn plugins_keep_the_order_of_the_file_and_its_folder() {
    let config = parse(
        "[plugin.zebra]\npath = 'libz.so'\n\
         [plugin.ant]\npath = '/opt/libant.so'\nconfig = { day = 1979-05-27, deep = { x = [nan] } }\n",
    );
    let names: Vec<_> = config.plugins.iter().map(|plugin| plugin.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["zebra", "ant"]);
    assert_eq!(config.plugins[0].path, Path::new("conf/libz.so"));
    assert_eq!(config.plugins[1].path, Path::new("/opt/libant.so"));
    assert!(config.plugins[1].config["deep"]["x"][0].as_float().unwrap().is_nan());
}

#[test]
fn routes_know_their_line_in_the_file() {
    let config = parse(
        "\n[[route]]\npath = '/files/*'\nhandler = 'web:page'\n\n[[route]]\npath = '/'\nonmessage = 'm'",
    );
    assert_eq!(config.routes[0].path, RoutePath::Prefix("/files/".into()));
    assert_eq!(config.routes[0].origin, "conf/callsign.toml:2");
    assert_eq!(config.routes[1].origin, "conf/callsign.toml:6");
    assert_eq!(
        config.routes[1].target,
        Target::Callbacks { onconnect: None, onmessage: Some("m".into()), ondisconnect: None, ondrain: None }
    );
}

#[test]
fn an_unknown_key_is_reported_with_its_place_and_a_suggestion() {
    for (text, message) in [
        (
            "[websocket]\nmax_mesage = 1",
            "callsign.toml:2:1: unknown key `max_mesage` in [websocket]; did you mean `max_message`?",
        ),
        ("  lisen = 1", "callsign.toml:1:3: unknown key `lisen` at the top level; did you mean `listen`?"),
        (
            "[http]\nmax_message = 1",
            "callsign.toml:2:1: unknown key `max_message` in [http]; it belongs in [websocket]",
        ),
        (
            "[http]\nmax_body = 1\ndrain_timeout = 1",
            "callsign.toml:3:1: unknown key `drain_timeout` in [http]; it belongs at the top level",
        ),
        (
            "hang_timeout = 1",
            "callsign.toml:1:1: unknown key `hang_timeout` at the top level; it belongs in [worker]",
        ),
        (
            "[worker]\nslow_callbak = 1",
            "callsign.toml:2:1: unknown key `slow_callbak` in [worker]; did you mean `slow_callback`?",
        ),
        (
            "[http]\nfrobnicate = 1",
            "callsign.toml:2:1: unknown key `frobnicate` in [http]; known keys are `max_body`, `max_head`, \
             `handshake_timeout`, `keepalive_timeout`, `send_timeout`, `request_rate`, `handshake_rate`, \
             `origins`, `trusted_proxies`",
        ),
        (
            "[plugin.chat]\npth = 'x'",
            "callsign.toml:2:1: unknown key `pth` in [plugin.chat]; did you mean `path`?",
        ),
        (
            "[[route]]\npath = '/'\nonMessage = 'm'",
            "callsign.toml:3:1: unknown key `onMessage` in [[route]]; did you mean `onmessage`?",
        ),
        (
            "[plugins.chat]",
            "callsign.toml:1:2: unknown key `plugins` at the top level; did you mean `plugin`?",
        ),
    ] {
        assert_eq!(refusal(text), message);
    }
}

#[test]
fn a_wrong_value_is_reported_with_its_place_and_what_was_found_and_expected() {
    const WHOLE: &str = "expected a whole number, such as 4";
    const ACCOUNT: &str = "expected a name or a number, such as `www-data` or 33";
    const SIZE: &str = "expected a size in bytes, such as 65536, 64KiB or 16MiB";
    const TIME: &str = "expected a duration of at most 365 days, such as 10s, 250ms, 1.5m or 10 (seconds)";
    const RATE: &str = "expected a number in a time of at most an hour, such as 10/s, 600/m or 100/10s";
    const LISTEN: &str = "expected HOST:PORT, such as 127.0.0.1:8080, 0.0.0.0:80 or [::1]:8080";
    const ORIGIN: &str = "expected a page's origin without a path, such as https://example.com or \
                          http://localhost:3000, or * for all pages";
    const HANDLER: &str = "expected a handler's name, such as `join` or `chat:join`";
    const PATH: &str = "expected a path such as `/chat`, `/room/{room}`, or `/files/*` for all below it";
    for (text, message) in [
        ("workers = 'four'", format!("1:11: `workers` at the top level: found string `'four'`, {WHOLE}")),
        ("workers = -1", format!("1:11: `workers` at the top level: found integer `-1`, {WHOLE}")),
        (
            "[[route]]\npath = '/a/*'\nhandler = 'h'\nstrip_prefix = '/a/'",
            "4:16: `strip_prefix` in [[route]]: found string `'/a/'`, expected whole segments from the beginning of \
             `/a/*`, without a final `/`"
                .to_owned(),
        ),
        ("user = ''", format!("1:8: `user` at the top level: found string `''`, {ACCOUNT}")),
        ("group = -1", format!("1:9: `group` at the top level: found integer `-1`, {ACCOUNT}")),
        (
            "[worker]\nhang_timeout = false",
            format!("2:16: `hang_timeout` in [worker]: found boolean `false`, {TIME}"),
        ),
        (
            "[worker]\nmax_connections = '1k'",
            format!("2:19: `max_connections` in [worker]: found string `'1k'`, {WHOLE}"),
        ),
        (
            "[http]\nrequest_rate = 100",
            format!("2:16: `request_rate` in [http]: found integer `100`, {RATE}"),
        ),
        (
            "[worker]\nconnection_rate = '100/d'",
            format!("2:19: `connection_rate` in [worker]: found string `'100/d'`, {RATE}"),
        ),
        (
            "[websocket]\n  max_message = \"16MB\"",
            format!("2:17: `max_message` in [websocket]: found string `\"16MB\"`, {SIZE}"),
        ),
        ("[http]\nmax_body = true", format!("2:12: `max_body` in [http]: found boolean `true`, {SIZE}")),
        (
            "http.max_head = 99999999999999999999",
            format!("1:17: `max_head` in [http]: found integer `99999999999999999999`, {SIZE}"),
        ),
        ("drain_timeout = 1.5", format!("1:17: `drain_timeout` at the top level: found float `1.5`, {TIME}")),
        ("drain_timeout = []", format!("1:17: `drain_timeout` at the top level: found an array, {TIME}")),
        (
            "drain_timeout = 99999999999",
            format!("1:17: `drain_timeout` at the top level: found integer `99999999999`, {TIME}"),
        ),
        ("listen = 8080", format!("1:10: `listen` at the top level: found integer `8080`, {LISTEN}")),
        ("listen = ':80'", format!("1:10: `listen` at the top level: found string `':80'`, {LISTEN}")),
        ("listen = '::1:80'", format!("1:10: `listen` at the top level: found string `'::1:80'`, {LISTEN}")),
        ("listen = 'é:+1'", format!("1:10: `listen` at the top level: found string `'é:+1'`, {LISTEN}")),
        (
            "listen = ['a:1',\n  'é', 'b:2']",
            format!("2:3: `listen` at the top level: found string `'é'`, {LISTEN}"),
        ),
        ("listen = ['é:1', 'b']", format!("1:18: `listen` at the top level: found string `'b'`, {LISTEN}")),
        (
            "listen = []",
            "1:10: `listen` at the top level: found an array, expected at least one HOST:PORT in it".into(),
        ),
        ("http = 1", "1:8: `http` at the top level: found integer `1`, expected a table, [http]".into()),
        (
            "[plugin]\npath = 'libchat.so'",
            "2:8: `plugin.path` at the top level: found string `'libchat.so'`, expected a table for each \
             plugin, [plugin.NAME]"
                .into(),
        ),
        (
            "plugin = 1",
            "1:10: `plugin` at the top level: found integer `1`, expected a table for each plugin, \
             [plugin.NAME]"
                .into(),
        ),
        (
            "[plugin.chat]\npath = ''",
            "2:8: `path` in [plugin.chat]: found string `''`, expected the path of a library, such as \
             \"libchat.so\""
                .into(),
        ),
        (
            "[plugin.chat]\npath = 'a'\nonload = 1",
            "3:10: `onload` in [plugin.chat]: found integer `1`, expected the name of a function in the library, \
             such as \"init\""
                .into(),
        ),
        (
            "[plugin.chat]\npath = 'a'\nbroadcast = true",
            "3:13: `broadcast` in [plugin.chat]: found boolean `true`, expected \"plugin\" (connections of this plugin) or \
             \"all\" (of all plugins)"
                .into(),
        ),
        (
            "[plugin.chat]\npath = 'a'\nconfig = 'b'",
            "3:10: `config` in [plugin.chat]: found string `'b'`, expected a table".into(),
        ),
        (
            "[route]\npath = '/'",
            "1:1: `route` at the top level: found a table, expected tables in double brackets, \
             [[route]]"
                .into(),
        ),
        (
            "[[route]]\npath = 'chat'",
            format!("2:8: `path` in [[route]]: found string `'chat'`, {PATH}; a path begins with `/`"),
        ),
        (
            "[[route]]\npath = '/*/a'",
            format!(
                "2:8: `path` in [[route]]: found string `'/*/a'`, {PATH}; `*` stands only at the end \
                     and after a `/`"
            ),
        ),
        (
            "[[route]]\npath = '/'\nhandler = ''",
            format!("3:11: `handler` in [[route]]: found string `''`, {HANDLER}"),
        ),
        (
            "[[route]]\npath = '/'\nonmessage = ['a']",
            format!("3:13: `onmessage` in [[route]]: found an array, {HANDLER}"),
        ),
        ("[http]\norigins = 'example.com'", format!("2:11: `origins` in [http]: found string `'example.com'`, {ORIGIN}")),
        (
            "[http]\norigins = ['*', 'https://example.com/']",
            format!("2:17: `origins` in [http]: found string `'https://example.com/'`, {ORIGIN}"),
        ),
        (
            "[[route]]\npath = '/'\nhandler = 'h'\norigins = 1",
            format!("4:11: `origins` in [[route]]: found integer `1`, {ORIGIN}"),
        ),
        (
            "[[route]]\npath = '/'\nonmessage = 'm'\nprotocols = ['a', 'b c']",
            "4:19: `protocols` in [[route]]: found string `'b c'`, expected a subprotocol's name, such as \"mqtt\", \
             without spaces and separators"
                .into(),
        ),
        (
            "[http]\ntrusted_proxies = ['10.0.0.0/8', 'localhost']",
            "2:34: `trusted_proxies` in [http]: found string `'localhost'`, expected an address or a network, such as \
             127.0.0.1, 10.0.0.0/8 or fd00::/8, or unix: for clients of Unix sockets"
                .into(),
        ),
        (
            "[http]\nmax_body = '0123456789012345678901234567890123456789'",
            format!(
                "2:12: `max_body` in [http]: found string `'012345678901234567890123456789012345678…`, \
                     {SIZE}"
            ),
        ),
    ] {
        assert_eq!(refusal(text), format!("callsign.toml:{message}"));
    }
}

#[test]
fn an_incomplete_plugin_or_route_is_reported_at_its_first_line() {
    for (text, message) in [
        ("\n[plugin.chat]", "callsign.toml:2:1: `path` is missing in [plugin.chat]"),
        ("\n[[route]]\nhandler = 'a'", "callsign.toml:2:1: `path` is missing in [[route]]"),
        (
            "[[route]]\npath = '/a'",
            "callsign.toml:1:1: route `/a` names no handler, expected `handler`, any of `onconnect`, `onmessage`, \
             `ondisconnect`, `ondrain`, or `files`",
        ),
        (
            "[[route]]\npath = '/a'\nhandler = 'a'\nonmessage = 'b'",
            "callsign.toml:1:1: route `/a` has `handler` beside callbacks, expected either `handler` \
             (answers requests) or `onconnect`, `onmessage`, `ondisconnect`, `ondrain` (for WebSockets)",
        ),
    ] {
        assert_eq!(refusal(text), message);
    }
}

#[test]
fn two_routes_of_one_path_are_refused_with_both_lines() {
    let route = "[[route]]\npath = '/a'\nhandler = 'a'\n";
    assert_eq!(
        refusal(&format!("{route}\n{route}")),
        "callsign.toml:5:1: second route for `/a`; the first is callsign.toml:1"
    );
}

#[test]
fn broken_toml_is_refused_with_its_place() {
    for (text, message) in [
        ("listen = \n", "callsign.toml:1:10: string values must be quoted, expected literal string"),
        ("workers = 1\nworkers = 2", "callsign.toml:2:1: duplicate key"),
        ("[http\n", "callsign.toml:1:6: unclosed table, expected `]`"),
        (
            "[plugin.a]\npath = 'a'\nconfig.big = 99999999999999999999",
            "callsign.toml:3:14: invalid type: integer `99999999999999999999` as i128, expected any valid \
             TOML value",
        ),
    ] {
        assert_eq!(refusal(text), message);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = format!("{:#}", config::read(Path::new("no/such.toml")).unwrap_err());
    assert_eq!(message, "cannot read config file no/such.toml: No such file or directory (os error 2)");
}
