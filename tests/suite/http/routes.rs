//! Routes with parameters, methods and hosts.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::routed_config;
use crate::support::{Answer, Host, Raw, c_plugin, path, run, scratch, status};

/// A config file with the test plugin `requests` and these routes.
fn config(name: &str, routes: &str) -> PathBuf {
    routed_config(name, ("requests", "requests"), routes)
}

fn serve(name: &str, routes: &str) -> Host {
    Host::start(&["serve", "--config", path(&config(name, routes))])
}

fn route(path: &str, more: &str) -> String {
    format!("[[route]]\npath = '{path}'\n{more}\n")
}

fn get(client: &mut Raw, path: &str) -> String {
    let answer = client.request("GET", path, &[], b"");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text().to_owned()
}

/// A GET with this target and Host header.
fn get_of(client: &mut Raw, host: &str, target: &str, more: &str) -> Answer {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"));
    client.read_answer(true)
}

#[test]
fn handlers_get_the_decoded_parameters_of_the_path() {
    let host = serve(
        "params.toml",
        &[
            route("/room/{room}", "handler = 'params'"),
            route("/room/lobby", "handler = 'upgrades'"),
            route("/files/{*path}", "handler = 'params'"),
            route("/café/{a}/x/{b}", "handler = 'params'\nstrip_prefix = '/café/{a}'"),
            route("/*", "handler = 'params'"),
        ]
        .concat(),
    );
    let mut client = host.connect();
    for (sent, seen) in [
        ("/room/blue?room", "GET /room/blue Some(\"blue\")"),
        ("/%72oom/blue?room,other,Room", "GET /%72oom/blue Some(\"blue\") None None"),
        ("/room/a%2Fb%20c+d?room", "GET /room/a%2Fb%20c+d Some(\"a/b c+d\")"),
        ("/room/caf%c3%A9?room", "GET /room/caf%c3%A9 Some(\"café\")"),
        ("/room/%252F?room", "GET /room/%252F Some(\"%2F\")"),
        ("/room/100%?room", "GET /room/100% Some(\"100%\")"),
        ("/room/%2E%2e?room", "GET /room/%2E%2e Some(\"..\")"),
        ("/room/lobby", "0"),
        ("/room/?room", "GET /room/ None"),
        ("/room/a/b?room", "GET /room/a/b None"),
        ("/room?room", "GET /room None"),
        ("/files/a/b%2Fc/?path", "GET /files/a/b%2Fc/ Some(\"a/b/c/\")"),
        ("/files/?path", "GET /files/ Some(\"\")"),
        ("/files?path", "GET /files None"),
        ("/caf%C3%A9/1%2F/x/%E2%82%AC?a,b", "GET /x/%E2%82%AC Some(\"1/\") Some(\"€\")"),
        ("/else?a", "GET /else None"),
    ] {
        assert_eq!(get(&mut client, sent), seen, "{sent}");
    }
}

#[test]
fn a_parameter_that_is_no_text_gets_400_and_other_paths_take_it() {
    let routes = [
        route("/room/{room}", "handler = 'params'"),
        route("/ws/{room}", "onmessage = 'param'"),
        route("/*", "handler = 'params'"),
    ];
    let host = serve("params-bad.toml", &routes.concat());
    let mut client = host.connect();
    for value in ["%00", "a%00b", "%FF", "%C3", "%ED%A0%80"] {
        let answer = client.request("GET", &format!("/room/{value}?room"), &[], b"");
        assert_eq!(
            (answer.status, answer.text()),
            (400, "a parameter in the path is not UTF-8, or has a NUL (%00)\n")
        );
        assert_eq!(client.handshake(&format!("/ws/{value}"), &[]).status, 400);
        assert_eq!(get(&mut client, &format!("/{value}?room")), format!("GET /{value} None"));
    }
}

#[test]
fn connections_keep_the_parameters_over_a_reload() {
    let config = config(
        "params-ws.toml",
        &[
            route("/callbacks/{room}/{*rest}", "onmessage = 'param'"),
            route("/handler/{room}", "handler = 'parametric'"),
            route("/none", "onmessage = 'param'"),
        ]
        .concat(),
    );
    let control = scratch("params-ws.sock");
    let host = Host::start(&["serve", "--config", path(&config), "--control", path(&control)]);
    let mut sockets = ["/callbacks/a%2Fb/c/d", "/handler/caf%C3%A9", "/none"].map(|path| host.open(path));
    for _ in 0..2 {
        for (socket, room, rest) in [
            (0, "Some(Some(\"a/b\"))", "Some(Some(\"c/d\"))"),
            (1, "Some(Some(\"café\"))", "Some(None)"),
            (2, "Some(None)", "Some(None)"),
        ] {
            assert_eq!(
                (sockets[socket].ask("room"), sockets[socket].ask("rest")),
                (room.to_owned(), rest.to_owned())
            );
        }
        let (code, _, stderr) = run(&["reload", "--force", "--control", path(&control)]);
        assert_eq!((code, stderr.as_str()), (0, ""));
    }
}

#[test]
fn a_plugin_in_c_gets_parameters_as_strings() {
    let library = c_plugin("params.c");
    let routes = ["--route", "/{room}=page", "--route", "/=page", "--route", "/ws/{room}=,message,"];
    let host = Host::start(&[&["serve", path(&library)], &routes[..]].concat());
    let mut client = host.connect();
    for (sent, seen) in [("/a%2Fb", "a/b"), ("/", "NULL")] {
        assert_eq!(get(&mut client, sent), seen);
    }
    let mut socket = host.open("/ws/%E2%82%AC");
    assert_eq!((socket.ask("room"), socket.ask("none")), ("€".to_owned(), "NULL".to_owned()));
}

#[test]
fn a_route_takes_its_methods_and_others_get_405() {
    let host = serve(
        "methods.toml",
        &[
            route("/page", "handler = 'params'\nmethods = ['GET', 'POST']"),
            route("/page/{id}", "handler = 'params'\nmethods = 'PUT'"),
            route("/page/{id}", "handler = 'upgrades'\nmethods = ['DELETE', 'OPTIONS']"),
            route("/mixed", "handler = 'params'"),
            route("/mixed", "handler = 'upgrades'\nmethods = ['GET']"),
            route("/socket", "handler = 'parametric'\nmethods = ['POST']"),
            route("/*", "handler = 'upgrades'"),
        ]
        .concat(),
    );
    let mut client = host.connect();
    let mut ask = |method: &str, path: &str| {
        let answer = client.request(method, path, &[], b"");
        (answer.status, answer.header("allow").map(str::to_owned), answer.text().to_owned())
    };
    let allow = |text: &str| Some(text.to_owned());
    assert_eq!(ask("GET", "/page?x"), (200, None, "GET /page None".into()));
    assert_eq!(ask("POST", "/page?x"), (200, None, "POST /page None".into()));
    let (status, none, body) = ask("HEAD", "/page?x");
    assert_eq!((status, none, body.as_str()), (200, None, ""));
    let text = "this path is for GET, HEAD, POST, OPTIONS\n";
    for method in ["PUT", "PATCH", "get", "BREW"] {
        assert_eq!(ask(method, "/page"), (405, allow("GET, HEAD, POST, OPTIONS"), text.into()), "{method}");
    }
    assert_eq!(ask("OPTIONS", "/page"), (204, allow("GET, HEAD, POST, OPTIONS"), String::new()));
    assert_eq!(ask("PUT", "/page/1?id"), (200, None, "PUT /page/1 Some(\"1\")".into()));
    assert_eq!(ask("DELETE", "/page/1"), (200, None, "0".into()));
    assert_eq!(ask("OPTIONS", "/page/1"), (200, None, "0".into()));
    assert_eq!(ask("GET", "/page/1").1, allow("PUT, DELETE, OPTIONS"));
    assert_eq!(ask("GET", "/mixed"), (200, None, "0".into()));
    assert_eq!(ask("POST", "/mixed?x"), (200, None, "POST /mixed None".into()));
    assert_eq!(ask("OPTIONS", "/mixed?x"), (200, None, "OPTIONS /mixed None".into()));
    assert_eq!(client.handshake("/socket", &[]).status, 405);
    client.send("HEAD /mixed HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = client.read_answer(false);
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("1")));
    assert_eq!(get(&mut client, "/other"), "0");
}

#[test]
fn a_host_selects_before_the_path() {
    let host = serve(
        "hosts.toml",
        &[
            "[http]\ntrusted_proxies = ['127.0.0.2']\n".to_owned(),
            route("/{any}", "handler = 'params'"),
            route("/a", "handler = 'upgrades'\nhost = 'example.org'"),
            route(
                "/*",
                "handler = 'params'\nhosts = ['*.example.org', 'other.test', '[::1]']\nstrip_prefix = '/x'",
            )
            .replace("\nstrip_prefix = '/x'", ""),
            route("/ws/{room}", "onmessage = 'param'\nhost = 'test'"),
        ]
        .concat(),
    );
    let mut client = host.connect();
    for (name, target, seen) in [
        ("example.org", "/a", "0"),
        ("EXAMPLE.org.:8080", "/a", "0"),
        ("example.org", "/b?any", "GET /b Some(\"b\")"),
        ("a.b.example.org", "/a?any", "GET /a None"),
        ("other.test", "/a/b?any", "GET /a/b None"),
        ("[0:0::1]:80", "/a?any", "GET /a None"),
        ("example.com", "/a?any", "GET /a Some(\"a\")"),
        // The host in the target counts, RFC 9112 §3.2.2.
        ("example.com", "http://example.org/a", "0"),
        ("example.org", "http://example.com/a?any", "GET /a Some(\"a\")"),
    ] {
        let answer = get_of(&mut client, name, target, "");
        assert_eq!((answer.status, answer.text()), (200, seen), "{name} {target}");
    }
    assert_eq!(get_of(&mut client, "example.com", "/a/b", "").status, 404);
    // Nobody but a trusted proxy tells another host.
    let told = "X-Forwarded-Host: example.org\r\n";
    assert_eq!(get_of(&mut client, "example.com", "/a?any", told).text(), "GET /a Some(\"a\")");
    assert_eq!(host.open("/ws/1").ask("room"), "Some(Some(\"1\"))");
    assert_eq!(get_of(&mut client, "example.com", "/ws/1", "").status, 404);
}

#[test]
fn a_trusted_proxy_tells_the_host() {
    let config = config(
        "hosts-proxy.toml",
        &[
            "[http]\ntrusted_proxies = ['127.0.0.1']\n".to_owned(),
            route("/a", "handler = 'upgrades'\nhost = 'example.org'"),
            route("/a", "handler = 'params'"),
        ]
        .concat(),
    );
    let host = Host::start(&["serve", "--config", path(&config)]);
    let mut client = host.connect();
    for (name, more, seen) in [
        ("internal", "X-Forwarded-Host: example.org\r\n", "0"),
        ("internal", "Forwarded: for=192.0.2.1;host=\"example.org:443\"\r\n", "0"),
        ("internal", "X-Forwarded-Host: example.com\r\n", "GET /a None"),
        ("example.org", "", "0"),
    ] {
        assert_eq!(get_of(&mut client, name, "/a?x", more).text(), seen, "{name} {more}");
    }
}

#[test]
fn two_routes_for_the_same_requests_are_refused_with_both_lines() {
    for (first, second, message) in [
        (("/room/{a}", ""), ("/room/{b}", ""), "`/room/{b}`; the first is `/room/{a}` (FILE:3)"),
        (("/f/*", ""), ("/f/{*path}", ""), "`/f/{*path}`; the first is `/f/*` (FILE:3)"),
        (("/a", "methods = ['GET', 'PUT']"), ("/a", "methods = 'PUT'"), "PUT `/a`; the first is FILE:3"),
        (
            ("/a", "host = 'a.b'"),
            ("/%61", "hosts = ['*.b', 'A.B.']"),
            "`/%61` on host `a.b`; the first is `/a` (FILE:3)",
        ),
    ] {
        let routes = [first, second].map(|(path, more)| route(path, &format!("handler = 'params'\n{more}")));
        let config = config("conflict.toml", &routes.concat());
        let line = 3 + routes[0].lines().count();
        for command in ["serve", "check"] {
            let (status, _, stderr) = run(&[command, "--config", path(&config)]);
            let message = message.replace("FILE", path(&config));
            let expected = format!("callsign: {}:{line}:1: second route for {message}\n", path(&config));
            assert_eq!((status, stderr), (1, expected));
        }
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    const METHOD: &str = "expected a method in capital letters, such as \"GET\"";
    const HOST: &str = "expected a host such as \"example.org\", \"*.example.org\" or \"192.0.2.7\"";
    for (more, message) in [
        ("methods = ['GET', 'get']", format!("5:19: `methods` in [[route]]: found string `'get'`, {METHOD}")),
        (
            "methods = 'CONNECT'",
            format!("5:11: `methods` in [[route]]: found string `'CONNECT'`, {METHOD}; a CONNECT request has no path"),
        ),
        (
            "methods = []",
            "5:11: `methods` in [[route]]: found an array, expected at least one; without the key, the route is for all \
             of them"
                .into(),
        ),
        ("methods = ['GET', 'GET']", "5:11: `methods` in [[route]]: found an array, expected each one once".into()),
        ("host = 'a/b'", format!("5:8: `host` in [[route]]: found string `'a/b'`, {HOST}")),
        (
            "host = 'a:80'",
            format!("5:8: `host` in [[route]]: found string `'a:80'`, {HOST}; a route is for all ports, so its host has none"),
        ),
        ("hosts = ['a', 7]", format!("5:15: `hosts` in [[route]]: found integer `7`, {HOST}")),
        ("host = 'a'\nhosts = ['b']", "6:9: `hosts` in [[route]]: found an array, expected either `host` or `hosts`".into()),
    ] {
        let config = config("malformed.toml", &route("/a", &format!("{more}\nhandler = 'params'")));
        let (status, _, stderr) = run(&["check", "--config", path(&config)]);
        assert_eq!((status, stderr), (1, format!("callsign: {}:{message}\n", path(&config))));
    }
    let config = config("malformed.toml", &route("/a", "methods = 'GET'\nonmessage = 'param'"));
    let (status, _, stderr) = run(&["check", "--config", path(&config)]);
    let expected = format!(
        "callsign: {}:5:11: `methods` in [[route]]: found string `'GET'`, expected none beside callbacks: a WebSocket \
         handshake is always a GET\n",
        path(&config)
    );
    assert_eq!((status, stderr), (1, expected));
}

#[test]
fn a_route_of_the_command_line_replaces_those_of_its_path() {
    let config = config(
        "replaced.toml",
        &[
            route("/{a}", "handler = 'upgrades'\nmethods = 'GET'"),
            route("/{b}", "handler = 'upgrades'\nmethods = 'PUT'\nhost = 'test'"),
            route("/b/{*b}", "handler = 'upgrades'"),
        ]
        .concat(),
    );
    let host = Host::start(&["serve", "--config", path(&config), "--route", "/{x}=params"]);
    let mut client = host.connect();
    assert_eq!(get(&mut client, "/1?x"), "GET /1 Some(\"1\")");
    assert_eq!(client.request("PUT", "/1?x", &[], b"").text(), "PUT /1 Some(\"1\")");
    assert_eq!(get(&mut client, "/b/1"), "0");
}

#[test]
fn the_requests_of_each_route_are_shown() {
    let config = config(
        "shown.toml",
        &[
            route("/room/{room}", "handler = 'params'\nmethods = ['GET', 'PUT']"),
            route("/*", "handler = 'params'\nhosts = ['a.example', '*.b.example', 'c.example']"),
            route("/ws/{*path}", "onmessage = 'param'\nhost = 'a.example'"),
        ]
        .concat(),
    );
    let control = scratch("shown.sock");
    let host = Host::start(&["serve", "--config", path(&config), "--control", path(&control)]);
    let (code, checked, _) = run(&["check", "--config", path(&config)]);
    assert_eq!(code, 0);
    for line in [
        "route GET, PUT /room/{room}  onrequest requests:params\n",
        "route /* on a.example, *.b.example and 1 more  onrequest requests:params\n",
        "route /ws/{*path} on a.example  WebSocket: onmessage requests:param\n",
    ] {
        assert!(checked.contains(line), "{checked}");
        host.stdout_line(line.trim_end());
    }
    let routes = status(&control)["routes"].clone();
    let of = |key: &str| -> Vec<Value> {
        routes.as_array().expect("a list").iter().map(|route| route[key].clone()).collect()
    };
    assert_eq!(of("path"), [json!("/room/{room}"), json!("/*"), json!("/ws/{*path}")]);
    assert_eq!(of("methods"), [json!(["GET", "PUT"]), json!([]), json!([])]);
    assert_eq!(
        of("hosts"),
        [json!([]), json!(["a.example", "*.b.example", "c.example"]), json!(["a.example"])]
    );
    let (_, text, _) = run(&["status", "--control", path(&control)]);
    assert!(text.contains("\nGET, PUT /room/{room}  "), "{text}");
}

#[test]
fn a_reload_of_the_settings_replaces_patterns() {
    let config = config("reloaded.toml", &route("/{a}", "handler = 'params'\nmethods = 'GET'"));
    let host = Host::start(&["serve", "--config", path(&config)]);
    let mut client = host.connect();
    assert_eq!(client.request("PUT", "/1?a", &[], b"").status, 405);
    let text = fs::read_to_string(&config).expect("it was written");
    fs::write(&config, text.replace("{a}", "{b}").replace("'GET'", "'PUT'")).expect("it can be written");
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded the settings");
    assert_eq!(client.request("PUT", "/1?a,b", &[], b"").text(), "PUT /1 None Some(\"1\")");
}
