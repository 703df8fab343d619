//! The access log of HTTP/2: one record for each stream.

use std::fs;

use serde_json::Value;

use super::{ask, closed, serve_in};
use crate::access_log::lines;
use crate::support::{empty_folder, path};

const ROUTES: &str = "[[route]]
path = '/files/*'
files = 'public'
strip_prefix = '/files'
[[route]]
path = '/echo'
onmessage = 'onmessage'
";

#[test]
fn each_stream_has_a_record() {
    let folder = empty_folder("http2-records");
    let (public, log) = (folder.join("public"), folder.join("access.log"));
    fs::create_dir_all(&public).expect("the scratch folder can be written");
    fs::write(public.join("a.bin"), vec![7; 300_000]).expect("the scratch folder can be written");
    let options = ["--access-log", path(&log), "--access-log-format", "json"];
    let server = serve_in(&folder, "echo", ROUTES, &options);
    let mut client = server.connect();
    assert_eq!(client.get("/files/a.bin?whole").body.len(), 300_000);
    assert_eq!(client.request("HEAD", "/files/a.bin", &[], b"").status, 200);
    assert_eq!(client.get("/nowhere").status, 404);
    let mut socket = client.open("/echo");
    assert_eq!(ask(&mut socket, "hello"), "hello");
    socket.close(None).expect("it is open");
    assert_eq!(closed(socket), None);
    // Its client goes away when it has had the head.
    let (response, _) = client.begin("GET", "/files/a.bin?part", &[], true);
    drop(client.wait(response).expect("it begins"));

    let parse = |line: &String| serde_json::from_str::<Value>(line).expect("JSON");
    let records: Vec<_> = lines(&log, 5).iter().map(parse).collect();
    let record = |target: &str, method: &str| {
        let is_it = |record: &&Value| record["target"] == target && record["method"] == method;
        records.iter().find(is_it).unwrap_or_else(|| panic!("{target}: {records:?}"))
    };
    let whole = record("/files/a.bin?whole", "GET");
    assert_eq!(
        (&whole["status"], &whole["bytes"], &whole["aborted"]),
        (&200.into(), &300_000.into(), &Value::Null)
    );
    assert_eq!((&whole["version"], &whole["route"]), (&"HTTP/2.0".into(), &"/files/*".into()));
    assert_eq!(whole["host"], format!("localhost:{}", server.port));
    for (target, method, status) in [("/files/a.bin", "HEAD", 200), ("/nowhere", "GET", 404)] {
        let record = record(target, method);
        assert_eq!((&record["status"], &record["aborted"]), (&status.into(), &Value::Null));
    }
    assert_eq!(record("/files/a.bin", "HEAD")["bytes"], 0);
    let connection = record("/echo", "CONNECT");
    assert_eq!(connection["status"], 101);
    assert_eq!(connection["connection"]["messages_in"], 1);
    assert_eq!(connection["connection"]["messages_out"], 1);
    let part = record("/files/a.bin?part", "GET");
    assert_eq!(part["aborted"], true);
    assert!(part["bytes"].as_u64().is_some_and(|bytes| bytes < 300_000), "{part}");
}
