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

    /// Drops every frame of which nothing is written, nor in the next `sealed` bytes. Returns how many bytes remain.
    pub fn drop_unbegun(&mut self, sealed: usize) -> usize {
        let (mut begun, mut whole_pieces) = (self.written + sealed, 0);
        while let Some(piece) = self.pieces.get(whole_pieces)
            && begun >= piece.bytes.len()
        {
            begun -= piece.bytes.len();
            whole_pieces += 1;
        }
        let last = self.pieces.get(whole_pieces).map_or(&self.tail, |piece| &piece.bytes);
        let whole = whole_frames(last, begun);
        let end = match server_frame_length(&last[whole..]) {
            Some(length) if whole < begun => last.len().min(whole.saturating_add(length)),
            _ => begun,
        };
        let from = if whole_pieces == 0 { std::mem::take(&mut self.written) } else { 0 };
        self.tail = last[from..end].to_vec();
        self.pieces.truncate(whole_pieces);
        self.pieces.shrink_to_fit();
        self.pieces_length = self.pieces.iter().map(|piece| piece.bytes.len()).sum();
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
        debug_assert!(n <= self.len(), "{n} bytes are written of {}", self.len());
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
mod tests;
