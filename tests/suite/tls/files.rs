//! Files that are wrong: `serve` and `check` say so in the same words, with the place in the config file.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{config, listen, port, serve};
use crate::support::{Authority, Files, Trust, empty_folder, path, plugin, run};

/// The error of a command with a config file.
#[track_caller]
pub fn refusal(command: &str, file: &Path) -> String {
    let (code, stdout, stderr) = run(&[command, "--config", path(file)]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    stderr.strip_prefix("callsign: ").unwrap_or_else(|| panic!("not one message: {stderr}")).to_owned()
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_wrong_file_is_named_with_its_place() {
    let folder = empty_folder("wrong");
    let authority = Authority::new("A");
    let a = authority.issue(&["localhost"]).write(&folder, "a");
    let b = authority.issue(&["b.example"]).write(&folder, "b");
    let at = |name: &str| folder.join(name);
    openssl(&["x509", "-in", path(&a.certificate), "-outform", "der", "-out", path(&at("a.der"))]);
    openssl(&[
        "pkey",
        "-in",
        path(&a.key),
        "-aes128",
        "-passout",
        "pass:x",
        "-out",
        path(&at("encrypted.key")),
    ]);
    openssl(&["genrsa", "-out", path(&at("small.key")), "1024"]);
    openssl(&[
        "req",
        "-x509",
        "-key",
        path(&at("small.key")),
        "-subj",
        "/CN=localhost",
        "-out",
        path(&at("small.pem")),
    ]);
    fs::write(at("text"), "no certificate").expect("the scratch folder can be written");
    let both = fs::read_to_string(&a.key).expect("it was written")
        + &fs::read_to_string(&b.key).expect("it was written");
    fs::write(at("both.key"), both).expect("the scratch folder can be written");
    let (good, key) = (a.certificate.as_path(), a.key.as_path());
    for (certificate, key, place, error) in [
        (&*at("none.pem"), key, "3:23", "certificate {c}: there is no such file"),
        (&*folder, key, "3:23", "certificate {c}: it is a folder"),
        (
            Path::new("/dev/zero"),
            key,
            "3:23",
            "certificate {c}: it is a pipe, a socket or a device, and no file",
        ),
        (&*at("a.der"), key, "3:23", "certificate {c}: it is binary, such as DER"),
        (&*at("text"), key, "3:23", "certificate {c}: it has no certificate (-----BEGIN CERTIFICATE-----)"),
        (key, good, "3:23", "certificate {c}: it has a private key and no certificate; are `certificate`"),
        (good, &*at("none.key"), "key", "key {k}: there is no such file"),
        (good, &*at("text"), "key", "key {k}: it has no private key (-----BEGIN PRIVATE KEY-----)"),
        (good, good, "key", "key {k}: it has a certificate and no private key; are `certificate`"),
        (good, &*at("encrypted.key"), "key", "key {k}: its private key is encrypted"),
        (good, &*at("both.key"), "key", "key {k}: it has 2 private keys; keep the one of the certificate"),
        (good, &*b.key, "3:23", "the key in {k} does not belong to the certificate in {c}"),
        (
            &*at("small.pem"),
            &*at("small.key"),
            "key",
            "{k}: the private key cannot be used: its RSA key has fewer than 2048 bits; ECDSA",
        ),
    ] {
        let files = Files { certificate: certificate.to_path_buf(), key: key.to_path_buf() };
        let file = config(&folder, &listen(&files, ""), "echo");
        let column = format!("tls = {{ certificate = {certificate:?}, key = ").len() + 1;
        let place = if place == "key" { format!("3:{column}") } else { place.to_owned() };
        let error = error.replace("{c}", path(certificate)).replace("{k}", path(key));
        let check = refusal("check", &file);
        assert!(check.starts_with(&format!("{}:{place}: {error}", file.display())), "{check}\n{error}");
        assert_eq!(refusal("serve", &file), check);
    }
    // The command line has no place.
    let library = plugin("echo");
    let options = ["--listen", "127.0.0.1:0", "--tls-certificate", path(good), "--tls-key", path(&b.key)];
    let (code, _, stderr) = run(&[&["serve", path(&library)], &options[..]].concat());
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with(&format!("callsign: the key in {} does not belong ", b.key.display())),
        "{stderr}"
    );
    let (_, _, stderr) = run(&[&["serve", path(&library)], &options[..4]].concat());
    assert!(
        stderr.contains("1 --tls-certificate and 0 --tls-key: each certificate needs its key"),
        "{stderr}"
    );
}

#[test]
fn settings_that_contradict_each_other_are_rejected() {
    let folder = empty_folder("contradict");
    let files = Authority::new("A").issue(&["localhost"]).write(&folder, "a");
    let tls = listen(&files, "");
    let redirect = "[[listen]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n";
    let cannot = "2:11: 127.0.0.1:0 redirects to https, and its clients cannot use 127.0.0.1:0, which has";
    for (text, error) in [
        (redirect.to_owned(), "2:11: 127.0.0.1:0 redirects to https, and no address has TLS"),
        (format!("{redirect}{tls}proxy_protocol = true\n"), &format!("{cannot} `proxy_protocol`")),
        (
            format!("{redirect}{tls}client_certificates = {:?}\n", files.certificate),
            &format!("{cannot} `client_certificates`"),
        ),
        (
            "[[listen]]\naddress = '127.0.0.1:0'\nclient_certificates = 'a.pem'\n".to_owned(),
            "3:23: `client_certificates` in [[listen]]: found string `'a.pem'`, and the key needs `tls`",
        ),
    ] {
        let file = config(&folder, &text, "echo");
        let check = refusal("check", &file);
        assert!(check.starts_with(&format!("{}:{error}", file.display())), "{check}");
        assert_eq!(refusal("serve", &file), check);
    }
}

#[test]
fn entries_for_one_address_are_rejected_with_both_places() {
    let folder = empty_folder("overlap");
    let files = Authority::new("A").issue(&["localhost"]).write(&folder, "a");
    let tls = listen(&files, "").replace("127.0.0.1:0", "127.0.0.1:4443");
    let socket = folder.join("a.sock");
    let unix = format!("[[listen]]\naddress = 'unix:{}'\n", socket.display());
    let keep = "keep one of them";
    for (text, place, error) in [
        (
            format!("{tls}[[listen]]\naddress = '127.0.0.1:4443'\n"),
            "6:11",
            format!("127.0.0.1:4443 is also the address of {{}}:2:11, which has other settings; {keep}"),
        ),
        (
            "[[listen]]\naddress = '0.0.0.0:4443'\n[[listen]]\naddress = '127.0.0.1:4443'\nredirect = 'https:443'\n"
                .to_owned(),
            "4:11",
            format!(
                "127.0.0.1:4443 is part of 0.0.0.0:4443, the address of {{}}:2:11, which has other settings; {keep}"
            ),
        ),
        (
            "listen = ['127.0.0.1:4443', '0.0.0.0:4443']\n".to_owned(),
            "1:29",
            format!("0.0.0.0:4443 includes 127.0.0.1:4443, the address of {{}}:1:11; {keep}"),
        ),
        (
            format!("{unix}mode = '600'\n{unix}"),
            "5:11",
            format!("unix:{} is also the address of {{}}:2:11; {keep}", socket.display()),
        ),
    ] {
        let file = config(&folder, &text, "echo");
        let shown = file.display().to_string();
        let check = refusal("check", &file);
        assert_eq!(check, format!("{shown}:{place}: {}\n", error.replace("{}", &shown)));
        assert_eq!(refusal("serve", &file), check);
    }
}

#[test]
fn certificates_that_expire_soon_or_have_expired_are_warned_about() {
    let folder = empty_folder("expires");
    let authority = Authority::new("A");
    let expired =
        authority.issue_between(&["localhost"], [2020, 1, 1], [2020, 2, 1]).write(&folder, "expired");
    let future = authority.issue_between(&["b.example"], [2999, 1, 1], [2999, 2, 1]).write(&folder, "future");
    let file = config(&folder, &format!("{}{}", listen(&expired, ""), listen(&future, "")), "echo");
    let said = [
        format!(
            "{}:3:23: certificate {} (localhost) expired on 2020-02-01: clients reject it",
            file.display(),
            expired.certificate.display()
        ),
        format!(
            "{}:7:23: certificate {} (b.example) is not valid before 2999-01-01: clients reject it until then",
            file.display(),
            future.certificate.display()
        ),
    ];
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    assert_eq!(code, 0, "{stderr}");
    let host = serve(&file, &[]);
    for said in said {
        assert!(stderr.contains(&format!("callsign: warning: {said}")), "{stderr}");
        assert!(host.log_line(&said).contains("WARN"));
    }
    let error = Trust::of(&authority).connect(port(&host, "https"), "localhost").map(drop);
    assert!(error.expect_err("it has expired").to_string().contains("xpired"));
}
