//! Handlers are found by name: in routes, in handshakes and by convention, in one plugin or in several. A
//! function that a library only imports is never a handler.

mod cpp;

mod several;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

use crate::support::{Host, c_plugin_with, path, plugin, run, scratch};

fn left() -> PathBuf {
    c_plugin_with("names.c", &["-DNAME=\"left\""])
}

fn right() -> PathBuf {
    c_plugin_with("names.c", &["-DNAME=\"right\"", "-DRIGHT"])
}

/// A server with the plugins `left` and `right`, loaded in this order.
fn both(routes: &[&str]) -> Host {
    let (left, right) = (left(), right());
    let routes: Vec<&str> = routes.iter().flat_map(|route| ["--route", *route]).collect();
    Host::start(&[&["serve", path(&left), path(&right)], &routes[..]].concat())
}

/// A server whose handshakes bind the names in the query.
fn probe() -> Host {
    Host::serve("test-probe", &["--route", "/*=bind"])
}

/// The error of a server that must not start.
fn refusal(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    stderr
}

#[test]
fn a_handshake_binds_three_functions_by_name() {
    let mut host = probe();
    let mut c = host.open("/?connect=join&message=message&disconnect=leave");
    assert_eq!(c.next_text(), "id 1");
    assert_eq!(c.ask("hello"), "hello");
    assert_eq!(c.close(1000, "done"), Some((1000, "done".to_owned())));
    host.log_line("#1 disconnect 1000 \"done\"");
    assert!(host.terminate().success());
}

#[test]
fn each_of_the_three_names_may_be_absent_and_its_event_is_then_ignored() {
    let mut host = probe();

    let mut without_connect = host.open("/?message=message&disconnect=leave");
    assert_eq!(without_connect.ask("first"), "first", "nothing arrived before");
    without_connect.close(1000, "");

    let mut without_message = host.open("/?connect=join&disconnect=leave");
    assert_eq!(without_message.next_text(), "id 2");
    without_message.text("into the void");
    assert_eq!(without_message.close(1000, ""), Some((1000, String::new())), "nothing arrived before");

    let mut without_disconnect = host.open("/?connect=join&message=message");
    assert_eq!(without_disconnect.next_text(), "id 3");
    without_disconnect.close(1000, "");

    let mut without_any = host.open("/");
    without_any.text("into the void");
    assert_eq!(without_any.close(1000, ""), Some((1000, String::new())), "nothing arrived before");

    assert!(host.terminate().success());
    assert_eq!(host.log_lines("#1 message Text(\"first\")").len(), 1);
    assert_eq!(host.log_lines("#1 connect").len(), 0);
    assert_eq!(host.log_lines("#1 ").len(), 2, "message, disconnect");
    assert_eq!(host.log_lines("#2 message").len(), 0);
    assert_eq!(host.log_lines("#2 disconnect").len(), 1);
    assert_eq!(host.log_lines("#3 disconnect").len(), 0);
    assert_eq!(host.log_lines("#3 ").len(), 2, "connect, drop");
    assert_eq!(host.log_lines("#4 ").len(), 0);
}

#[test]
fn a_name_is_looked_for_in_the_asking_plugin_first() {
    let host = both(&["/left=left:ask", "/right=right:ask"]);
    assert_eq!(host.open("/left?who").ask(""), "who of left");
    assert_eq!(host.open("/right?who").ask(""), "who of right");
}

#[test]
fn a_name_that_the_asking_plugin_lacks_is_looked_for_in_the_others() {
    let host = both(&["/left=left:ask"]);
    assert_eq!(host.open("/left?only_right").ask(""), "who of right");
}

#[test]
fn a_name_with_a_plugin_is_looked_for_in_that_plugin_alone() {
    let host = both(&["/=left:join,right:who,", "/ask=left:ask"]);
    let mut c = host.open("/");
    assert_eq!(c.next_text(), "join of left");
    assert_eq!(c.ask(""), "who of right");
    assert_eq!(host.open("/ask?right:who").ask(""), "who of right");
    assert_eq!(host.connect().handshake("/ask?left:only_right", &[]).status, 500);

    let (left, right) = (left(), right());
    assert_eq!(
        refusal(&["serve", path(&left), path(&right), "--route", "/=,left:only_right,"]),
        format!(
            "callsign: plugin `left` ({}): no onmessage handler `only_right`; found: ask, join, sockets, who. \
             Fix the name in route `/` (--route '/=,left:only_right,'), or export it\n",
            left.display()
        )
    );
}

#[test]
fn a_handler_of_another_kind_does_not_hide_a_matching_one_in_the_next_plugin() {
    // In the probe `join` is an onconnect handler. A function of a C plugin without declared kinds fits every
    // kind.
    let (probe, left) = (plugin("test-probe"), left());
    let host = Host::start(&["serve", path(&probe), path(&left), "--route", "/=,join,"]);
    assert_eq!(host.open("/").ask("x"), "join of left");
}

#[test]
fn handlers_called_connect_send_and_close_leave_the_plugins_own_sockets_alone() {
    let host = Host::serve("test-libc-names", &["--route", "/=connect"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the socket is bound").to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the plugin calls");
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).expect("the plugin sends");
        stream.write_all(b"you said ").and_then(|()| stream.write_all(&hello)).expect("the plugin reads");
    });
    let mut c = host.open("/");
    assert_eq!(c.ask(&address), "you said hello");
    answering.join().expect("the thread does not panic");
    c.close(1000, "");
    host.log_line("plugin `libc-names`: close 1000");
}

/// Where the plugin itself refers to such a function, the loader finds the C library's.
#[test]
fn handlers_in_c_with_names_of_the_c_library_are_the_plugins_own() {
    let library = c_plugin_with("libc_names.c", &[]);
    let host =
        Host::start(&["serve", path(&library), "--route", "/=error,index,warn", "--route", "/page=daemon"]);
    let mut c = host.open("/");
    assert_eq!((c.next_text(), c.ask("x")), ("own error".to_owned(), "own index".to_owned()));
    c.close(1000, "");
    host.log_line("plugin `libc-names-c`: own warn");
    assert_eq!(host.connect().request("GET", "/page", &[], b"").text(), "own");
    let note = "it refers to a function `error` of its own (and `index`, `warn`), but where it calls that, the one of ";
    assert!(host.log_line(note).contains("link with -Wl,-Bsymbolic-functions"));

    let (code, stdout, stderr) = run(&["check", path(&library)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains(note) && stdout.contains("libc.so.6 runs. Make the function static"), "{stdout}");
    let bound = c_plugin_with("libc_names.c", &["-Wl,-Bsymbolic-functions"]);
    assert!(!run(&["check", path(&bound)]).1.contains("note:"));
}

#[test]
fn an_imported_function_is_no_handler() {
    let left = left();
    for name in ["send", "printf"] {
        assert_eq!(
            refusal(&["serve", path(&left), "--route", &format!("/=,{name},")]),
            format!(
                "callsign: plugin `left` ({}): no onmessage handler `{name}`; found: ask, join, sockets, who. Fix \
                 the name in route `/` (--route '/=,{name},'), or export it\n",
                left.display()
            )
        );
    }
    let host = Host::start(&["serve", path(&left), "--route", "/=ask"]);
    for name in ["send", "printf", "malloc", "left:close", "callsign_plugin", "host", "_init", ""] {
        assert_eq!(host.connect().handshake(&format!("/?{name}"), &[]).status, 500, "{name}");
    }
    assert_eq!(host.open("/?who").ask(""), "who of left");
}

#[test]
fn a_missing_name_at_run_time_is_a_500_and_one_log_line() {
    let library = plugin("test-probe");
    let mut host = probe();
    let mut survivor = host.open("/?connect=join&message=message");
    assert_eq!(survivor.next_text(), "id 1");

    let mut refused = host.connect();
    let answer = refused.handshake("/room?connect=join&message=mesage&disconnect=leave", &[]);
    assert_eq!((answer.status, answer.text()), (500, "the handler failed\n"));

    assert_eq!(survivor.ask("still here"), "still here");
    assert_eq!(refused.handshake("/?message=message", &[]).status, 101, "the HTTP connection stays usable");
    let address = refused.address();
    refused.reset();
    survivor.close(1000, "");
    assert!(host.terminate().success());
    let lines = host.log_lines("mesage");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let line = format!(
        " plugin `probe`: onrequest handler `bind` failed: its handshake: plugin `probe` ({}): no onmessage handler \
         `mesage`; did you mean `message`? (500 for GET /room from {}, route `/*`)",
        library.display(),
        address
    );
    assert!(lines[0].ends_with(&line), "{lines:#?}");
    assert_eq!(host.log_lines("ERROR").len(), 1, "{}", host.log());
}

#[test]
fn a_name_of_another_kind_at_run_time_is_a_500_and_one_log_line() {
    let library = plugin("test-probe");
    let mut host = probe();
    for (query, text) in [
        ("message=join", "`join` is an onconnect handler, and an onmessage handler is needed here"),
        ("connect=message", "`message` is an onmessage handler, and an onconnect handler is needed here"),
        ("disconnect=join", "`join` is an onconnect handler, and an ondisconnect handler is needed here"),
        ("connect=page", "`page` is an onrequest handler, and an onconnect handler is needed here"),
        ("message=load", "`load` is an onload hook, and an onmessage handler is needed here"),
    ] {
        assert_eq!(host.connect().handshake(&format!("/?{query}"), &[]).status, 500, "{query}");
        host.log_line(&format!(
            "its handshake: plugin `probe` ({}): {text} (500 for GET /",
            library.display()
        ));
    }
    assert_eq!(host.connect().handshake("/?message=porbe:message", &[]).status, 500);
    host.log_line("no plugin `porbe` is loaded, as `porbe:message` asks for; did you mean `probe`? (500 for");
    assert!(host.terminate().success());
    assert_eq!(host.log_lines("ERROR").len(), 6, "{}", host.log());
    assert_eq!(host.log_lines("#").len(), 0, "no connection was opened: {}", host.log());
}

#[test]
fn without_routes_the_handler_called_onrequest_answers_every_request() {
    let host = Host::serve("chat", &[]);
    assert!(host.connect().request("GET", "/", &[], b"").text().starts_with("<!doctype html>"));
    assert_eq!(host.connect().request("GET", "/any/where", &[], b"").status, 404);
    assert_eq!(host.open("/any/where").next_text(), "* you are guest-1");
}

#[test]
fn without_routes_and_onrequest_a_websocket_on_any_path_gets_the_handlers_named_after_their_kind() {
    // The echo plugin exports only an onmessage handler.
    let host = Host::serve("echo", &[]);
    for path in ["/", "/any/where?x=y"] {
        assert_eq!(host.open(path).ask("hello"), "hello");
    }
    assert_eq!(host.connect().request("GET", "/", &[], b"").status, 426);

    let plain = c_plugin_with("convention.c", &[]);
    let host = Host::start(&["serve", path(&plain)]);
    let mut c = host.open("/");
    assert_eq!(c.next_text(), "onconnect");
    assert_eq!(c.ask("x"), "onmessage");
    c.close(1000, "");
    host.log_line("plugin `convention_c`: ondisconnect");
}

#[test]
fn routes_on_the_command_line_name_handlers_and_the_longest_prefix_wins() {
    let routes =
        ["/=page", "/chat=join,message,leave", "/a/*=,message,", "/a/b/*=join,message,", "/a/b/c=page"];
    let host = Host::serve("test-probe", &routes.map(|route| ["--route", route]).concat());
    assert_eq!(host.connect().request("GET", "/?x=y", &[], b"").text(), "/");
    assert_eq!(host.open("/chat").next_text(), "id 1");
    assert_eq!(host.open("/a/").ask("short"), "short");
    assert_eq!(host.open("/a/bc/d").ask("short"), "short");
    assert!(host.open("/a/b/").next_text().starts_with("id "));
    assert!(host.open("/a/b/c/d?x").next_text().starts_with("id "));
    assert_eq!(host.connect().request("GET", "/a/b/c", &[], b"").text(), "/a/b/c");
    for none in ["/a", "/chat/", "/chats", "/b", "/A/"] {
        assert_eq!(host.connect().request("GET", none, &[], b"").status, 404, "{none}");
        assert_eq!(host.connect().handshake(none, &[]).status, 404, "{none}");
    }
}

#[test]
fn plugins_and_routes_of_a_config_file_are_used_and_the_command_line_wins() {
    let file = scratch("names.toml");
    let text = format!(
        "[plugin.second]\npath = {:?}\n[plugin.first]\npath = {:?}\n\
         [[route]]\npath = '/chat'\nonconnect = 'first:join'\nonmessage = 'message'\n\
         [[route]]\npath = '/*'\nhandler = 'page'\n",
        left(),
        plugin("test-probe")
    );
    fs::write(&file, text).expect("the scratch folder can be written");

    let host = Host::start(&["serve", "--config", path(&file)]);
    assert_eq!(host.connect().request("GET", "/some/page", &[], b"").text(), "/some/page");
    let mut c = host.open("/chat");
    assert_eq!(c.next_text(), "id 1");
    assert_eq!(c.ask("x"), "x");
    host.log_line("plugin `first`: #1 connect");

    let host = Host::start(&["serve", "--config", path(&file), "--route", "/chat=second:join,,"]);
    assert_eq!(host.open("/chat").next_text(), "join of left");
    assert_eq!(host.connect().request("GET", "/other", &[], b"").text(), "/other");
}

#[test]
fn a_plugin_receives_its_name_generation_and_config_table_before_it_serves() {
    let file = scratch("config.toml");
    let library = plugin("test-probe");
    let text = format!(
        "[plugin.mine]\npath = {library:?}\n[plugin.mine.config]\nsize = 3\nwords = ['a', 'b']\n\
         [[route]]\npath = '/'\nhandler = 'page'\n"
    );
    fs::write(&file, text).expect("the scratch folder can be written");
    let host = Host::start(&["serve", "--config", path(&file)]);
    host.log_line("plugin `mine`: loaded as mine, generation 1, config {\"size\":3,\"words\":[\"a\",\"b\"]}");
}

#[test]
fn the_start_lists_plugins_handlers_and_routes() {
    let left = left();
    let host = Host::start(&["serve", path(&left), "--route", "/=,who,", "--route", "/ask/*=ask"]);
    let expected = format!(
        "callsign {}\nplugin left 1.2, generation 1 ({})\n  function      ask\n  function      join\n  function      \
         sockets\n  function      who\nroute /  WebSocket: onmessage left:who\nroute /ask/*  onrequest left:ask\n\
         1 worker\nlistening on http://127.0.0.1:{}/\n",
        env!("CARGO_PKG_VERSION"),
        left.display(),
        host.port
    );
    assert_eq!(host.stdout(), expected);
}

/// The worker's summary for the parent lists a bounded number of routes; the worker serves all of them.
#[test]
fn all_routes_are_served_and_the_first_are_listed() {
    let config = scratch("many-routes.toml");
    let mut text = format!("[plugin.left]\npath = {:?}\n", left());
    for number in 0..3_000 {
        text += &format!("[[route]]\npath = '/a-path-that-is-rather-long-and-has-a-number/{number}'\n");
        text += "onconnect = 'join'\nonmessage = 'who'\n";
    }
    fs::write(&config, text).expect("the scratch folder can be written");
    let host = Host::start(&["serve", "--config", path(&config)]);
    assert!(host.stdout().contains("\nand 2000 more routes\n"), "{}", host.stdout());
    let mut c = host.open("/a-path-that-is-rather-long-and-has-a-number/2999");
    assert_eq!(c.next_text(), "join of left");
}
