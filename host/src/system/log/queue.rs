//! Log records that stderr does not take at once. They wait in a bounded queue; beyond the bound they are dropped, and
//! counted in a record of its own as soon as there is room.
//!
//! Invariant: several processes write to the same pipe, so a write is whole records of at most [`ATOMIC`] bytes together,
//! which a pipe takes all or not at all. What is left of a longer record begins a line of its own, indented. Otherwise
//! text of a client could come to stand at the start of a line, and look like a record.

use std::collections::VecDeque;
use std::io;

use crate::system::output::ATOMIC;

/// Bytes of records that wait: about what a pipe holds.
const WAITING_MAX: usize = 64 * 1024;
/// Start of what is left of a record.
const CONTINUED: &[u8] = b"\n  ";

/// Records that wait, and how many were dropped.
#[derive(Default)]
pub struct RecordQueue {
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of all that wait.
    length: usize,
    dropped: usize,
}

impl RecordQueue {
    pub const fn new() -> Self {
        Self { waiting: VecDeque::new(), length: 0, dropped: 0 }
    }

    /// Whether there is something to write.
    pub fn has_pending(&self) -> bool {
        !self.waiting.is_empty() || self.dropped > 0
    }

    /// Whether records wait for room.
    pub fn is_blocked(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what waits, then the record; keeps or drops what `write` does not take.
    pub fn push(&mut self, record: &[u8], mut write: impl FnMut(&[u8]) -> io::Result<usize>) {
        self.flush(&mut write);
        let has_room = self.waiting.is_empty() || self.length + record.len() <= WAITING_MAX;
        if self.dropped > 0 || !has_room {
            self.dropped += 1;
            return;
        }
        self.length += record.len();
        self.waiting.push_back(record.to_vec());
        self.drain(&mut write);
        if self.length > WAITING_MAX {
            self.truncate_last();
        }
    }

    /// Writes what waits, and how many records were dropped.
    pub fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) {
        self.drain(&mut write);
        if self.dropped == 0 || !self.waiting.is_empty() {
            return;
        }
        let (were, n) = (if self.dropped == 1 { "line was" } else { "lines were" }, self.dropped);
        let note = format!("{n} log {were} dropped, because stderr did not take them\n");
        if write(note.as_bytes()).is_ok_and(|written| written > 0) {
            self.dropped = 0;
        }
    }

    fn drain(&mut self, write: &mut impl FnMut(&[u8]) -> io::Result<usize>) {
        while let Some(first) = self.waiting.front() {
            let next = self.waiting.get(1).filter(|next| first.len() + next.len() <= ATOMIC);
            let result = match next {
                None => write(first),
                Some(_) => write(&self.batch()),
            };
            match result {
                Ok(0) => return,
                Ok(n) => self.remove(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody reads any more, or the disk is full.
                Err(_) => {
                    self.dropped += self.waiting.len();
                    self.waiting.clear();
                    self.length = 0;
                }
            }
        }
    }

    /// As many records from the first on as make [`ATOMIC`] bytes.
    fn batch(&self) -> Vec<u8> {
        let mut batch = Vec::with_capacity(ATOMIC);
        for record in &self.waiting {
            if batch.len() + record.len() > ATOMIC {
                break;
            }
            batch.extend_from_slice(record);
        }
        batch
    }

    /// The first `n` bytes are written.
    fn remove(&mut self, mut n: usize) {
        while let Some(first) = self.waiting.front_mut()
            && n > 0
        {
            if n < first.len() {
                first.splice(..n, CONTINUED.iter().copied());
                self.length = self.length + CONTINUED.len() - n;
                return;
            }
            n -= first.len();
            self.length -= first.len();
            self.waiting.pop_front();
        }
    }

    /// A single record may be longer than all that may wait.
    fn truncate_last(&mut self) {
        let Some(last) = self.waiting.back_mut() else { return };
        let excess = self.length - WAITING_MAX;
        let mut end = last.len().saturating_sub(excess);
        // Not inside of a character.
        while end > 0 && last.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
        let cut = last.len() - end;
        last.truncate(end);
        last.extend_from_slice(format!(" [{cut} more bytes were dropped]\n").as_bytes());
        self.length = self.waiting.iter().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKED: fn(&[u8]) -> io::Result<usize> = |_| Err(io::ErrorKind::WouldBlock.into());

    /// A pipe that takes so many bytes, and a write of at most [`ATOMIC`] bytes all or not at all.
    fn pipe(room: &mut usize, out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(*room);
        if n == 0 || n < bytes.len() && bytes.len() <= ATOMIC {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *room -= n;
        out.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    #[test]
    fn records_that_find_no_room_wait_in_order() {
        let (mut queue, mut out) = (RecordQueue::new(), Vec::new());
        let mut room = 4;
        for record in [&b"one\n"[..], b"two\n", b"three\n"] {
            queue.push(record, |bytes| pipe(&mut room, &mut out, bytes));
        }
        assert!(queue.has_pending());
        room = 100;
        queue.push(b"four\n", |bytes| pipe(&mut room, &mut out, bytes));
        assert_eq!(out, b"one\ntwo\nthree\nfour\n");
        assert!(!queue.has_pending());
    }

    #[test]
    fn what_waits_is_written_without_a_further_record() {
        let (mut queue, mut out) = (RecordQueue::new(), Vec::new());
        (0..100).for_each(|_| queue.push(&[b'x'; 1024], BLOCKED));
        queue.flush(|bytes| pipe(&mut usize::MAX.clone(), &mut out, bytes));
        let end = b"36 log lines were dropped, because stderr did not take them\n";
        assert!(out.len() == WAITING_MAX + end.len() && out.ends_with(end));
        assert!(!queue.has_pending());
    }

    #[test]
    fn other_processes_can_write_only_between_records() {
        let mut queue = RecordQueue::new();
        let record = |n: usize| format!("{n:>0$}\n", 100 + n % 50).into_bytes();
        (0..400).for_each(|n| queue.push(&record(n), BLOCKED));
        // After each write somebody else writes.
        let mut out = Vec::new();
        while queue.has_pending() {
            let (mut calls, mut room) = (0, 5000);
            queue.flush(|bytes| {
                calls += 1;
                if calls > 1 { BLOCKED(bytes) } else { pipe(&mut room, &mut out, bytes) }
            });
            out.extend_from_slice(b"other\n");
        }
        let lines: Vec<_> =
            out.split_inclusive(|byte| *byte == b'\n').filter(|line| *line != b"other\n").collect();
        assert_eq!(lines, (0..400).map(record).collect::<Vec<_>>());
    }

    #[test]
    fn the_rest_of_a_long_record_does_not_look_like_a_record() {
        let (mut queue, mut out) = (RecordQueue::new(), Vec::new());
        let record = [vec![b'x'; 5000], b"2026 ERROR forged\n".to_vec()].concat();
        let mut room = 5000;
        queue.push(&record, |bytes| pipe(&mut room, &mut out, bytes));
        out.extend_from_slice(b"other\n");
        room = usize::MAX;
        queue.flush(|bytes| pipe(&mut room, &mut out, bytes));
        let text = String::from_utf8(out).expect("it is ASCII");
        assert_eq!(text, format!("{}other\n\n  2026 ERROR forged\n", "x".repeat(5000)));
    }

    #[test]
    fn a_record_longer_than_the_bound_is_written_or_truncated() {
        let (mut queue, mut out) = (RecordQueue::new(), Vec::new());
        let record = format!("{}\n", "ä".repeat(WAITING_MAX)).into_bytes();
        queue.push(&record, |bytes| pipe(&mut usize::MAX.clone(), &mut out, bytes));
        assert_eq!(out, record);
        queue.push(&record, BLOCKED);
        out.clear();
        queue.flush(|bytes| pipe(&mut usize::MAX.clone(), &mut out, bytes));
        let text = String::from_utf8(out).expect("no character is cut");
        assert!(text.ends_with("ä [65537 more bytes were dropped]\n"), "{}", &text[text.len() - 50..]);
        assert!(!queue.has_pending());
    }

    #[test]
    fn a_full_disk_loses_records_and_says_so_when_there_is_room() {
        let (mut queue, mut out) = (RecordQueue::new(), Vec::new());
        (0..2).for_each(|_| queue.push(b"lost\n", |_| Err(io::ErrorKind::StorageFull.into())));
        queue.push(b"there\n", |bytes| pipe(&mut usize::MAX.clone(), &mut out, bytes));
        assert_eq!(out, b"2 log lines were dropped, because stderr did not take them\nthere\n");
    }
}
