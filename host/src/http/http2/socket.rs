//! What hyper reads and writes: the client's socket, so that a client that sends without a pause lets others have their
//! turn.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::poll_once;
use crate::client::tls;
use crate::http::Stream;
use crate::http::timed::discard;

/// Bytes after which others have their turn: a thousand of the smallest frames take about a millisecond.
const TURN: usize = 16 * 1024;

thread_local! {
    /// All sockets are read into it, one after the other.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; tls::BUFFER].into());
}

/// A socket. hyper has one reference, and keeps it until the connection ends.
#[derive(Clone)]
pub struct Socket(Rc<RefCell<Inner>>);

struct Inner {
    stream: Stream,
    /// What was read and hyper had no room for.
    ahead: Bytes,
    /// Bytes that hyper got in this turn.
    taken: usize,
    /// Whether the client has closed its side.
    is_ended: bool,
    /// Whether the server has closed its side.
    is_shut: bool,
}

impl Socket {
    pub fn new(stream: Stream) -> Self {
        let ahead = Bytes::new();
        Self(Rc::new(RefCell::new(Inner { stream, ahead, taken: 0, is_ended: false, is_shut: false })))
    }

    /// Reads and discards what a client still sends after the connection, so that it gets the last bytes.
    pub async fn linger(self) {
        // hyper has dropped its reference.
        let Some(inner) = Rc::into_inner(self.0) else { return };
        let Inner { mut stream, is_ended, is_shut, .. } = inner.into_inner();
        if is_shut && !is_ended {
            discard(&mut stream).await;
        }
    }

    fn with<R>(&self, f: impl FnOnce(Pin<&mut Stream>) -> R) -> R {
        f(Pin::new(&mut self.0.borrow_mut().stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.taken >= TURN {
            inner.taken = 0;
            poll_once(cx, tokio::task::yield_now());
            return Poll::Pending;
        }
        if inner.ahead.is_empty() {
            let result = READ.with_borrow_mut(|read| {
                let mut read = ReadBuf::new(read);
                let result = Pin::new(&mut inner.stream).poll_read(cx, &mut read);
                inner.ahead = Bytes::copy_from_slice(read.filled());
                result
            });
            match result {
                Poll::Ready(Ok(())) => inner.is_ended |= inner.ahead.is_empty(),
                Poll::Ready(Err(_)) => inner.is_ended = true,
                Poll::Pending => inner.taken = 0,
            }
            if inner.ahead.is_empty() {
                return result;
            }
        }
        let length = inner.ahead.len().min(buffer.remaining());
        buffer.put_slice(&inner.ahead[..length]);
        inner.ahead.advance(length);
        inner.taken += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.with(|stream| stream.poll_shutdown(cx));
        self.0.borrow_mut().is_shut |= matches!(result, Poll::Ready(Ok(())));
        result
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_client_that_sends_on_lets_others_have_their_turn() {
        let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
        let mut socket = Socket::new(server.into());
        let sent: Vec<u8> = (0..2 * TURN).map(|n| n as u8).collect();
        client.write_all(&sent).await.expect("the buffer has room");
        let (mut received, mut pauses) = (Vec::new(), 0);
        while received.len() < sent.len() {
            let (mut bytes, mut is_paused) = ([0; 1000], false);
            std::future::poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut bytes);
                // Its own waker, because the pause ends by itself.
                let result = Pin::new(&mut socket).poll_read(cx, &mut buffer);
                is_paused |= result.is_pending();
                result.map(|result| result.map(|()| received.extend_from_slice(buffer.filled())))
            })
            .await
            .expect("it has bytes");
            pauses += usize::from(is_paused);
        }
        assert!(received == sent, "the bytes stay in order");
        assert!(pauses >= 1, "no pause");
        let mut bytes = [0; 8];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut socket).poll_read(&mut cx, &mut buffer).is_pending());
    }
}
