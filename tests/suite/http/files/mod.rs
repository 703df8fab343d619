//! Static files of a route.

mod conditions; // whether it has changed, a part of it, a compressed form

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::{
    Answer, Host, Process, Raw, empty_folder, eventually, needs_root, path, plugin, run, status,
};

/// An hour ago: entity tags of files that have just changed are weak.
fn settle(file: &Path) {
    let past = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(file).and_then(|file| file.set_modified(past)).expect("it is a file");
}

fn write(file: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(file.parent().expect("it is in a folder")).expect("the scratch folder can be written");
    fs::write(file, content).expect("the scratch folder can be written");
    settle(file);
}

/// A folder with `public`, and a config file with these routes and the test plugin `requests`.
fn site(name: &str, routes: &str) -> (PathBuf, PathBuf) {
    let folder = empty_folder(name);
    let public = folder.join("public");
    write(&public.join("index.html"), "<p>index");
    write(&public.join("app.js"), "console.log(1)");
    write(&public.join("docs/index.html"), "<p>docs");
    write(&public.join("docs/a b.txt"), "a b");
    write(&public.join("data.unknown-kind"), [0, 1, 2]);
    write(&public.join("empty/none.txt"), "");
    let config = folder.join("callsign.toml");
    let text = format!("[plugin.requests]\npath = {:?}\n{routes}", plugin("requests"));
    fs::write(&config, text).expect("the scratch folder can be written");
    (public, config)
}

const ALL: &str = "[[route]]\npath = '/*'\nfiles = 'public'\n";

fn serve(name: &str, routes: &str) -> (PathBuf, Host) {
    let (public, config) = site(name, routes);
    (public, Host::start(&["serve", "--config", path(&config)]))
}

fn ask(client: &mut Raw, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.request("GET", path, headers, b"")
}

#[test]
fn files_have_their_type_and_folders_their_index() {
    let (_, host) = serve("types", ALL);
    let mut client = host.connect();
    for (path, kind, body) in [
        ("/", "text/html; charset=utf-8", "<p>index"),
        ("/index.html?v=2", "text/html; charset=utf-8", "<p>index"),
        ("/app.js", "text/javascript; charset=utf-8", "console.log(1)"),
        ("/docs/", "text/html; charset=utf-8", "<p>docs"),
        ("/docs/a%20b.txt", "text/plain; charset=utf-8", "a b"),
        ("/%64ocs/a%20b.txt", "text/plain; charset=utf-8", "a b"),
        ("/data.unknown-kind", "application/octet-stream", "\0\u{1}\u{2}"),
        ("/empty/none.txt", "text/plain; charset=utf-8", ""),
    ] {
        let answer = ask(&mut client, path, &[]);
        assert_eq!(
            (answer.status, answer.header("content-type"), answer.text()),
            (200, Some(kind), body),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert!(answer.header("last-modified").is_some_and(|date| date.ends_with(" GMT")));
        let head = client.request("HEAD", path, &[], b"");
        let without_date = |answer: &Answer| {
            answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect::<Vec<_>>()
        };
        let (mut head, mut get) = (without_date(&head), without_date(&answer));
        head.sort();
        get.sort();
        assert_eq!(head, get, "{path}");
    }
    for (path, location) in [("/docs", "/docs/"), ("/%64ocs?a=b&c", "/docs/?a=b&c"), ("/empty", "/empty/")] {
        let answer = ask(&mut client, path, &[]);
        assert_eq!((answer.status, answer.header("location")), (301, Some(location)), "{path}");
    }
    for path in [
        "/none",
        "/docs/none",
        "/empty/",
        "/app.js/",
        "/app.js/x",
        "//docs/",
        "/docs//",
        "/docs/%00",
        "/docs%2Findex.html",
    ] {
        assert_eq!(ask(&mut client, path, &[]).status, 404, "{path}");
    }
    assert_eq!(ask(&mut client, &format!("/{}", "x".repeat(5000)), &[]).status, 404);
    assert_eq!(host.log_lines("cannot be served"), Vec::<String>::new());
}

#[test]
fn nothing_but_regular_files_in_the_folder_is_served() {
    let (public, host) = serve("escape", ALL);
    let folder = public.parent().expect("it is in a folder");
    write(&folder.join("secret.txt"), "secret");
    write(&public.join(".git/config"), "secret");
    write(&public.join(".env"), "secret");
    write(&public.join(".well-known/token"), "token");
    let link = |to: &Path, name: &str| symlink(to, public.join(name)).expect("the folder can be written");
    link(Path::new("../secret.txt"), "out.txt");
    link(&folder.join("secret.txt"), "absolute.txt");
    link(Path::new(".."), "up");
    link(Path::new("/etc"), "etc");
    link(Path::new("docs/index.html"), "inside.html");
    link(Path::new("loop"), "loop");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        public.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .expect("the folder can be written");
    let _socket = std::os::unix::net::UnixListener::bind(public.join("s")).expect("the path is short");
    let mut client = host.connect();
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/docs/../../secret.txt",
        "/docs/%2e./app.js",
        "/out.txt",
        "/absolute.txt",
        "/up/secret.txt",
        "/up",
        "/etc/passwd",
        "/loop",
        "/pipe",
        "/s",
        "/.git/config",
        "/%2Egit/config",
        "/.env",
        "/docs/.",
        "//etc/passwd",
        "/docs/..%5c..%5csecret.txt",
    ] {
        let answer = ask(&mut client, path, &[]);
        assert_eq!((answer.status, answer.text()), (404, "there is no such file\n"), "{path}");
    }
    assert_eq!(ask(&mut client, "/.well-known/token", &[]).text(), "token");
    assert_eq!(ask(&mut client, "/inside.html", &[]).text(), "<p>docs");
}

#[test]
fn dotfiles_are_served_if_the_operator_says_so() {
    let (public, host) = serve("dotfiles", &format!("{ALL}dotfiles = true\n"));
    write(&public.join(".config/x"), "x");
    assert_eq!(ask(&mut host.connect(), "/.config/x", &[]).text(), "x");
    assert_eq!(ask(&mut host.connect(), "/.config/../../callsign.toml", &[]).status, 404);
}

#[test]
fn files_stand_beside_handlers_and_callbacks() {
    let routes = "[[route]]\npath = '/static/{*path}'\nfiles = 'public'\nstrip_prefix = '/static'\n\
                  [[route]]\npath = '/*'\nfiles = 'public'\n\
                  [[route]]\npath = '/*'\nhandler = 'answer'\nmethods = ['POST']\n\
                  [[route]]\npath = '/favicon.ico'\nfiles = 'public'\n\
                  [[route]]\npath = '/api/*'\nhandler = 'params'\n\
                  [[route]]\npath = '/ws'\nonmessage = 'param'\n";
    let (public, host) = serve("beside", routes);
    write(&public.join("favicon.ico"), "icon");
    let mut client = host.connect();
    for (path, body) in [
        ("/static/app.js", "console.log(1)"),
        ("/static/", "<p>index"),
        ("/app.js", "console.log(1)"),
        ("/favicon.ico", "icon"),
        ("/api/x?a", "GET /api/x None"),
    ] {
        let answer = ask(&mut client, path, &[]);
        assert_eq!((answer.status, answer.text()), (200, body), "{path}");
    }
    let moved = ask(&mut client, "/static/docs?q", &[]);
    assert_eq!((moved.status, moved.header("location")), (301, Some("/static/docs/?q")));
    assert_eq!(client.request("POST", "/app.js", &[], b"posted").text(), "posted");
    let other = client.request("PUT", "/app.js", &[], b"");
    assert_eq!((other.status, other.header("allow")), (405, Some("GET, HEAD, POST, OPTIONS")));
    let options = client.request("OPTIONS", "/static/app.js", &[], b"");
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
    // A page asks for a WebSocket where there are files.
    assert_eq!(client.handshake("/app.js", &[("Origin", "https://example.org")]).status, 200);
    assert_eq!(host.open("/ws").ask("x"), "Some(None)");
}

/// Twice what the sockets of both sides hold, and more than a worker may use.
const LARGE: usize = 64 << 20;

#[test]
fn a_large_file_is_read_as_the_client_reads_and_other_clients_are_served() {
    let (public, host) = serve("large", &format!("{ALL}[[route]]\npath = '/ws'\nonmessage = 'param'\n"));
    let content: Vec<u8> = (0..LARGE / 4).flat_map(|n| (n as u32).to_le_bytes()).collect();
    write(&public.join("large.bin"), &content);
    let worker = host.workers()[0];
    assert_eq!(ask(&mut host.connect(), "/app.js", &[]).status, 200);
    let before = worker.anonymous_kib();
    let mut client = host.connect();
    client.buffer_little();
    client.send_request("GET", "/large.bin", &[], b"");
    let head = client.read_head();
    assert!(head.contains(&format!("Content-Length: {LARGE}\r\n")), "{head}");
    assert_eq!(host.open("/ws").ask("x"), "Some(None)");
    let grown = worker.anonymous_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB");
    assert!(client.read_exact(LARGE) == content, "the file arrives as it is");
    let part = ask(&mut client, "/large.bin", &[("Range", "bytes=1000000-9999999")]);
    assert!(part.status == 206 && part.body == content[1_000_000..10_000_000]);
    // A file that becomes shorter ends the connection, because its length was announced.
    client.send_request("GET", "/large.bin", &[], b"");
    client.read_head();
    File::options()
        .write(true)
        .open(public.join("large.bin"))
        .and_then(|file| file.set_len(10))
        .expect("it is a file");
    assert!(client.read_to_end().len() < LARGE);
    assert_eq!(ask(&mut host.connect(), "/app.js", &[]).status, 200);
}

#[test]
fn a_client_that_does_not_read_a_file_has_the_send_timeout() {
    let (public, config) = site("unread", ALL);
    write(&public.join("large.bin"), vec![0; LARGE]);
    let host = Host::start(&["serve", "--config", path(&config), "--send-timeout", "500ms"]);
    assert_eq!(ask(&mut host.connect(), "/app.js", &[]).status, 200);
    let descriptors = || host.workers().into_iter().map(Process::descriptors).sum::<usize>();
    eventually("that client has left", || descriptors() <= descriptors());
    let mut client = host.connect();
    client.buffer_little();
    client.send_request("GET", "/large.bin", &[], b"");
    client.read_head();
    let during = descriptors();
    eventually("file and socket are closed", || descriptors() + 2 <= during);
    assert!(client.read_to_end().len() < LARGE);
    assert_eq!(ask(&mut host.connect(), "/app.js", &[]).status, 200);
}

#[test]
fn many_clients_get_files_at_once() {
    let (_, host) = serve("many", ALL);
    let port = host.port;
    let clients = (0..16).map(|_| {
        thread::spawn(move || {
            let mut client = Raw::connect(port);
            for _ in 0..50 {
                assert_eq!(ask(&mut client, "/docs/a%20b.txt", &[]).text(), "a b");
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().expect("it has its files"));
}

#[test]
fn files_are_opened_as_the_user_of_the_workers() {
    if !needs_root() {
        return;
    }
    let (public, config) = site("user", ALL);
    write(&public.join("private.txt"), "secret");
    fs::set_permissions(public.join("private.txt"), fs::Permissions::from_mode(0o600)).expect("root owns it");
    let host = Host::start(&["serve", "--config", path(&config), "--user", "nobody"]);
    let answer = ask(&mut host.connect(), "/private.txt", &[]);
    assert_eq!((answer.status, answer.text()), (403, "this file may not be read\n"));
    host.log_line("the file for `/private.txt` in ");
    assert_eq!(ask(&mut host.connect(), "/app.js", &[]).status, 200);
}

#[test]
fn the_development_server_lets_nobody_keep_files() {
    let (public, config) = site("dev", &format!("{ALL}cache_control = 'max-age=31536000'\n"));
    let folder = config.parent().expect("it is in a folder");
    let library = plugin("requests");
    let host = Host::start(&[
        "dev",
        path(folder),
        "--build",
        "true",
        "--library",
        path(&library),
        "--control",
        "none",
    ]);
    let mut client = host.connect();
    let first = ask(&mut client, "/app.js", &[]);
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    write(&public.join("app.js"), "changed");
    let tag = first.header("etag").expect("a tag");
    assert_eq!(ask(&mut client, "/app.js", &[("If-None-Match", tag)]).text(), "changed");
}

#[test]
fn a_folder_is_shown_and_one_that_is_missing_is_refused() {
    let (public, config) = site("shown", ALL);
    let control = config.with_file_name("c.sock");
    let host = Host::start(&["serve", "--config", path(&config), "--control", path(&control)]);
    host.stdout_line(&format!("route GET /*  files in {}", public.display()));
    assert_eq!(status(&control)["routes"][0]["files"], path(&public));
    let (_, text, _) = run(&["status", "--control", path(&control)]);
    assert!(text.contains("\nGET /*  files    "), "{text}");
    // A folder that replaces it is served at once.
    fs::rename(&public, config.with_file_name("old")).expect("it can be renamed");
    assert_eq!(ask(&mut host.connect(), "/app.js", &[]).status, 404);
    for command in ["check", "serve"] {
        let (code, _, stderr) = run(&[command, "--config", path(&config), "--control", "none"]
            [..if command == "check" { 3 } else { 5 }]);
        let text = format!(
            "route `/*` ({}:3): its folder `files`, {}, cannot be used: No such file",
            path(&config),
            public.display()
        );
        assert!(code == 1 && stderr.contains(&text), "{stderr}");
    }
    write(&public.join("app.js"), "back");
    assert_eq!(ask(&mut host.connect(), "/app.js", &[]).text(), "back");
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    for (routes, message) in [
        (
            "files = ''",
            "5:9: `files` in [[route]]: found string `''`, expected the path of a folder, such as \"public\"",
        ),
        (
            "files = 'public'\nhandler = 'params'",
            "3:1: route `/*` has `handler` beside `files`, expected one of them: the server itself answers with files",
        ),
        (
            "files = 'public'\nmax_message = 1000",
            "3:1: route `/*` has `max_message` beside `files`, expected one of them: the server itself answers with files",
        ),
        (
            "files = 'public'\nmethods = 'GET'",
            "6:11: `methods` in [[route]]: found string `'GET'`, expected none beside `files`, which are for GET and HEAD",
        ),
        (
            "files = 'public'\ncache_control = \"a\\nb\"",
            "6:17: `cache_control` in [[route]]: found string `\"a\\nb\"`, expected a value of the header Cache-Control, \
             such as \"max-age=3600\"",
        ),
        (
            "handler = 'params'\ndotfiles = true",
            "6:12: `dotfiles` in [[route]]: found boolean `true`, expected only beside `files`",
        ),
        (
            "files = 'public'\ndotfiles = 1",
            "6:12: `dotfiles` in [[route]]: found integer `1`, expected true or false",
        ),
    ] {
        let (_, config) = site("malformed", &format!("[[route]]\npath = '/*'\n{routes}\n"));
        let (code, _, stderr) = run(&["check", "--config", path(&config)]);
        assert_eq!((code, stderr), (1, format!("callsign: {}:{message}\n", path(&config))));
    }
}
