//! Clients of `reload.c`, all on one thread, that send on and on. Each message has a number; every answer is checked
//! for it, and for the generation that it tells. Whatever is wrong ends the thread, and with it the test.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::support::{DEADLINE, Peer};

/// Between two turns of sending; in each of them one client of [`TURNS`] sends.
const TURN: Duration = Duration::from_millis(2);
const TURNS: usize = 8;
/// Messages of one client that may wait for their echo.
const WINDOW: usize = 4;
/// Clients that broadcast, if clients do; each at one of so many of its turns.
const SOURCES: usize = 4;
const SOURCE_TURNS: u64 = 8;

/// What the clients do.
#[derive(Clone, Copy)]
pub struct Plan {
    pub clients: usize,
    /// Whether some broadcast, too.
    pub broadcasts: bool,
}

/// What has come.
#[derive(Default)]
pub struct Report {
    pub echoes: u64,
    /// Echoes by the generation that answered.
    pub by_generation: Vec<u64>,
    /// Deliveries.
    pub broadcasts: u64,
}

impl Report {
    /// Each of the generations up to this one has had its part.
    pub fn assert_all_answered(&self, generations: u32) {
        let [_, echoes @ ..] = &self.by_generation[..] else { panic!("no echoes") };
        assert!(echoes.len() == generations as usize && !echoes.contains(&0), "{echoes:?}");
    }
}

#[derive(Default)]
struct Shared {
    echoes: Mutex<u64>,
    more: Condvar,
    at_least: AtomicU32,
    at_most: AtomicU32,
    is_ending: AtomicBool,
}

/// Clients that send.
pub struct Clients {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Report>>,
}

/// The mark of the library that is that generation: two take turns.
pub fn mark(generation: u32) -> &'static str {
    if generation.is_multiple_of(2) { "2" } else { "1" }
}

impl Clients {
    /// Starts them, and waits until all are served.
    pub fn start(port: u16, plan: Plan) -> Self {
        let shared = Arc::<Shared>::default();
        shared.at_least.store(1, SeqCst);
        shared.at_most.store(1, SeqCst);
        let thread = thread::spawn({
            let shared = shared.clone();
            move || {
                // Who waits for echoes hears of the end, too.
                let _ending = Ending(&shared);
                Crowd::new(port, plan, &shared).run()
            }
        });
        let clients = Self { shared, thread: Some(thread) };
        clients.wait_for_echoes(plan.clients as u64);
        clients
    }

    /// No later generation can answer.
    pub fn expect_at_most(&self, generation: u32) {
        self.shared.at_most.store(generation, SeqCst);
    }

    /// No earlier generation can answer what is sent from now on.
    pub fn expect_at_least(&self, generation: u32) {
        self.shared.at_least.store(generation, SeqCst);
    }

    /// Waits until so many more have come.
    pub fn wait_for_echoes(&self, count: u64) {
        let end = Instant::now() + DEADLINE;
        let mut echoes = self.shared.echoes.lock().expect("nobody panics with it");
        let until = *echoes + count;
        while *echoes < until {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !self.shared.is_ending.load(SeqCst), "no more echoes come");
            echoes = self.shared.more.wait_timeout(echoes, left).expect("nobody panics with it").0;
        }
    }

    /// Has them stop, and waits until everything that was sent has come, and every note is still there.
    pub fn finish(mut self) -> Report {
        self.shared.is_ending.store(true, SeqCst);
        let report = self.thread.take().expect("it is taken once").join();
        report.unwrap_or_else(|_| panic!("a client was served wrongly, see above"))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // A test that has failed does not wait for them.
        self.shared.is_ending.store(true, SeqCst);
    }
}

struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.is_ending.store(true, SeqCst);
        self.0.more.notify_all();
    }
}

/// The thread's own.
struct Crowd<'a> {
    shared: &'a Shared,
    plan: Plan,
    poll: Poll,
    clients: Vec<Client>,
    /// Whether all are: nobody sends before, for who is not there yet misses a broadcast.
    are_served: bool,
    report: Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Joining,
    /// Has told its note.
    Telling,
    Sending,
    /// Has asked for its note.
    Asking,
    Done,
}

struct Client {
    peer: Peer,
    stage: Stage,
    /// Numbers of messages that wait for their echo, with the generation that answers at least.
    waiting: VecDeque<(u64, u32)>,
    sent: u64,
    /// The generation that has answered last.
    generation: u32,
    /// Broadcasts that it has sent.
    broadcasts: u64,
    /// Of each source: broadcasts that have come, and the generation of the last.
    heard: [(u64, u32); SOURCES],
}

impl<'a> Crowd<'a> {
    fn new(port: u16, plan: Plan, shared: &'a Shared) -> Self {
        let poll = Poll::new().expect("there is a poll");
        let client = |index| Client {
            peer: Peer::connect(port, poll.registry(), Token(index)),
            stage: Stage::Upgrading,
            waiting: VecDeque::new(),
            sent: 0,
            generation: 1,
            broadcasts: 0,
            heard: [(0, 1); SOURCES],
        };
        let clients = (0..plan.clients).map(client).collect();
        Self { shared, plan, poll, clients, are_served: false, report: Report::default() }
    }

    fn run(mut self) -> Report {
        let mut events = Events::with_capacity(1024);
        let (mut turn, mut due, mut end) = (0, Instant::now(), None);
        while !self.clients.iter().all(|client| client.stage == Stage::Done) {
            let left = due.saturating_duration_since(Instant::now());
            if let Err(error) = self.poll.poll(&mut events, Some(left)) {
                assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
            }
            let echoes = self.report.echoes;
            events.iter().for_each(|event| self.receive(event.token().0));
            if self.report.echoes > echoes {
                *self.shared.echoes.lock().expect("nobody panics with it") = self.report.echoes;
                self.shared.more.notify_all();
            }
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + TURN;
            turn += 1;
            self.are_served |= self.clients.iter().all(|client| client.stage == Stage::Sending);
            if self.shared.is_ending.load(SeqCst) {
                let end = *end.get_or_insert_with(|| Instant::now() + DEADLINE);
                assert!(Instant::now() < end, "not all that was sent comes: {}", self.missing());
                self.ask_if_all_came();
            } else if self.are_served {
                (turn % TURNS..self.clients.len()).step_by(TURNS).for_each(|index| self.send(index));
            }
        }
        self.report
    }

    fn send(&mut self, index: usize) {
        let at_least = self.shared.at_least.load(SeqCst);
        let client = &mut self.clients[index];
        if client.stage != Stage::Sending || client.waiting.len() == WINDOW {
            return;
        }
        client.peer.send(0x81, format!("{index} {}", client.sent).as_bytes());
        client.waiting.push_back((client.sent, at_least));
        client.sent += 1;
        if self.plan.broadcasts && index < SOURCES && client.sent.is_multiple_of(SOURCE_TURNS) {
            client.peer.send(0x81, format!("!{index} {}", client.broadcasts).as_bytes());
            client.broadcasts += 1;
        }
        client.peer.write().expect("the server takes it");
    }

    /// Once nothing is on its way any more: asks for the notes.
    fn ask_if_all_came(&mut self) {
        let sent: Vec<u64> = self.clients[..SOURCES].iter().map(|client| client.broadcasts).collect();
        for (index, client) in self.clients.iter_mut().enumerate() {
            let all = (0..SOURCES).all(|source| source == index || client.heard[source].0 == sent[source]);
            if client.stage == Stage::Sending && client.waiting.is_empty() && all {
                client.stage = Stage::Asking;
                client.peer.send(0x81, b"get");
                client.peer.write().expect("the server takes it");
            }
        }
    }

    fn missing(&self) -> String {
        let missing = self.clients.iter().enumerate().filter(|(_, client)| client.stage != Stage::Done);
        let describe = |(index, c): (usize, &Client)| {
            format!("client {index}: {:?}, {:?}, {:?}", c.stage, c.waiting, c.heard)
        };
        missing.map(describe).take(5).collect::<Vec<_>>().join("; ")
    }

    fn receive(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let is_open = client.peer.write().and_then(|()| client.peer.read());
        if client.stage == Stage::Upgrading {
            match client.peer.answer() {
                None => assert!(matches!(is_open, Ok(true)), "client {index}: {is_open:?}"),
                Some(is_101) => {
                    assert!(is_101, "client {index}: no 101");
                    client.stage = Stage::Joining;
                }
            }
        }
        while self.clients[index].stage != Stage::Upgrading
            && let Some((first, payload)) = self.clients[index].peer.frame()
        {
            let text = String::from_utf8_lossy(payload).into_owned();
            assert_eq!(first, 0x81, "client {index}: {text}");
            self.take(index, &text);
        }
        assert!(matches!(is_open, Ok(true)), "client {index}: {is_open:?}");
        self.clients[index].peer.write().expect("the server takes it");
    }

    fn take(&mut self, index: usize, text: &str) {
        let client = &mut self.clients[index];
        if let Some((marked, rest)) = text.split_once(':') {
            let generation = generation(self.shared, marked);
            return match rest.strip_prefix('!') {
                Some(rest) => self.take_broadcast(index, generation, rest),
                None => self.take_echo(index, generation, rest),
            };
        }
        client.stage = match client.stage {
            Stage::Joining => {
                assert_eq!(text, "join 1", "client {index}");
                client.peer.send(0x81, format!("set note {index}.").as_bytes());
                Stage::Telling
            }
            Stage::Telling => {
                assert_eq!(text, "set", "client {index}");
                Stage::Sending
            }
            Stage::Asking => {
                let (marked, note) = text.split_once(' ').expect("generation and note");
                // Each reload has carried it over once, and said so.
                let (number, once) = (generation(self.shared, marked), " v7");
                let reloads = once.repeat(number as usize - 1);
                assert_eq!(note, format!("note {index}.{reloads}"), "client {index}");
                Stage::Done
            }
            stage => panic!("client {index} {stage:?}: {text}"),
        };
    }

    fn take_echo(&mut self, index: usize, generation: u32, rest: &str) {
        let client = &mut self.clients[index];
        let (number, at_least) =
            client.waiting.pop_front().unwrap_or_else(|| panic!("client {index}: again {rest}"));
        assert_eq!(rest, format!("{index} {number}"), "client {index}");
        let at_least = at_least.max(client.generation);
        assert!(generation >= at_least, "client {index}: {rest} by {generation} after {at_least}");
        client.generation = generation;
        self.report.echoes += 1;
        let position = generation as usize;
        if self.report.by_generation.len() <= position {
            self.report.by_generation.resize(position + 1, 0);
        }
        self.report.by_generation[position] += 1;
    }

    fn take_broadcast(&mut self, index: usize, generation: u32, rest: &str) {
        let (source, number) = rest.split_once(' ').expect("source and number");
        let source: usize = source.parse().expect("a client's index");
        assert_ne!(source, index, "a broadcast came back to its source");
        let (next, last) = &mut self.clients[index].heard[source];
        assert_eq!(number, next.to_string(), "client {index}, from {source}");
        assert!(generation >= *last, "client {index}, from {source}: generation {generation} after {last}");
        (*next, *last) = (*next + 1, generation);
        self.report.broadcasts += 1;
    }
}

/// `MARK.NUMBER`: of the right library, not from the future.
fn generation(shared: &Shared, marked: &str) -> u32 {
    let (library, number) = marked.split_once('.').expect("mark and number");
    let number = number.parse().expect("the number of a generation");
    assert_eq!(library, mark(number), "generation {number}");
    assert!(number <= shared.at_most.load(SeqCst), "generation {number} is not there yet");
    number
}
