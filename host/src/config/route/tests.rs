//! Which texts are routes, and which route a path has.

use super::*;

fn callbacks(names: [&str; 4]) -> Target {
    let [onconnect, onmessage, ondisconnect, ondrain] =
        names.map(|name| (!name.is_empty()).then(|| name.to_owned()));
    Target::Callbacks { onconnect, onmessage, ondisconnect, ondrain }
}

#[test]
fn one_name_is_a_request_handler_and_three_are_callbacks() {
    let route = Route::from_flag("/chat=join,chat:message,leave").unwrap();
    assert_eq!(route.path, RoutePath::Exact("/chat".into()));
    assert_eq!(route.target, callbacks(["join", "chat:message", "leave", ""]));
    assert_eq!(route.origin, "--route '/chat=join,chat:message,leave'");

    let route = Route::from_flag("/files/* = web:page").unwrap();
    assert_eq!(route.path, RoutePath::Prefix("/files/".into()));
    assert_eq!(route.target, Target::Handler("web:page".into()));

    assert_eq!(Route::from_flag("/a=b=,message,").unwrap().path, RoutePath::Exact("/a=b".into()));
}

#[test]
fn an_empty_name_ignores_its_event() {
    assert_eq!(Route::from_flag("/chat=,message,").unwrap().target, callbacks(["", "message", "", ""]));
    assert_eq!(Route::from_flag("/a=,m,,").unwrap().target, callbacks(["", "m", "", ""]));
    assert_eq!(Route::from_flag("/a=,m,,go_on").unwrap().target, callbacks(["", "m", "", "go_on"]));
}

#[test]
fn a_malformed_flag_is_rejected_with_what_was_expected() {
    for (flag, message) in [
        (
            "/chat",
            "expected PATH=HANDLER or PATH=ONCONNECT,ONMESSAGE,ONDISCONNECT, such as `/=page` or \
             `/chat=join,message,leave`",
        ),
        (
            "/chat=join,leave",
            "found 2 names, expected one (an onrequest handler) or three (onconnect, onmessage, \
             ondisconnect), and after these ondrain; leave a name empty to ignore its event, as in \
             `/chat=,message,`",
        ),
        (
            "/chat=a,b,c,d,e",
            "found 5 names, expected one (an onrequest handler) or three (onconnect, onmessage, \
             ondisconnect), and after these ondrain; leave a name empty to ignore its event, as in `/chat=,message,`",
        ),
        ("/chat=,,", "expected at least one name: this route would ignore every event"),
        ("/chat=", "expected a handler's name, such as `join` or `chat:join`"),
        ("/chat=chat:", "expected a handler's name, such as `join` or `chat:join`"),
        ("/chat=:join", "expected a handler's name, such as `join` or `chat:join`"),
        ("/chat=a:b:c", "expected a handler's name, such as `join` or `chat:join`"),
        ("/chat=a b", "expected a handler's name, such as `join` or `chat:join`"),
        (
            "chat=page",
            "expected a path such as `/chat`, or `/files/*` for all below it; a path begins with `/`",
        ),
        ("*=page", "expected a path such as `/chat`, or `/files/*` for all below it; a path begins with `/`"),
        (
            "/a*=page",
            "expected a path such as `/chat`, or `/files/*` for all below it; `*` stands only at the end \
             and after a `/`",
        ),
        (
            "/*/b=page",
            "expected a path such as `/chat`, or `/files/*` for all below it; `*` stands only at the end \
             and after a `/`",
        ),
        (
            "/a?b=page",
            "expected a path such as `/chat`, or `/files/*` for all below it; a path has no spaces, `?` \
             or `#`",
        ),
        (
            "/100%=page",
            "expected a path such as `/chat`, or `/files/*` for all below it; `%` stands before two digits, \
             as in `%20`, and is itself `%25`",
        ),
    ] {
        assert_eq!(Route::from_flag(flag), Err(message.to_owned()), "{flag}");
    }
}

fn routes(paths: &[&str]) -> Routes {
    paths.iter().map(|path| RoutePath::parse(path).unwrap()).collect()
}

#[test]
fn the_exact_route_comes_before_every_prefix() {
    let routes = routes(&["/*", "/a/*", "/a/b"]);
    assert_eq!(routes.find("/a/b"), Some(2));
    assert_eq!(routes.find("/a/b/"), Some(1));
}

#[test]
fn the_longest_prefix_wins_in_any_order() {
    for (paths, found) in [(["/a/b/*", "/a/*", "/*"], 0), (["/*", "/a/*", "/a/b/*"], 2)] {
        assert_eq!(routes(&paths).find("/a/b/c"), Some(found));
        assert_eq!(routes(&paths).find("/a/c"), Some(1));
    }
}

#[test]
fn a_prefix_matches_its_folder_and_all_below_but_not_its_bare_name() {
    let routes = routes(&["/a/*"]);
    assert_eq!(routes.find("/a/"), Some(0));
    assert_eq!(routes.find("/a/b/c"), Some(0));
    assert_eq!(routes.find("/a"), None);
    assert_eq!(routes.find("/ab"), None);
    assert_eq!(Routes::default().find("/"), None);
}

#[test]
fn a_path_may_be_spelled_in_several_ways() {
    let routes = routes(&["/café", "/my%20room/*", "/a-b", "/x/*"]);
    for (path, found) in [
        ("/caf%C3%A9", Some(0)),
        ("/caf%c3%a9", Some(0)),
        ("/café", Some(0)),
        ("/caf%E9", None),
        ("/my%20room/%7e", Some(1)),
        ("/%61%2Db", Some(2)),
        ("/x%2Fy", None),
        ("/x/%2F", Some(3)),
        ("/x/100%", Some(3)),
    ] {
        assert_eq!(routes.find(path), found, "{path}");
    }
    let parse = |path| RoutePath::parse(path).unwrap();
    assert_eq!(parse("/café"), parse("/caf%c3%A9"));
    assert_ne!(parse("/café"), parse("/cafe"));
    assert_ne!(parse("/a/"), parse("/a/*"));
}

#[test]
fn whole_segments_of_a_path_can_be_stripped() {
    let parse = |path: &str, prefix: &str| RoutePath::parse(path).unwrap().parse_strip_prefix(prefix);
    for (path, prefix) in [
        ("/app/*", "/app"),
        ("/app", "/app"),
        ("/app/", "/app"),
        ("/app/a/*", "/app"),
        ("/app/a/*", "/app/a"),
        ("/caf%c3%a9/*", "/café"),
    ] {
        assert_eq!(parse(path, prefix), Ok(prefix.to_owned()), "{path} {prefix}");
    }
    for (path, prefix) in [
        ("/app/*", ""),
        ("/app/*", "/"),
        ("/app/*", "/app/"),
        ("/app/*", "/app/*"),
        ("/app/*", "/ap"),
        ("/app/*", "app"),
        ("/app/*", "/app/a"),
        ("/app", "/App"),
        ("/*", "/app"),
        ("/a%2Fb/*", "/a"),
        ("/a", "/%"),
    ] {
        let expected = format!("expected whole segments from the beginning of `{path}`, without a final `/`");
        assert_eq!(parse(path, prefix), Err(expected), "{path} {prefix}");
    }
}

#[test]
fn the_longest_of_many_nested_prefixes_is_found() {
    let paths: Vec<String> = (0..200).map(|depth| format!("{}*", "/".repeat(depth + 1))).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    assert_eq!(routes(&paths).find(&"/".repeat(70)), Some(69));
    assert_eq!(routes(&paths).find(&"/".repeat(60_000)), Some(199));
}

#[test]
fn paths_print_as_they_were_written() {
    for path in ["/", "/*", "/a", "/a/", "/a/*", "/café", "/my%20room"] {
        assert_eq!(RoutePath::parse(path).unwrap().to_string(), path);
    }
}
