//! `callsign dev --tls`: an authority of the user's own, which only has to be trusted once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{echo, port};
use crate::support::{Host, Trust, empty_folder, path, root};

/// Develops the echo plugin in C with `data` as the user's data folder.
fn dev(folder: &Path, data: &Path, options: &[&str]) -> Host {
    let arguments = ["dev", path(folder), "--listen", "127.0.0.1:0"];
    Host::exactly_through(&["env", &format!("XDG_DATA_HOME={}", path(data))], &[&arguments, options].concat())
}

fn project(name: &str) -> std::path::PathBuf {
    let folder = empty_folder(name);
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).expect("the scratch folder can be written")
    };
    fs::copy(root().join("plugin-api/include/callsign.h"), folder.join("callsign.h"))
        .expect("the header exists");
    write(
        "plugin.c",
        "#include \"callsign.h\"\nCALLSIGN_PLUGIN(\"echoing\", \"1\");\n\
         void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)\n\
         { callsign_send(c, op, data, length); }\n",
    );
    write("Makefile", "plugin.so: plugin.c\n\tcc -shared -fPIC -o $@.tmp plugin.c && mv $@.tmp $@\n");
    folder
}

#[test]
fn dev_makes_a_certificate_and_explains_how_to_trust_it() {
    let (folder, data) = (project("dev-project"), empty_folder("dev-data"));
    let host = dev(&folder, &data, &["--tls"]);
    let port_of_first = port(&host, "https");
    let made = data.join("callsign/tls");
    let authority = fs::read_to_string(made.join("ca.pem")).expect("it was made");
    let mode = |name: &str| fs::metadata(made.join(name)).expect("it was made").permissions().mode() & 0o777;
    assert_eq!((mode("ca-key.pem"), mode("localhost-key.pem"), mode("")), (0o600, 0o600, 0o700));
    host.log_line(
        "dev: TLS, for development only: certificate for localhost, 127.0.0.1, ::1, valid until 20",
    );
    let line = host.log_line("dev: clients have to trust its authority, which is new");
    assert!(line.ends_with(path(&made.join("ca.pem"))), "{line}");
    for part in ["curl: --cacert ", "Firefox, Chromium: ", "update-ca-certificates"] {
        host.log_line(part);
    }
    let trust = Trust::in_pem(&authority);
    echo(&mut trust.open(port_of_first, "/"), "over TLS");
    let certificate = trust.certificate(port_of_first, "127.0.0.1");
    drop(host);

    // The next run uses the same, and clients that trust it go on.
    let host = dev(&folder, &data, &["--tls"]);
    let line = host.log_line("dev: clients have to trust its authority");
    assert!(line.ends_with("see `callsign help dev`"), "{line}");
    assert_eq!(trust.certificate(port(&host, "https"), "localhost"), certificate);
}

#[test]
fn listeners_of_the_config_file_get_the_certificate_if_they_have_none() {
    let (folder, data) = (project("dev-config"), empty_folder("dev-config-data"));
    let text =
        "[[listen]]\naddress = '127.0.0.1:0'\n[[listen]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n";
    fs::write(folder.join("callsign.toml"), text).expect("the scratch folder can be written");
    let home = format!("XDG_DATA_HOME={}", path(&data));
    let host = Host::exactly_through(&["env", &home], &["dev", path(&folder), "--tls"]);
    let authority = || fs::read_to_string(data.join("callsign/tls/ca.pem")).expect("it was made");
    let https = port(&host, "https");
    assert_ne!(port(&host, "http"), https);
    echo(&mut Trust::in_pem(&authority()).open(https, "/"), "over TLS");
}

#[test]
fn a_data_folder_that_others_can_use_is_refused() {
    let (folder, data) = (project("dev-open"), empty_folder("dev-open-data"));
    let made = data.join("callsign/tls");
    fs::create_dir_all(&made).expect("the scratch folder can be written");
    fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let mut host = dev(&folder, &data, &["--tls"]);
    assert_eq!(host.ended().code(), Some(1));
    let said = host.log();
    assert!(said.contains("another user can use the folder; ") && said.contains("chmod 700 "), "{said}");
}
