//! Broadcasts between workers: every client receives every message of every other source once and in the
//! source's order, for any number of workers. Neither a flood nor a hung worker blocks the other workers.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustix::process::Signal;
use tungstenite::Message;

use crate::support::{DEADLINE, Host, Peer, Process, WebSocket, alone, busy, flood, serve_crash, worker_of};

/// On a busy machine the clients wait for longer than the default interval, and they know no pings.
const NO_PINGS: &[&str] = &["--ping-interval", "0"];

/// A client of the hub, which tracks the next expected message of each source.
struct Listener {
    peer: Peer,
    upgraded: bool,
    worker: Option<u32>,
    /// Index of this client among the sources, if it is one.
    source: Option<usize>,
    received: Vec<u32>,
    total: usize,
}

impl Listener {
    /// Reads and writes without blocking. Any message other than the next one of its source fails the test.
    fn turn(&mut self) {
        self.peer.write().expect("the server reads it");
        assert!(self.peer.read().expect("the server lives"), "the server has closed");
        if !self.upgraded {
            match self.peer.answer() {
                None => return,
                Some(is_101) => assert!(is_101),
            }
            self.upgraded = true;
            self.peer.send(0x81, b"who");
            self.peer.write().expect("the server reads it");
        }
        while let Some((first, payload)) = self.peer.frame() {
            assert_eq!(first, 0x81, "a text");
            let text = std::str::from_utf8(payload).expect("text is UTF-8");
            let Some((source, number)) = text.split_once(':') else {
                assert_eq!(self.worker, None, "{text}");
                self.worker = text.split(' ').next().and_then(|pid| pid.parse().ok());
                continue;
            };
            let source: usize = source.parse().expect("a source has a number");
            assert_eq!(
                number.parse(),
                Ok(self.received[source]),
                "of source {source}, after {:?}",
                self.received
            );
            self.received[source] += 1;
            self.total += 1;
        }
    }
}

/// `sources` of the clients, spread over the workers, broadcast `each` messages at the same time. Returns the
/// time until all are delivered.
fn hub(port: u16, workers: usize, clients: usize, sources: usize, each: u32) -> Duration {
    let mut poll = Poll::new().expect("there is a poll");
    let connect = |index| Listener {
        peer: Peer::connect(port, poll.registry(), Token(index)),
        upgraded: false,
        worker: None,
        source: None,
        received: vec![0; sources],
        total: 0,
    };
    let mut listeners: Vec<Listener> = (0..clients).map(connect).collect();
    run_until(&mut poll, &mut listeners, |listener| listener.worker.is_some());
    // Chooses one source in each worker, then another in each.
    let mut of_workers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        of_workers.entry(listener.worker).or_default().push(index);
    }
    let used = of_workers.len();
    assert!(used > workers / 2, "the clients are in {used} workers");
    let mut turns = VecDeque::from_iter(of_workers.into_values());
    for source in 0..sources {
        let mut indexes = turns.pop_front().expect("there are more clients than sources");
        listeners[indexes.pop().expect("every worker has clients left")].source = Some(source);
        turns.extend((!indexes.is_empty()).then_some(indexes));
    }

    let begun = Instant::now();
    for number in 0..each {
        for listener in &mut listeners {
            if let Some(source) = listener.source {
                listener.peer.send(0x81, format!("!{source}:{number}").as_bytes());
            }
        }
    }
    let all = sources * each as usize;
    for listener in listeners.iter_mut().filter(|listener| listener.source.is_some()) {
        // A source does not receive its own messages.
        listener.total += each as usize;
        listener.peer.write().expect("the server reads it");
    }
    run_until(&mut poll, &mut listeners, |listener| listener.total >= all);
    let took = begun.elapsed();

    // A duplicate of any message would arrive before this answer.
    for listener in &mut listeners {
        listener.worker = None;
        listener.peer.send(0x81, b"who");
        listener.peer.write().expect("the server reads it");
    }
    run_until(&mut poll, &mut listeners, |listener| listener.worker.is_some());
    for (index, listener) in listeners.iter().enumerate() {
        for (source, received) in listener.received.iter().enumerate() {
            assert_eq!(
                *received,
                if listener.source == Some(source) { 0 } else { each },
                "client {index} of source {source}"
            );
        }
    }
    took
}

fn run_until(poll: &mut Poll, listeners: &mut [Listener], is_done: impl Fn(&Listener) -> bool) {
    let mut events = Events::with_capacity(1024);
    let mut last = Instant::now();
    while !listeners.iter().all(&is_done) {
        if let Err(error) = poll.poll(&mut events, Some(DEADLINE)) {
            assert_eq!(error.kind(), ErrorKind::Interrupted);
        }
        if !events.is_empty() {
            last = Instant::now();
        }
        assert!(last.elapsed() < DEADLINE, "no more messages arrive");
        for event in &events {
            listeners[event.token().0].turn();
        }
    }
}

#[test]
fn every_client_gets_every_message_once_and_in_order() {
    let _alone = alone();
    let host = serve_crash(4, &[]);
    let took = hub(host.port, 4, 1000, 8, 10_000 / 8);
    println!("10,000 broadcasts to 1000 clients of 4 workers: {took:?}");
}

#[test]
fn any_number_of_workers_gives_every_client_the_same_messages() {
    let _alone = alone();
    for workers in [1, 2, 4, 8] {
        let host = serve_crash(workers, NO_PINGS);
        hub(host.port, workers, 100, 10, 100);
    }
    // Without worker processes.
    hub(serve_crash(0, NO_PINGS).port, 1, 50, 5, 100);
}

/// Two clients in each of two workers.
fn two_and_two(host: &Host) -> [[WebSocket; 2]; 2] {
    let mut clients: Vec<(u32, WebSocket)> = Vec::new();
    loop {
        let mut c = host.open("/");
        let worker = worker_of(&mut c).0;
        clients.push((worker, c));
        assert!(clients.len() < 200, "all clients are in one worker");
        let first = clients[0].0;
        let count = clients.iter().filter(|(worker, _)| *worker == first).count();
        if count >= 2 && clients.len() - count >= 2 {
            let (here, there): (Vec<_>, Vec<_>) =
                clients.into_iter().partition(|(worker, _)| *worker == first);
            let two = |clients: Vec<(u32, WebSocket)>| {
                let mut clients = clients.into_iter().map(|(_, c)| c);
                [clients.next(), clients.next()].map(|c| c.expect("there are two"))
            };
            return [two(here), two(there)];
        }
    }
}

#[test]
fn local_reaches_the_workers_clients_global_all_clients_and_neither_the_source() {
    let host = serve_crash(2, &[]);
    let [[mut a, mut b], [mut c, mut d]] = two_and_two(&host);

    a.text(".local");
    assert_eq!(a.ask("done"), "done", "the source does not receive its message");
    assert_eq!(b.next_text(), "local");

    a.text("!global");
    assert_eq!(a.ask("done"), "done", "the source does not receive its message");
    assert_eq!(b.next_text(), "global");
    assert_eq!(c.next_text(), "global", "nothing arrived before");
    assert_eq!(d.next_text(), "global", "nothing arrived before");

    a.text("*everyone");
    for client in [&mut a, &mut b, &mut c, &mut d] {
        assert_eq!(client.next_text(), "everyone");
        assert_eq!(client.ask("done"), "done", "once");
    }
}

/// A worker stops reading (it hangs or is stopped) while other workers flood it. The parent kills that worker
/// and no other. Returns by how many KiB the parent's memory has grown meanwhile.
fn flood_a_worker_that_does_not_read(stop: impl Fn(&mut WebSocket, Process)) -> u64 {
    let _alone = alone();
    let host = serve_crash(2, &["--hang-timeout", "2s"]);
    let [[mut bad, _], [mut source, mut reader]] = two_and_two(&host);
    let (worker, before) = (worker_of(&mut bad), host.workers());
    let kib = host.process().resident_kib();
    stop(&mut bad, worker);
    let begun = Instant::now();
    // 20 MB in all, far more than all queues together hold.
    flood(&mut source, &mut reader);
    assert!(begun.elapsed() > Duration::from_secs(2), "nothing has waited: {:?}", begun.elapsed());
    let most: u64 =
        host.process().status("VmHWM").trim_end_matches(" kB").parse().expect("the value is a number");
    host.log_line(&format!("(process {}) ", worker.0));
    assert_eq!(host.log_lines("; starting another").len(), 1, "{}", host.log());
    let after = host.workers();
    assert_eq!(
        before.iter().filter(|process| after.contains(process)).count(),
        1,
        "no other worker was killed"
    );
    most - kib
}

#[test]
fn a_worker_that_hangs_while_others_flood_it_is_the_only_one_killed() {
    // The memory for the backtrace depends on the debug information of this build, so it is not checked.
    flood_a_worker_that_does_not_read(|bad, _| bad.text("hang"));
}

/// The parent does not buffer the flood for the stopped worker.
#[test]
fn a_worker_that_is_stopped_while_others_flood_it_is_the_only_one_killed() {
    let more = flood_a_worker_that_does_not_read(|_, worker| worker.signal(Signal::STOP));
    assert!(more < 12 * 1024, "{more} KiB");
}

/// Reads `count` messages of `size` bytes, then the answer to the client's question.
fn read_flood(c: &mut WebSocket, count: usize, size: usize) {
    for _ in 0..count {
        match c.next() {
            Message::Text(text) => assert_eq!(text.len(), size),
            other => panic!("not a message of the flood: {other:?}"),
        }
    }
    c.text("done");
    assert_eq!(c.next_text(), "done");
}

#[test]
fn two_workers_that_flood_each_other_lose_nothing() {
    let _busy = busy();
    const COUNT: usize = 20_000;
    const SIZE: usize = 1000;
    // Within one callback no limit except the backlog applies to messages for the worker's own clients.
    let host = serve_crash(2, &["--max-backlog", "64MiB"]);
    let [[mut a, mut b], [mut c, mut d]] = two_and_two(&host);
    // Each floods within one callback, so neither event loop runs meanwhile.
    a.text(&format!("flood {COUNT} {SIZE}"));
    c.text(&format!("flood {COUNT} {SIZE}"));
    std::thread::scope(|scope| {
        scope.spawn(|| read_flood(&mut a, COUNT, SIZE));
        scope.spawn(|| read_flood(&mut c, COUNT, SIZE));
        scope.spawn(|| read_flood(&mut b, 2 * COUNT, SIZE));
        scope.spawn(|| read_flood(&mut d, 2 * COUNT, SIZE));
    });
    assert_eq!(host.log_lines("ERROR").len(), 0, "{}", host.log());
}
