//! Test plugin: sends worker messages on command. A message of a client is a command; worker messages go to
//! the clients of the worker that receives them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use callsign_plugin::prelude::*;
use callsign_plugin::worker;

callsign_plugin::plugin!(name = "worker-messages");

const TEXT: u32 = 1;
const NUMBERS: u32 = 2;
const PANICS: u32 = 3;
const LARGE: u32 = 4;
const KEPT: u32 = 5;
const ONCE: u32 = u32::MAX;

thread_local! {
    /// Next number of each worker.
    static NEXT: RefCell<BTreeMap<u32, u64>> = RefCell::default();
    static TOTAL: Cell<u64> = const { Cell::new(0) };
}

/// Logs its drop, and whether that is in a callback, where a timer can be cancelled.
struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        let place =
            if after(Duration::from_secs(3600), || ()).cancel() { "in a callback" } else { "too late" };
        log(Level::Info, format!("receiver dropped {place}"));
    }
}

fn send_to_clients(text: String) {
    broadcast(&text, Scope::Local);
}

#[onload]
fn onload(_: &Load) {
    worker::receive(TEXT, |from, data| {
        send_to_clients(format!("{from} says {}", String::from_utf8_lossy(data)))
    });
    worker::receive(NUMBERS, number);
    worker::receive(LARGE, |from, data| send_to_clients(format!("{} bytes from {from}", data.len())));
    worker::receive(PANICS, |_, _| panic!("cannot bear it"));
    let kept = Dropped;
    worker::receive(KEPT, move |_, _| _ = &kept);
    worker::receive(ONCE, |from, _| {
        // Replaces the receiver that is running.
        worker::receive(ONCE, |from, _| {
            send_to_clients(format!("again from {from}: {:?}", worker::ignore(ONCE)));
        });
        send_to_clients(format!("once from {from}"));
    });
    log(Level::Info, format!("in onload: {:?}", worker::send_to_all(TEXT, b"too early")));
}

/// Checks that this is the next number of its worker. The first eight bytes are the number.
fn number(from: u32, data: &[u8]) {
    let number = u64::from_le_bytes(data[..8].try_into().expect("there are eight"));
    let next = NEXT.with_borrow_mut(|next| {
        let next = next.entry(from).or_default();
        *next += 1;
        *next - 1
    });
    if number != next {
        send_to_clients(format!("{number} of {from} came in the place of {next}"));
    }
    TOTAL.set(TOTAL.get() + 1);
}

#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) {
    let words: Vec<&str> = message.as_text().unwrap_or_default().split(' ').collect();
    let number = |index: usize| words[index].parse::<u32>().expect("a number");
    let answer = match words[0] {
        "who" => format!("{} of {}", worker::index(), worker::count()),
        "send" => format!("{:?}", worker::send(number(1), number(2), words[3].as_bytes())),
        "all" => format!("{:?}", worker::send_to_all(number(1), words[2].as_bytes())),
        "large" => format!("{:?}", worker::send_to_all(LARGE, &vec![0; number(1) as usize])),
        // Sends this many numbers, in messages of this size, to all other workers.
        "numbers" => {
            let mut data = vec![0; number(2) as usize];
            for number in 0..u64::from(number(1)) {
                data[..8].copy_from_slice(&number.to_le_bytes());
                assert_eq!(worker::send_to_all(NUMBERS, &data), Status::Sent);
            }
            "sent".to_owned()
        }
        "total" => TOTAL.get().to_string(),
        other => panic!("no such command: {other}"),
    };
    c.send(&answer);
}
