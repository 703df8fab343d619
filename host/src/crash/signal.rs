//! The worker's signal handler, and what it needs to know beforehand. In the handler there are no locks, no
//! allocations and no Rust library calls that could have them: it may run inside malloc.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering::SeqCst};

use libc::{SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV};

use crate::board::{Fault, Module, Slot};
use registers::{instruction, return_to_caller};

/// Bytes of the handler's own stack.
const STACK: usize = 64 * 1024;
/// Below it, so that a handler that needs more dies instead of writing elsewhere.
const GUARD: usize = 64 * 1024;
/// A fault that near to the end of the stack is one of running out of it: the kernel keeps 1 MiB free below
/// the main thread's.
const OVERFLOW_BELOW: usize = 1024 * 1024;
const OVERFLOW_ABOVE: usize = 4096;
/// Seconds after which a handler that does not end is ended.
const PATIENCE: u32 = 2;

static SLOT: AtomicPtr<Slot> = AtomicPtr::new(null_mut());
/// The process and the thread that have installed the handler, and the lowest address of that thread's stack.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static THREAD: AtomicUsize = AtomicUsize::new(0);
static STACK_LOW: AtomicUsize = AtomicUsize::new(0);
/// The thread that is in the handler, and for which signal.
static CRASHING: AtomicUsize = AtomicUsize::new(0);
static FATAL: AtomicI32 = AtomicI32::new(0);

// The unwinder that panics use as well; the standard library links it.
unsafe extern "C" {
    fn _Unwind_Backtrace(frame: extern "C" fn(*mut c_void, *mut c_void) -> c_int, walk: *mut c_void)
    -> c_int;
    fn _Unwind_GetIP(frame: *mut c_void) -> usize;
}

/// Has crashes of this process written to `slot`. Once, on the worker's thread.
pub fn install(slot: &'static Slot) -> io::Result<()> {
    SLOT.store(std::ptr::from_ref(slot).cast_mut(), SeqCst);
    PROCESS.store(std::process::id(), SeqCst);
    THREAD.store(this_thread(), SeqCst);
    STACK_LOW.store(stack_low(), SeqCst);
    alternate_stack()?;
    // Whatever the unwinder does on its first call has then been done. It finds nothing to write.
    backtrace(usize::MAX, 0);
    for signal in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT] {
        handle(signal)?;
    }
    slot.set_modules(&modules());
    Ok(())
}

fn handle(signal: c_int) -> io::Result<()> {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
    // SAFETY: all zeros is an empty `sigaction`.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for.
    check(unsafe { libc::sigaction(signal, &action, null_mut()) })
}

/// The stack of this thread may be used up when the handler runs.
fn alternate_stack() -> io::Result<()> {
    let (flags, access) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping at a place of the kernel's choice, which is never unmapped; then its upper part,
    // by its own address.
    unsafe {
        let guard = libc::mmap(null_mut(), GUARD + STACK, libc::PROT_NONE, flags, -1, 0);
        if guard == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = guard.byte_add(GUARD);
        check(libc::mprotect(start, STACK, access))?;
        check(libc::sigaltstack(&libc::stack_t { ss_sp: start, ss_flags: 0, ss_size: STACK }, null_mut()))
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn this_thread() -> usize {
    // SAFETY: no conditions.
    unsafe { libc::pthread_self() as usize }
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let thread = this_thread();
    match CRASHING.compare_exchange(0, thread, SeqCst, SeqCst) {
        Ok(_) => {}
        // The handler itself has failed, or takes too long.
        Err(first) if first == thread || signal == SIGALRM => die(FATAL.load(SeqCst)),
        // Another thread is about to end the process.
        Err(_) => loop {
            // SAFETY: no conditions.
            unsafe { libc::pause() };
        },
    }
    FATAL.store(signal, SeqCst);
    limit_time();
    // SAFETY: `install` has set it, to a slot that lives for ever.
    let slot = unsafe { &*SLOT.load(SeqCst) };
    // SAFETY: the kernel has passed them, for the time of this call.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // A child that a plugin has forked is not the worker.
    if std::process::id() == PROCESS.load(SeqCst) {
        let sent = code <= 0;
        let worker_thread = thread == THREAD.load(SeqCst);
        let low = STACK_LOW.load(SeqCst);
        let no_access = matches!(signal, SIGSEGV | SIGBUS) && !sent;
        let overflow = no_access && worker_thread && {
            (low.saturating_sub(OVERFLOW_BELOW)..low + OVERFLOW_ABOVE).contains(&address)
        };
        // SAFETY: the third argument of a handler is a `ucontext_t`, for the time of this call.
        let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
        let pc = instruction(context);
        slot.begin_crash(&Fault {
            signal,
            code,
            address: address as u64,
            pc: pc as u64,
            overflow,
            worker_thread,
        });
        slot.add_frame(pc as u64);
        if no_access && pc == address {
            // No code is there; with luck it was called, and the stack can be walked from the caller.
            // SAFETY: a fault calls this handler again, which then gives up.
            unsafe { return_to_caller(context) };
        }
        backtrace(instruction(context), pc);
    }
    die(signal);
}

/// The signal must end the process even if the handler hangs, say in a lock of the unwinder.
fn limit_time() {
    _ = handle(SIGALRM);
    block(libc::SIG_UNBLOCK, SIGALRM);
    // SAFETY: no conditions.
    unsafe { libc::alarm(PATIENCE) };
}

/// Ends the process by this signal, as if there were no handler.
fn die(signal: c_int) -> ! {
    // SAFETY: async-signal-safe functions without conditions.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    block(libc::SIG_UNBLOCK, signal);
    // SAFETY: as above.
    unsafe {
        libc::raise(signal);
        libc::_exit(128 + signal)
    }
}

fn block(how: c_int, signal: c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is initialized by `sigemptyset`; the functions are async-signal-safe.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(how, set.as_ptr(), null_mut());
    }
}

struct Walk {
    /// Where the interrupted code goes on: everything before it is the handler.
    from: usize,
    /// Recorded already.
    pc: usize,
    begun: bool,
}

/// Writes the return addresses of everything that has called `from`, and `from` itself unless it is `pc`.
fn backtrace(from: usize, pc: usize) {
    // Where registers cannot be read, the handler's own frames are better than none.
    let mut walk = Walk { from, pc, begun: from == 0 };
    // SAFETY: `on_frame` is called with `walk` before this returns. The unwinder reads the stack as its tables
    // say; a stack that was overwritten can make it fault, which calls the handler again.
    unsafe { _Unwind_Backtrace(on_frame, (&raw mut walk).cast()) };
}

extern "C" fn on_frame(frame: *mut c_void, walk: *mut c_void) -> c_int {
    const GO_ON: c_int = 0;
    const STOP: c_int = 4;
    // SAFETY: `backtrace` has passed it.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: the unwinder has passed it.
    let address = unsafe { _Unwind_GetIP(frame) };
    if address == 0 {
        // The thread's beginning.
        return STOP;
    }
    let first = !walk.begun && address == walk.from;
    walk.begun |= first;
    if !walk.begun || (first && address == walk.pc) {
        return GO_ON;
    }
    // SAFETY: `install` has set it, to a slot that lives for ever.
    let slot = unsafe { &*SLOT.load(SeqCst) };
    if slot.add_frame(address as u64) { GO_ON } else { STOP }
}

// The registers of the interrupted code.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod registers {
    use libc::{REG_RIP, REG_RSP, ucontext_t};

    /// The interrupted instruction.
    pub fn instruction(context: &ucontext_t) -> usize {
        context.uc_mcontext.gregs[REG_RIP as usize] as usize
    }

    /// Undoes a call that has led nowhere.
    ///
    /// # Safety
    /// A fault in here is handled: the stack pointer may point to nothing.
    pub unsafe fn return_to_caller(context: &mut ucontext_t) {
        let registers = &mut context.uc_mcontext.gregs;
        let stack = registers[REG_RSP as usize] as *const i64;
        // SAFETY: the caller's.
        registers[REG_RIP as usize] = unsafe { stack.read_unaligned() };
        registers[REG_RSP as usize] += 8;
    }
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod registers {
    use libc::ucontext_t;

    /// The interrupted instruction.
    pub fn instruction(context: &ucontext_t) -> usize {
        context.uc_mcontext.pc as usize
    }

    /// Undoes a call that has led nowhere.
    ///
    /// # Safety
    /// None here: the link register has the address.
    pub unsafe fn return_to_caller(context: &mut ucontext_t) {
        context.uc_mcontext.pc = context.uc_mcontext.regs[30];
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod registers {
    use libc::ucontext_t;

    /// Not known.
    pub fn instruction(_: &ucontext_t) -> usize {
        0
    }

    /// # Safety
    /// None here: it does nothing.
    pub unsafe fn return_to_caller(_: &mut ucontext_t) {}
}

/// The lowest address of this thread's stack; 0 where this is not known how to tell.
#[cfg(target_os = "linux")]
fn stack_low() -> usize {
    let mut attributes = MaybeUninit::uninit();
    let (mut low, mut size) = (null_mut(), 0);
    // SAFETY: the attributes are written by the first call if it returns 0, and used only then.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) == 0 {
            libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut size);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
    low as usize
}

#[cfg(not(target_os = "linux"))]
fn stack_low() -> usize {
    0
}

/// The code that this process has loaded: the program, then the libraries, the last one first.
#[cfg(target_os = "linux")]
pub fn modules() -> Vec<Module> {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: usize, modules: *mut c_void) -> c_int {
        // SAFETY: this function is called with a valid `info` and with the vector below, which nobody else uses.
        let (info, modules) = unsafe { (&*info, &mut *modules.cast::<Vec<Module>>()) };
        // SAFETY: the program headers of a module that is loaded.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let bias = info.dlpi_addr;
        let start = loaded.clone().map(|header| bias.wrapping_add(header.p_vaddr)).min();
        let end = loaded.map(|header| bias.wrapping_add(header.p_vaddr.wrapping_add(header.p_memsz))).max();
        let path = if modules.is_empty() {
            // The program has no name there.
            std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned()
        } else {
            // SAFETY: a C string.
            unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
        };
        modules.push(Module { start: start.unwrap_or(0), end: end.unwrap_or(0), bias, path });
        0
    }
    let mut modules = Vec::new();
    // SAFETY: calls `add` with the vector before it returns.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut modules).cast()) };
    modules[1..].reverse();
    modules
}

/// Not known how to tell.
#[cfg(not(target_os = "linux"))]
pub fn modules() -> Vec<Module> {
    Vec::new()
}
