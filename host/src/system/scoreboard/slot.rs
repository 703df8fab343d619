//! One worker's share of the scoreboard. Every field is an atomic. Only the worker writes it, and the parent before the
//! worker starts, so a counter needs no read-modify-write. The layout is shared memory between processes of the same
//! program.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::crash_record::{Crash, CrashRecord, Fault};
use super::label::CodeLabel;
use super::limit_counts::LimitCounts;
use super::module::Module;
use super::text::Text;
use crate::system::sanitize::sanitize_line;

use Ordering::Relaxed;

/// Labels in a slot, that of index 0 included, which has no name.
pub const HANDLERS: usize = 128;

// Bits of `Hot::now`, below the number of the callback.
/// A callback runs.
const BUSY: u64 = 1 << 15;
/// The callback waits for other workers.
const WAITING: u64 = 1 << 14;
/// The index of the callback's code.
const INDEX: u64 = WAITING - 1;
const SEQUENCE_SHIFT: u32 = 16;

/// The slot of one worker.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Slot {
    hot: Hot,
    /// How often clients have reached limits.
    pub limits: LimitCounts,
    crash: CrashRecord,
    labels: [Text<124>; HANDLERS],
    /// Messages dropped because their clients read too slowly.
    dropped: AtomicU64,
    /// Connections whose messages are compressed.
    compressed: AtomicU64,
    /// A line for each module: start, end and bias in hexadecimal, path.
    modules: Text<12_188>,
}

const _: () = assert!(size_of::<Slot>() == 32 * 1024 && size_of::<Hot>() == 64);

/// Fields that every callback or connection changes, in one cache line.
#[repr(C, align(64))]
#[derive(Debug)]
struct Hot {
    /// The number of the last callback, whether it still runs, whether it waits, and the index of its code. One word,
    /// so that the parent never reads parts of two callbacks.
    now: AtomicU64,
    clients: AtomicU64,
    accepted: AtomicU64,
    heartbeat: AtomicU64,
    /// How often clients had to wait for their turn, and how long the last time, in milliseconds: 32 bits each.
    lag: AtomicU64,
    /// Memory of incomplete messages and of write queues, in bytes.
    receive_memory: AtomicU64,
    send_memory: AtomicU64,
    shed: AtomicU64,
}

/// A running callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningCallback {
    /// Its number among the callbacks of the worker, from 1.
    pub sequence: u64,
    pub label: CodeLabel,
}

/// Counters of a worker since its start, and what its clients hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Callbacks begun.
    pub callbacks: u64,
    /// Connections opened.
    pub accepted: u64,
    /// Clients closed because all clients together held too much, or a message took too long.
    pub shed: u64,
    /// Messages dropped because their clients read too slowly.
    pub dropped: u64,
    /// Memory of incomplete messages now, in bytes.
    pub receive_memory: u64,
    /// Memory of write queues now, in bytes.
    pub send_memory: u64,
}

/// One sample of what shows that a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pulse {
    pub heartbeat: u64,
    /// Callbacks begun.
    pub callbacks: u64,
    pub is_in_callback: bool,
    /// Whether that callback waits for other workers.
    pub is_waiting: bool,
}

impl Slot {
    pub(super) const fn new() -> Self {
        const fn zero() -> AtomicU64 {
            AtomicU64::new(0)
        }
        Self {
            hot: Hot {
                now: zero(),
                clients: zero(),
                accepted: zero(),
                heartbeat: zero(),
                lag: zero(),
                receive_memory: zero(),
                send_memory: zero(),
                shed: zero(),
            },
            limits: LimitCounts::new(),
            crash: CrashRecord::new(),
            labels: [const { Text::new() }; HANDLERS],
            dropped: zero(),
            compressed: zero(),
            modules: Text::new(),
        }
    }
}

/// The worker's side.
impl Slot {
    /// A callback of the code with this index begins.
    #[inline]
    pub fn enter(&self, handler: u32) {
        let sequence = (self.hot.now.load(Relaxed) >> SEQUENCE_SHIFT) + 1;
        self.hot.now.store(sequence << SEQUENCE_SHIFT | BUSY | (u64::from(handler) & INDEX), Relaxed);
    }

    /// The callback has returned.
    #[inline]
    pub fn leave(&self) {
        self.hot.now.store(self.hot.now.load(Relaxed) & !BUSY, Relaxed);
    }

    /// The running callback begins or ceases to wait for other workers. That time does not count as the callback's.
    pub fn set_waiting(&self, waits: bool) {
        let now = self.hot.now.load(Relaxed) & !WAITING;
        self.hot.now.store(if waits { now | WAITING } else { now }, Relaxed);
    }

    /// Names the code behind an index. Index 0 and indexes from [`HANDLERS`] on keep the label "another handler". If
    /// the names of plugin and handler are longer than 100 bytes together, they are truncated.
    pub fn define(&self, index: u32, label: &CodeLabel) {
        if let Some(text) = self.labels.get(index as usize).filter(|_| index != 0) {
            let CodeLabel { plugin, kind, name, generation } = label;
            text.write(&format!("{generation}\n{kind}\n{plugin}\n{name}"));
        }
    }

    /// Sets the number of clients.
    #[inline]
    pub fn set_clients(&self, count: usize) {
        self.hot.clients.store(count as u64, Relaxed);
    }

    /// Counts a connection.
    #[inline]
    pub fn count_accepted(&self) {
        add(&self.hot.accepted, 1);
    }

    /// Counts a heartbeat: the event loop runs, or the worker waits for other workers and is able to continue.
    #[inline]
    pub fn beat(&self) {
        add(&self.hot.heartbeat, 1);
    }

    /// Sets the memory of incomplete messages, in bytes.
    #[inline]
    pub fn set_receive_memory(&self, bytes: usize) {
        self.hot.receive_memory.store(bytes as u64, Relaxed);
    }

    /// Sets the memory of write queues, in bytes.
    #[inline]
    pub fn set_send_memory(&self, bytes: usize) {
        self.hot.send_memory.store(bytes as u64, Relaxed);
    }

    /// Sets the number of connections whose messages are compressed.
    pub fn set_compressed(&self, count: usize) {
        self.compressed.store(count as u64, Relaxed);
    }

    /// Counts clients that were closed because all clients together held too much, or a message took too long.
    pub fn count_shed(&self, clients: usize) {
        add(&self.hot.shed, clients);
    }

    /// Counts a message that was dropped because its client reads too slowly.
    pub fn count_dropped(&self) {
        add(&self.dropped, 1);
    }

    /// Notes that clients have had to wait for their turn.
    pub fn note_lag(&self, lag: Duration) {
        let (count, ms) =
            ((self.hot.lag.load(Relaxed) >> 32) + 1, lag.as_millis().min(u32::MAX.into()) as u64);
        self.hot.lag.store(count << 32 | ms, Relaxed);
    }

    /// Records where code is, for [`Crash::modules`], after each load of a library. Modules that do not fit are left
    /// out.
    pub fn set_modules(&self, modules: &[Module]) {
        self.modules.write(&modules.iter().map(Module::line).collect::<String>());
    }

    /// Records a crash. Async-signal-safe.
    pub(crate) fn begin_crash(&self, fault: &Fault) {
        self.crash.begin(fault);
    }

    /// Adds a return address. False: the record is full. Async-signal-safe.
    pub(crate) fn add_frame(&self, address: u64) -> bool {
        self.crash.add_frame(address)
    }
}

/// The parent's side.
impl Slot {
    /// Clears what the last worker wrote, before the next one starts.
    pub fn clear(&self) {
        let hot = &self.hot;
        let seen = [&hot.now, &hot.clients, &hot.accepted, &hot.heartbeat];
        let load = [&hot.lag, &hot.receive_memory, &hot.send_memory, &hot.shed];
        [seen, load].as_flattened().iter().for_each(|word| word.store(0, Relaxed));
        [&self.dropped, &self.compressed].iter().for_each(|word| word.store(0, Relaxed));
        self.limits.clear();
        self.crash.clear();
        self.labels.iter().for_each(|label| label.write(""));
        self.modules.write("");
    }

    /// The callback that runs, or ran when the worker died. None: no callback.
    pub fn running(&self) -> Option<RunningCallback> {
        let (sequence, handler, _) = self.now()?;
        Some(RunningCallback { sequence, label: self.label(handler) })
    }

    /// The number of the running callback, the index of its code, and whether it waits.
    pub(super) fn now(&self) -> Option<(u64, u64, bool)> {
        let now = self.hot.now.load(Relaxed);
        (now & BUSY != 0).then_some((now >> SEQUENCE_SHIFT, now & INDEX, now & WAITING != 0))
    }

    /// Changes with each call of [`Slot::note_lag`]; 0 before the first. Also how long clients waited.
    pub fn lag(&self) -> (u64, Duration) {
        let lag = self.hot.lag.load(Relaxed);
        (lag, Duration::from_millis(lag & u64::from(u32::MAX)))
    }

    /// What shows that the worker runs.
    pub(super) fn pulse(&self) -> Pulse {
        let now = self.hot.now.load(Relaxed);
        Pulse {
            heartbeat: self.hot.heartbeat.load(Relaxed),
            callbacks: now >> SEQUENCE_SHIFT,
            is_in_callback: now & BUSY != 0,
            is_waiting: now & WAITING != 0,
        }
    }

    /// The label of the code behind an index.
    pub fn label(&self, index: u64) -> CodeLabel {
        let Some(text) = self.labels.get(index as usize) else { return CodeLabel::default() };
        let text = text.read();
        let mut fields = text.splitn(4, '\n').map(sanitize_line);
        let generation = fields.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let [kind, plugin, name] = from_fn(|_| fields.next().unwrap_or_default());
        CodeLabel { plugin, kind, name, generation }
    }

    /// Clients, upgraded or not.
    pub fn clients(&self) -> usize {
        usize::try_from(self.hot.clients.load(Relaxed)).unwrap_or(usize::MAX)
    }

    /// Connections whose messages are compressed.
    pub fn compressed(&self) -> usize {
        usize::try_from(self.compressed.load(Relaxed)).unwrap_or(usize::MAX)
    }

    pub fn counters(&self) -> Counters {
        let hot = &self.hot;
        Counters {
            callbacks: hot.now.load(Relaxed) >> SEQUENCE_SHIFT,
            accepted: hot.accepted.load(Relaxed),
            shed: hot.shed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            receive_memory: hot.receive_memory.load(Relaxed),
            send_memory: hot.send_memory.load(Relaxed),
        }
    }

    /// What the crash handler recorded.
    pub fn crash(&self) -> Option<Crash> {
        let modules = || self.modules.read().split_inclusive('\n').filter_map(Module::parse).collect();
        self.crash.read(modules)
    }
}

/// Increments a counter that no other thread writes.
#[inline]
fn add(counter: &AtomicU64, n: impl TryInto<u64>) {
    counter.store(counter.load(Relaxed).wrapping_add(n.try_into().unwrap_or(0)), Relaxed);
}
