//! Clients that are silent, and clients that are gone without a word.

use std::fs;

use super::*;

#[test]
fn a_silent_client_is_pinged_and_dropped_if_it_does_not_answer() {
    let host = serve(&["--ping-interval", "500ms"]);
    let (mut silent, mut alive) = (host.upgraded(), host.upgraded());
    for _ in 0..4 {
        let (first, payload) = alive.read_frame();
        assert_eq!(first, PING);
        alive.send_frame(PONG, &payload);
    }
    assert_eq!(silent.read_frame().0, PING);
    assert_eq!(silent.read_to_eof(), b"", "one ping, then the end of the stream");
    host.log_line("left: 1006 `` by Client");
    alive.send_frame(TEXT, b"still here");
    while alive.read_frame() != (TEXT, b"still here".to_vec()) {}
    assert_eq!(host.log_lines("left:").len(), 1);
}

/// The ping is due one interval after the client's last byte, also if that byte came right after a ping.
#[test]
fn a_ping_comes_one_interval_after_the_last_byte() {
    const INTERVAL: Duration = Duration::from_secs(2);
    let host = serve(&["--ping-interval", "2s"]);
    let mut client = host.upgraded();
    for pause in [0, 100] {
        assert_eq!(client.read_frame().0, PING);
        thread::sleep(Duration::from_millis(pause)); // the moment within the interval is what is tested
        client.send_frame(PONG, b"");
        let last_byte = Instant::now();
        assert_eq!(client.read_frame().0, PING);
        let silence = last_byte.elapsed();
        assert!(INTERVAL * 3 / 4 < silence && silence < INTERVAL * 3 / 2, "{silence:?} after {pause} ms");
        client.send_frame(PONG, b"");
    }
}

/// The timer of the server's socket to this client: 2 is keepalive (`Documentation/networking/proc_net_tcp.rst`).
fn timer(host: &Host, client: &Raw) -> String {
    let port = client.address().rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port");
    let (ours, theirs) = (format!("0100007F:{:04X}", host.port), format!("0100007F:{port:04X}"));
    let table = fs::read_to_string("/proc/net/tcp").expect("the system lists its sockets");
    let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let socket = line.into_iter().find(|fields| fields[1..3] == [&ours, &theirs]);
    socket.expect("the connection is open")[5][..2].to_owned()
}

#[test]
fn without_pings_tcp_keepalive_finds_clients_that_are_gone() {
    for (interval, keepalive) in [("0", true), ("20s", false)] {
        let host = serve(&["--ping-interval", interval]);
        let client = host.upgraded();
        // The answer's own timer ends when the client's system has acknowledged it.
        eventually("its timer is as expected", || (timer(&host, &client) == "02") == keepalive);
    }
}

/// The ping lies behind what the client has not read yet.
#[test]
fn a_client_that_reads_slowly_is_not_dropped() {
    const MESSAGES: usize = 3;
    let host = serve(&["--ping-interval", "500ms"]);
    let mut client = host.upgraded();
    client.buffer_little();
    let message = frame(BINARY, &vec![b'm'; 1 << 20]).repeat(MESSAGES);
    let mut sender = client.other_half();
    let sender = thread::spawn(move || sender.send(message));
    for _ in 0..MESSAGES * 16 {
        client.read_exact(64 << 10);
        thread::sleep(Duration::from_millis(60)); // the speed is what is tested
    }
    sender.join().expect("all was sent");
    assert_eq!(host.log_lines("left:"), [""; 0]);
}
