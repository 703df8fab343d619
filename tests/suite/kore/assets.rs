//! `callsign assets`, and what applications for older versions of Kore use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{compile, root};
use crate::support::{Host, path, run, scratch};

/// All bytes, and what is special in a string literal.
fn content() -> Vec<u8> {
    let bytes = (0..=255).flat_map(|byte| [byte, b'0']);
    b"<p>??/ ??) \"quoted\" \\ % \r\n\0end".iter().copied().chain(bytes).collect()
}

/// A folder of this test with a folder `assets`.
fn folder(test: &str) -> PathBuf {
    let folder = scratch(&format!("assets-{test}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("assets/more")).expect("the scratch folder can be written");
    let write = |name: &str, content: &[u8]| {
        fs::write(folder.join("assets").join(name), content).expect("the scratch folder can be written");
    };
    write("frontend.html", &content());
    write("more/app-1.2.min.js", b"run();\n");
    write("more/empty.css", b"");
    write("data.md", b"# text\n");
    write(".hidden.html", b"hidden");
    write("frontend.html~", b"backup");
    folder
}

/// Writes `assets.h` in the folder.
fn write_assets(folder: &Path) {
    let header = folder.join("assets.h");
    let (code, stdout, stderr) =
        run(&["assets", path(&folder.join("assets")), "-o", path(&header), "--mime", "md:text/markdown"]);
    assert_eq!((code, &*stderr), (0, ""));
    assert_eq!(stdout, format!("wrote {} with 4 files\n", header.display()));
}

fn compile_old(compiler: &str, options: &[&str], folder: &Path) -> PathBuf {
    let library = folder.join("app.so");
    let include = format!("-I{}", folder.display());
    let source = root().join("tests/plugins/c/kore_old.c");
    compile(compiler, &[options, &[&include]].concat(), &source, &library);
    library
}

fn serve(test: &str) -> Host {
    let folder = folder(test);
    write_assets(&folder);
    let library = compile_old("cc", &["-O2"], &folder);
    let routes = [
        "/=page",
        "/html=asset_serve_frontend_html",
        "/js=asset_serve_app_1_2_min_js",
        "/css=asset_serve_empty_css",
        "/md=asset_serve_data_md",
        "/status=status",
        "/talk=talk",
        "/silent=silent",
        "/broken=broken",
    ];
    let routes = routes.iter().flat_map(|route| ["--route", route]);
    let args: Vec<&str> = ["serve", path(&library), "--workers", "1"].into_iter().chain(routes).collect();
    Host::start(&args)
}

#[test]
fn assets_are_served_byte_for_byte_with_type_and_tag() {
    let host = serve("served");
    let get = |path: &str, headers: &[(&str, &str)]| host.connect().request("GET", path, headers, b"");
    let page = get("/", &[]);
    assert!(page.status == 200 && page.body == content(), "{page:?}");
    for (path, body, mime) in [
        ("/html", &content()[..], "text/html; charset=utf-8"),
        ("/js", b"run();\n", "text/javascript; charset=utf-8"),
        ("/css", b"", "text/css; charset=utf-8"),
        ("/md", b"# text\n", "text/markdown"),
    ] {
        let answer = get(path, &[]);
        assert!(answer.status == 200 && answer.body == body, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some(mime));
        let tag = answer.header("etag").expect("it has a tag").to_owned();
        for known in [&*tag, "*", &format!("\"other\", W/{tag}")] {
            let same = get(path, &[("If-None-Match", known)]);
            assert_eq!((same.status, same.header("etag")), (304, Some(&*tag)));
        }
        assert_eq!(get(path, &[("If-None-Match", "\"other\"")]).status, 200);
    }
    assert_eq!(host.connect().request("HEAD", "/js", &[], b"").header("content-length"), Some("7"));
    let refused = host.connect().request("POST", "/js", &[], b"x");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn the_symbols_have_hash_time_and_a_nul_and_a_request_has_a_status() {
    let host = serve("symbols");
    let sum = Command::new("sha256sum").arg(scratch("assets-symbols").join("assets/frontend.html")).output();
    let sum = String::from_utf8(sum.expect("there is sha256sum").stdout).expect("it prints text");
    let answer = host.connect().request("GET", "/status", &[], b"");
    assert_eq!((answer.status, answer.text()), (202, &*format!("0 127.0.0.1 \"{}\" 1 0", &sum[..64])));
    // Each request begins with 0.
    assert!(host.connect().request("GET", "/status", &[], b"").text().starts_with("0 "));
}

#[test]
fn callbacks_in_a_struct_are_bound_by_name() {
    let host = serve("callbacks");
    let mut c = host.open("/talk");
    assert_eq!(c.next_text(), "connected");
    assert_eq!(c.ask("hi"), "hi");
    c.close(1000, "");
    host.log_line(": disconnected");
    assert_eq!(host.open("/silent").ask("hi"), "hi");
    assert_eq!(host.connect().handshake("/broken", &[]).status, 500);
    host.log_line("a function in struct kore_wscbs is not exported; declare it without `static`");
}

#[test]
fn a_seccomp_filter_is_reported() {
    serve("seccomp").log_line("kore_seccomp_hook is never called: there is no seccomp filter");
}

#[test]
fn the_header_compiles_without_a_warning_in_c_and_cpp_also_twice_in_a_library() {
    let folder = folder("compiled");
    write_assets(&folder);
    for (compiler, standard) in [("gcc", "gnu17"), ("gcc", "c99"), ("clang", "gnu17"), ("clang", "c99")] {
        compile_old(compiler, &["-O1", &format!("-std={standard}")], &folder);
    }
    let include = format!("-I{}", folder.display());
    let [one, two] = ["one", "two"].map(|name| {
        let source = folder.join(format!("{name}.cpp"));
        let text = format!("#include \"assets.h\"\nu_int32_t {name}() {{ return asset_len_data_md; }}\n");
        fs::write(&source, text).expect("the scratch folder can be written");
        source
    });
    for compiler in ["g++", "clang++"] {
        super::compile_all(compiler, &[&include], &[&one, &two], &folder.join("two.so"));
    }
}

#[test]
fn what_cannot_be_an_asset_is_named() {
    let folder = folder("refused");
    let assets = folder.join("assets");
    let refusal = |folder: &Path| {
        let (code, stdout, stderr) = run(&["assets", path(folder), "-o", "-"]);
        assert_eq!((code, &*stdout), (1, ""));
        stderr
    };
    let nothing = folder.join("none");
    assert!(refusal(&nothing).contains(&format!("cannot read the folder {}", nothing.display())));
    fs::create_dir(&nothing).expect("the scratch folder can be written");
    assert!(refusal(&nothing).contains("has no file with an extension"));
    fs::write(assets.join("LICENSE"), b"free").expect("the scratch folder can be written");
    let (code, stdout, stderr) = run(&["assets", path(&assets), "-o", "-"]);
    assert_eq!((code, stdout.contains("asset_serve_frontend_html")), (0, true));
    assert!(stderr.contains("LICENSE: it has no extension, which its symbols need"), "{stderr}");
    fs::write(assets.join("front-end.css"), b"").expect("the scratch folder can be written");
    fs::write(assets.join("more/front_end.css"), b"").expect("the scratch folder can be written");
    let twice = refusal(&assets);
    assert!(twice.contains("would both be asset_front_end_css; rename one"), "{twice}");
}

#[test]
fn a_source_with_tasks_does_not_compile_and_the_error_says_why() {
    let source = scratch("kore_tasks.c");
    fs::write(&source, "#include <kore/kore.h>\n#include <kore/tasks.h>\n")
        .expect("the folder can be written");
    let include = root().join("plugin-api/include");
    let output = Command::new("cc").arg("-fsyntax-only").arg("-I").arg(include).arg(&source).output();
    let error = String::from_utf8(output.expect("there is a compiler").stderr).expect("it prints text");
    assert!(error.contains("only the worker thread may call the server. See `Tasks`"), "{error}");
}
