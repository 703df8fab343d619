//! A stream of an HTTP/2 connection as a transport: reads and writes that do not wait, over a pipe that wakes its readers.
//! Whoever drives the client is woken by the wakers that it sets.
//!
//! Invariant: a read or write that would block has left its waker with the stream, so that nothing is missed.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tls::Read;

/// Bytes of one write. The stream takes a few writes before it says that the client does not read, and they are in no
/// queue that counts; a DATA frame has as many bytes.
const WRITE: usize = 16 * 1024;

/// What a stream reads and writes.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// One stream among those of a connection.
pub struct Multiplexed(RefCell<Ends>);

struct Ends {
    stream: Box<dyn Duplex>,
    _open: Box<dyn Any>,
    readable: Waker,
    writable: Waker,
}

impl fmt::Debug for Multiplexed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplexed").finish_non_exhaustive()
    }
}

impl Multiplexed {
    /// Nobody is woken yet. `open` is dropped with the stream.
    pub fn new(stream: impl Duplex + 'static, open: Box<dyn Any>) -> Self {
        let (readable, writable) = (Waker::noop().clone(), Waker::noop().clone());
        Self(RefCell::new(Ends { stream: Box::new(stream), _open: open, readable, writable }))
    }

    /// Whom to wake from the next read or write on.
    pub fn set_wakers(&self, readable: Waker, writable: Waker) {
        let mut ends = self.0.borrow_mut();
        (ends.readable, ends.writable) = (readable, writable);
    }

    /// Reads what is there, of several frames if they fit.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Read> {
        let Ends { stream, readable, .. } = &mut *self.0.borrow_mut();
        let mut cx = Context::from_waker(readable);
        let mut buffer = ReadBuf::new(buffer);
        loop {
            let before = buffer.filled().len();
            let result = Pin::new(&mut *stream).poll_read(&mut cx, &mut buffer);
            let length = buffer.filled().len();
            return match result {
                Poll::Ready(Ok(())) if length > before && buffer.remaining() > 0 => continue,
                Poll::Pending if length == 0 => Err(io::ErrorKind::WouldBlock.into()),
                Poll::Ready(Err(error)) if length == 0 => Err(error),
                // An end or an error behind data is the next read's.
                result => Ok(Read { length, is_empty: result.is_pending() }),
            };
        }
    }

    /// Writes the beginning, at most [`WRITE`] bytes.
    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Ends { stream, writable, .. } = &mut *self.0.borrow_mut();
        let mut cx = Context::from_waker(writable);
        let gathered: Vec<u8>;
        let piece = match slices {
            [first, ..] if first.len() >= WRITE => &first[..WRITE],
            [only] => only,
            several => {
                gathered = several.iter().flat_map(|slice| slice.iter().copied()).take(WRITE).collect();
                &gathered
            }
        };
        match Pin::new(stream).poll_write(&mut cx, piece) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Ends our side, behind what was written.
    pub fn shutdown(&self) -> io::Result<()> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0.borrow_mut().stream).poll_shutdown(&mut cx) {
            // The connection does it when it can.
            Poll::Pending => Ok(()),
            Poll::Ready(result) => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::client::memory::Wakes;

    fn pair(size: usize) -> (Multiplexed, DuplexStream, [Arc<Wakes>; 2]) {
        let (ours, theirs) = tokio::io::duplex(size);
        let (stream, wakes) = (Multiplexed::new(ours, Box::new(())), [Arc::default(), Arc::default()]);
        let [readable, writable]: &[Arc<Wakes>; 2] = &wakes;
        stream.set_wakers(readable.clone().into(), writable.clone().into());
        (stream, theirs, wakes)
    }

    fn would_block<T: fmt::Debug>(result: io::Result<T>) {
        assert_eq!(result.expect_err("there is nothing").kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_read_that_waits_is_woken_and_the_end_follows_the_data() {
        let (stream, mut peer, [readable, _]) = pair(64);
        let mut buffer = [0; 8];
        would_block(stream.read(&mut buffer));
        peer.write_all(b"hello").await.expect("there is room");
        assert_eq!(readable.0.load(Relaxed), 1);
        assert_eq!(stream.read(&mut buffer).expect("data"), Read { length: 5, is_empty: true });
        assert_eq!(&buffer[..5], b"hello");
        peer.write_all(b"0123456789").await.expect("there is room");
        drop(peer);
        assert_eq!(stream.read(&mut buffer).expect("data"), Read { length: 8, is_empty: false });
        assert_eq!(stream.read(&mut buffer).expect("data"), Read { length: 2, is_empty: false });
        for _ in 0..2 {
            assert_eq!(stream.read(&mut buffer).expect("the end"), Read { length: 0, is_empty: false });
        }
    }

    #[tokio::test]
    async fn pieces_are_written_together_up_to_a_frame_and_a_full_stream_wakes() {
        let (stream, mut peer, [_, writable]) = pair(WRITE);
        let slices = [&b"one"[..], b"two", &[7; WRITE]].map(IoSlice::new);
        assert_eq!(stream.write(&slices).expect("there is room"), WRITE);
        would_block(stream.write(&slices[..1]));
        let mut read = vec![0; WRITE];
        peer.read_exact(&mut read).await.expect("it was written");
        assert_eq!(&read[..7], b"onetwo\x07");
        assert_eq!(writable.0.load(Relaxed), 1);
        assert_eq!(stream.write(&[IoSlice::new(&[7; 2 * WRITE])]).expect("there is room"), WRITE);
        peer.read_exact(&mut read).await.expect("it was written");
        stream.shutdown().expect("it is open");
        assert_eq!(peer.read(&mut read).await.expect("an end in order"), 0);
    }
}
