//! Where in the table of addresses a number is, in words of 64 bits.

/// Words before the first set: the secret.
pub const HEADER: usize = 8;
/// Places of a set.
pub const WAYS: usize = 16;
/// Sets. With two workers, all of them together take 5 MiB.
pub const SETS: usize = 1 << 13;
/// Rates that are limited.
pub const RATES: usize = 3;

/// The place of one address: its key, what it has used of each rate, and its connections on each worker, 32 bits for each.
/// The keys of a set lie together, because all of them are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    key: u32,
    rates: u32,
}

/// Words of a place besides its key.
fn size(workers: usize) -> usize {
    RATES + workers.div_ceil(2)
}

fn size_of_set(workers: usize) -> usize {
    WAYS * (1 + size(workers))
}

/// Words of the whole table.
pub fn words(workers: usize) -> usize {
    HEADER + SETS * size_of_set(workers)
}

impl Place {
    /// All places.
    pub fn all(workers: usize) -> impl Iterator<Item = Self> {
        (0..SETS).flat_map(move |set| Self::of_set(set, workers))
    }

    /// The places of a set.
    pub fn of_set(set: usize, workers: usize) -> impl Iterator<Item = Self> {
        let start = HEADER + set * size_of_set(workers);
        (0..WAYS).map(move |way| Self {
            key: (start + way) as u32,
            rates: (start + WAYS + way * size(workers)) as u32,
        })
    }

    /// The index of the word with the key.
    pub fn key(self) -> usize {
        self.key as usize
    }

    /// The index of the word for that rate.
    pub fn rate(self, rate: usize) -> usize {
        self.rates as usize + rate
    }

    /// The index of the word with the connections of a worker.
    pub fn connections(self, worker: usize) -> usize {
        self.rates as usize + RATES + worker / 2
    }

    /// The lowest bit of these connections.
    pub fn shift(self, worker: usize) -> usize {
        worker % 2 * 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_numbers_overlap_and_all_are_in_the_table() {
        for workers in [1, 2, 3, 256] {
            let mut seen = HashSet::new();
            for place in Place::of_set(0, workers)
                .chain(Place::of_set(1, workers))
                .chain(Place::of_set(SETS - 1, workers))
            {
                assert!(seen.insert((place.key(), 0)));
                assert!((0..RATES).all(|rate| seen.insert((place.rate(rate), 0))));
                assert!(
                    (0..workers).all(|worker| seen.insert((place.connections(worker), place.shift(worker))))
                );
            }
            assert!(seen.iter().all(|(word, _)| (HEADER..words(workers)).contains(word)));
            assert_eq!(Place::all(workers).count(), SETS * WAYS);
        }
    }
}
