//! Listening sockets that the service manager has bound: descriptors from 3 on, their number in LISTEN_FDS, their names
//! in LISTEN_FDNAMES, and in LISTEN_PID the process that they are for.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

pub const LISTEN_PID: &str = "LISTEN_PID";
pub const LISTEN_FDS: &str = "LISTEN_FDS";
pub const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// The first descriptor; those before it are the standard streams.
const FIRST: RawFd = 3;
/// Name of a socket if there are no names.
const UNKNOWN: &str = "unknown";

/// A listening socket that the service manager has bound.
#[derive(Debug)]
pub struct Passed {
    /// `FileDescriptorName=` of the socket unit; by default the unit's name.
    pub name: String,
    pub socket: OwnedFd,
}

/// Takes the sockets that are for this process. Err: one of them cannot be used, and why.
pub fn passed(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Passed>, String> {
    let names = names(pid, variable)?;
    let taken = (FIRST..).zip(names).map(|(descriptor, name)| {
        let socket = take(descriptor).map_err(|error| {
            format!(
                "descriptor {descriptor}, which {LISTEN_FDS} counts as socket `{name}`, is not open: {error}"
            )
        })?;
        Ok(Passed { name, socket })
    });
    // All are taken before one of them is checked: no child may inherit any.
    let taken: Vec<_> = taken.collect::<Result<_, String>>()?;
    taken.iter().try_for_each(|passed| {
        is_usable(&passed.socket).then_some(()).ok_or_else(|| {
            format!(
                "`{}`, which the service manager has passed ({LISTEN_FDS}), is no listening TCP or Unix socket; use \
                 ListenStream= and Accept=no in its socket unit",
                passed.name
            )
        })
    })?;
    Ok(taken)
}

/// The names of the sockets that are for the process `pid`.
fn names(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let (Some(of), Some(count)) = (variable(LISTEN_PID), variable(LISTEN_FDS)) else { return Ok(Vec::new()) };
    if of.parse() != Ok(pid) {
        return Ok(Vec::new());
    }
    let count =
        count.parse::<u16>().map_err(|_| format!("{LISTEN_FDS} is `{count}`, and no number of sockets"))?;
    let names = match variable(LISTEN_FDNAMES) {
        Some(names) if count > 0 => names.split(':').map(str::to_owned).collect(),
        _ => vec![UNKNOWN.to_owned(); count.into()],
    };
    if names.len() != usize::from(count) {
        return Err(format!("{LISTEN_FDNAMES} has {} names for {count} sockets ({LISTEN_FDS})", names.len()));
    }
    Ok(names)
}

/// Takes a descriptor that this process has inherited. No child inherits it.
fn take(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only looks at the descriptor. One that is not open is an error.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and the service manager has passed it for this process to own. Nothing in this
    // process uses it: `super::adopt`, which comes first of all, takes it once.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    Ok(socket)
}

fn is_usable(socket: &OwnedFd) -> bool {
    let is_stream = socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM);
    let families = [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX];
    let has_family = socket_domain(socket).is_ok_and(|family| families.contains(&family));
    is_stream && has_family && socket_acceptconn(socket).is_ok_and(|listens| listens)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn names_of(variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let value =
            |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        names(7, value)
    }

    #[test]
    fn only_sockets_for_this_process_count() {
        let none = Ok(Vec::new());
        assert_eq!(names_of(&[]), none);
        assert_eq!(names_of(&[("LISTEN_FDS", "1")]), none);
        assert_eq!(names_of(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "8")]), none);
        assert_eq!(names_of(&[("LISTEN_PID", "7")]), none);
        assert_eq!(names_of(&[("LISTEN_FDS", "0"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "")]), none);
        let two = names_of(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "7")]);
        assert_eq!(two, Ok(vec!["unknown".to_owned(), "unknown".to_owned()]));
        let named =
            names_of(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "web:app.socket")]);
        assert_eq!(named, Ok(vec!["web".to_owned(), "app.socket".to_owned()]));
    }

    #[test]
    fn variables_that_contradict_each_other_are_rejected() {
        let error = names_of(&[("LISTEN_FDS", "many"), ("LISTEN_PID", "7")]).expect_err("no number");
        assert_eq!(error, "LISTEN_FDS is `many`, and no number of sockets");
        let error = names_of(&[("LISTEN_FDS", "3"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "a:b")]);
        assert_eq!(
            error.expect_err("one is missing"),
            "LISTEN_FDNAMES has 2 names for 3 sockets (LISTEN_FDS)"
        );
    }

    #[test]
    fn only_listening_stream_sockets_are_usable() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(tcp.local_addr().expect("it is bound")).expect("it listens");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let folder = tempfile::tempdir().expect("a folder can be made");
        let unix = UnixListener::bind(folder.path().join("a.sock")).expect("it is free");
        let file = std::fs::File::open("/dev/null").expect("it is there");
        assert!(is_usable(&tcp.into()) && is_usable(&unix.into()));
        assert!(!is_usable(&client.into()) && !is_usable(&udp.into()) && !is_usable(&file.into()));
    }
}
