//! Whether handlers learn that a client's bytes are encrypted on their way.

use std::fs;

use tungstenite::Message;

use super::{listen, port, serve};
use crate::support::{Authority, Raw, Trust, c_plugin, empty_folder};

#[test]
fn handlers_learn_whether_a_client_uses_tls() {
    let folder = empty_folder("secure");
    let authority = Authority::new("A");
    let tls = listen(&authority.issue(&["localhost"]).write(&folder, "a"), "");
    let file = folder.join("callsign.toml");
    let library = c_plugin("secure.c");
    let text = |trusted: &str| {
        format!(
            "http.trusted_proxies = [{trusted}]\n[[listen]]\naddress = '127.0.0.1:0'\n{tls}[plugin.p]\npath = \
             {library:?}\n[[route]]\npath = '/who'\nhandler = 'page'\n[[route]]\npath = '/ws'\nonmessage = 'message'\n\
             [[route]]\npath = '/handler'\nhandler = 'upgrade'\n"
        )
    };
    let proxied: [(&[(&str, &str)], &str); 6] = [
        (&[], "0"),
        (&[("X-Forwarded-Proto", "http")], "0"),
        (&[("X-Forwarded-Proto", "https")], "1"),
        (&[("X-Forwarded-Proto", "WSS")], "1"),
        (&[("Forwarded", "for=192.0.2.7;proto=https")], "1"),
        (&[("Forwarded", "for=192.0.2.7;proto=http"), ("X-Forwarded-Proto", "https")], "0"),
    ];
    for trusted in ["", "'127.0.0.1'"] {
        fs::write(&file, text(trusted)).expect("the scratch folder can be written");
        let host = serve(&file, &[]);
        for (headers, expected) in proxied {
            // From other clients the headers have no effect.
            let expected = if trusted.is_empty() { "0" } else { expected };
            let answer = Raw::connect(port(&host, "http")).request("GET", "/who", headers, b"");
            assert_eq!(answer.text(), expected, "{headers:?}");
            for path in ["/ws", "/handler"] {
                let socket = Raw::connect(port(&host, "http"));
                let mut socket = socket.upgrade(path, headers);
                assert_eq!(socket.ask("secure?"), expected, "{path} {headers:?}");
            }
        }
        let (trust, port) = (Trust::of(&authority), port(&host, "https"));
        assert_eq!(trust.get(port, "/who").expect("it is served"), "1");
        let mut socket = trust.open(port, "/ws");
        socket.send(Message::text("secure?")).expect("the server reads it");
        assert_eq!(socket.read().expect("it answers"), Message::text("1"));
    }
}
