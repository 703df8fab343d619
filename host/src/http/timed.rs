//! A socket that serves requests within time limits: for each head to arrive, and for a client that has sent no request
//! after its last response. hyper reads and writes it. A service says when a request begins and ends ([`Phase`]).
//!
//! Invariants: hyper reads only for the next bytes of a request (`half_close`), so that a read that waits is the client's
//! turn. hyper gets no byte of the next request with those of a request, so that the socket knows whether the next one
//! has begun.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};

use super::Stream;
use super::request_end::{ChunksEnd, HeadEnd};
use crate::config::settings::Limits;
use crate::system::scoreboard::Limit;

/// Bytes of a client that tell which protocol it speaks.
const BEGINNING: usize = 16;
/// Time for a client that was sent its last response to send more, or to leave.
const LINGER: Duration = Duration::from_secs(5);
/// Time after which such a client is disconnected although it sends.
const LINGER_MAX: Duration = Duration::from_secs(30);
/// Bytes of such a client that are read at once.
const LINGER_READ: usize = 16 * 1024;

/// What the socket waits for. The socket and the service that answers its requests share it.
#[derive(Clone, Debug, Default)]
pub struct Phase(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    /// Bytes of the request's body that have not been read.
    body: AtomicU64,
    /// How often the socket has accepted all that hyper had buffered.
    flushes: AtomicU64,
    /// Bytes that hyper has offered last, and the socket has not accepted.
    unwritten: AtomicU64,
}

impl Phase {
    /// The head of a request.
    const HEAD: u8 = 0;
    /// The service, which limits the time for the body.
    const REQUEST: u8 = 1;
    /// The response is being written.
    const RESPONSE: u8 = 2;
    /// The next request, of which nothing has arrived.
    const IDLE: u8 = 3;

    /// A body in chunks has no length.
    const CHUNKS: u64 = u64::MAX;

    /// The head of a request has arrived. `body`: the length of its body, None if it comes in chunks.
    pub fn begin_request(&self, body: Option<u64>) {
        self.0.body.store(body.unwrap_or(Self::CHUNKS), Relaxed);
        self.set(Self::REQUEST);
    }

    /// hyper gets the response.
    pub fn end_request(&self) {
        self.set(Self::RESPONSE);
    }

    /// How often the socket has accepted all that hyper had buffered.
    pub fn flushes(&self) -> u64 {
        self.0.flushes.load(Relaxed)
    }

    /// Bytes that hyper has offered last, and the socket has not accepted.
    pub fn unwritten(&self) -> u64 {
        self.0.unwritten.load(Relaxed)
    }

    fn note_write(&self, offered: usize, result: &Poll<io::Result<usize>>) {
        let accepted = if let Poll::Ready(Ok(length)) = result { *length } else { 0 };
        self.0.unwritten.store(offered.saturating_sub(accepted) as u64, Relaxed);
    }

    fn note_flush(&self) {
        self.0.flushes.store(self.flushes() + 1, Relaxed);
    }

    fn set(&self, phase: u8) {
        self.0.phase.store(phase, Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.phase.load(Relaxed)
    }

    /// Bytes of the body that have not been read.
    fn body(&self) -> u64 {
        self.0.body.load(Relaxed)
    }
}

/// A socket with time limits.
pub struct Timed {
    stream: Stream,
    phase: Phase,
    /// The end of the time for the first head.
    first_deadline: Instant,
    head_timeout: Duration,
    keepalive_timeout: Duration,
    /// The end of the current phase, if it is limited.
    deadline: Option<Pin<Box<Sleep>>>,
    head_end: HeadEnd,
    chunks_end: ChunksEnd,
    /// What was read behind the current request.
    behind: Bytes,
    /// The client's first bytes, and their number.
    beginning: ([u8; BEGINNING], usize),
    /// Whether the client has closed its side, or was idle for too long.
    is_ended: bool,
    /// Whether the server has closed its side.
    is_shut: bool,
    /// The limit in time that has ended the connection.
    reached: Option<Limit>,
}

impl Timed {
    /// A socket that waits for its first request, until `first_deadline`.
    pub fn new(mut stream: Stream, phase: Phase, limits: &Limits, first_deadline: Instant) -> Self {
        stream.limit_unread(limits.send_timeout);
        Self {
            stream,
            phase,
            first_deadline,
            head_timeout: limits.handshake_timeout,
            keepalive_timeout: limits.keepalive_timeout,
            deadline: None,
            head_end: HeadEnd::new(),
            chunks_end: ChunksEnd::new(),
            behind: Bytes::new(),
            beginning: ([0; BEGINNING], 0),
            is_ended: false,
            is_shut: false,
            reached: None,
        }
    }

    /// The socket, after an upgrade, and what was read behind the request.
    pub fn into_inner(self) -> (Stream, Bytes) {
        (self.stream, self.behind)
    }

    /// The client's first bytes.
    pub fn beginning(&self) -> &[u8] {
        &self.beginning.0[..self.beginning.1]
    }

    /// The limit that has ended the connection, as hyper reports its end.
    pub fn reached(&self, end: &hyper::Result<()>) -> Option<Limit> {
        match end {
            Err(error) if error.is_parse_too_large() => Some(Limit::Head),
            _ => self.reached,
        }
    }

    /// Notes that the system has dropped a client that acknowledges nothing.
    fn note<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(&result, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut) {
            self.reached = Some(Limit::SendTimeout);
        }
        result
    }

    /// Reads and discards what a client still sends after its last response, for a while. If the socket were closed
    /// before, the system would reset the connection, and the client could lose the response.
    pub async fn linger(mut self) {
        if self.is_shut && !self.is_ended {
            discard(&mut self.stream).await;
        }
    }

    fn limit(&mut self, time: Duration) {
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().reset(Instant::now() + time),
            None => self.deadline = Some(Box::pin(sleep(time))),
        }
    }

    /// The first read after a response is for the next request, unless hyper discards the rest of a body.
    fn begin_next(&mut self) {
        match self.phase.body() {
            Phase::CHUNKS if !matches!(self.chunks_end, ChunksEnd::Over) => return,
            Phase::CHUNKS | 0 => {}
            _ => return,
        }
        (self.head_end, self.chunks_end) = (HeadEnd::new(), ChunksEnd::new());
        if self.behind.is_empty() {
            self.phase.set(Phase::IDLE);
            self.limit(self.keepalive_timeout);
        } else {
            self.await_head();
        }
    }

    fn await_head(&mut self) {
        self.phase.set(Phase::HEAD);
        self.limit(self.head_timeout);
    }

    /// How many of the next bytes are of the current request, at least one.
    fn own_part(&mut self, bytes: &[u8]) -> usize {
        match (self.phase.get(), self.phase.body()) {
            (Phase::HEAD | Phase::IDLE, _) => self.head_end.length(bytes),
            (_, Phase::CHUNKS) => self.chunks_end.length(bytes),
            (_, 0) => bytes.len(),
            (_, left) => {
                let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.phase.0.body.store(left - length as u64, Relaxed);
                length
            }
        }
    }

    /// Whether the time of the current phase is up.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.phase.get() {
            Phase::REQUEST | Phase::RESPONSE => Poll::Pending,
            _ => {
                let first = || Box::pin(sleep_until(self.first_deadline));
                self.deadline.get_or_insert_with(first).as_mut().poll(cx)
            }
        }
    }
}

/// Reads until the client closes its side, sends nothing for [`LINGER`], or [`LINGER_MAX`] is over.
pub(super) async fn discard(stream: &mut (impl AsyncRead + Unpin)) {
    let end = Instant::now() + LINGER_MAX;
    let mut discarded = vec![0; LINGER_READ];
    loop {
        let pause = end.min(Instant::now() + LINGER);
        match timeout_at(pause, stream.read(&mut discarded)).await {
            Ok(Ok(1..)) if Instant::now() < end => {}
            _ => return,
        }
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.phase.get() == Phase::RESPONSE {
            this.begin_next();
        }
        if !this.behind.is_empty() {
            let offered = this.behind.slice(..this.behind.len().min(buffer.remaining()));
            let length = this.own_part(&offered);
            buffer.put_slice(&this.behind.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buffer);
        match this.note(result) {
            Poll::Ready(result) => {
                result?;
                let read = &buffer.filled()[before..];
                this.is_ended |= read.is_empty();
                let (beginning, known) = &mut this.beginning;
                let new = read.len().min(BEGINNING - *known);
                beginning[*known..*known + new].copy_from_slice(&read[..new]);
                *known += new;
                if this.phase.get() == Phase::IDLE {
                    this.await_head();
                }
                let length = this.own_part(read);
                this.behind = Bytes::copy_from_slice(&read[length..]);
                buffer.set_filled(before + length);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                if this.phase.get() == Phase::RESPONSE {
                    this.await_head();
                }
                ready!(this.poll_expired(cx));
                match this.phase.get() {
                    // Read as the end of the stream, after which hyper closes the connection in order.
                    Phase::IDLE => {
                        this.is_ended = true;
                        this.reached = Some(Limit::KeepaliveTimeout);
                        Poll::Ready(Ok(()))
                    }
                    _ => {
                        this.reached = Some(Limit::HandshakeTimeout);
                        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.phase.note_write(bytes.len(), &result);
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.phase.note_write(slices.iter().map(|slice| slice.len()).sum(), &result);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = result {
            self.phase.note_flush();
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.is_shut = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    /// For how long what a client sends is discarded, if it sends so often, and leaves after `stays`.
    async fn discarded_for(every: Duration, stays: Duration) -> Duration {
        let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
        let start = Instant::now();
        let sender = tokio::spawn(async move {
            while start.elapsed() < stays {
                let _ = client.write_all(b"more").await;
                sleep(every).await;
            }
        });
        discard(&mut Stream::from(server)).await;
        sender.abort();
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_on_after_its_last_response_is_disconnected_in_time() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let near = |time: Duration, wanted: Duration| time >= wanted && time < wanted + second;
        assert!(near(discarded_for(second, hour).await, LINGER_MAX));
        assert!(near(discarded_for(hour, hour).await, LINGER));
        assert!(near(discarded_for(second, 3 * second).await, 3 * second));
    }
}
