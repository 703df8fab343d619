//! What one worker says of itself. Every field is an atomic, written by the worker alone (by the parent before
//! the worker starts), so a counter needs no read-modify-write.

use std::array::from_fn;
use std::fmt;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::text::Text;
use crate::readable::one_line;

use Ordering::{Acquire, Relaxed, Release};

/// How many handlers a slot names, the nameless 0 included.
pub const HANDLERS: usize = 128;
/// Return addresses of a crash that are kept.
pub const FRAMES: usize = 64;

/// In `Hot::now`, below the callback's number: a callback runs, and its handler's index.
const BUSY: u64 = 1 << 15;
const WAITING: u64 = 1 << 14;
const INDEX: u64 = WAITING - 1;
const SEQUENCE_SHIFT: u32 = 16;

/// One worker's share of the board.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Slot {
    hot: Hot,
    crash: CrashRecord,
    labels: [Text<124>; HANDLERS],
    /// A line for each module: start, end and bias in hexadecimal, path.
    modules: Text<12_284>,
}

const _: () = assert!(size_of::<Slot>() == 32 * 1024 && size_of::<Hot>() == 64);

/// What changes all the time, in one cache line.
#[repr(C, align(64))]
#[derive(Debug)]
struct Hot {
    /// The number of the last callback in the worker's life, whether it still runs, whether it waits, and its
    /// handler: one word, so that the parent never sees parts of two.
    now: AtomicU64,
    clients: AtomicU64,
    accepted: AtomicU64,
}

#[repr(C)]
#[derive(Debug)]
struct CrashRecord {
    /// 0 while there is none; else written after everything but `frames`.
    signal: AtomicI32,
    code: AtomicI32,
    overflow: AtomicU32,
    worker_thread: AtomicU32,
    frame_count: AtomicU32,
    address: AtomicU64,
    pc: AtomicU64,
    frames: [AtomicU64; FRAMES],
}

/// Names a handler, for reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The plugin's name; empty if it is not known.
    pub plugin: String,
    /// What kind of code, such as `onmessage handler` or `release hook`.
    pub kind: String,
    /// The handler's name; empty for code without one.
    pub name: String,
    /// The plugin's generation.
    pub generation: u32,
}

/// ``plugin `chat` (generation 3): onmessage handler `message` ``
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, kind, name, generation } = self;
        match (plugin.as_str(), name.as_str()) {
            ("", _) => f.write_str("another handler"),
            (plugin, "") => write!(f, "plugin `{plugin}` (generation {generation}): {kind}"),
            (plugin, name) => write!(f, "plugin `{plugin}` (generation {generation}): {kind} `{name}`"),
        }
    }
}

/// The callback that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its number in the worker's life.
    pub sequence: u64,
    /// Whose it is.
    pub label: Label,
}

/// What a worker has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Callbacks begun.
    pub callbacks: u64,
    /// Connections taken over.
    pub accepted: u64,
}

/// Code in the worker's memory: the program itself or a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// What an address in memory exceeds the one in the file by.
    pub bias: u64,
    /// The file.
    pub path: String,
}

/// How a worker crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The signal.
    pub signal: i32,
    /// Its `si_code`: what caused the signal, 0 or less for a signal that was sent.
    pub code: i32,
    /// The address that could not be accessed or executed; None for a signal that was sent.
    pub address: Option<u64>,
    /// The instruction.
    pub pc: u64,
    /// The stack was used up.
    pub overflow: bool,
    /// It was the worker's own thread, where callbacks run, not one that a plugin has started.
    pub worker_thread: bool,
    /// `pc`, then return addresses from the innermost call outwards; at most [`FRAMES`], and as many as were
    /// found before something went wrong.
    pub frames: Vec<u64>,
    /// What the addresses belong to.
    pub modules: Vec<Module>,
}

/// What the crash handler knows at once. The fields are those of [`Crash`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub signal: i32,
    pub code: i32,
    pub address: u64,
    pub pc: u64,
    pub overflow: bool,
    pub worker_thread: bool,
}

impl Slot {
    pub(super) const fn new() -> Self {
        const fn zero() -> AtomicU64 {
            AtomicU64::new(0)
        }
        Self {
            hot: Hot { now: zero(), clients: zero(), accepted: zero() },
            crash: CrashRecord {
                signal: AtomicI32::new(0),
                code: AtomicI32::new(0),
                overflow: AtomicU32::new(0),
                worker_thread: AtomicU32::new(0),
                frame_count: AtomicU32::new(0),
                address: zero(),
                pc: zero(),
                frames: [const { zero() }; FRAMES],
            },
            labels: [const { Text::new() }; HANDLERS],
            modules: Text::new(),
        }
    }
}

/// The worker's side.
impl Slot {
    /// A callback of the handler with this index begins.
    #[inline]
    pub fn enter(&self, handler: u32) {
        let sequence = (self.hot.now.load(Relaxed) >> SEQUENCE_SHIFT) + 1;
        self.hot.now.store(sequence << SEQUENCE_SHIFT | BUSY | (u64::from(handler) & INDEX), Relaxed);
    }

    /// The callback has ended.
    #[inline]
    pub fn leave(&self) {
        self.hot.now.store(self.hot.now.load(Relaxed) & !BUSY, Relaxed);
    }

    /// The host makes the running callback wait for other workers, or no more: that time is not the callback's.
    pub fn set_waiting(&self, waits: bool) {
        let now = self.hot.now.load(Relaxed) & !WAITING;
        self.hot.now.store(if waits { now | WAITING } else { now }, Relaxed);
    }

    /// Names the handler behind an index. Not index 0, nor one from [`HANDLERS`] on: these stay "another
    /// handler". Plugin names and handler names of more than 100 bytes together are cut.
    pub fn define(&self, index: u32, label: &Label) {
        if let Some(text) = self.labels.get(index as usize).filter(|_| index != 0) {
            let Label { plugin, kind, name, generation } = label;
            text.write(&format!("{generation}\n{kind}\n{plugin}\n{name}"));
        }
    }

    /// How many connections are open now.
    #[inline]
    pub fn set_clients(&self, count: usize) {
        self.hot.clients.store(count as u64, Relaxed);
    }

    /// One connection more was taken over.
    #[inline]
    pub fn count_accepted(&self) {
        add(&self.hot.accepted, 1);
    }

    /// What code is where, for [`Crash::modules`]; the last ones are left out if they are too many. After each
    /// load of a library.
    pub fn set_modules(&self, modules: &[Module]) {
        let lines = modules.iter().map(|m| format!("{:x} {:x} {:x} {}\n", m.start, m.end, m.bias, m.path));
        self.modules.write(&lines.collect::<String>());
    }

    /// The worker crashes. Async-signal-safe.
    pub(crate) fn begin_crash(&self, fault: &Fault) {
        let crash = &self.crash;
        crash.code.store(fault.code, Relaxed);
        crash.address.store(fault.address, Relaxed);
        crash.pc.store(fault.pc, Relaxed);
        crash.frame_count.store(0, Relaxed);
        crash.overflow.store(fault.overflow.into(), Relaxed);
        crash.worker_thread.store(fault.worker_thread.into(), Relaxed);
        crash.signal.store(fault.signal, Release);
    }

    /// Adds a return address. False: no more fit. Async-signal-safe.
    pub(crate) fn add_frame(&self, address: u64) -> bool {
        let count = self.crash.frame_count.load(Relaxed);
        let Some(frame) = self.crash.frames.get(count as usize) else { return false };
        frame.store(address, Relaxed);
        self.crash.frame_count.store(count + 1, Release);
        true
    }
}

/// The parent's side.
impl Slot {
    /// Forgets the last worker, before a new one takes the slot.
    pub fn clear(&self) {
        let hot = &self.hot;
        for word in [&hot.now, &hot.clients, &hot.accepted] {
            word.store(0, Relaxed);
        }
        self.crash.signal.store(0, Relaxed);
        self.labels.iter().for_each(|label| label.write(""));
        self.modules.write("");
    }

    /// The callback that runs, or ran when the worker died; None between two.
    pub fn running(&self) -> Option<Running> {
        let (sequence, handler, _) = self.now()?;
        Some(Running { sequence, label: self.label(handler) })
    }

    /// The number and the handler's index of the running callback, and whether it waits.
    pub(super) fn now(&self) -> Option<(u64, u64, bool)> {
        let now = self.hot.now.load(Relaxed);
        (now & BUSY != 0).then_some((now >> SEQUENCE_SHIFT, now & INDEX, now & WAITING != 0))
    }

    pub(super) fn label(&self, handler: u64) -> Label {
        let Some(text) = self.labels.get(handler as usize) else { return Label::default() };
        let text = text.read();
        let mut fields = text.splitn(4, '\n').map(one_line);
        let generation = fields.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let [kind, plugin, name] = from_fn(|_| fields.next().unwrap_or_default());
        Label { plugin, kind, name, generation }
    }

    /// How many clients it has, upgraded or not.
    pub fn clients(&self) -> usize {
        usize::try_from(self.hot.clients.load(Relaxed)).unwrap_or(usize::MAX)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        let hot = &self.hot;
        Counters { callbacks: hot.now.load(Relaxed) >> SEQUENCE_SHIFT, accepted: hot.accepted.load(Relaxed) }
    }

    /// What the crash handler wrote, if it came to that.
    pub fn crash(&self) -> Option<Crash> {
        let crash = &self.crash;
        let signal = crash.signal.load(Acquire);
        if signal == 0 {
            return None;
        }
        let code = crash.code.load(Relaxed);
        let count = (crash.frame_count.load(Acquire) as usize).min(FRAMES);
        Some(Crash {
            signal,
            code,
            address: (code > 0).then(|| crash.address.load(Relaxed)),
            pc: crash.pc.load(Relaxed),
            overflow: crash.overflow.load(Relaxed) != 0,
            worker_thread: crash.worker_thread.load(Relaxed) != 0,
            frames: crash.frames[..count].iter().map(|frame| frame.load(Relaxed)).collect(),
            modules: self.modules.read().split_inclusive('\n').filter_map(module).collect(),
        })
    }
}

/// By the only writer.
#[inline]
fn add(counter: &AtomicU64, n: impl TryInto<u64>) {
    counter.store(counter.load(Relaxed).wrapping_add(n.try_into().unwrap_or(0)), Relaxed);
}

/// None for a line that was cut.
fn module(line: &str) -> Option<Module> {
    let mut fields = line.strip_suffix('\n')?.splitn(4, ' ');
    let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
    let (start, end, bias) = (number()?, number()?, number()?);
    Some(Module { start, end, bias, path: one_line(fields.next()?) })
}
