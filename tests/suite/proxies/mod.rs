//! The configurations in `examples/proxies`, run by Debian's nginx and HAProxy and with shorter times: the client's address
//! arrives, pages on the proxy's host may open WebSockets, and idle WebSockets outlive the timeouts of the proxy.

mod program; // runs a proxy

mod client; // a client that speaks TLS

use std::fs;
use std::path::Path;
use std::process::Command;

use tungstenite::Message;

use crate::support::{
    Authority, Files, Host, Raw, Trust, c_plugin, empty_folder, free_port, path, root, scratch,
};
use client::{CLIENT, Client, NAME};
use program::{Program, find};

/// A proxy and the server behind it.
struct Proxied {
    host: Host,
    _proxy: Program,
    trust: Trust,
    /// Where the proxy speaks HTTP, to redirect, and HTTPS.
    http: u16,
    https: u16,
}

/// A file of `examples/proxies`, with these texts replaced, each of which it must have.
fn example(name: &str, replaced: &[(&str, &str)]) -> String {
    let file = root().join("examples/proxies").join(name);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    replaced.iter().fold(text, |text, (old, new)| {
        assert!(text.contains(old), "{name} has no `{old}`");
        text.replace(old, new)
    })
}

/// Serves the plugin `peer` with `callsign.toml` of the examples. Returns the server and the ports of its listeners: without
/// and with the PROXY protocol.
fn serve(folder: &Path, ping_interval: &str) -> (Host, u16, u16) {
    let (plain, proxied) = (free_port(), free_port());
    let text = example(
        "callsign.toml",
        &[
            ("127.0.0.1:8080", &format!("127.0.0.1:{plain}")),
            ("127.0.0.1:8081", &format!("127.0.0.1:{proxied}")),
            ("ping_interval = \"20s\"", &format!("ping_interval = \"{ping_interval}\"")),
            ("../../target/release/libchat.so", path(&c_plugin("peer.c"))),
        ],
    );
    let config = folder.join("callsign.toml");
    fs::write(&config, text).expect("the scratch folder can be written");
    (Host::exactly(&["serve", "--config", path(&config)]).served(), plain, proxied)
}

/// A certificate of the proxy, and who trusts it.
fn certificate(folder: &Path) -> (Trust, Files) {
    let authority = Authority::new("A");
    (Trust::of(&authority), authority.issue(&[NAME]).write(folder, "site"))
}

/// nginx with `nginx.conf`.
fn nginx(name: &str, ping_interval: &str) -> Option<Proxied> {
    let program = find("nginx")?;
    let folder = empty_folder(name);
    let (host, server, _) = serve(&folder, ping_interval);
    let (http, https) = (free_port(), free_port());
    let (trust, Files { certificate, key }) = certificate(&folder);
    let site = example(
        "nginx.conf",
        &[
            ("listen 80;", &format!("listen 127.0.0.1:{http};")),
            ("listen 443 ssl;", &format!("listen 127.0.0.1:{https} ssl;")),
            ("/etc/ssl/callsign/fullchain.pem", path(&certificate)),
            ("/etc/ssl/callsign/privkey.pem", path(&key)),
            ("127.0.0.1:8080", &format!("127.0.0.1:{server}")),
            ("proxy_read_timeout 60s", "proxy_read_timeout 2s"),
            ("proxy_send_timeout 60s", "proxy_send_timeout 2s"),
        ],
    );
    let here = path(&folder);
    // What Debian has in /etc/nginx/nginx.conf, and no path that other programs use.
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.iter().map(|name| format!("{name}_temp_path {here}/{name};\n")).collect();
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log stderr;\nworker_processes 1;\nevents {{}}\n\
         http {{\naccess_log off;\n{paths}{site}}}\n"
    );
    let config = folder.join("nginx.conf");
    fs::write(&config, text).expect("the scratch folder can be written");
    let mut command = Command::new(program);
    command.args(["-p", here, "-e", "stderr", "-c", path(&config)]);
    Some(Proxied { host, _proxy: Program::start(command, https), trust, http, https })
}

/// HAProxy with this file.
fn haproxy(file: &str, name: &str, ping_interval: &str) -> Option<Proxied> {
    let program = find("haproxy")?;
    let folder = empty_folder(name);
    let (host, plain, proxied) = serve(&folder, ping_interval);
    let (http, https) = (free_port(), free_port());
    let (trust, Files { certificate, key }) = certificate(&folder);
    let both = [certificate, key].map(|file| fs::read_to_string(file).expect("it was written")).concat();
    let pem = folder.join("both.pem");
    fs::write(&pem, both).expect("the scratch folder can be written");
    let (https_bind, pem) = (format!("bind 127.0.0.1:{https} ssl"), path(&pem));
    let (http_bind, plain, proxied) =
        (format!("bind 127.0.0.1:{http}\n"), format!("127.0.0.1:{plain}"), format!("127.0.0.1:{proxied}"));
    let same = [("bind :443 ssl", &*https_bind), ("/etc/haproxy/callsign.pem", pem)];
    let own: &[(&str, &str)] = match file {
        "haproxy.cfg" => &[
            ("bind :80\n", &http_bind),
            ("127.0.0.1:8080", &plain),
            ("timeout tunnel 60s", "timeout tunnel 2s"),
            ("timeout client 60s", "timeout client 2s"),
            ("timeout server 60s", "timeout server 2s"),
        ],
        _ => &[
            ("127.0.0.1:8081", &proxied),
            ("timeout client 60s", "timeout client 2s"),
            ("timeout server 60s", "timeout server 2s"),
        ],
    };
    let config = folder.join(file);
    fs::write(&config, example(file, &[&same, own].concat())).expect("the scratch folder can be written");
    let mut command = Command::new(program);
    command.args(["-db", "-f", path(&config)]);
    Some(Proxied { host, _proxy: Program::start(command, https), trust, http, https })
}

impl Proxied {
    fn connect(&self) -> Client {
        Client::connect(&self.trust, self.https)
    }

    /// A client's address arrives, and no other that it claims. `has_port` says whether the proxy tells the port.
    fn tells_the_client(&self, has_port: bool) {
        let claims = [("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"), ("X-Real-IP", "6.6.6.6")];
        for claims in [&[][..], &claims[..1], &claims[1..2], &claims] {
            let mut client = self.connect();
            let expected = if has_port { client.address() } else { format!("{CLIENT}:0") };
            for _ in 0..2 {
                assert_eq!(client.get("/", claims), (200, expected.clone()), "{claims:?}");
            }
            let mut client = self.connect();
            let expected = if has_port { client.address() } else { format!("{CLIENT}:0") };
            let mut socket = client.open(claims);
            socket.send(Message::text("who am I")).expect("the proxy reads it");
            assert_eq!(socket.read().expect("the server answers"), Message::text(expected));
        }
    }

    /// Handlers learn that the client speaks TLS with the proxy, whatever it claims.
    fn tells_that_the_client_is_secure(&self) {
        let claims = [("X-Forwarded-Proto", "http"), ("Forwarded", "for=127.0.0.9;proto=http")];
        for claims in [&[][..], &claims[..1], &claims] {
            let expected = "secure".to_owned();
            assert_eq!(self.connect().get("/secure", claims), (200, expected.clone()), "{claims:?}");
            let mut client = self.connect();
            let mut socket = client.open(claims);
            socket.send(Message::text("secure")).expect("the proxy reads it");
            assert_eq!(socket.read().expect("the server answers"), Message::text(expected));
        }
    }

    /// The page on the proxy's host may open a WebSocket, and others may not.
    fn checks_the_origin(&self) {
        let of_page = |origin: &str| self.connect().try_open(&[("Origin", origin)]).err();
        assert_eq!(of_page(&format!("https://{NAME}")), None);
        let without_tls = format!("http://{NAME}");
        for origin in ["https://evil.example", "https://chat.example.com:8443", "null", &without_tls] {
            assert_eq!(of_page(origin), Some(403), "{origin}");
        }
        self.host.log_line(&format!("403 for a WebSocket from {CLIENT}:"));
    }

    /// With pings every second, an idle WebSocket is open after more than twice the proxy's timeout.
    fn keeps_idle_connections(&self) {
        let mut client = self.connect();
        let mut socket = client.open(&[]);
        for _ in 0..6 {
            let message = socket.read().expect("the server sends a ping");
            assert!(message.is_ping(), "{message:?}");
        }
        socket.send(Message::text("who am I")).expect("the proxy reads it");
        assert!(std::iter::repeat_with(|| socket.read().expect("the server answers")).any(|m| m.is_text()));
    }

    /// Without pings, the proxy cuts the same connection: the timeouts of the configuration are in effect.
    fn cuts_silent_connections(&self) {
        let mut client = self.connect();
        let mut socket = client.open(&[]);
        while let Ok(message) = socket.read() {
            assert!(!message.is_ping() && !message.is_text(), "{message:?}");
        }
    }

    fn redirects_to_tls(&self) {
        let answer = Raw::connect(self.http).request("GET", "/page?q", &[], b"");
        assert_eq!(answer.status, 301);
        assert_eq!(answer.header("location"), Some("https://test/page?q"));
    }
}

#[test]
fn nginx_tells_the_client_and_keeps_idle_connections() {
    let Some(proxied) = nginx("nginx", "1s") else { return };
    proxied.tells_the_client(false);
    proxied.tells_that_the_client_is_secure();
    proxied.checks_the_origin();
    proxied.redirects_to_tls();
    proxied.keeps_idle_connections();
}

#[test]
fn nginx_cuts_what_is_silent() {
    let Some(proxied) = nginx("nginx-silent", "0") else { return };
    proxied.cuts_silent_connections();
}

#[test]
fn haproxy_tells_the_client_and_keeps_idle_connections() {
    let Some(proxied) = haproxy("haproxy.cfg", "haproxy", "1s") else { return };
    proxied.tells_the_client(false);
    proxied.tells_that_the_client_is_secure();
    proxied.checks_the_origin();
    proxied.redirects_to_tls();
    proxied.keeps_idle_connections();
}

#[test]
fn haproxy_cuts_what_is_silent() {
    let Some(proxied) = haproxy("haproxy.cfg", "haproxy-silent", "0") else { return };
    proxied.cuts_silent_connections();
}

#[test]
fn haproxy_tells_the_client_by_the_proxy_protocol() {
    let Some(proxied) = haproxy("haproxy-tcp.cfg", "haproxy-tcp", "1s") else { return };
    proxied.tells_the_client(true);
    proxied.tells_that_the_client_is_secure();
    proxied.checks_the_origin();
    proxied.keeps_idle_connections();
}

#[test]
fn haproxy_cuts_what_is_silent_by_the_proxy_protocol_too() {
    let Some(proxied) = haproxy("haproxy-tcp.cfg", "haproxy-tcp-silent", "0") else { return };
    proxied.cuts_silent_connections();
}

/// Caddy is no package that the tests install.
#[test]
fn the_configuration_of_caddy_is_valid() {
    let Some(program) = find("caddy") else { return };
    let config = scratch("Caddyfile");
    fs::write(&config, example("Caddyfile", &[])).expect("the scratch folder can be written");
    let mut command = Command::new(program);
    let command = command.args(["adapt", "--validate", "--adapter", "caddyfile", "--config", path(&config)]);
    let folder = empty_folder("caddy");
    let output =
        command.env("HOME", &folder).env("XDG_DATA_HOME", &folder).env("XDG_CONFIG_HOME", &folder).output();
    let output = output.expect("caddy can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
