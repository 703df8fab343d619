//! What a plugin in C gets as pointer and length is also a C string: a NUL follows it, nothing of another client.

use crate::support::{
    BINARY, BINARY_BEGINS, ENDS, GOES_ON, Host, PING, PONG, Raw, TEXT, TEXT_BEGINS, UPGRADE, c_plugin, frame,
    path,
};

fn serve(workers: &str) -> Host {
    let routes = ["--route", "/=,message,", "--route", "/share=,share,", "--route", "/page=page"];
    let library = c_plugin("strings.c");
    let options = ["serve", path(&library), "--workers", workers, "--max-message", "4MiB", "--log", "debug"];
    Host::start(&[&options[..], &routes].concat())
}

/// A text of this length.
fn text(length: usize) -> Vec<u8> {
    b"abcdefghijklmnopqrstuvwxyz".iter().copied().cycle().take(length).collect()
}

/// The next message must be the answer to this text.
#[track_caller]
fn answers(client: &mut Raw, text: &[u8]) {
    let (first, answer) = client.read_frame();
    assert_eq!((first, answer.len()), (BINARY, text.len()));
    assert!(answer == text.to_ascii_uppercase(), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_message_ends_where_it_ends_and_a_write_behind_it_changes_nothing() {
    let host = serve("1");
    let mut long = host.upgraded();
    long.send_frame(TEXT, &text(100_000));
    answers(&mut long, &text(100_000));
    for length in [0, 1, 2, 3, 125, 126, 127, 65_535, 65_536, 300_000] {
        let (text, mut client) = (text(length), host.upgraded());
        // As the last bytes of a read, where the long message has left its bytes.
        client.send_frame(TEXT, &text);
        answers(&mut client, &text);
        // With other frames behind it.
        let more = [frame(BINARY, &text), frame(PING, b"?"), frame(TEXT, b"next"), frame(TEXT, b"")];
        client.send([&frame(TEXT, &text), &more.concat()[..]].concat());
        answers(&mut client, &text);
        answers(&mut client, &text);
        assert_eq!(client.read_frame(), (PONG, b"?".to_vec()));
        answers(&mut client, b"next");
        answers(&mut client, b"");
    }
}

#[test]
fn a_message_that_arrives_in_pieces_ends_where_it_ends() {
    let host = serve("1");
    let mut client = host.upgraded();
    for length in [1, 2, 100, 4096, 16_384, 100_000] {
        let text = text(length);
        let (begins, ends) = text.split_at(length / 2);
        let fragments =
            [frame(TEXT_BEGINS, begins), frame(PING, b"?"), frame(ENDS, ends), frame(TEXT, b"next")];
        client.send(fragments.concat());
        assert_eq!(client.read_frame(), (PONG, b"?".to_vec()));
        answers(&mut client, &text);
        answers(&mut client, b"next");
        // The last fragment is empty.
        client.send([frame(BINARY_BEGINS, b""), frame(GOES_ON, &text), frame(ENDS, b"")].concat());
        answers(&mut client, &text);
        // One frame, cut by the network. The answer to a Ping on another connection shows that the first part
        // was read.
        let whole = frame(TEXT, &text);
        let (first, rest) = whole.split_at(whole.len() - 1);
        client.send(first);
        let mut witness = host.upgraded();
        witness.send_frame(PING, b"");
        assert_eq!(witness.read_frame(), (PONG, vec![]));
        client.send(rest);
        answers(&mut client, &text);
    }
}

#[test]
fn a_message_in_one_segment_with_the_handshake_ends_where_it_ends() {
    let host = serve("1");
    let mut client = host.connect();
    let headers = UPGRADE.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    client.send([request.as_bytes(), &frame(TEXT, b"early"), &frame(TEXT, b"bird")].concat());
    assert_eq!(client.read_answer(false).status, 101);
    answers(&mut client, b"early");
    answers(&mut client, b"bird");
}

/// A client of each worker.
fn one_in_each(host: &Host) -> [Raw; 2] {
    let mut clients = [None, None];
    // Surplus clients stay connected: a worker with fewer clients would accept all new ones.
    let mut surplus = Vec::new();
    for _ in 0..200 {
        let mut c = host.connect().upgraded("/share", &[]);
        c.send_frame(TEXT, b"?");
        let worker = usize::from(c.read_frame() == (TEXT, b"1".to_vec()));
        surplus.extend(clients[worker].replace(c));
        if clients.iter().all(Option::is_some) {
            break;
        }
    }
    clients.map(|c| c.expect("not all clients are in one worker"))
}

#[test]
fn a_worker_message_and_a_body_end_where_they_end() {
    let host = serve("2");
    host.workers_serve(2);
    let [mut one, mut other] = one_in_each(&host);
    for length in [100_000, 0, 1, 8, 1000] {
        let text = text(length);
        one.send_frame(TEXT, &text);
        assert_eq!(one.read_frame().0, TEXT);
        let (first, told) = other.read_frame();
        assert!((first, &told) == (BINARY, &text), "{}", String::from_utf8_lossy(&told));
        let answer = host.connect().request("POST", "/page", &[], &text);
        assert!(answer.status == 200 && answer.body == text, "{answer:?}");
    }
}
