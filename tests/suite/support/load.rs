//! Load: clients on their own thread send, check every echo, and measure how long each takes. They use the
//! plugin `test-crash`, whose command `who` names the worker that serves them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::{DEADLINE, Peer};

/// What the clients do.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Number of clients.
    pub clients: usize,
    /// Messages of each client that may be unanswered.
    pub window: usize,
    /// Whether a new client replaces each one that the server disconnects.
    pub replace: bool,
    /// Whether the clients answer the server's Close.
    pub answer_close: bool,
    /// Whether the clients also broadcast.
    pub noise: bool,
}

impl Plan {
    /// Clients with one message in flight.
    pub fn clients(clients: usize) -> Self {
        Self { clients, window: 1, replace: false, answer_close: true, noise: false }
    }
}

/// Time between two messages, while there is room in the window.
const PACE: Duration = Duration::from_millis(4);

/// How a client ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection was refused.
    Refused,
    /// The server closed the socket before the upgrade.
    BeforeUpgrade,
    /// The socket ended without a Close.
    Socket,
    /// The server sent a Close with this code, then the socket ended.
    Closed(u16),
    /// The client disconnected by itself.
    Left,
    /// The server made a mistake.
    Wrong(String),
}

/// The progress of one client.
pub struct Client {
    /// Process id of its worker; 0 until it is known.
    pub worker: u32,
    /// The connection's id in the server.
    pub id: u64,
    /// Echoes received.
    pub echoes: u64,
    /// Messages sent.
    pub sent: u64,
    /// Code of the Close received.
    pub close: Option<u16>,
    pub end: Option<End>,
    longest: Duration,
    waiting: VecDeque<Instant>,
    upgraded: bool,
    peer: Option<Peer>,
}

/// What the clients have observed.
pub struct State {
    pub clients: Vec<Client>,
    /// The longest time for which this machine did not schedule a runnable thread. Clients may have waited
    /// for this long without the server's fault.
    pub machine: Duration,
}

impl State {
    /// Clients that are open and know their worker.
    pub fn open(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|client| client.end.is_none() && client.worker != 0)
    }

    /// Open clients of each worker.
    pub fn workers(&self) -> BTreeMap<u32, usize> {
        let mut workers = BTreeMap::new();
        self.open().for_each(|client| *workers.entry(client.worker).or_default() += 1);
        workers
    }

    /// The longest time that one of these clients has waited, or is waiting, for an echo.
    pub fn longest(&self, which: impl Fn(&Client) -> bool) -> Duration {
        let waits = |client: &Client| match (client.end.is_none(), client.waiting.front()) {
            (true, Some(since)) => client.longest.max(since.elapsed()),
            _ => client.longest,
        };
        self.clients.iter().filter(|client| which(client)).map(waits).max().unwrap_or_default()
    }
}

/// A running load. Dropping it stops the clients.
pub struct Load {
    shared: Arc<(Mutex<State>, Condvar)>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients, and waits until all are served.
    pub fn start(port: u16, plan: Plan) -> Self {
        let state = State { clients: Vec::new(), machine: Duration::ZERO };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let threads = vec![
            thread::spawn({
                let (shared, stop) = (shared.clone(), stop.clone());
                move || run(port, plan, &shared, &stop)
            }),
            thread::spawn({
                let (shared, stop) = (shared.clone(), stop.clone());
                move || watch_machine(&shared, &stop)
            }),
        ];
        let load = Self { shared, stop, threads };
        load.wait("all clients are served", |state| {
            state.open().filter(|c| c.echoes > 0).count() >= plan.clients
        });
        load
    }

    /// Inspects the current state.
    pub fn look<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.shared.0.lock().expect("the client thread does not panic"))
    }

    /// Waits until the state satisfies a condition.
    pub fn wait(&self, what: &str, mut is_true: impl FnMut(&State) -> bool) {
        let end = Instant::now() + DEADLINE;
        let mut state = self.shared.0.lock().expect("the client thread does not panic");
        while !is_true(&state) {
            let remaining = end.saturating_duration_since(Instant::now());
            assert!(!remaining.is_zero(), "not in time: {what}");
            state = self.shared.1.wait_timeout(state, remaining).expect("the client thread does not panic").0;
        }
    }

    /// Waits until `count` more echoes have arrived.
    pub fn wait_for_echoes(&self, count: u64) {
        let echoes = |state: &State| state.clients.iter().map(|client| client.echoes).sum::<u64>();
        let until = self.look(|state| echoes(state)) + count;
        self.wait("more echoes", |state| echoes(state) >= until);
    }

    /// Fails the test if the server made a mistake.
    #[track_caller]
    pub fn check(&self) {
        let wrong = |client: &Client| matches!(client.end, Some(End::Wrong(_))).then(|| client.end.clone());
        let wrong: Vec<_> = self.look(|state| state.clients.iter().filter_map(wrong).collect());
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // A panic of that thread has already failed the test.
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

fn watch_machine(shared: &(Mutex<State>, Condvar), stop: &AtomicBool) {
    const STEP: Duration = Duration::from_millis(2);
    while !stop.load(Relaxed) {
        let before = Instant::now();
        thread::sleep(STEP);
        let late = before.elapsed().saturating_sub(STEP);
        let mut state = shared.0.lock().expect("the client thread does not panic");
        state.machine = state.machine.max(late);
    }
}

fn run(port: u16, plan: Plan, shared: &(Mutex<State>, Condvar), stop: &AtomicBool) {
    let mut poll = Poll::new().expect("there is a poll");
    let mut events = Events::with_capacity(1024);
    let mut next_turn = Instant::now();
    while !stop.load(Relaxed) {
        let remaining = next_turn.saturating_duration_since(Instant::now());
        if let Err(error) = poll.poll(&mut events, Some(remaining)) {
            assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
        }
        let mut state = shared.0.lock().expect("the lock is not poisoned");
        for event in &events {
            let client = &mut state.clients[event.token().0];
            if client.end.is_none() {
                client.turn(plan);
            }
        }
        if Instant::now() >= next_turn {
            next_turn = Instant::now() + PACE;
            state.clients.iter_mut().for_each(|client| client.send(plan));
            let there = state.clients.iter().filter(|client| client.end.is_none()).count();
            let wanted = if plan.replace { plan.clients - there } else { plan.clients - state.clients.len() };
            for _ in 0..wanted {
                let peer = Peer::connect(port, poll.registry(), Token(state.clients.len()));
                state.clients.push(Client::new(peer));
            }
        }
        drop(state);
        shared.1.notify_all();
    }
}

impl Client {
    fn new(peer: Peer) -> Self {
        Self {
            worker: 0,
            id: 0,
            echoes: 0,
            sent: 0,
            close: None,
            end: None,
            longest: Duration::ZERO,
            waiting: VecDeque::new(),
            upgraded: false,
            peer: Some(peer),
        }
    }

    /// Disconnects without a Close.
    pub fn leave(&mut self) {
        self.peer = None;
        self.end = Some(End::Left);
    }

    /// Reads and writes without blocking.
    fn turn(&mut self, plan: Plan) {
        let Some(mut peer) = self.peer.take() else { return };
        // Handles what was received before the end.
        let written = peer.write();
        let more = peer.read();
        let wrong = self.take(&mut peer, plan).err();
        let end = match (wrong, written.and(more)) {
            (Some(wrong), _) => Some(End::Wrong(wrong)),
            (None, Ok(true)) => None,
            (None, Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Some(End::Refused),
            (None, _) if !self.upgraded => Some(End::BeforeUpgrade),
            (None, _) if !peer.is_empty() => Some(End::Wrong("half a frame".to_owned())),
            (None, Err(error)) if self.close.is_some() => {
                Some(End::Wrong(format!("after its Close: {error}")))
            }
            (None, _) => Some(self.close.map_or(End::Socket, End::Closed)),
        };
        self.end = end;
        if self.end.is_none() {
            self.peer = Some(peer);
        }
    }

    /// Handles the received frames.
    fn take(&mut self, peer: &mut Peer, plan: Plan) -> Result<(), String> {
        if !self.upgraded {
            match peer.answer() {
                None => return Ok(()),
                Some(false) => return Err("no 101".to_owned()),
                Some(true) => self.upgraded = true,
            }
            peer.send(0x81, b"who");
        }
        while let Some((first, payload)) = peer.frame() {
            let text = || String::from_utf8_lossy(payload).into_owned();
            match first {
                _ if self.close.is_some() => return Err(format!("after its Close: {first:#x} {}", text())),
                0x81 if plan.noise && payload == b"noise" => {}
                0x81 if self.worker == 0 => {
                    let text = text();
                    let (worker, id) = text.split_once(' ').ok_or("no answer to `who`")?;
                    self.worker = worker.parse().map_err(|_| "no process id")?;
                    self.id = id.parse().map_err(|_| "no connection id")?;
                }
                0x81 if payload == self.echoes.to_string().as_bytes() => {
                    let sent = self.waiting.pop_front().ok_or("an echo of nothing")?;
                    self.longest = self.longest.max(sent.elapsed());
                    self.echoes += 1;
                }
                0x88 if payload.len() >= 2 => {
                    self.close = Some(u16::from_be_bytes([payload[0], payload[1]]));
                    let payload = payload.to_vec();
                    if plan.answer_close {
                        peer.send(0x88, &payload);
                    }
                }
                _ => return Err(format!("{first:#x} {} instead of echo {}", text(), self.echoes)),
            }
        }
        // The next read detects the end of the socket.
        _ = peer.write();
        Ok(())
    }

    /// Sends until the window is full.
    fn send(&mut self, plan: Plan) {
        if self.worker == 0 || self.close.is_some() {
            return;
        }
        let Some(peer) = &mut self.peer else { return };
        while self.waiting.len() < plan.window {
            peer.send(0x81, self.sent.to_string().as_bytes());
            self.sent += 1;
            self.waiting.push_back(Instant::now());
            if plan.noise && self.sent.is_multiple_of(50) {
                peer.send(0x81, b"!noise");
            }
        }
        _ = peer.write();
    }
}
