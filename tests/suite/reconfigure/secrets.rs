//! Values that are not in the config file: `{ file = "…" }` and `{ env = "…" }`.

use std::path::Path;

use crate::support::{Authority, Host, Trust, empty_folder, path, plugin, run, status};
use crate::tls;

use super::*;

/// A config file of the chat example, which greets with what its settings say.
fn write(folder: &Path, secrets: &str) -> PathBuf {
    let file = folder.join("callsign.toml");
    let text = format!("[plugin.chat]\npath = {:?}\n{secrets}\n", plugin("chat"));
    fs::write(&file, text).expect("the scratch folder can be written");
    file
}

fn greeting(host: &Host) -> String {
    let mut client = host.open("/");
    assert!(client.next_text().starts_with("* you are guest-"));
    client.next_text()
}

#[test]
fn a_plugin_gets_a_secret_of_a_file_and_a_rotated_one_after_a_reload() {
    let folder = empty_folder("secret-file");
    let (secret, control) = (folder.join("greeting"), folder.join("c.sock"));
    fs::write(&secret, "first-hidden\n").expect("the scratch folder can be written");
    let file = write(&folder, "[plugin.chat.secrets]\ngreeting = { file = 'greeting' }");
    let host =
        Host::start(&["serve", "--config", path(&file), "--control", path(&control), "--log", "debug"]);
    assert!(greeting(&host).contains("first-hidden"));
    let reload = || run(&["reload", "--config", "--control", path(&control)]);
    assert!(reload().1.starts_with("nothing has changed; "), "{}", host.log());
    fs::write(&secret, "second-hidden").expect("the scratch folder can be written");
    let (code, stdout, stderr) = reload();
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("chat: generation 2; "), "{stdout}");
    assert!(greeting(&host).contains("second-hidden"));
    // Nobody else is told.
    let (_, text, _) = run(&["status", "--control", path(&control)]);
    for told in [host.log(), host.stdout(), text, status(&control).to_string(), stdout] {
        assert!(!told.contains("hidden"), "{told}");
    }
    fs::remove_file(&secret).expect("it is there");
    let (code, _, stderr) = reload();
    let expected = format!(
        "callsign: not reloaded: {}:4:12: `greeting` in [plugin.chat.secrets]: the file {} does not exist\n",
        file.display(),
        secret.display()
    );
    assert_eq!((code, stderr.as_str()), (1, expected.as_str()));
    assert!(greeting(&host).contains("second-hidden"));
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    assert_eq!((code, stderr), (1, expected.replace("not reloaded: ", "")));
}

#[test]
fn a_plugin_gets_a_secret_of_the_environment() {
    let folder = empty_folder("secret-env");
    let file = write(&folder, "[plugin.chat.secrets]\ngreeting = { env = 'CHAT_GREETING' }");
    let host =
        Host::start_through(&["env", "CHAT_GREETING=hello there"], &["serve", "--config", path(&file)]);
    assert!(greeting(&host).contains("hello there"));
    let (code, _, stderr) = run(&["serve", "--config", path(&file)]);
    let expected = format!(
        "callsign: {}:4:12: `greeting` in [plugin.chat.secrets]: the environment variable CHAT_GREETING is not set\n",
        file.display()
    );
    assert_eq!((code, stderr), (1, expected));
}

#[test]
fn what_is_no_source_of_a_secret_is_rejected_and_not_repeated() {
    let folder = empty_folder("secret-wrong");
    let file = write(&folder, "[plugin.chat.secrets]\ngreeting = 'hidden'");
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    assert_eq!(code, 1);
    let start =
        format!("callsign: {}:4:12: `greeting` in [plugin.chat.secrets]: expected {{ file", file.display());
    assert!(stderr.starts_with(&start) && !stderr.contains("hidden"), "{stderr}");
}

#[test]
fn a_key_may_be_in_the_environment_and_its_certificate_in_a_file() {
    let folder = empty_folder("secret-key");
    let authority = Authority::new("secrets");
    let files = authority.issue(&["localhost"]).write(&folder, "pair");
    let key = fs::read_to_string(&files.key).expect("it was written");
    let tables = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\ntls = {{ certificate = {{ file = {:?} }}, key = {{ env = 'TLS_KEY' }} }}",
        files.certificate
    );
    let file = tls::config(&folder, &tables, "echo");
    let control = folder.join("c.sock");
    let serve = ["serve", "--config", path(&file), "--control", path(&control)];
    let host = Host::exactly_through(&["env", &format!("TLS_KEY={key}")], &serve);
    let mut client = Trust::of(&authority).open(tls::port(&host, "https"), "/");
    tls::echo(&mut client, "over TLS");
    assert!(!status(&control).to_string().contains("PRIVATE"), "{}", status(&control));
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    let expected = format!("callsign: {}:3:", file.display());
    assert!(code == 1 && stderr.starts_with(&expected) && stderr.contains("key $TLS_KEY: "), "{stderr}");
    assert!(stderr.ends_with("is not set\n"), "{stderr}");
}
