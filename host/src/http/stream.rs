//! An accepted socket, as hyper reads and writes it, and the name of its client.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;

use crate::client::tls::{self, Layer, Read, Tls};
use crate::client::transport::{self, Transport};

/// An accepted socket.
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls {
        /// The socket.
        stream: TcpStream,
        /// The session.
        layer: Box<Layer>,
    },
    /// A Unix socket.
    Unix {
        /// The socket.
        stream: UnixStream,
        /// Time without a byte written after which writing fails. TCP has this limit in the kernel.
        unread_limit: Option<Duration>,
        /// Runs while the socket's buffer is full.
        unread: Option<Pin<Box<Sleep>>>,
    },
}

/// Where a client comes from, for messages and for plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Address and port. The port is 0 if a proxy tells the address alone.
    Address(SocketAddr),
    /// A client on a Unix socket has no address.
    Unix,
}

impl Peer {
    /// The address. None: a client on a Unix socket.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix { stream, unread_limit: None, unread: None }
    }
}

impl Stream {
    /// Drops a client that reads nothing of its response for so long.
    pub fn limit_unread(&mut self, time: Duration) {
        match self {
            Self::Tcp(stream) | Self::Tls { stream, .. } => set_user_timeout(stream, Some(time)),
            Self::Unix { unread_limit, .. } => *unread_limit = Some(time),
        }
    }

    /// Has the system ask now and then whether the client is still there.
    pub fn keep_alive(&self, peer: Peer) {
        let (Self::Tcp(stream) | Self::Tls { stream, .. }) = self else { return };
        if let Err(error) = transport::keep_alive(stream) {
            log::debug!("{peer}: no TCP keepalive: {error}");
        }
    }

    /// Receives what is there, up to the length of the buffer; waits until something is there. 0: the client has closed its
    /// side.
    pub async fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let mut receive = |socket: BorrowedFd<'_>| Ok(rustix::net::recv(socket, &mut *buffer, flags)?.0);
        match self {
            Self::Tcp(stream) | Self::Tls { stream, .. } => {
                stream.async_io(Interest::READABLE, || receive(stream.as_fd())).await
            }
            Self::Unix { stream, .. } => {
                stream.async_io(Interest::READABLE, || receive(stream.as_fd())).await
            }
        }
    }

    /// Takes the socket from the runtime, without that limit: a connection is bounded by its backlog. Also returns data
    /// that was decrypted and not read.
    ///
    /// # Errors
    /// Those of the socket; a part of the response is sealed and not written. It would count as data of the connection's
    /// queue.
    pub fn into_transport(self) -> io::Result<(Transport, Vec<u8>)> {
        match self {
            Self::Tcp(stream) => {
                set_user_timeout(&stream, None);
                Ok((Transport::Tcp(stream.into_std()?), Vec::new()))
            }
            Self::Tls { layer, .. } if layer.has_unwritten() => {
                Err(io::Error::other("a part of the response was not written to it"))
            }
            Self::Tls { stream, mut layer } => {
                set_user_timeout(&stream, None);
                let early = layer.take_early();
                Ok((Transport::Tls(Box::new(Tls::new(stream.into_std()?, *layer))), early))
            }
            Self::Unix { stream, .. } => Ok((Transport::Unix(stream.into_std()?), Vec::new())),
        }
    }

    /// Fails a write that has been pending for longer than the limit.
    fn check_unread<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Self::Unix { unread_limit: Some(limit), unread, .. } = self else { return result };
        if result.is_ready() {
            *unread = None;
            return result;
        }
        let unread = unread.get_or_insert_with(|| Box::pin(tokio::time::sleep(*limit)));
        unread.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Has the kernel drop a client that acknowledges nothing for so long; None: never.
fn set_user_timeout(stream: &TcpStream, time: Option<Duration>) {
    #[cfg(target_os = "linux")]
    {
        let ms = time.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, ms) {
            log::debug!("a response that is not read has no limit in time: {error}");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, time);
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls { stream, layer } => poll_read_tls(stream, layer, cx, buffer),
            Self::Unix { stream, .. } => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match this {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls { stream, layer } => poll_of(layer.write(slices, |bytes| try_write(stream, cx, bytes))),
            Self::Unix { stream, .. } => Pin::new(stream).poll_write_vectored(cx, slices),
        };
        this.check_unread(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) | Self::Tls { stream, .. } => Pin::new(stream).poll_flush(cx),
            Self::Unix { stream, .. } => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls { stream, layer } => {
                layer.close(|bytes| try_write(stream, cx, bytes));
                Pin::new(stream).poll_shutdown(cx)
            }
            Self::Unix { stream, .. } => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

thread_local! {
    /// All sockets with TLS are read into it, one after the other.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; tls::BUFFER].into());
}

fn poll_read_tls(
    stream: &mut TcpStream,
    layer: &mut Layer,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let mut early = layer.take_early();
    if !early.is_empty() {
        let rest = early.split_off(early.len().min(buffer.remaining()));
        buffer.put_slice(&early);
        layer.put_back(&rest);
        return Poll::Ready(Ok(()));
    }
    if layer.take_laborious() {
        // hyper would read on at once.
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    READ.with_borrow_mut(|read| {
        let result = layer.read(read, |bytes| {
            let mut bytes = ReadBuf::new(bytes);
            match Pin::new(&mut *stream).poll_read(cx, &mut bytes) {
                Poll::Ready(result) => result.map(|()| bytes.filled().len()),
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::InvalidData) {
            layer.close(|bytes| try_write(stream, cx, bytes));
        }
        poll_of(result).map_ok(|Read { length, .. }| {
            let (taken, rest) = read[..length].split_at(length.min(buffer.remaining()));
            buffer.put_slice(taken);
            layer.put_back(rest);
        })
    })
}

fn try_write(stream: &mut TcpStream, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
    match Pin::new(stream).poll_write(cx, bytes) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// The socket wakes the task when it is ready.
fn poll_of<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::Waker;

    use super::*;
    use crate::client::memory::Wakes;
    use crate::client::tls::tests::socket_pair;

    #[tokio::test]
    async fn others_have_their_turn_after_a_read_of_many_small_records() {
        let (Transport::Tls(tls), mut client) = socket_pair() else { panic!("it has TLS") };
        let (stream, layer) = tls.into_parts();
        for _ in 0..2000 {
            client.conn.writer().write_all(b"x").expect("the buffer has room");
        }
        client.flush().expect("the socket has room");
        let stream = TcpStream::from_std(stream).expect("tokio runs");
        stream.readable().await.expect("it has bytes");
        let mut stream = Stream::Tls { stream, layer: Box::new(layer) };
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut bytes = [0; 4096];
        let mut read = || {
            let mut buffer = ReadBuf::new(&mut bytes);
            let mut cx = Context::from_waker(&waker);
            Pin::new(&mut stream)
                .poll_read(&mut cx, &mut buffer)
                .map(|read| read.map(|()| buffer.filled().len()))
        };
        assert!(matches!(read(), Poll::Ready(Ok(1..))));
        assert_eq!(wakes.0.load(Relaxed), 0);
        assert!(read().is_pending(), "the next read follows at once");
        assert_eq!(wakes.0.load(Relaxed), 1, "nobody continues the read");
    }

    #[tokio::test]
    async fn a_stream_with_sealed_bytes_that_wait_is_no_transport() {
        for fills in [false, true] {
            let (Transport::Tls(tls), _client) = socket_pair() else { panic!("it has TLS") };
            let (stream, layer) = tls.into_parts();
            let stream = TcpStream::from_std(stream).expect("tokio runs");
            stream.writable().await.expect("it is open");
            let mut stream = Stream::Tls { stream, layer: Box::new(layer) };
            let mut cx = Context::from_waker(Waker::noop());
            while fills && Pin::new(&mut stream).poll_write(&mut cx, &[7; 1 << 16]).is_ready() {}
            // The sealed bytes would count as data of the connection.
            assert_eq!(stream.into_transport().is_err(), fills);
        }
    }
}
