//! Static files: the same responses as over HTTP/1.1.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::serve_in;
use crate::support::empty_folder;

#[test]
fn files_are_served_whole_in_part_and_compressed() {
    let folder = empty_folder("http2-files");
    let public = folder.join("public");
    fs::create_dir_all(&public).expect("the scratch folder can be written");
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 256) as u8).collect();
    for (name, content) in [
        ("index.html", b"<p>index".to_vec()),
        ("a.js", b"js".to_vec()),
        ("a.js.br", b"br".to_vec()),
        ("l.bin", large.clone()),
    ] {
        let file = public.join(name);
        fs::write(&file, content).expect("the scratch folder can be written");
        // Entity tags of files that have just changed are weak.
        let past = SystemTime::now() - Duration::from_secs(3600);
        File::options()
            .write(true)
            .open(file)
            .and_then(|file| file.set_modified(past))
            .expect("it is a file");
    }
    let server = serve_in(&folder, "requests", "[[route]]\npath = '/*'\nfiles = 'public'\n", &[]);
    let mut client = server.connect();
    let index = client.get("/");
    assert_eq!(
        (index.status, index.text(), index.header("content-type")),
        (200, "<p>index", Some("text/html; charset=utf-8"))
    );
    assert!(client.get("/l.bin").body == large, "the whole file");
    let part = client.request("GET", "/l.bin", &[("range", "bytes=1000000-1999999")], b"");
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 1000000-1999999/3000000")));
    assert!(part.body == large[1_000_000..2_000_000], "the part");
    assert_eq!(client.request("GET", "/l.bin", &[("range", "bytes=3000000-")], b"").status, 416);
    let head = client.request("HEAD", "/l.bin", &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("3000000"), 0));
    let tag = head.header("etag").expect("it has one").to_owned();
    let same = client.request("GET", "/l.bin", &[("if-none-match", &tag)], b"");
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(&*tag)));
    let compressed = client.request("GET", "/a.js", &[("accept-encoding", "br")], b"");
    assert_eq!((compressed.text(), compressed.header("content-encoding")), ("br", Some("br")));
    assert_eq!((client.get("/none").status, client.get("/../callsign.toml").status), (404, 404));
}
