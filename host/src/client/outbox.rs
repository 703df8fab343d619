//! A client's write queue: frames go in, bytes come out in order. The queue does no I/O, has no limit, and holds no
//! memory while it is empty.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use callsign_websocket::{server_frame_length, write_frame};

/// Buffers of drained queues, to be used again: without them each turn would allocate for each client.
#[derive(Debug, Default)]
pub struct Pool {
    spare: RefCell<Vec<Vec<u8>>>,
    /// Memory of all [`SharedFrames`], in bytes.
    shared: Rc<Cell<usize>>,
}

/// Frames that queues share, counted while at least one queue has them.
#[derive(Debug)]
pub struct SharedFrames {
    bytes: Vec<u8>,
    counted: Rc<Cell<usize>>,
}

impl Drop for SharedFrames {
    fn drop(&mut self) {
        self.counted.set(self.counted.get() - self.bytes.capacity());
    }
}

impl Pool {
    /// Buffers kept; a turn that needs more at once allocates.
    const SPARE_MAX: usize = 256;
    /// Bytes of a buffer that is kept; a larger one is freed.
    const BUFFER_MAX: usize = 16 * 1024;

    /// Frames for several queues.
    pub fn share(&self, bytes: Vec<u8>) -> Rc<SharedFrames> {
        self.shared.set(self.shared.get() + bytes.capacity());
        Rc::new(SharedFrames { bytes, counted: self.shared.clone() })
    }

    /// Memory of shared frames, in bytes: each counts once.
    #[inline]
    pub fn shared_memory(&self) -> usize {
        self.shared.get()
    }

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

/// Bytes that wait for one client. Each piece, and the tail, begins with the first byte of a frame.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Before `tail`: frames that other clients' queues share, and the bytes that were queued between them.
    pieces: VecDeque<Rc<SharedFrames>>,
    tail: Vec<u8>,
    /// Bytes of the first piece, or of `tail` if there is none, that are written already.
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

    /// Queues frames that other clients get too, without copying them.
    pub fn push_shared(&mut self, frames: Rc<SharedFrames>, pool: &Pool) {
        if !self.tail.is_empty() {
            let tail = pool.share(std::mem::take(&mut self.tail));
            self.push_piece(tail);
        }
        self.push_piece(frames);
    }

    fn push_piece(&mut self, piece: Rc<SharedFrames>) {
        self.pieces_length += piece.bytes.len();
        self.pieces.push_back(piece);
    }

    /// Memory that the queue has and does not share, in bytes.
    #[inline]
    pub fn own_memory(&self) -> usize {
        self.tail.capacity()
    }

    /// Memory of the queue with its part of what it shares, in bytes.
    pub fn memory(&self) -> usize {
        let part = |piece: &Rc<SharedFrames>| piece.bytes.capacity() / Rc::strong_count(piece);
        self.own_memory() + self.pieces.iter().map(part).sum::<usize>()
    }

    /// Drops every frame of which nothing is written. Returns how many bytes remain.
    pub fn drop_unbegun(&mut self) -> usize {
        let first = self.pieces.front().map_or(&self.tail, |piece| &piece.bytes);
        let whole = whole_frames(first, self.written);
        let end = match server_frame_length(&first[whole..]) {
            Some(length) if whole < self.written => first.len().min(whole.saturating_add(length)),
            _ => self.written,
        };
        *self = Self { tail: first[self.written..end].to_vec(), ..Self::default() };
        self.len()
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
        if self.pieces.capacity() > 0 {
            self.pieces = VecDeque::new();
        }
        Ok(true)
    }

    /// All that waits, in order, from the beginning of a frame, and how many bytes of it are written already.
    pub fn to_bytes(&self) -> (Vec<u8>, usize) {
        let pieces = self.pieces.iter().flat_map(|piece| piece.bytes.iter().copied());
        let mut bytes: Vec<u8> = pieces.chain(self.tail.iter().copied()).collect();
        let whole = whole_frames(&bytes, self.written);
        bytes.drain(..whole);
        (bytes, self.written - whole)
    }

    /// The queue of which [`Outbox::to_bytes`] has made a copy. None: the bytes are none.
    pub fn from_bytes(bytes: &[u8], written: usize) -> Option<Self> {
        let is_queue = written < bytes.len() || written == 0;
        is_queue.then(|| Self { tail: bytes.to_vec(), written, ..Self::default() })
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        /// Far below the kernel's IOV_MAX; more pieces go with the next write.
        const SLICES_MAX: usize = 64;
        let pieces = self.pieces.iter().map(|piece| &piece.bytes[..]).chain([&self.tail[..]]);
        let mut written = self.written;
        let rest = pieces.take(SLICES_MAX).map(|piece| &piece[std::mem::take(&mut written)..]);
        rest.map(IoSlice::new).collect()
    }

    fn advance(&mut self, n: usize) {
        self.written += n;
        while let Some(first) = self.pieces.front()
            && self.written >= first.bytes.len()
        {
            self.written -= first.bytes.len();
            self.pieces_length -= first.bytes.len();
            self.pieces.pop_front();
        }
        if !self.pieces.is_empty() || self.written == self.tail.len() {
            return;
        }
        if self.pieces.capacity() > 0 {
            self.pieces = VecDeque::new();
        }
        // Frees written frames of a queue that is never empty; each byte is moved at most once.
        if self.written > self.tail.len() / 2 {
            let whole = whole_frames(&self.tail, self.written);
            self.tail.drain(..whole);
            self.written -= whole;
            if self.tail.capacity() > 4 * self.tail.len() + Pool::BUFFER_MAX {
                self.tail.shrink_to(2 * self.tail.len());
            }
        }
    }
}

/// Length of the frames at the start of `bytes` that end within its first `written` bytes.
fn whole_frames(bytes: &[u8], written: usize) -> usize {
    let mut whole = 0;
    while let Some(length) = server_frame_length(&bytes[whole..])
        && length <= written - whole
    {
        whole += length;
    }
    whole
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
            outbox.push_shared(pool.share(b"<shared>".to_vec()), &pool);
            outbox.push_shared(pool.share(b"<again>".to_vec()), &pool);
            outbox.push(1, b"two", &pool);
            outbox.push_framed(b"<framed>", &pool);
            assert_eq!(outbox.len(), 5 + 8 + 7 + 5 + 8);
            assert_eq!(drain(&mut outbox, &pool, step), b"\x82\x03one<shared><again>\x81\x03two<framed>");
            assert!(outbox.is_empty());
            assert_eq!(pool.shared_memory(), 0);
        }
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write_frame(&mut frame, 2, payload);
        frame
    }

    /// Writes so many bytes, then blocks.
    fn write(outbox: &mut Outbox, pool: &Pool, mut bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let result = outbox.write_to(pool, |slices| match std::mem::take(&mut bytes) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            most => {
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                out.extend_from_slice(&all[..most.min(all.len())]);
                Ok(out.len())
            }
        });
        result.expect("it only blocks");
        out
    }

    #[test]
    fn a_dropped_queue_ends_with_the_frame_that_was_begun_wherever_that_is() {
        let frames = [frame(b"one"), frame(&[2; 200]), frame(b""), frame(&[3; 70_000]), frame(b"end")];
        let all = frames.concat();
        for at in [0, 1, 4, 5, 6, 100, 204, 208, 209, 211, 212, 1000, 70_000, all.len() - 1] {
            for first_written in [0, at / 2] {
                let (pool, mut outbox) = (Pool::default(), Outbox::default());
                for (number, frame) in frames.iter().enumerate() {
                    match number {
                        2 | 3 => outbox.push_shared(pool.share(frame.clone()), &pool),
                        _ => outbox.push_framed(frame, &pool),
                    }
                }
                let mut out = write(&mut outbox, &pool, first_written);
                out.extend(write(&mut outbox, &pool, at - first_written));
                let rest = outbox.drop_unbegun();
                assert_eq!((rest, pool.shared_memory()), (outbox.len(), 0));
                outbox.push_framed(b"CLOSE", &pool);
                out.extend(drain(&mut outbox, &pool, 10_000));
                let ends = frames.iter().scan(0, |end, frame| {
                    *end += frame.len();
                    Some(*end)
                });
                let end = [0].into_iter().chain(ends).find(|end| *end >= at).expect("there is one");
                assert_eq!(out.len(), end + 5, "{at} bytes were written, {first_written} of them first");
                assert!(out == [&all[..end], b"CLOSE"].concat());
            }
        }
    }

    #[test]
    fn shared_frames_count_once_and_each_queue_has_its_part() {
        let (pool, mut queues) = (Pool::default(), [Outbox::default(), Outbox::default()]);
        let shared = pool.share(vec![0; 8000]);
        queues.iter_mut().for_each(|queue| queue.push_shared(shared.clone(), &pool));
        drop(shared);
        assert_eq!((pool.shared_memory(), queues[0].memory(), queues[0].own_memory()), (8000, 4000, 0));
        drain(&mut queues[0], &pool, 1 << 20);
        assert_eq!((pool.shared_memory(), queues[0].memory(), queues[1].memory()), (8000, 0, 8000));
        queues[1] = Outbox::default();
        assert_eq!(pool.shared_memory(), 0);
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
        outbox.push_shared(pool.share(b"SHARED".to_vec()), &pool);
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
