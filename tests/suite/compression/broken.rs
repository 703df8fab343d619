//! Clients that send what they may not, or more than they may.

use std::time::Instant;

use super::*;
use crate::support::frame;

#[test]
fn frames_that_may_not_have_rsv1_are_closed_with_1002() {
    let host = context();
    let mut witness = Deflating::open(&host, "/", BROWSER);
    for (what, frames) in [
        ("a compressed Ping", frame(PING | RSV1, b"x")),
        ("a compressed Close", frame(CLOSE | RSV1, b"\x03\xe8")),
        ("a later fragment", [frame(TEXT_BEGINS | RSV1, b""), frame(ENDS | RSV1, b"\0")].concat()),
        (
            "a later fragment of a plain message",
            [frame(TEXT_BEGINS, b""), frame(ENDS | RSV1, b"\0")].concat(),
        ),
        ("RSV2", frame(TEXT | 0x20, b"x")),
    ] {
        let mut client = Deflating::open(&host, "/", BROWSER).raw;
        client.send(frames);
        assert_eq!(closed_with(&mut client), 1002, "{what}");
        assert!(witness.ask(TEXT, &json(1, 1000)).0 == json(1, 1000));
    }
    let mut client = host.upgraded();
    client.send_frame(TEXT | RSV1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    assert_eq!(closed_with(&mut client), 1002, "without the extension");
}

#[test]
fn what_is_not_deflate_is_closed_with_1007() {
    let host = context();
    let mut witness = Deflating::open(&host, "/", BROWSER);
    for (what, payload) in [
        ("a block of a reserved type", &[0x07][..]),
        ("plain text", b"Hello"),
        ("half a block", &[0xf2, 0x48, 0xcd]),
        ("a reference to nothing", &[0xf2, 0x00, 0x11, 0x00, 0x00]),
        ("lengths that differ", &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48]),
    ] {
        for first in [TEXT, BINARY] {
            let mut client = Deflating::open(&host, "/", BROWSER).raw;
            client.send([frame(first | RSV1, payload), frame(TEXT, b"behind")].concat());
            assert_eq!(closed_with(&mut client), 1007, "{what}");
        }
        assert!(witness.ask(TEXT, &json(2, 1000)).0 == json(2, 1000));
    }
    // Text has to be UTF-8 behind compression too; binary data has not.
    let mut client = Deflating::open(&host, "/", BROWSER);
    assert_eq!(client.ask(BINARY, b"\xff\xfe").0, b"\xff\xfe");
    client.send(TEXT, b"\xff\xfe");
    assert_eq!(closed_with(&mut client.raw), 1007);
}

#[test]
fn a_bomb_is_closed_with_1009_and_costs_no_more_than_the_largest_message() {
    let host = serve("on", &["--max-message", "1MiB"]);
    let mut witness = Deflating::open(&host, "/", BROWSER);
    assert!(witness.ask(BINARY, &json(1, 1 << 20)).0 == json(1, 1 << 20), "the largest message");
    let worker = host.process().children().pop().expect("a worker");
    let bomb = Deflating::open(&host, "/", BROWSER).compress(&vec![0; 128 << 20]);
    assert!(bomb.len() < 150 << 10, "{}", bomb.len());
    let small = Deflating::open(&host, "/", BROWSER).compress(&vec![b'x'; (1 << 20) + 1]);
    assert!(small.len() < 2048, "{}", small.len());
    let (before, begun) = (worker.resident_kib(), Instant::now());
    for payload in [&small, &bomb, &small, &bomb] {
        let mut client = Deflating::open(&host, "/", BROWSER).raw;
        client.send_frame(BINARY | RSV1, payload);
        assert_eq!(closed_with(&mut client), 1009);
    }
    let grown = worker.resident_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB after {:?}", begun.elapsed());
    // What is sent counts too.
    let mut client = Deflating::open(&host, "/", BROWSER).raw;
    client.send(&frame(BINARY | RSV1, &vec![0; (1 << 20) + 1])[..14]);
    assert_eq!(closed_with(&mut client), 1009);
    assert!(witness.ask(TEXT, &json(3, 1000)).0 == json(3, 1000));
}

#[test]
fn the_limits_of_a_route_hold_for_inflated_messages() {
    let file = empty_folder("compression-limits").join("callsign.toml");
    let text = format!(
        "[plugin.echo]\npath = {:?}\n[[route]]\npath = '/'\nonmessage = 'onmessage'\ncompression = 'context'\n\
         max_message = '2MiB'\nmessage_rate = {{ messages = 1, per = '1h', burst = 3 }}\n",
        plugin("echo")
    );
    std::fs::write(&file, text).expect("the folder can be written");
    let host = Host::start(&["serve", "--config", path(&file), "--max-message", "1MiB"]);
    let mut client = Deflating::open(&host, "/", BROWSER);
    assert!(client.ask(BINARY, &json(1, 2 << 20)).0 == json(1, 2 << 20), "larger than that of the server");
    client.send(BINARY, &json(1, (2 << 20) + 1));
    assert_eq!(closed_with(&mut client.raw), 1009);
    let mut client = Deflating::open(&host, "/", BROWSER);
    for number in 0..3 {
        assert!(client.ask(TEXT, &json(number, 1000)).0 == json(number, 1000));
    }
    client.send(TEXT, &json(4, 1000));
    assert_eq!(closed_with(&mut client.raw), 1008);
}
