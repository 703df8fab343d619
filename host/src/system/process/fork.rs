//! Children that a plugin forks in a worker. A forked child has copies of the worker's descriptors and of its event
//! loop, and must not serve clients with them. [`watch`] has libc call [`on_fork`] in every such child. That marks the
//! child as forked, closes the worker's sockets in it, so that the port and the clients stay the worker's alone, and
//! gives signals that the host handles their default effect. The callers of plugin code check [`is_forked`] when the code
//! returns, and end a child that returned with [`end_returned`].
//!
//! Only `fork` calls [`on_fork`]. `posix_spawn`, `system` and `popen` need no such call, because exec closes the
//! worker's descriptors. A child of a bare `clone` system call goes unnoticed.
//!
//! Invariant: [`on_fork`] is async-signal-safe: it makes system calls and reads atomics, and nothing else.

use std::ffi::c_int;
use std::fmt::Display;
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::null;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::Relaxed};

use libc::{sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t};
use rustix::process::Signal;

use crate::system::log as logging;
use crate::system::signals::HANDLED;

/// Exit status of a child that returned from plugin code.
const RETURNED: c_int = 1;

static FORKED: AtomicBool = AtomicBool::new(false);
/// The sockets to close in a child. Set before the handler is registered.
static SOCKETS: OnceLock<Sockets> = OnceLock::new();
/// No socket of a client has a higher descriptor.
static HIGHEST: AtomicI32 = AtomicI32::new(-1);

/// The host's handler for signals, the same for all of them. 0: there is none yet.
static HANDLER: AtomicUsize = AtomicUsize::new(0);

struct Sockets {
    /// The link to the parent, and the pipe of the access log.
    links: Vec<RawFd>,
    /// The addresses of the listening sockets, which their clients' sockets share.
    listening: Vec<Address>,
    /// Those of sockets that were added later. None is removed, because clients may stay.
    more: OnceLock<Box<Later>>,
}

/// An address, and the next ones: a list that grows while a child may read it.
struct Later {
    address: Address,
    next: OnceLock<Box<Later>>,
}

impl Sockets {
    fn addresses(&self) -> impl Iterator<Item = &Address> {
        let later = std::iter::successors(self.more.get(), |later| later.next.get());
        self.listening.iter().chain(later.map(|later| &later.address))
    }
}

// libc declares it for other systems only.
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
}

/// Watches for forked children from now on. In each of them, `links`, the listening sockets and all sockets of their
/// clients are closed. Call it once, before any plugin code runs.
pub fn watch(links: &[BorrowedFd<'_>], listeners: &[BorrowedFd<'_>]) -> io::Result<()> {
    let listening = listeners.iter().filter_map(|listener| Address::of(listener.as_raw_fd())).collect();
    let links = links.iter().map(AsRawFd::as_raw_fd).collect();
    if SOCKETS.set(Sockets { links, listening, more: OnceLock::new() }).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    listeners.iter().for_each(|listener| add_socket(listener.as_raw_fd()));
    // SAFETY: `on_fork` is a function, which lives for ever, and needs nothing that a forked child lacks.
    match unsafe { pthread_atfork(None, None, Some(on_fork)) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// From now on, forked children close this listening socket and those of its clients, too.
pub fn add_listening(listener: &impl AsRawFd) {
    add_socket(listener.as_raw_fd());
    let (Some(sockets), Some(address)) = (SOCKETS.get(), Address::of(listener.as_raw_fd())) else { return };
    if sockets.addresses().any(|known| known.covers(&address)) {
        return;
    }
    let mut end = &sockets.more;
    while let Some(later) = end.get() {
        end = &later.next;
    }
    // One thread adds sockets.
    let _ = end.set(Box::new(Later { address, next: OnceLock::new() }));
}

/// From now on, the host's handlers of signals do not outlive a fork. Call it when the host handles SIGXFSZ.
pub fn watch_signals() {
    HANDLER.store(handler(libc::SIGXFSZ), Relaxed);
}

/// The address of the handler of a signal.
fn handler(signal: c_int) -> usize {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the kernel's answer is written to `action`, a C struct for which all zeros is valid.
    unsafe {
        libc::sigaction(signal, null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction
    }
}

/// Counts a client's socket, or a listening socket, to those that are closed in forked children.
pub fn add_socket(descriptor: RawFd) {
    HIGHEST.fetch_max(descriptor, Relaxed);
}

/// Whether this process is a child that a plugin forked.
#[inline]
pub fn is_forked() -> bool {
    FORKED.load(Relaxed)
}

/// Ends a child that returned from plugin code, and logs why.
#[cold]
pub fn end_returned(code: &dyn Display) -> ! {
    let process = std::process::id();
    logging::print_in_child(&format!(
        "{code} forked process {process}, which returned from the plugin's code; it ends now. A forked child must call \
         exec or _exit"
    ));
    // SAFETY: `_exit` has no preconditions. It runs no code of the worker or of other plugins.
    unsafe { libc::_exit(RETURNED) }
}

/// Called by libc in a forked child, before `fork` returns there.
extern "C" fn on_fork() {
    // A child of a child has none of the sockets, and their numbers may be those of its own files.
    if FORKED.swap(true, Relaxed) {
        return;
    }
    let host = HANDLER.load(Relaxed);
    // The child has no event loop that would act on a signal, and could only be killed. Handlers of plugins stay.
    let handled = HANDLED.into_iter().map(Signal::as_raw).chain([libc::SIGXFSZ]);
    for signal in handled.filter(|signal| host != 0 && handler(*signal) == host) {
        // SAFETY: SIG_DFL is a valid disposition.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let Some(sockets) = SOCKETS.get() else { return };
    for descriptor in 0..=HIGHEST.load(Relaxed) {
        if Address::of(descriptor)
            .is_some_and(|own| sockets.addresses().any(|listening| listening.covers(&own)))
        {
            close(descriptor);
        }
    }
    sockets.links.iter().for_each(|&link| close(link));
}

fn close(descriptor: RawFd) {
    // SAFETY: the descriptor belongs to the worker. In this process, no Rust value that owns it is used or dropped any
    // more: the host's functions that send fail here, and `end_returned` drops nothing.
    unsafe { libc::close(descriptor) };
}

/// The address that a socket is bound to.
struct Address {
    storage: sockaddr_storage,
    length: usize,
}

impl Address {
    /// None: the descriptor is not that of a socket.
    fn of(descriptor: RawFd) -> Option<Self> {
        let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
        let mut length = size_of::<sockaddr_storage>() as socklen_t;
        // SAFETY: the kernel writes an address of at most `length` bytes to `storage`. A descriptor that is not open is
        // an error.
        let result = unsafe { libc::getsockname(descriptor, storage.as_mut_ptr().cast(), &mut length) };
        // SAFETY: all zeros is a valid `sockaddr_storage`, and so are the bytes that the kernel wrote over them.
        (result == 0).then(|| Self { storage: unsafe { storage.assume_init() }, length: length as usize })
    }

    /// Whether a listening socket at this address accepted a socket at `other`, or is that socket.
    fn covers(&self, other: &Self) -> bool {
        if self.storage.ss_family != other.storage.ss_family {
            return false;
        }
        match c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                let (ours, theirs) = (self.read::<sockaddr_in>(), other.read::<sockaddr_in>());
                let any = ours.sin_addr.s_addr == libc::INADDR_ANY;
                ours.sin_port == theirs.sin_port && (any || ours.sin_addr.s_addr == theirs.sin_addr.s_addr)
            }
            libc::AF_INET6 => {
                let (ours, theirs) = (self.read::<sockaddr_in6>(), other.read::<sockaddr_in6>());
                let any = ours.sin6_addr.s6_addr == [0; 16];
                ours.sin6_port == theirs.sin6_port
                    && (any || ours.sin6_addr.s6_addr == theirs.sin6_addr.s6_addr)
            }
            libc::AF_UNIX => {
                // A socket without a path is only as long as its family.
                let (ours, theirs) = (self.read::<sockaddr_un>(), other.read::<sockaddr_un>());
                let has_path = self.length > offset_of!(sockaddr_un, sun_path);
                has_path && self.length == other.length && ours.sun_path == theirs.sun_path
            }
            _ => false,
        }
    }

    /// The address as `T`, a C struct of integers that is no longer than `sockaddr_storage`.
    fn read<T: Copy>(&self) -> T {
        const { assert!(size_of::<T>() <= size_of::<sockaddr_storage>()) };
        // SAFETY: `storage` is as long as `T`, aligned for every kind of address, and initialized; every bit pattern is
        // a valid struct of integers.
        unsafe { (&raw const self.storage).cast::<T>().read() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn address(socket: &impl AsRawFd) -> Address {
        Address::of(socket.as_raw_fd()).expect("a socket has an address")
    }

    #[test]
    fn a_listening_socket_covers_itself_and_its_clients_and_no_other_socket() {
        for bind in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(bind) else { continue }; // there may be no IPv6
            let other = TcpListener::bind(bind).expect("another port is free");
            let connect = |listener: &TcpListener| {
                let client =
                    TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
                (client, listener.accept().expect("a client is there").0)
            };
            let ((client, accepted), (_client, other_accepted)) = (connect(&listener), connect(&other));
            let ours = address(&listener);
            assert!(ours.covers(&address(&listener)) && ours.covers(&address(&accepted)), "{bind}");
            assert!(!ours.covers(&address(&client)), "{bind}");
            assert!(!ours.covers(&address(&other)) && !ours.covers(&address(&other_accepted)), "{bind}");
        }
    }

    #[test]
    fn a_unix_socket_is_known_by_its_path() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let [path, other] = ["a.sock", "b.sock"].map(|name| folder.path().join(name));
        let (listener, other) = (UnixListener::bind(&path), UnixListener::bind(other));
        let (listener, other) = (listener.expect("it is free"), other.expect("it is free"));
        let client = UnixStream::connect(&path).expect("it listens");
        let accepted = listener.accept().expect("a client is there").0;
        let (pair, _other_end) = UnixStream::pair().expect("a pair of sockets");
        let ours = address(&listener);
        assert!(ours.covers(&address(&listener)) && ours.covers(&address(&accepted)));
        assert!(!ours.covers(&address(&client)) && !ours.covers(&address(&other)));
        assert!(!ours.covers(&address(&pair)) && !address(&pair).covers(&address(&client)));
    }

    #[test]
    fn a_file_has_no_address() {
        let file = std::fs::File::open("/dev/null").expect("it is there");
        assert!(Address::of(file.as_raw_fd()).is_none() && Address::of(-1).is_none());
    }
}
