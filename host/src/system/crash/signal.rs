//! The worker's signal handler, and what it needs beforehand. The handler takes no lock, allocates nothing and calls no
//! Rust library function that could, because it may interrupt malloc.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering::SeqCst};

use libc::{SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS};

use crate::system::scoreboard::{Fault, Module, Slot};
use registers::{instruction, return_to_caller, system_call};

/// Bytes of the stack that the handler runs on.
const STACK: usize = 64 * 1024;
/// Bytes of inaccessible memory below that stack: a handler that overflows it faults.
const GUARD: usize = 64 * 1024;
/// A fault within this distance of the end of the stack counts as a stack overflow: the kernel keeps 1 MiB free below
/// the main thread's stack.
const OVERFLOW_BELOW: usize = 1024 * 1024;
const OVERFLOW_ABOVE: usize = 4096;
/// Seconds after which SIGALRM ends a handler that hangs.
const HANDLER_SECONDS: u32 = 2;

static SLOT: AtomicPtr<Slot> = AtomicPtr::new(null_mut());
/// The process and the thread that installed the handler, and the lowest address of that thread's stack.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static THREAD: AtomicUsize = AtomicUsize::new(0);
static STACK_LOW: AtomicUsize = AtomicUsize::new(0);
/// The thread that runs the handler, and the signal that it handles.
static CRASHING: AtomicUsize = AtomicUsize::new(0);
static FATAL: AtomicI32 = AtomicI32::new(0);

// The unwinder of the standard library, which links it for panics.
unsafe extern "C" {
    fn _Unwind_Backtrace(frame: extern "C" fn(*mut c_void, *mut c_void) -> c_int, walk: *mut c_void)
    -> c_int;
    fn _Unwind_GetIP(frame: *mut c_void) -> usize;
}

/// Records crashes of this process in `slot`. Call it once, on the worker's thread.
pub fn install(slot: &'static Slot) -> io::Result<()> {
    SLOT.store(std::ptr::from_ref(slot).cast_mut(), SeqCst);
    PROCESS.store(std::process::id(), SeqCst);
    THREAD.store(this_thread(), SeqCst);
    STACK_LOW.store(stack_low(), SeqCst);
    alternate_stack()?;
    // A first call, outside of the handler, because the unwinder may initialize itself. No frame matches, so nothing is
    // recorded.
    backtrace(usize::MAX, 0);
    for signal in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT] {
        handle(signal)?;
    }
    slot.set_modules(&modules());
    Ok(())
}

/// Records system calls that a filter forbids. Call it after [`install`].
#[cfg(target_os = "linux")]
pub fn report_system_calls() -> io::Result<()> {
    handle(SIGSYS)
}

fn handle(signal: c_int) -> io::Result<()> {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_signal;
    // SAFETY: all zeros is a valid `sigaction`, a C struct of integers and a pointer-sized handler.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO requires, and is a function, which lives for ever.
    check(unsafe { libc::sigaction(signal, &action, null_mut()) })
}

/// Gives the handler a stack of its own: a stack overflow leaves none on the thread's.
fn alternate_stack() -> io::Result<()> {
    let (flags, access) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping at an address that the kernel chooses replaces no other mapping, and is never unmapped.
    // `start` is inside of it, with `STACK` bytes behind it.
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
    // SAFETY: `pthread_self` has no preconditions.
    unsafe { libc::pthread_self() as usize }
}

extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // A child that a plugin forked is not the worker, and must not write to its slot; one of vfork shares all memory with it.
    if std::process::id() != PROCESS.load(SeqCst) {
        die(signal);
    }
    let thread = this_thread();
    match CRASHING.compare_exchange(0, thread, SeqCst, SeqCst) {
        Ok(_) => {}
        // The handler itself faulted, or took too long.
        Err(first) if first == thread || signal == SIGALRM => die(FATAL.load(SeqCst)),
        // Another thread crashed first and is about to end the process.
        Err(_) => loop {
            // SAFETY: `pause` has no preconditions.
            unsafe { libc::pause() };
        },
    }
    FATAL.store(signal, SeqCst);
    limit_time();
    // SAFETY: `install` stores a `&'static Slot` before it installs this handler.
    let slot = unsafe { &*SLOT.load(SeqCst) };
    // SAFETY: the kernel passes a valid `siginfo_t` for the time of this call.
    // `si_addr` may be read for any signal: the field exists, and is used only for faults.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let is_sent = code <= 0;
    let worker_thread = thread == THREAD.load(SeqCst);
    let low = STACK_LOW.load(SeqCst);
    let no_access = matches!(signal, SIGSEGV | SIGBUS) && !is_sent;
    let overflow = no_access && worker_thread && {
        (low.saturating_sub(OVERFLOW_BELOW)..low + OVERFLOW_ABOVE).contains(&address)
    };
    // SAFETY: the kernel passes a valid `ucontext_t` as third argument, for the time of this call; no other code
    // accesses it.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let pc = instruction(context);
    let (address, argument) = if signal == SIGSYS { system_call(context) } else { (address as u64, 0) };
    slot.begin_crash(&Fault { signal, code, address, argument, pc: pc as u64, overflow, worker_thread });
    slot.add_frame(pc as u64);
    if no_access && pc as u64 == address {
        // The thread jumped to an address without code, most likely by a call: the walk begins at the caller.
        // SAFETY: a fault in there calls this handler again, which then ends the process.
        unsafe { return_to_caller(context) };
    }
    backtrace(instruction(context), pc);
    die(signal);
}

/// Bounds the time of the handler, which may hang, for instance in a lock of the unwinder.
fn limit_time() {
    _ = handle(SIGALRM);
    block(libc::SIG_UNBLOCK, SIGALRM);
    // SAFETY: `alarm` has no preconditions.
    unsafe { libc::alarm(HANDLER_SECONDS) };
}

/// Ends the process with this signal, as if it had no handler.
fn die(signal: c_int) -> ! {
    // SAFETY: `signal` is async-signal-safe, and SIG_DFL is a valid disposition.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    block(libc::SIG_UNBLOCK, signal);
    // SAFETY: both are async-signal-safe and have no preconditions.
    unsafe {
        libc::raise(signal);
        libc::_exit(128 + signal)
    }
}

fn block(how: c_int, signal: c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `sigemptyset` initializes the set before it is used; all three are async-signal-safe.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(how, set.as_ptr(), null_mut());
    }
}

struct Walk {
    /// The address at which the interrupted code continues. Frames before it belong to the handler.
    from: usize,
    /// An address that is recorded already.
    pc: usize,
    has_begun: bool,
}

/// Records `from`, unless it is `pc`, and the return addresses of its callers.
fn backtrace(from: usize, pc: usize) {
    // On a platform whose registers are unknown, the frames of the handler are recorded too.
    let mut walk = Walk { from, pc, has_begun: from == 0 };
    // SAFETY: the unwinder calls `on_frame` with `walk`, which outlives this call. It reads the stack according to its
    // tables; a damaged stack can make it fault, which calls the handler again, and that ends the process.
    unsafe { _Unwind_Backtrace(on_frame, (&raw mut walk).cast()) };
}

extern "C" fn on_frame(frame: *mut c_void, walk: *mut c_void) -> c_int {
    const CONTINUE: c_int = 0;
    const STOP: c_int = 4;
    // SAFETY: `backtrace` passes a `Walk` that it does not access meanwhile.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: the unwinder passes a valid frame for the time of this call.
    let address = unsafe { _Unwind_GetIP(frame) };
    if address == 0 {
        // The outermost frame of the thread.
        return STOP;
    }
    let first = !walk.has_begun && address == walk.from;
    walk.has_begun |= first;
    if !walk.has_begun || (first && address == walk.pc) {
        return CONTINUE;
    }
    // SAFETY: `install` stores a `&'static Slot` before it calls `backtrace`.
    let slot = unsafe { &*SLOT.load(SeqCst) };
    if slot.add_frame(address as u64) { CONTINUE } else { STOP }
}

// The registers of the interrupted code.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod registers {
    use libc::{REG_RAX, REG_RDI, REG_RIP, REG_RSP, ucontext_t};

    /// The interrupted instruction.
    pub fn instruction(context: &ucontext_t) -> usize {
        context.uc_mcontext.gregs[REG_RIP as usize] as usize
    }

    /// Number and first argument of the system call that was interrupted.
    pub fn system_call(context: &ucontext_t) -> (u64, u64) {
        let registers = &context.uc_mcontext.gregs;
        (registers[REG_RAX as usize].cast_unsigned(), registers[REG_RDI as usize].cast_unsigned())
    }

    /// Undoes a call to an address without code.
    ///
    /// # Safety
    /// The signal handler must be installed: it ends the process if the stack pointer is invalid.
    pub unsafe fn return_to_caller(context: &mut ucontext_t) {
        let registers = &mut context.uc_mcontext.gregs;
        let stack = registers[REG_RSP as usize] as *const i64;
        // SAFETY: an invalid pointer faults, which the caller's handler handles.
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

    /// Number and first argument of the system call that was interrupted.
    pub fn system_call(context: &ucontext_t) -> (u64, u64) {
        (context.uc_mcontext.regs[8], context.uc_mcontext.regs[0])
    }

    /// Undoes a call to an address without code.
    ///
    /// # Safety
    /// Safe on this platform: the link register has the address.
    pub unsafe fn return_to_caller(context: &mut ucontext_t) {
        context.uc_mcontext.pc = context.uc_mcontext.regs[30];
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod registers {
    use libc::ucontext_t;

    /// Unknown on this platform.
    pub fn instruction(_: &ucontext_t) -> usize {
        0
    }

    /// Unknown on this platform.
    pub fn system_call(_: &ucontext_t) -> (u64, u64) {
        (0, 0)
    }

    /// # Safety
    /// Safe on this platform: it does nothing.
    pub unsafe fn return_to_caller(_: &mut ucontext_t) {}
}

/// The lowest address of this thread's stack; 0 if it is unknown.
#[cfg(target_os = "linux")]
fn stack_low() -> usize {
    let mut attributes = MaybeUninit::uninit();
    let (mut low, mut size) = (null_mut(), 0);
    // SAFETY: `pthread_getattr_np` initializes the attributes if it returns 0, and they are used only then. The other
    // pointers are to local variables.
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

/// The code that this process has loaded: the program, then the libraries, the most recent first.
#[cfg(target_os = "linux")]
pub fn modules() -> Vec<Module> {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: usize, modules: *mut c_void) -> c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid `info`, and the vector below, which no other code accesses
        // meanwhile.
        let (info, modules) = unsafe { (&*info, &mut *modules.cast::<Vec<Module>>()) };
        // SAFETY: the loader describes the program headers of a loaded module, which it keeps loaded during this call.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let bias = info.dlpi_addr;
        let start = loaded.clone().map(|header| bias.wrapping_add(header.p_vaddr)).min();
        let end = loaded.map(|header| bias.wrapping_add(header.p_vaddr.wrapping_add(header.p_memsz))).max();
        let path = if modules.is_empty() {
            // The loader has no name for the program.
            std::env::current_exe().unwrap_or_default().to_string_lossy().into_owned()
        } else {
            // SAFETY: the loader's name of a module is a C string.
            unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
        };
        modules.push(Module { start: start.unwrap_or(0), end: end.unwrap_or(0), bias, path });
        0
    }
    let mut modules = Vec::new();
    // SAFETY: `dl_iterate_phdr` calls `add` with the vector only before it returns.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut modules).cast()) };
    modules[1..].reverse();
    modules
}

/// Unknown on this platform.
#[cfg(not(target_os = "linux"))]
pub fn modules() -> Vec<Module> {
    Vec::new()
}
