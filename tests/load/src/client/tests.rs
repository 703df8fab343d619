//! The load detects every answer that differs from the expected one. The servers here are threads that answer
//! as a test says; `tests/servers.rs` runs the real ones.

use super::*;
use std::net::TcpListener;
use std::thread;

const SIZE: usize = 20;
const SHORT: Duration = Duration::from_millis(20);

/// Upgrades `count` connections on a port of its own and passes them to `serve`.
fn server(count: usize, serve: impl FnOnce(Vec<TcpStream>) + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let upgrade = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; REQUEST.len()]).unwrap();
            stream.write_all(ANSWER).unwrap();
            stream
        };
        serve((0..count).map(upgrade).collect());
    });
    port
}

/// Reads a client's next message; returns the frame that an echo server answers with.
fn answer(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut masked = [0; 2 + MASK.len() + SIZE];
    stream.read_exact(&mut masked)?;
    assert_eq!(masked[..6], [[0x82, 0x80 | SIZE as u8].as_slice(), &MASK].concat());
    let text = masked[6..].iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Ok([0x82, SIZE as u8].into_iter().chain(text).collect())
}

/// The load's result if `spoil` changes the first answer.
fn verdict(spoil: fn(&mut Vec<u8>)) -> Result<Window> {
    let port = server(1, move |mut streams| {
        let mut spoilt = answer(&mut streams[0]).unwrap();
        spoil(&mut spoilt);
        streams[0].write_all(&spoilt).unwrap();
        while let Ok(right) = answer(&mut streams[0]) {
            let _ = streams[0].write_all(&right); // the load may be gone
        }
    });
    Load::open(port, 1, Message::Echo { size: SIZE })?.echo(1, SHORT)
}

#[test]
fn right_answers_are_counted() {
    let window = verdict(|_| {}).unwrap();
    assert!(window.messages > 0 && window.elapsed >= SHORT);
    assert_eq!(window.latencies_us.len() as u64, window.messages);
}

#[test]
fn an_answer_that_differs_anywhere_is_an_error() {
    let spoilers: [fn(&mut Vec<u8>); 6] = [
        |frame| frame[0] = 0x81,              // text
        |frame| *frame = vec![0x88, 0],       // a close
        |frame| *frame = vec![0x82, 1, b'e'], // too short
        |frame| frame[2 + NUMBER.start] = 1,  // another message's number
        |frame| frame[2 + SIZE - 1] ^= 1,     // the last byte
        |frame| frame.extend_from_within(..), // twice
    ];
    for (case, spoil) in spoilers.into_iter().enumerate() {
        let error = verdict(spoil).err().unwrap_or_else(|| panic!("case {case} went unnoticed")).to_string();
        assert!(
            error.contains("wrong answer") || error.contains("unexpected answer"),
            "case {case}: {error}"
        );
    }
}

#[test]
fn a_server_that_hangs_up_is_an_error() {
    let port = server(2, |mut streams| drop(answer(&mut streams[1])));
    let error = Load::open(port, 2, Message::Echo { size: SIZE }).unwrap().echo(1, SHORT).err().unwrap();
    assert!(!error.to_string().contains("did not arrive"), "noticed by its silence alone: {error}");
}

#[test]
fn unexpected_data_breaks_the_silence() {
    let quiet = server(1, |mut streams| drop(answer(&mut streams[0])));
    Load::open(quiet, 1, Message::Echo { size: SIZE }).unwrap().silence(SHORT).unwrap();
    let talking = server(1, |mut streams| streams[0].write_all(&[0x89, 0]).unwrap());
    let load = Load::open(talking, 1, Message::Echo { size: SIZE });
    load.and_then(|mut load| load.silence(STALL)).unwrap_err();
}

#[test]
fn a_broadcast_is_complete_when_all_others_have_all_of_it() {
    let port = server(3, |mut streams| {
        for source in (0..3).cycle() {
            let Ok(message) = answer(&mut streams[source]) else { return };
            for (_, other) in streams.iter_mut().enumerate().filter(|(index, _)| *index != source) {
                other.write_all(&message).unwrap();
            }
        }
    });
    let mut load = Load::open(port, 3, Message::Broadcast { scope: Scope::Global, size: SIZE }).unwrap();
    for _ in 0..2 {
        let window = load.broadcast(1, SHORT).unwrap();
        assert!(window.messages > 0);
        assert_eq!(window.messages, 2 * window.latencies_us.len() as u64);
    }
}
