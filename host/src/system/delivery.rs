//! How much of what was written to a TCP socket the client's system has acknowledged. Linux tells it; elsewhere, and for
//! other sockets, it is unknown.

use std::os::fd::BorrowedFd;

/// What was written to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes that were acknowledged since the connection began.
    pub acknowledged: u64,
    /// Bytes that were written and not acknowledged.
    pub waiting: u64,
}

/// Asks the system. None: it does not know.
#[cfg(target_os = "linux")]
pub fn of(socket: BorrowedFd<'_>) -> Option<Delivery> {
    use std::os::fd::AsRawFd;

    /// Offset of `tcpi_bytes_acked` in `struct tcp_info` of linux/tcp.h, which only grows at its end.
    const BYTES_ACKED: usize = 120;
    const END: usize = BYTES_ACKED + size_of::<u64>();

    let mut info = [0_u8; END];
    let mut length = END as libc::socklen_t;
    let mut waiting: libc::c_int = 0;
    // SAFETY: the system writes at most `length` bytes to `info`, and the number of bytes to `length`.
    let known = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if known != 0 || (length as usize) < END {
        return None;
    }
    // SAFETY: this request (SIOCOUTQ, tcp(7)) writes one int.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) } != 0 {
        return None;
    }
    let acknowledged = u64::from_ne_bytes(info[BYTES_ACKED..].try_into().ok()?);
    Some(Delivery { acknowledged, waiting: u64::try_from(waiting).ok()? })
}

/// Asks the system. None: it does not know.
#[cfg(not(target_os = "linux"))]
pub fn of(_: BorrowedFd<'_>) -> Option<Delivery> {
    None
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_the_client_takes_is_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let mut client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (mut ours, _) = listener.accept().expect("the client has connected");
        ours.set_nonblocking(true).expect("a flag");
        let mut written = 0;
        // Until both buffers are full.
        while let Ok(n) = ours.write(&[0; 1 << 16]) {
            written += n as u64;
        }
        let full = of(ours.as_fd()).expect("Linux knows it");
        assert!(full.waiting > 0);
        let mut rest = written;
        while rest > 0 {
            rest -= client.read(&mut [0; 1 << 16]).expect("more comes") as u64;
        }
        let start = Instant::now();
        while of(ours.as_fd()) != Some(Delivery { acknowledged: written, waiting: 0 }) {
            assert!(start.elapsed().as_secs() < 60, "{:?} of {written}", of(ours.as_fd()));
            std::thread::yield_now();
        }
        assert!(full.acknowledged < written);
    }

    #[test]
    fn a_unix_socket_does_not_know() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair of sockets");
        assert_eq!(of(ours.as_fd()), None);
    }
}
