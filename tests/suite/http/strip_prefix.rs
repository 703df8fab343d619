//! `strip_prefix` of a route: the path that its handlers see.

use std::path::PathBuf;

use super::routed_config;
use crate::support::{Host, path, run};

/// A config file with the test plugin `probe` and these routes.
fn config(name: &str, routes: &str) -> PathBuf {
    routed_config(name, ("probe", "test-probe"), routes)
}

fn serve(name: &str, routes: &str) -> Host {
    Host::start(&["serve", "--config", path(&config(name, routes))])
}

#[test]
fn handlers_and_the_log_see_the_path_without_the_prefix() {
    let host = serve(
        "strip.toml",
        "[[route]]\npath = '/app/*'\nstrip_prefix = '/app'\nhandler = 'page'\n\
         [[route]]\npath = '/app'\nstrip_prefix = '/app'\nhandler = 'page'\n\
         [[route]]\npath = '/café/v1/a/*'\nstrip_prefix = '/café/v1'\nhandler = 'page'\n\
         [[route]]\npath = '/whole/*'\nhandler = 'page'\n",
    );
    let mut client = host.connect();
    for (sent, seen) in [
        ("/app/echo?a=/app/b", "/echo"),
        ("/app/app/app", "/app/app"),
        ("/%61pp/echo", "/echo"),
        ("/caf%C3%A9/v1/a/%61%2F%7e//?x", "/a/%61%2F%7e//"),
        ("/caf%c3%a9/%76%31/a/", "/a/"),
        ("/app", "/"),
        ("/%61pp?x", "/"),
        ("/app/", "/"),
        ("/app//", "//"),
        ("/whole/app/%7E", "/whole/app/%7E"),
    ] {
        let answer = client.request("GET", sent, &[], b"");
        assert_eq!((answer.status, answer.text()), (200, seen), "{sent}");
    }
    assert_eq!(client.request("GET", "/application", &[], b"").status, 404);
    assert_eq!(client.request("GET", "/app/fail", &[], b"").status, 500);
    host.log_line("request fails (500 for GET /fail from ");
}

#[test]
fn a_connection_has_the_path_without_the_prefix() {
    let host = serve(
        "strip-socket.toml",
        "[[route]]\npath = '/app/*'\nstrip_prefix = '/app'\nonmessage = 'message'\n\
         [[route]]\npath = '/by/handler/*'\nstrip_prefix = '/by'\nhandler = 'bind'\n",
    );
    for (sent, seen) in [("/app/room%2F7/?q", "/room%2F7/"), ("/by/handler/x?message=message", "/handler/x")]
    {
        let described = host.open(sent).ask("describe");
        assert!(described.contains(&format!("\npath {seen}\n")), "{described}");
    }
}

#[test]
fn a_prefix_that_the_path_does_not_have_is_rejected_with_its_place() {
    let config =
        config("strip-bad.toml", "[[route]]\npath = '/app/*'\nstrip_prefix = '/other'\nhandler = 'page'\n");
    for command in ["serve", "check"] {
        let (status, _, stderr) = run(&[command, "--config", path(&config)]);
        let expected = format!(
            "callsign: {}:5:16: `strip_prefix` in [[route]]: found string `'/other'`, expected whole segments from the \
             beginning of `/app/*`, without a final `/`\n",
            path(&config)
        );
        assert_eq!((status, stderr), (1, expected));
    }
}
