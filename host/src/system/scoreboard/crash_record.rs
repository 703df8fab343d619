//! How a worker crashed: what its signal handler writes to the slot, and what the parent reads.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::module::Module;

use Ordering::{Acquire, Relaxed, Release};

/// Most return addresses of a crash.
pub const FRAMES: usize = 64;

/// How a worker crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    pub signal: i32,
    /// `si_code` of the signal: its cause. Not positive if a process sent the signal.
    pub code: i32,
    /// The address that could not be accessed or executed. None: a process sent the signal.
    /// Of SIGSYS: the number of the system call.
    pub address: Option<u64>,
    /// Of SIGSYS: the first argument of the system call.
    pub argument: u64,
    /// Address of the instruction.
    pub pc: u64,
    /// Whether the stack overflowed.
    pub overflow: bool,
    /// Whether the thread that runs callbacks crashed, not one that a plugin started.
    pub worker_thread: bool,
    /// `pc`, then return addresses from the innermost call outwards. At most [`FRAMES`]; fewer if the stack was
    /// damaged.
    pub frames: Vec<u64>,
    /// The code that addresses belong to.
    pub modules: Vec<Module>,
}

/// What the crash handler records before it walks the stack. The fields are those of [`Crash`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub signal: i32,
    pub code: i32,
    pub address: u64,
    pub argument: u64,
    pub pc: u64,
    pub overflow: bool,
    pub worker_thread: bool,
}

/// The record in shared memory. The fields are those of [`Crash`].
#[repr(C)]
#[derive(Debug)]
pub(super) struct CrashRecord {
    /// 0: no crash. Written after all other fields but `frames`.
    signal: AtomicI32,
    code: AtomicI32,
    overflow: AtomicU32,
    worker_thread: AtomicU32,
    frame_count: AtomicU32,
    address: AtomicU64,
    argument: AtomicU64,
    pc: AtomicU64,
    frames: [AtomicU64; FRAMES],
}

impl CrashRecord {
    /// No crash.
    pub const fn new() -> Self {
        Self {
            signal: AtomicI32::new(0),
            code: AtomicI32::new(0),
            overflow: AtomicU32::new(0),
            worker_thread: AtomicU32::new(0),
            frame_count: AtomicU32::new(0),
            address: AtomicU64::new(0),
            argument: AtomicU64::new(0),
            pc: AtomicU64::new(0),
            frames: [const { AtomicU64::new(0) }; FRAMES],
        }
    }

    pub fn clear(&self) {
        self.signal.store(0, Relaxed);
    }

    /// Records a crash. Async-signal-safe.
    pub fn begin(&self, fault: &Fault) {
        self.code.store(fault.code, Relaxed);
        self.address.store(fault.address, Relaxed);
        self.argument.store(fault.argument, Relaxed);
        self.pc.store(fault.pc, Relaxed);
        self.frame_count.store(0, Relaxed);
        self.overflow.store(fault.overflow.into(), Relaxed);
        self.worker_thread.store(fault.worker_thread.into(), Relaxed);
        self.signal.store(fault.signal, Release);
    }

    /// Adds a return address. False: the record is full. Async-signal-safe.
    pub fn add_frame(&self, address: u64) -> bool {
        let count = self.frame_count.load(Relaxed);
        let Some(frame) = self.frames.get(count as usize) else { return false };
        frame.store(address, Relaxed);
        self.frame_count.store(count + 1, Release);
        true
    }

    /// What the crash handler recorded. `modules` reads where code is.
    pub fn read(&self, modules: impl FnOnce() -> Vec<Module>) -> Option<Crash> {
        let signal = self.signal.load(Acquire);
        if signal == 0 {
            return None;
        }
        let code = self.code.load(Relaxed);
        let count = (self.frame_count.load(Acquire) as usize).min(FRAMES);
        Some(Crash {
            signal,
            code,
            address: (code > 0).then(|| self.address.load(Relaxed)),
            argument: self.argument.load(Relaxed),
            pc: self.pc.load(Relaxed),
            overflow: self.overflow.load(Relaxed) != 0,
            worker_thread: self.worker_thread.load(Relaxed) != 0,
            frames: self.frames[..count].iter().map(|frame| frame.load(Relaxed)).collect(),
            modules: modules(),
        })
    }
}
