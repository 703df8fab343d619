//! Large servers: thousands of routes and of handlers. Starts and reloads take time in proportion, requests do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Host, alone, c_plugin, good, path, run, scratch};

/// A config file with this plugin and a route `/N` to its handler for each number.
fn config_with(file: &str, library: &Path, handler: &str, routes: usize) -> PathBuf {
    let config = scratch(file);
    fs::write(&config, config_text(library, handler, routes)).expect("the scratch folder can be written");
    config
}

fn config_text(library: &Path, handler: &str, routes: usize) -> String {
    let routes = (0..routes).map(|n| format!("[[route]]\npath = '/{n}'\nhandler = '{handler}'\n"));
    format!("[plugin.p]\npath = {library:?}\n{}", routes.collect::<String>())
}

/// Processor time of the server until it serves, and the time that its worker needs for a request on the last route.
fn start(config: &Path, routes: usize) -> (Duration, Host) {
    let host = Host::start(&["serve", "--config", path(config)]);
    let processes = [host.workers(), vec![host.process()]].concat();
    let used = processes.into_iter().map(|process| process.processor_time()).sum();
    let last = format!("/{}", routes - 1);
    assert_eq!(host.connect().request("GET", &last, &[], b"").text(), "page");
    (used, host)
}

#[test]
fn a_start_takes_time_in_proportion_to_the_routes() {
    let _alone = alone();
    let good = good();
    let few = start(&config_with("few.toml", &good, "page", 5000), 5000).0;
    let many = start(&config_with("many.toml", &good, "page", 20_000), 20_000).0;
    // In proportion it is 4; with their square it would be 16.
    assert!(many < 8 * few, "5000 routes: {few:?}, 20000 routes: {many:?}");
}

/// The same of routes that differ in parameters, methods and hosts.
#[test]
fn so_it_does_with_parameters_methods_and_hosts() {
    let _alone = alone();
    let good = good();
    let start = |routes: usize| {
        let text = (0..routes / 4).map(|n| {
            let route =
                |path: &str, more: &str| format!("[[route]]\npath = '{path}'\nhandler = 'page'\n{more}\n");
            [
                route(&format!("/{{a}}/{n}/{{b}}"), ""),
                route("/{a}/x", &format!("host = '{n}.example.org'")),
                route("/*", &format!("hosts = ['*.{n}.example', '*.{n}.test']")),
                route("/x/{*rest}", &format!("methods = ['M{n}', 'N{n}']")),
            ]
            .concat()
        });
        let config = scratch(&format!("patterns-{routes}.toml"));
        let text = format!("[plugin.p]\npath = {good:?}\n{}", text.collect::<String>());
        fs::write(&config, text).expect("the scratch folder can be written");
        let host = Host::start(&["serve", "--config", path(&config)]);
        let processes = [host.workers(), vec![host.process()]].concat();
        let used: Duration = processes.into_iter().map(|process| process.processor_time()).sum();
        let last = routes / 4 - 1;
        assert_eq!(host.connect().request("GET", &format!("/1/{last}/2"), &[], b"").text(), "page");
        assert_eq!(host.connect().request("GET", &format!("/1/{last}"), &[], b"").status, 404);
        let mut client = host.connect();
        client.send(format!("GET /1/y HTTP/1.1\r\nHost: a.{last}.test\r\n\r\n"));
        assert_eq!(client.read_answer(true).text(), "page");
        used
    };
    let (few, many) = (start(5000), start(20_000));
    assert!(many < 8 * few, "5000 routes: {few:?}, 20000 routes: {many:?}");
}

/// Without the time for the process itself, a request on any of many routes takes no longer than on one route.
#[test]
fn a_request_does_not_take_time_in_proportion_to_the_routes() {
    const REQUESTS: usize = 500;
    let _alone = alone();
    let good = good();
    let [few, many] = [10, 20_000].map(|routes| {
        let config = config_with(&format!("requests-{routes}.toml"), &good, "page", routes);
        let (_, host) = start(&config, routes);
        let (mut client, worker) = (host.connect(), host.workers()[0]);
        let before = worker.processor_time();
        for _ in 0..REQUESTS {
            assert_eq!(client.request("GET", "/9", &[], b"").text(), "page");
        }
        worker.processor_time() - before
    });
    assert!(many < 4 * few + Duration::from_millis(100), "10 routes: {few:?}, 20000 routes: {many:?}");
}

/// A control socket; the path of a Unix socket is short.
fn control(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("callsign-large-{name}-{}", std::process::id()))
}

#[test]
fn a_server_with_10000_routes_reloads() {
    let (good, control) = (good(), control("routes"));
    let config = config_with("reload.toml", &good, "page", 10_000);
    let mut host = Host::start(&["serve", "--config", path(&config), "--control", path(&control)]);
    let reload = ["reload", "--force", "--control", path(&control)];
    let (code, stdout, stderr) = run(&reload);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("p: generation 2; 1 worker"), "{stdout}");
    fs::write(&config, config_text(&good, "page", 10_001)).expect("the scratch folder can be written");
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded the settings; p: generation 2");
    assert_eq!(host.connect().request("GET", "/10000", &[], b"").text(), "page");
    assert!(host.terminate().success());
}

#[test]
fn a_plugin_with_12000_handlers_is_reported_whole() {
    const NAME: &str =
        "a_handler_whose_name_is_so_long_that_the_names_of_all_handlers_do_not_fit_into_a_megabyte_";
    let (many, control) = (c_plugin("many.c"), control("handlers"));
    let (code, stdout, stderr) = run(&["check", path(&many)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let handlers = format!("  onrequest     {NAME}");
    assert_eq!(stdout.matches(&handlers).count(), 12_000);
    let (last, route) = (format!("{NAME}21999"), format!("/={NAME}21999"));
    let mut host = Host::start(&["serve", path(&many), "--route", &route, "--control", path(&control)]);
    assert_eq!(host.connect().request("GET", "/", &[], b"").text(), last);
    assert_eq!(host.stdout().matches(&handlers).count(), 12_000);
    let (code, stdout, stderr) = run(&["reload", "--force", "--control", path(&control)]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("many: generation 2"), "{stdout}");
    let (_, stdout, _) = run(&["status", "--control", path(&control)]);
    assert!(stdout.contains(&last), "{stdout}");
    assert!(host.terminate().success());
}
