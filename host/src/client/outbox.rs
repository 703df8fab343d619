//! A client's write queue: frames go in, bytes come out in order. The queue does no I/O, has no limit, and holds no
//! memory while it is empty.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use callsign_websocket::write_frame;

/// Buffers of drained queues, to be used again: without them each turn would allocate for each client.
#[derive(Debug, Default)]
pub struct Pool {
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Pool {
    /// Buffers kept; a turn that needs more at once allocates.
    const SPARE_MAX: usize = 256;
    /// Bytes of a buffer that is kept; a larger one is freed.
    const BUFFER_MAX: usize = 16 * 1024;

    fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < Self::SPARE_MAX && (1..=Self::BUFFER_MAX).contains(&buffer.capacity()) {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Bytes that wait for one client.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Before `tail`: pieces that other clients' queues share, and the bytes that were queued between them.
    pieces: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of `tail` that are written already.
    written: usize,
    /// Bytes in `pieces`.
    pieces_length: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.pieces_length + self.tail.len() - self.written
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues one frame.
    #[inline]
    pub fn push(&mut self, op: u8, payload: &[u8], pool: &Pool) {
        write_frame(self.tail(pool), op, payload);
    }

    /// Queues bytes that are frames already.
    #[inline]
    pub fn push_framed(&mut self, frames: &[u8], pool: &Pool) {
        self.tail(pool).extend_from_slice(frames);
    }

    /// Queues a frame that other clients get too, without copying it.
    pub fn push_shared(&mut self, frame: Bytes) {
        if !self.tail.is_empty() {
            let mut tail = Bytes::from(std::mem::take(&mut self.tail));
            tail.advance(std::mem::take(&mut self.written));
            self.push_piece(tail);
        }
        self.push_piece(frame);
    }

    fn push_piece(&mut self, piece: Bytes) {
        self.pieces_length += piece.len();
        self.pieces.push_back(piece);
    }

    #[inline]
    fn tail(&mut self, pool: &Pool) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
        &mut self.tail
    }

    /// Writes until all is written (true) or `write` would block (false).
    pub fn write_to(
        &mut self,
        pool: &Pool,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        while !self.is_empty() {
            let result = if self.pieces.is_empty() {
                write(&[IoSlice::new(&self.tail[self.written..])])
            } else {
                write(&self.slices())
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.advance(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        pool.give(std::mem::take(&mut self.tail));
        self.written = 0;
        Ok(true)
    }

    /// All that waits, in order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        bytes.extend_from_slice(&self.tail[self.written..]);
        bytes
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        /// Far below the kernel's IOV_MAX; more pieces go with the next write.
        const SLICES_MAX: usize = 64;
        let tail = std::iter::once(&self.tail[self.written..]);
        self.pieces.iter().map(|piece| &piece[..]).chain(tail).take(SLICES_MAX).map(IoSlice::new).collect()
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.pieces.front_mut() {
            let step = n.min(first.len());
            first.advance(step);
            self.pieces_length -= step;
            n -= step;
            if !first.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        if self.pieces.capacity() > 0 && self.pieces.is_empty() {
            self.pieces = VecDeque::new();
        }
        self.written += n;
        // Frees written bytes of a queue that is never empty; each byte is moved at most once.
        if self.written > self.tail.len() / 2 {
            self.tail.drain(..self.written);
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `step` bytes a call, and blocks after every third.
    fn drain(outbox: &mut Outbox, pool: &Pool, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut calls = 0;
        loop {
            let drained = outbox.write_to(pool, |slices| {
                calls += 1;
                if calls % 3 == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let n = step.min(all.len());
                out.extend_from_slice(&all[..n]);
                Ok(n)
            });
            if drained.expect("no error was written") {
                return out;
            }
        }
    }

    #[test]
    fn bytes_leave_in_the_order_they_came_however_they_are_cut() {
        for step in [1, 2, 3, 7, 1000] {
            let pool = Pool::default();
            let mut outbox = Outbox::default();
            outbox.push(2, b"one", &pool);
            outbox.push_shared(Bytes::from_static(b"<shared>"));
            outbox.push_shared(Bytes::from_static(b"<again>"));
            outbox.push(1, b"two", &pool);
            outbox.push_framed(b"<framed>", &pool);
            assert_eq!(outbox.len(), 5 + 8 + 7 + 5 + 8);
            assert_eq!(drain(&mut outbox, &pool, step), b"\x82\x03one<shared><again>\x81\x03two<framed>");
            assert!(outbox.is_empty());
        }
    }

    #[test]
    fn what_is_queued_behind_a_partial_write_stays_behind_it() {
        let pool = Pool::default();
        let mut outbox = Outbox::default();
        outbox.push_framed(b"abcdef", &pool);
        let mut first = true;
        let drained = outbox.write_to(&pool, |_| {
            if std::mem::take(&mut first) { Ok(2) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        assert!(!drained.expect("it only blocks"));
        outbox.push_shared(Bytes::from_static(b"SHARED"));
        outbox.push_framed(b"end", &pool);
        assert_eq!(drain(&mut outbox, &pool, 4), b"cdefSHAREDend");
    }

    #[test]
    fn an_empty_queue_holds_no_memory_and_small_buffers_are_used_again() {
        let pool = Pool::default();
        let mut outbox = Outbox::default();
        outbox.push_framed(b"x", &pool);
        drain(&mut outbox, &pool, 10);
        assert_eq!(outbox.tail.capacity(), 0);
        assert_eq!(pool.spare.borrow().len(), 1);
        outbox.push_framed(&[0; Pool::BUFFER_MAX + 1], &pool);
        drain(&mut outbox, &pool, 4096);
        assert!(pool.spare.borrow().is_empty(), "a large buffer is given back to the system");
    }

    #[test]
    fn a_queue_that_is_never_empty_holds_no_more_than_waits() {
        let pool = Pool::default();
        let mut outbox = Outbox::default();
        let piece = [7; 1000];
        outbox.push_framed(&piece, &pool);
        for _ in 0..10_000 {
            outbox.push_framed(&piece, &pool);
            let mut room = piece.len();
            let drained = outbox.write_to(&pool, |slices| match std::mem::take(&mut room) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                room => Ok(room.min(slices[0].len())),
            });
            assert!(!drained.expect("it only blocks"));
            assert_eq!(outbox.len(), piece.len());
        }
        assert!(
            outbox.tail.capacity() <= 8 * piece.len(),
            "{} bytes for {}",
            outbox.tail.capacity(),
            piece.len()
        );
    }

    #[test]
    fn an_error_is_reported() {
        let pool = Pool::default();
        let mut outbox = Outbox::default();
        outbox.push_framed(b"x", &pool);
        let broken = outbox.write_to(&pool, |_| Err(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(broken.expect_err("the pipe is broken").kind(), io::ErrorKind::BrokenPipe);
    }
}
