//! What a client asks of a file: whether it has changed, a part of it, a compressed form.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::{ALL, ask, serve, write};

#[test]
fn a_client_asks_whether_a_file_has_changed() {
    let (public, host) = serve("conditions", &format!("{ALL}cache_control = 'public, max-age=60'\n"));
    let mut client = host.connect();
    let first = ask(&mut client, "/app.js", &[]);
    let (tag, date) = (first.header("etag").expect("a tag"), first.header("last-modified").expect("a date"));
    assert!(tag.starts_with('"'), "{tag}");
    for (name, value, status) in [
        ("If-None-Match", tag, 304),
        ("If-None-Match", "\"other\"", 200),
        ("If-Modified-Since", date, 304),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ("If-Match", "\"other\"", 412),
        ("If-Match", tag, 200),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 412),
    ] {
        client.send_request("GET", "/app.js", &[(name, value)], b"");
        let answer = client.read_answer(status != 304);
        assert_eq!(answer.status, status, "{name}: {value}");
        assert_eq!((answer.header("etag"), answer.header("last-modified")), (Some(tag), Some(date)));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    }
    // A change is seen at once, also one that keeps the size; it is a moment until a tag counts as strong.
    fs::write(public.join("app.js"), "console.log(2)").expect("it can be written");
    let changed = ask(&mut client, "/app.js", &[("If-None-Match", tag), ("If-Modified-Since", date)]);
    assert_eq!((changed.status, changed.text()), (200, "console.log(2)"));
    assert!(changed.header("etag").is_some_and(|tag| tag.starts_with("W/\"")));
}

#[test]
fn a_part_of_a_file_can_be_asked_for() {
    let (_, host) = serve("ranges", ALL);
    let mut client = host.connect();
    let tag = ask(&mut client, "/app.js", &[]).header("etag").expect("a tag").to_owned();
    for (range, more, status, place, body) in [
        ("bytes=0-6", None, 206, Some("bytes 0-6/14"), "console"),
        ("bytes=12-", None, 206, Some("bytes 12-13/14"), "1)"),
        ("bytes=-3", None, 206, Some("bytes 11-13/14"), "(1)"),
        ("bytes=0-0", Some(tag.as_str()), 206, Some("bytes 0-0/14"), "c"),
        ("bytes=0-0", Some("\"other\""), 200, None, "console.log(1)"),
        ("bytes=14-", None, 416, Some("bytes */14"), ""),
        ("bytes=0-1,4-5", None, 200, None, "console.log(1)"),
        ("apples=1", None, 200, None, "console.log(1)"),
    ] {
        let mut headers = vec![("Range", range)];
        headers.extend(more.map(|tag| ("If-Range", tag)));
        let answer = ask(&mut client, "/app.js", &headers);
        assert_eq!(
            (answer.status, answer.header("content-range"), answer.text()),
            (status, place, body),
            "{range}"
        );
    }
    assert_eq!(ask(&mut client, "/empty/none.txt", &[("Range", "bytes=0-")]).status, 416);
    let head = client.request("HEAD", "/app.js", &[("Range", "bytes=0-1")], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("14")));
}

#[test]
fn a_compressed_file_is_sent_to_clients_that_accept_it() {
    let (public, host) = serve("compressed", ALL);
    write(&public.join("app.js.gz"), "in gzip");
    write(&public.join("app.js.br"), "in brotli");
    write(&public.join("index.html.gz"), "index in gzip");
    write(&public.join("docs/index.html.br"), "old");
    let old = SystemTime::now() - Duration::from_secs(7200);
    let file = File::options().write(true).open(public.join("docs/index.html.br")).expect("it exists");
    file.set_modified(old).expect("it is a file");
    let mut client = host.connect();
    let mut tags = Vec::new();
    for (path, accepted, encoding, body) in [
        ("/app.js", "gzip, deflate, br", Some("br"), "in brotli"),
        ("/app.js", "gzip", Some("gzip"), "in gzip"),
        ("/app.js", "br;q=0.1, gzip;q=0.2", Some("gzip"), "in gzip"),
        ("/app.js", "identity", None, "console.log(1)"),
        ("/app.js", "br;q=0", None, "console.log(1)"),
        ("/", "br, gzip", Some("gzip"), "index in gzip"),
        // It was made before the file was changed.
        ("/docs/", "br", None, "<p>docs"),
        ("/app.js.gz", "gzip", None, "in gzip"),
    ] {
        let answer = ask(&mut client, path, &[("Accept-Encoding", accepted)]);
        assert_eq!(
            (answer.status, answer.header("content-encoding"), answer.text()),
            (200, encoding, body),
            "{path} {accepted}"
        );
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        let kind = answer.header("content-type").expect("it has one");
        assert!(path != "/app.js" || kind == "text/javascript; charset=utf-8", "{kind}");
        tags.push(answer.header("etag").expect("it has one").to_owned());
    }
    assert!(tags[0] != tags[1] && tags[1] != tags[3] && tags[1] == tags[2] && tags[3] == tags[4], "{tags:?}");
}
