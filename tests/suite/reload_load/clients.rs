//! Clients of `reload.c` that send continuously, all on one thread. Each message has a number. Every answer
//! must have the right number and a possible generation; any mistake ends the thread and fails the test.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::support::{DEADLINE, Peer};

/// Time between two turns. In each turn one client in [`TURNS`] sends.
const TURN: Duration = Duration::from_millis(2);
const TURNS: usize = 8;
/// Messages of one client that may be unanswered.
const WINDOW: usize = 4;
/// Number of clients that broadcast, if the plan says so; each does in every [`SOURCE_TURNS`]th message.
const SOURCES: usize = 4;
const SOURCE_TURNS: u64 = 8;

/// What the clients do.
#[derive(Clone, Copy)]
pub struct Plan {
    pub clients: usize,
    /// Whether some of the clients also broadcast.
    pub broadcasts: bool,
}

/// What the clients have received.
#[derive(Default)]
pub struct Report {
    pub echoes: u64,
    /// Echoes by the generation that answered.
    pub by_generation: Vec<u64>,
    /// Deliveries of broadcasts.
    pub broadcasts: u64,
}

impl Report {
    /// Every generation up to this one has answered at least once.
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

/// Running clients. Dropping them makes them stop.
pub struct Clients {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Report>>,
}

/// The mark of the library that this generation is loaded from; two libraries alternate.
pub fn mark(generation: u32) -> &'static str {
    if generation.is_multiple_of(2) { "2" } else { "1" }
}

impl Clients {
    /// Starts the clients, and waits until all are served.
    pub fn start(port: u16, plan: Plan) -> Self {
        let shared = Arc::<Shared>::default();
        shared.at_least.store(1, SeqCst);
        shared.at_most.store(1, SeqCst);
        let thread = thread::spawn({
            let shared = shared.clone();
            move || {
                // Wakes those that wait for echoes when the thread ends.
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

    /// Waits until `count` more echoes have arrived.
    pub fn wait_for_echoes(&self, count: u64) {
        let end = Instant::now() + DEADLINE;
        let mut echoes = self.shared.echoes.lock().expect("the lock is not poisoned");
        let until = *echoes + count;
        while *echoes < until {
            let remaining = end.saturating_duration_since(Instant::now());
            assert!(!remaining.is_zero() && !self.shared.is_ending.load(SeqCst), "no more echoes come");
            echoes = self.shared.more.wait_timeout(echoes, remaining).expect("the lock is not poisoned").0;
        }
    }

    /// Stops sending, then waits until everything that was sent has arrived and every note has been verified.
    pub fn finish(mut self) -> Report {
        self.shared.is_ending.store(true, SeqCst);
        let report = self.thread.take().expect("finish is called once").join();
        report.unwrap_or_else(|_| panic!("a client received a wrong answer, see above"))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // A test that has failed does not wait for the clients.
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

/// The clients, as the thread owns them.
struct Crowd<'a> {
    shared: &'a Shared,
    plan: Plan,
    poll: Poll,
    clients: Vec<Client>,
    /// Whether all clients are served. Nobody sends before, because a client that has not joined would miss a
    /// broadcast.
    are_served: bool,
    report: Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Joining,
    /// Has sent its note.
    Telling,
    Sending,
    /// Has asked for its note.
    Asking,
    Done,
}

struct Client {
    peer: Peer,
    stage: Stage,
    /// Numbers of the unanswered messages, each with the lowest generation that may answer it.
    waiting: VecDeque<(u64, u32)>,
    sent: u64,
    /// The generation that answered last.
    generation: u32,
    /// Broadcasts that this client has sent.
    broadcasts: u64,
    /// For each source: broadcasts received, and the generation of the last one.
    received: [(u64, u32); SOURCES],
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
            received: [(0, 1); SOURCES],
        };
        let clients = (0..plan.clients).map(client).collect();
        Self { shared, plan, poll, clients, are_served: false, report: Report::default() }
    }

    fn run(mut self) -> Report {
        let mut events = Events::with_capacity(1024);
        let (mut turn, mut due, mut end) = (0, Instant::now(), None);
        while !self.clients.iter().all(|client| client.stage == Stage::Done) {
            let remaining = due.saturating_duration_since(Instant::now());
            if let Err(error) = self.poll.poll(&mut events, Some(remaining)) {
                assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
            }
            let echoes = self.report.echoes;
            events.iter().for_each(|event| self.receive(event.token().0));
            if self.report.echoes > echoes {
                *self.shared.echoes.lock().expect("the lock is not poisoned") = self.report.echoes;
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
        client.peer.write().expect("the server reads it");
    }

    /// Asks for the notes of clients that have received everything.
    fn ask_if_all_came(&mut self) {
        let sent: Vec<u64> = self.clients[..SOURCES].iter().map(|client| client.broadcasts).collect();
        for (index, client) in self.clients.iter_mut().enumerate() {
            let all = (0..SOURCES).all(|source| source == index || client.received[source].0 == sent[source]);
            if client.stage == Stage::Sending && client.waiting.is_empty() && all {
                client.stage = Stage::Asking;
                client.peer.send(0x81, b"get");
                client.peer.write().expect("the server reads it");
            }
        }
    }

    fn missing(&self) -> String {
        let missing = self.clients.iter().enumerate().filter(|(_, client)| client.stage != Stage::Done);
        let describe = |(index, c): (usize, &Client)| {
            format!("client {index}: {:?}, {:?}, {:?}", c.stage, c.waiting, c.received)
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
        self.clients[index].peer.write().expect("the server reads it");
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
                // Each reload has carried the note over once, and appended a mark.
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
            client.waiting.pop_front().unwrap_or_else(|| panic!("client {index}: duplicate {rest}"));
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
        let (next, last) = &mut self.clients[index].received[source];
        assert_eq!(number, next.to_string(), "client {index}, from {source}");
        assert!(generation >= *last, "client {index}, from {source}: generation {generation} after {last}");
        (*next, *last) = (*next + 1, generation);
        self.report.broadcasts += 1;
    }
}

/// Parses `MARK.NUMBER`; the mark must belong to the generation, and the generation must exist.
fn generation(shared: &Shared, marked: &str) -> u32 {
    let (library, number) = marked.split_once('.').expect("mark and number");
    let number = number.parse().expect("the number of a generation");
    assert_eq!(library, mark(number), "generation {number}");
    assert!(number <= shared.at_most.load(SeqCst), "generation {number} does not exist yet");
    number
}
