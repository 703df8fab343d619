//! What carries a client's bytes. All variants behave alike: no call blocks.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt;

use crate::system::delivery::{self, Delivery};
use crate::system::process::fork;

/// Silence before the first probe of [`Transport::keep_alive`]: common proxies and NATs drop a connection that is idle
/// for longer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered probes after which the connection counts as lost.
const KEEPALIVE_PROBES: u32 = 6;

/// An open socket in non-blocking mode, or nothing.
#[derive(Debug)]
pub enum Transport {
    /// hyper owns the socket until the 101 is written, or the socket is closed.
    None,
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// Two buffers in memory.
    #[cfg(test)]
    Memory(super::memory::Pipe),
}

impl Transport {
    /// Reads what is there.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None => Err(io::ErrorKind::NotConnected.into()),
            Self::Tcp(stream) => (&mut &*stream).read(buffer),
            Self::Unix(stream) => (&mut &*stream).read(buffer),
            #[cfg(test)]
            Self::Memory(pipe) => pipe.read(buffer),
        }
    }

    /// Writes as much as the other side takes.
    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::None, _) => Err(io::ErrorKind::NotConnected.into()),
            (Self::Tcp(stream), [one]) => (&mut &*stream).write(one),
            (Self::Tcp(stream), many) => (&mut &*stream).write_vectored(many),
            (Self::Unix(stream), many) => (&mut &*stream).write_vectored(many),
            #[cfg(test)]
            (Self::Memory(pipe), many) => pipe.write(many),
        }
    }

    /// Ends our side: the client reads to the end, and can still send.
    pub fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::None => Err(io::ErrorKind::NotConnected.into()),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(test)]
            Self::Memory(pipe) => {
                pipe.shutdown();
                Ok(())
            }
        }
    }

    /// Ends both sides, before the descriptor is closed: a process that a plugin started may have a copy of it, which
    /// would keep the connection open. What was written is still sent.
    pub fn end(&self) {
        // Fails if the client has ended the connection already.
        let _ = match self {
            Self::None => Ok(()),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            #[cfg(test)]
            Self::Memory(_) => Ok(()),
        };
    }

    /// Has the system ask the client's side now and then whether it is still there; only TCP needs that. If the client
    /// is gone, the socket fails after two minutes of silence.
    pub fn keep_alive(&self) -> io::Result<()> {
        let Self::Tcp(stream) = self else { return Ok(()) };
        sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
        Ok(sockopt::set_socket_keepalive(stream, true)?)
    }

    /// How much the client's system has acknowledged. None: unknown.
    pub fn delivery(&self) -> Option<Delivery> {
        let Self::Tcp(stream) = self else { return None };
        delivery::of(stream.as_fd())
    }

    /// The descriptor, for the reactor. None where there is none.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::None => None,
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Unix(stream) => Some(stream.as_fd()),
            #[cfg(test)]
            Self::Memory(_) => None,
        }
    }

    /// Gives the descriptor away. None where there is none.
    pub fn into_descriptor(self) -> Option<OwnedFd> {
        match self {
            Self::None => None,
            Self::Tcp(stream) => Some(stream.into()),
            Self::Unix(stream) => Some(stream.into()),
            #[cfg(test)]
            Self::Memory(_) => None,
        }
    }

    /// Code of the kind of transport, for a frozen client.
    pub(super) fn kind(&self) -> Option<u8> {
        match self {
            Self::Tcp(_) => Some(1),
            Self::Unix(_) => Some(2),
            _ => None,
        }
    }

    /// The transport of that kind over a descriptor.
    pub(super) fn from_descriptor(kind: u8, descriptor: OwnedFd) -> Option<Self> {
        fork::add_socket(descriptor.as_raw_fd());
        match kind {
            1 => Some(Self::Tcp(descriptor.into())),
            2 => Some(Self::Unix(descriptor.into())),
            _ => None,
        }
    }
}
