//! What carries a client's bytes. All variants behave alike: no call blocks.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::task::Waker;
use std::time::Duration;

use rustix::net::sockopt;
use zeroize::Zeroizing;

use super::frozen::ThawError;
use super::multiplexed::Multiplexed;
use super::tls::{Layer, Read, Tls};
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
    /// TLS over TCP.
    Tls(Box<Tls>),
    /// A stream of an HTTP/2 connection (RFC 8441). It has no descriptor: it cannot be frozen.
    Multiplexed(Box<Multiplexed>),
    /// Two buffers in memory.
    #[cfg(test)]
    Memory(super::memory::Pipe),
}

impl Transport {
    /// Reads what is there.
    #[inline]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Read> {
        let size = buffer.len();
        match self {
            Self::None => Err(io::ErrorKind::NotConnected.into()),
            // A short read has emptied a TCP socket: the next bytes are a new event.
            Self::Tcp(stream) => {
                let length = (&mut &*stream).read(buffer)?;
                Ok(Read { length, is_empty: length < size })
            }
            // A read also ends where a descriptor was passed.
            Self::Unix(stream) => {
                let length = (&mut &*stream).read(buffer)?;
                Ok(Read { length, is_empty: false })
            }
            Self::Tls(tls) => tls.read(buffer),
            Self::Multiplexed(stream) => stream.read(buffer),
            #[cfg(test)]
            Self::Memory(pipe) => {
                let length = pipe.read(buffer)?;
                Ok(Read { length, is_empty: length < size })
            }
        }
    }

    /// Reads what is there, to be thrown away. 0: the client has ended its side.
    pub fn discard(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tls(tls) => (&tls.stream).read(buffer),
            _ => self.read(buffer).map(|read| read.length),
        }
    }

    /// Writes as much as the other side takes.
    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::None, _) => Err(io::ErrorKind::NotConnected.into()),
            (Self::Tcp(stream), [one]) => (&mut &*stream).write(one),
            (Self::Tcp(stream), many) => (&mut &*stream).write_vectored(many),
            (Self::Unix(stream), many) => (&mut &*stream).write_vectored(many),
            (Self::Tls(tls), many) => tls.write(many),
            (Self::Multiplexed(stream), many) => stream.write(many),
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
            Self::Tls(tls) => {
                tls.close();
                tls.stream.shutdown(Shutdown::Write)
            }
            Self::Multiplexed(stream) => stream.shutdown(),
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
            Self::Tls(tls) => tls.stream.shutdown(Shutdown::Both),
            // The stream ends when it is dropped.
            Self::Multiplexed(_) => Ok(()),
            #[cfg(test)]
            Self::Memory(_) => Ok(()),
        };
    }

    /// Has the system ask the client's side now and then whether it is still there; only TCP needs that. If the client
    /// is gone, the socket fails after two minutes of silence.
    pub fn keep_alive(&self) -> io::Result<()> {
        self.tcp().map_or(Ok(()), keep_alive)
    }

    /// How much the client's system has acknowledged. None: unknown.
    pub fn delivery(&self) -> Option<Delivery> {
        let stream = self.tcp()?;
        delivery::of(stream.as_fd())
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(tls) => Some(&tls.stream),
            _ => None,
        }
    }

    /// Memory of bytes that were read and are no data yet: the beginning of a TLS record.
    #[inline]
    pub fn received_memory(&self) -> usize {
        if let Self::Tls(tls) = self { tls.received_memory() } else { 0 }
    }

    /// Whether TLS lies over the socket.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether the first read must not wait for an event: it reports an end that lies in no socket any more, or asks a stream
    /// for its first event.
    pub fn is_to_be_read(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.has_ended(),
            Self::Multiplexed(_) => true,
            _ => false,
        }
    }

    /// Bytes that the socket is to accept for a queue of `waiting` bytes.
    pub fn length_on_wire(&self, waiting: usize) -> usize {
        if let Self::Tls(tls) = self { tls.length_on_wire(waiting) } else { waiting }
    }

    /// Memory of bytes of the queue that wait a second time, sealed.
    pub fn sealed_memory(&self) -> usize {
        if let Self::Tls(tls) = self { tls.sealed_memory() } else { 0 }
    }

    /// How many bytes at the start of the queue are sealed, and so must be written.
    pub fn sealed_data(&self) -> usize {
        if let Self::Tls(tls) = self { tls.sealed_data() } else { 0 }
    }

    /// Whether a write that would block has written a part of the sealed bytes.
    pub fn take_progressed(&self) -> bool {
        if let Self::Tls(tls) = self { tls.take_progressed() } else { false }
    }

    /// Has a stream wake these. A socket's events come from the reactor.
    pub fn set_wakers(&self, wakers: impl FnOnce() -> [Waker; 2]) {
        if let Self::Multiplexed(stream) = self {
            let [readable, writable] = wakers();
            stream.set_wakers(readable, writable);
        }
    }

    /// The descriptor, for the reactor. None where there is none.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::None => None,
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Unix(stream) => Some(stream.as_fd()),
            Self::Tls(tls) => Some(tls.stream.as_fd()),
            Self::Multiplexed(_) => None,
            #[cfg(test)]
            Self::Memory(_) => None,
        }
    }

    /// Gives the descriptor away, and what else there is to be frozen. None where there is no descriptor.
    pub(super) fn freeze(self) -> Option<(OwnedFd, Zeroizing<Vec<u8>>)> {
        match self {
            Self::None => None,
            Self::Tcp(stream) => Some((stream.into(), Zeroizing::default())),
            Self::Unix(stream) => Some((stream.into(), Zeroizing::default())),
            Self::Tls(tls) => {
                let (stream, layer) = tls.into_parts();
                Some((stream.into(), Zeroizing::new(layer.freeze())))
            }
            Self::Multiplexed(_) => None,
            #[cfg(test)]
            Self::Memory(_) => None,
        }
    }

    /// Code of the kind of transport, for a frozen client.
    pub(super) fn kind(&self) -> Option<u8> {
        match self {
            Self::Tcp(_) => Some(1),
            Self::Unix(_) => Some(2),
            Self::Tls(_) => Some(3),
            _ => None,
        }
    }

    /// The transport of that kind over a descriptor, from what [`Transport::freeze`] returned.
    pub(super) fn thaw(kind: u8, descriptor: OwnedFd, state: &[u8]) -> Result<Self, ThawError> {
        fork::add_socket(descriptor.as_raw_fd());
        match kind {
            1 if state.is_empty() => Ok(Self::Tcp(descriptor.into())),
            2 if state.is_empty() => Ok(Self::Unix(descriptor.into())),
            3 => Ok(Self::Tls(Box::new(Tls::new(descriptor.into(), Layer::thaw(state)?)))),
            _ => Err(ThawError::Format("unknown transport")),
        }
    }
}

/// See [`Transport::keep_alive`].
pub fn keep_alive(stream: impl AsFd + Copy) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}
