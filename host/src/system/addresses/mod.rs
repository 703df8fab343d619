//! What each client address does, for limits per address: its open connections on each worker, and how much of each rate it
//! has used. The parent shares the memory with its workers, so that a limit holds for all of them together.
//!
//! The table has a fixed size, however many addresses come. An address has one of [`WAYS`] places in its set, which a hash
//! with a secret key chooses: nobody can aim at the set of another address. In a full set, the address without connections
//! whose last use is longest ago makes room. If all of a set have connections, further addresses are not limited.
//!
//! Nothing is locked. Each worker counts connections in a number of its own, so the parent can give back those of a worker
//! that has died. Two workers that see an address for the first time in the same moment may give it two places: connections
//! are counted in both, and of a rate a few requests more may pass.

mod layout; // where a number is

mod rate; // a token bucket in one number

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};

use super::shared_memory::{self, Mapping};
use layout::{Place, RATES, SETS, WAYS};
pub use rate::Bucket;

/// Addresses that have a place.
pub const CAPACITY: usize = SETS * WAYS;
/// Tries to get a place that other workers take at the same time.
const TRIES: usize = 4;

/// The table of all addresses. Leak it to get the `&'static Addresses` of a [`Seat`].
#[derive(Debug)]
pub struct Addresses {
    words: Mapping<AtomicU64>,
    workers: usize,
    /// Copied, because every worker can write to the table.
    secret: [u64; 2],
}

/// An address as limits count it: clients of IPv6 usually have a whole /64 network, which counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// A connection of an address. Dropping it gives it back.
#[derive(Debug)]
pub struct Seat {
    addresses: &'static Addresses,
    worker: usize,
    place: Place,
}

/// Why an address gets no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSeat {
    /// It has as many as it may have.
    Full,
    /// All places of its set are taken by addresses with connections.
    Unknown,
}

impl Addresses {
    /// A table for that many workers, and the descriptor with which a worker opens it.
    pub fn create(workers: usize) -> io::Result<(Self, OwnedFd)> {
        let fd =
            shared_memory::create("callsign-addresses", layout::words(workers) * size_of::<AtomicU64>())?;
        let words = Mapping::<AtomicU64>::new(fd.as_fd(), layout::words(workers))?;
        // Each has random keys.
        let random = || RandomState::new().build_hasher().finish();
        let secret = [random(), random()];
        secret.iter().zip(words.values()).for_each(|(secret, word)| word.store(*secret, Relaxed));
        Ok((Self { words, workers, secret }, fd))
    }

    /// Maps the table behind a descriptor of [`Addresses::create`].
    pub fn open(fd: BorrowedFd<'_>, workers: usize) -> io::Result<Self> {
        let (size, words) = (rustix::fs::fstat(fd)?.st_size, layout::words(workers));
        if usize::try_from(size) != Ok(words * size_of::<AtomicU64>()) {
            return Err(io::Error::other(format!("{size} bytes are no table of addresses")));
        }
        let words = Mapping::<AtomicU64>::new(fd, words)?;
        let secret = [0, 1].map(|index: usize| words.values()[index].load(Relaxed));
        Ok(Self { words, workers, secret })
    }

    /// The key of an address.
    pub fn key(&self, address: IpAddr) -> Key {
        #[expect(
            deprecated,
            reason = "the only hash of the standard library whose key processes can share: SipHash-2-4"
        )]
        let mut hasher = std::hash::SipHasher::new_with_keys(self.secret[0], self.secret[1]);
        match address.to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()[..8]),
        }
        // 0 is no address.
        Key(hasher.finish().max(1))
    }

    /// Counts a connection of an address, unless it has `max` already on all workers together. `now` and all other times
    /// are nanoseconds of a clock that the workers share.
    pub fn connect(&'static self, worker: usize, key: Key, max: usize, now: u64) -> Result<Seat, NoSeat> {
        for _ in 0..TRIES {
            let place = self.place(key, now).ok_or(NoSeat::Unknown)?;
            self.add(place, worker);
            let seat = Seat { addresses: self, worker, place };
            // Of two workers that take the last connection at once, at least one sees the other.
            fence(SeqCst);
            let count: usize = self.places(key).map(|place| self.connections(place)).sum();
            // Otherwise another address has got the place in between.
            if self.word(place.key()).load(SeqCst) == key.0 {
                return if count <= max { Ok(seat) } else { Err(NoSeat::Full) };
            }
        }
        Err(NoSeat::Unknown)
    }

    /// Uses one token of an address for the rate of that index. Err: it has none; time until it has one.
    pub fn take(&self, key: Key, rate: usize, bucket: Bucket, now: u64) -> Result<(), u64> {
        let Some(place) = self.place(key, now) else { return Ok(()) };
        let word = self.word(place.rate(rate));
        let mut used = word.load(Relaxed);
        loop {
            let next = bucket.take(used, now)?;
            match word.compare_exchange_weak(used, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => used = changed,
            }
        }
    }

    /// Gives back the connections of a worker that has died.
    pub fn release_worker(&self, worker: usize) {
        for place in Place::all(self.workers) {
            let word = self.word(place.connections(worker));
            let own = u64::from(u32::MAX) << place.shift(worker);
            // A page that is only read is not copied, but has memory from then on.
            if word.load(Relaxed) & own != 0 {
                word.fetch_and(!own, SeqCst);
            }
        }
    }

    /// The place of an address, an old one or a new one. None: there is no place for it.
    fn place(&self, key: Key, now: u64) -> Option<Place> {
        for _ in 0..TRIES {
            if let Some(place) = self.places(key).next() {
                return Some(place);
            }
            let unused = self.set(key).filter(|place| self.connections(*place) == 0);
            let is_taken = |place: &Place| self.word(place.key()).load(Relaxed) != 0;
            let place = unused.min_by_key(|place| (self.last_use(*place, now), is_taken(place)))?;
            let word = self.word(place.key());
            let before = word.load(Relaxed);
            // Only then, because what the last address has used is not the new one's.
            (0..RATES).for_each(|rate| self.word(place.rate(rate)).store(0, Relaxed));
            if before != key.0 && word.compare_exchange(before, key.0, SeqCst, Relaxed).is_ok() {
                if self.connections(place) == 0 {
                    return Some(place);
                }
                // The last address has got a connection in between.
                let _ = word.compare_exchange(key.0, before, SeqCst, Relaxed);
            }
        }
        None
    }

    /// The places that an address may have.
    fn set(&self, key: Key) -> impl Iterator<Item = Place> + use<> {
        Place::of_set((key.0 % SETS as u64) as usize, self.workers)
    }

    /// The places that an address has, more than one only if workers gave it several at once.
    fn places(&self, key: Key) -> impl Iterator<Item = Place> {
        self.set(key).filter(move |place| self.word(place.key()).load(SeqCst) == key.0)
    }

    /// Connections of all workers.
    fn connections(&self, place: Place) -> usize {
        let count = |worker| self.word(place.connections(worker)).load(SeqCst) >> place.shift(worker);
        // Numbers of a faulty worker may be anything.
        (0..self.workers).map(|worker| count(worker) as u32 as usize).fold(0, usize::saturating_add)
    }

    /// When an address has used the last token of any rate, or later. One that has all of its tokens is not worth to be kept.
    fn last_use(&self, place: Place, now: u64) -> u64 {
        let last = (0..RATES).map(|rate| self.word(place.rate(rate)).load(Relaxed)).max().unwrap_or(0);
        if last <= now { 0 } else { last }
    }

    fn add(&self, place: Place, worker: usize) {
        self.word(place.connections(worker)).fetch_add(1 << place.shift(worker), SeqCst);
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.words.values()[index]
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Self { addresses, worker, place } = *self;
        addresses.word(place.connections(worker)).fetch_sub(1 << place.shift(worker), SeqCst);
    }
}

#[cfg(test)]
mod tests;
