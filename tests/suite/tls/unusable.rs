//! Certificates and keys that no client can use. `serve` and `check` say in the same words which file it is, and why.

use std::fs;
use std::process::Command;

use super::files::refusal;
use super::{config, echo, listen, port, serve};
use crate::support::{Authority, Files, Trust, empty_folder, path, run, status};

/// For `localhost`, of X.509 version 1.
const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBJDCBywIUd6zLDulKxKKlA75Mh5tse+j4iCgwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyODAyNTU1OVoYDzIxMjYxMTA0MDI1NTU5
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AATkGyFyF41/uQG/nsMz/r8+sqCIp56uS0/FZRG8bzjq2KfFRes7nAFd91NJr4yF
VeAiMsJ1VP0+gzJrKuQAKoLFMAoGCCqGSM49BAMCA0gAMEUCIELgXrOf4soJ7+YH
2JvrxRvn3Y+2TTwenM9ifBF6iywLAiEAvAJrRyUU6Qn+fs2wZkzhU2sZb0kSniiu
b+xAN8QmaK8=
-----END CERTIFICATE-----
";

#[test]
fn each_is_named_with_what_is_wrong() {
    let folder = empty_folder("unusable");
    let issued = Authority::new("A").issue(&["localhost"]);
    let good = issued.write(&folder, "a");
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).expect("the scratch folder can be written");
        file
    };
    let p521 = folder.join("p521.key");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521", "-out", path(&p521)])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let damaged = |text: &str| text.replacen('\n', "\n#", 2);
    let cut_off = "its PEM is cut off: a section has no line -----END …-----; copy the whole file again";
    let no_base64 = "its PEM is damaged: the lines of a section are no Base64; copy the file again";
    let (certificate, key) = (good.certificate.clone(), good.key.clone());
    for (certificate, key, is_about_key, error) in [
        (
            write("1.pem", VERSION_1),
            key.clone(),
            false,
            "{c}: the first certificate cannot be used: it is of version 1 or 2 of X.509, and TLS clients accept only \
             version 3; have one issued that has the names of the server in subjectAltName",
        ),
        (
            write("cut.pem", &cut(&issued.certificate)),
            key.clone(),
            false,
            &format!("certificate {{c}}: {cut_off}"),
        ),
        (
            write("damaged.pem", &damaged(&issued.certificate)),
            key.clone(),
            false,
            &format!("certificate {{c}}: {no_base64}"),
        ),
        (certificate.clone(), write("cut.key", &cut(&issued.key)), true, &format!("key {{k}}: {cut_off}")),
        (
            certificate.clone(),
            write("damaged.key", &damaged(&issued.key)),
            true,
            &format!("key {{k}}: {no_base64}"),
        ),
        (
            certificate,
            p521,
            true,
            "{k}: the private key cannot be used: it is of another kind, or damaged; ECDSA (P-256, P-384), Ed25519 and \
             RSA with 2048 to 4096 bits are supported",
        ),
    ] {
        let files = Files { certificate, key };
        let file = config(&folder, &listen(&files, ""), "echo");
        let column = match is_about_key {
            true => format!("tls = {{ certificate = {:?}, key = ", files.certificate).len() + 1,
            false => "tls = { certificate = ".len() + 1,
        };
        let error = error.replace("{c}", path(&files.certificate)).replace("{k}", path(&files.key));
        let check = refusal("check", &file);
        assert_eq!(check, format!("{}:3:{column}: {error}\n", file.display()));
        assert_eq!(refusal("serve", &file), check);
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let folder = empty_folder("byte-order-mark");
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    let file = config(&folder, &listen(&files, ""), "echo");
    for path in [&files.certificate, &files.key, &file] {
        let text = fs::read_to_string(path).expect("it was written");
        fs::write(path, format!("\u{feff}{text}")).expect("the scratch folder can be written");
    }
    let host = serve(&file, &[]);
    echo(&mut Trust::of(&authority).open(port(&host, "https"), "/"), "over TLS");
    // Nor a column.
    fs::write(&file, "\u{feff}workers = true\n").expect("the scratch folder can be written");
    let error = refusal("check", &file);
    assert!(error.starts_with(&format!("{}:1:11: `workers`", file.display())), "{error}");
    let text = "workers = 1\n".encode_utf16().flat_map(u16::to_le_bytes);
    fs::write(&file, [0xff, 0xfe].into_iter().chain(text).collect::<Vec<u8>>()).expect("it is ours");
    let error = refusal("check", &file);
    assert!(error.contains(&format!("{}: it is in UTF-16; save it in UTF-8", file.display())), "{error}");
}

#[test]
fn certificates_that_nobody_gets_or_accepts_are_warned_about() {
    let folder = empty_folder("nobody");
    let authority = Authority::new("A");
    let files = [
        authority.issue(&["a.example", "b.example"]).write(&folder, "both"),
        authority.issue(&["b.example"]).write(&folder, "covered"),
        authority
            .issue_with(&[], |params| params.distinguished_name.push(rcgen::DnType::CommonName, "c.example"))
            .write(&folder, "nameless"),
    ];
    let pairs = files
        .each_ref()
        .map(|Files { certificate, key }| format!("{{ certificate = {certificate:?}, key = {key:?} }}"));
    let control = folder.join("control.sock");
    let text = format!("[[listen]]\naddress = '127.0.0.1:0'\ntls = [{}]\n", pairs.join(", "));
    let file = config(&folder, &text, "echo");
    let warnings = [
        format!(
            "certificate {} (b.example): no client gets it, because the certificates before it in `tls` have all names \
             that clients can ask for; remove it, or put it first",
            files[1].certificate.display()
        ),
        format!(
            "certificate {} (no name, common name c.example): clients reject it, because it has no names in \
             subjectAltName, and a common name does not count; have one issued that has them",
            files[2].certificate.display()
        ),
    ];
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    assert_eq!(code, 0, "{stderr}");
    let host = serve(&file, &["--control", path(&control)]);
    for warning in warnings {
        let line = stderr.lines().find(|line| line.ends_with(&warning)).unwrap_or_else(|| panic!("{stderr}"));
        assert!(line.starts_with(&format!("callsign: warning: {}:3:", file.display())), "{line}");
        assert!(host.log_line(&warning).contains("WARN"));
    }
    port(&host, "https");
    let status = status(&control);
    let certificates = status["listeners"][0]["certificates"].as_array().expect("there are some").clone();
    let names: Vec<_> = certificates.iter().map(|certificate| certificate["names"].to_string()).collect();
    assert_eq!(names, [r#"["a.example","b.example"]"#, r#"["b.example"]"#, "[]"]);
}
