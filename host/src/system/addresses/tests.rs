//! Addresses of the table: what they share, what they do not, and what is left of a worker that has died.

use std::time::Duration;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn table(workers: usize) -> (&'static Addresses, OwnedFd) {
    let (addresses, fd) = Addresses::create(workers).expect("shared memory");
    (Box::leak(Box::new(addresses)), fd)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn clients_of_ipv6_count_by_their_64_network_and_those_of_ipv4_by_their_address() {
    let (table, _) = table(1);
    for (one, other, same) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ("2001:db8:1:2::1", "2001:db8:0:2::1", false),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ("::1", "192.0.2.1", false),
    ] {
        assert_eq!(table.key(ip(one)) == table.key(ip(other)), same, "{one} {other}");
    }
}

#[test]
fn each_table_hashes_with_its_own_secret_and_workers_with_that_of_their_parent() {
    let ((one, fd), (other, _)) = (table(3), table(3));
    let address = ip("192.0.2.1");
    assert_ne!(one.key(address), other.key(address));
    let opened = Addresses::open(fd.as_fd(), 3).expect("it was created");
    assert_eq!(one.key(address), opened.key(address));
    assert!(Addresses::open(fd.as_fd(), 5).is_err(), "that table is larger");
}

#[test]
fn connections_of_all_workers_count_together_and_a_seat_is_given_back() {
    let (table, _) = table(3);
    let (key, other) = (table.key(ip("192.0.2.1")), table.key(ip("192.0.2.2")));
    let seats: Vec<_> = (0..3).map(|worker| table.connect(worker, key, 3, SECOND)).collect();
    assert!(seats.iter().all(Result::is_ok));
    for worker in 0..3 {
        assert!(matches!(table.connect(worker, key, 3, SECOND), Err(NoSeat::Full)));
    }
    let _other = table.connect(0, other, 1, SECOND).expect("another address");
    drop(seats);
    assert!(
        (0..3)
            .map(|worker| table.connect(worker, key, 3, SECOND))
            .collect::<Vec<_>>()
            .iter()
            .all(Result::is_ok)
    );
    assert!(table.connect(2, key, 1, SECOND).is_ok(), "all were given back");
}

#[test]
fn the_connections_of_a_worker_that_has_died_are_given_back() {
    let (table, fd) = table(4);
    // That of another process, which does not run its destructors.
    let dying: &'static Addresses =
        Box::leak(Box::new(Addresses::open(fd.as_fd(), 4).expect("it was created")));
    let keys: Vec<_> = (0..200).map(|n| table.key(ip(&format!("192.0.2.{n}")))).collect();
    for key in &keys {
        std::mem::forget(dying.connect(3, *key, 9, SECOND).expect("a seat"));
        std::mem::forget(dying.connect(3, *key, 9, SECOND).expect("a seat"));
    }
    let kept: Vec<_> = keys.iter().map(|key| table.connect(2, *key, 3, SECOND).expect("a seat")).collect();
    assert!(matches!(table.connect(2, keys[0], 3, SECOND), Err(NoSeat::Full)));
    table.release_worker(3);
    for key in &keys {
        let two = [0, 1].map(|worker| table.connect(worker, *key, 3, SECOND));
        assert!(two.iter().all(Result::is_ok), "its own connection and two");
        assert!(matches!(table.connect(1, *key, 3, SECOND), Err(NoSeat::Full)));
    }
    drop(kept);
}

#[test]
fn each_rate_of_an_address_has_its_own_bucket() {
    let (table, _) = table(2);
    let (key, other) = (table.key(ip("192.0.2.1")), table.key(ip("2001:db8::1")));
    let bucket = Bucket::new(2, Duration::from_secs(1));
    let taken = |key, rate, now| (0..9).filter(|_| table.take(key, rate, bucket, now).is_ok()).count();
    for rate in 0..RATES {
        assert_eq!((taken(key, rate, SECOND), taken(other, rate, SECOND)), (2, 2));
    }
    assert_eq!(table.take(key, 1, bucket, SECOND), Err(SECOND / 2));
    assert_eq!(taken(key, 1, SECOND * 3 / 2), 1);
    assert_eq!(taken(key, 1, SECOND * 5), 2);
}

/// What an attacker with very many addresses can do.
#[test]
fn of_too_many_addresses_those_in_use_and_those_with_connections_stay() {
    let (table, _) = table(1);
    let bucket = Bucket::new(1, Duration::from_secs(3600));
    let held = table.key(ip("192.0.2.1"));
    let _seat = table.connect(0, held, 1, SECOND).expect("a seat");
    let mut now = SECOND;
    for n in 0..3 * CAPACITY as u64 {
        let network = 0x2001_0db8_0000_0000 + n;
        let key = table.key(IpAddr::from((u128::from(network) << 64).to_be_bytes()));
        now += 1000;
        table.take(key, 0, bucket, now).expect("each is new");
        assert!(table.take(key, 0, bucket, now).is_err(), "the newest of a set is not forgotten");
    }
    assert!(matches!(table.connect(0, held, 1, now), Err(NoSeat::Full)), "its place is still its own");
}

#[test]
fn an_address_without_a_place_is_not_limited_by_rates_and_gets_no_seat() {
    let (table, _) = table(1);
    let (mut seats, mut unknown) = (Vec::new(), None);
    for n in 0.. {
        let network: u64 = 0x2001_0db8_0000_0000 + n;
        let key = table.key(IpAddr::from((u128::from(network) << 64).to_be_bytes()));
        match table.connect(0, key, 1, SECOND) {
            Ok(seat) => seats.push(seat),
            Err(no_seat) => {
                assert_eq!(no_seat, NoSeat::Unknown);
                unknown = Some(key);
                break;
            }
        }
    }
    assert!(seats.len() > CAPACITY / 16, "after {} addresses", seats.len());
    let key = unknown.expect("the sets are bounded");
    let bucket = Bucket::new(1, Duration::from_secs(1));
    assert!((0..3).all(|_| table.take(key, 0, bucket, SECOND).is_ok()));
    drop(seats);
    assert!(table.connect(0, key, 1, SECOND).is_ok());
}

/// Threads in place of processes.
#[test]
fn workers_that_count_at_the_same_time_lose_nothing() {
    const WORKERS: usize = 4;
    const ROUNDS: usize = 20_000;
    let (table, _) = table(WORKERS);
    let keys: Vec<_> = (1..9).map(|n| table.key(ip(&format!("192.0.2.{n}")))).collect();
    let bucket = Bucket::new(1000, Duration::from_secs(1000));
    let passed: usize = std::thread::scope(|scope| {
        let run = |worker| {
            let keys = &keys;
            scope.spawn(move || {
                let mut seats = Vec::new();
                let mut passed = 0;
                for round in 0..ROUNDS {
                    let key = keys[(round + worker) % keys.len()];
                    seats.extend(table.connect(worker, key, 5, SECOND));
                    passed += usize::from(table.take(keys[0], 0, bucket, SECOND).is_ok());
                    if round % 7 == 0 {
                        seats.clear();
                    }
                }
                passed
            })
        };
        let threads: Vec<_> = (0..WORKERS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    // A place of two workers at once has a bucket each, once at most for each worker.
    assert!((1000..=1000 + WORKERS).contains(&passed), "{passed} tokens of 1000");
    for key in keys {
        let seats: Vec<_> = (0..5).map(|n| table.connect(n % WORKERS, key, 5, SECOND)).collect();
        assert!(seats.iter().all(Result::is_ok), "nobody has a connection any more");
        assert!(matches!(table.connect(0, key, 5, SECOND), Err(NoSeat::Full)));
    }
}
