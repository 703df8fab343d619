//! Limits of one address, on a paused clock.

use std::net::IpAddr;

use tokio::time::advance;

use super::*;
use crate::config::rate::Rate;
use crate::system::addresses::Addresses;
use crate::worker::address_limits::{AddressLimits, Reached, Seated};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn rate(text: &str) -> Option<Rate> {
    Some(Rate::parse(text).expect(text))
}

/// Those of two workers that share a table.
fn workers(change: impl FnOnce(&mut Limits)) -> [AddressLimits; 2] {
    let (addresses, _) = Addresses::create(2).expect("shared memory");
    let addresses = Some(&*Box::leak(Box::new(addresses)));
    let limits = limits(change);
    [0, 1].map(|index| {
        let info = WorkerInfo { index, addresses, ..info(2) };
        AddressLimits::new(info, &limits).expect("there are limits")
    })
}

/// How many requests in a row pass, and when the next one may.
fn requests(limits: &AddressLimits, address: &str, is_handshake: bool) -> (usize, Reached) {
    let mut passed = 0;
    loop {
        match limits.request(ip(address), is_handshake) {
            Ok(()) => passed += 1,
            Err(reached) => return (passed, reached),
        }
        assert!(passed < 1000, "nothing limits them");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_pass_at_once_up_to_the_number_and_then_at_the_rate() {
    let [one, other] = workers(|limits| limits.request_rate = rate("10/5s"));
    let (passed, reached) = requests(&one, "192.0.2.1", false);
    let rate = Rate { count: 10, per: 5 * SECOND };
    let wait = Duration::from_millis(500);
    assert_eq!((passed, reached), (10, Reached { limit: Limit::RequestRate, rate: Some((rate, wait)) }));
    // Every worker knows it, and other addresses are served.
    assert_eq!(requests(&other, "192.0.2.1", false).0, 0);
    assert_eq!(requests(&other, "192.0.2.2", false).0, 10);
    // The clock of a worker does not stop between the starts of two: they may differ by a little.
    advance(Duration::from_millis(400)).await;
    let (passed, reached) = requests(&other, "192.0.2.1", true);
    let (_, wait) = reached.rate.expect("a rate");
    assert!(passed == 0 && wait.abs_diff(Duration::from_millis(100)) < Duration::from_millis(50), "{wait:?}");
    advance(Duration::from_millis(150)).await;
    assert_eq!(requests(&other, "192.0.2.1", false).0, 1);
    advance(3 * SECOND).await;
    assert_eq!((requests(&one, "192.0.2.1", false).0, requests(&other, "192.0.2.1", false).0), (6, 0));
    advance(3600 * SECOND).await;
    assert_eq!(requests(&other, "192.0.2.1", false).0, 10);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_counts_as_a_request_and_a_request_not_as_a_handshake() {
    let [one, other] = workers(|limits| {
        (limits.request_rate, limits.handshake_rate) = (rate("8/s"), rate("3/s"));
    });
    let (passed, reached) = requests(&one, "2001:db8::1", true);
    assert_eq!((passed, reached.limit), (3, Limit::HandshakeRate));
    // Four were requests, also the one that was no handshake any more.
    let (passed, reached) = requests(&other, "2001:db8::2", false);
    assert_eq!((passed, reached.limit), (4, Limit::RequestRate));
    // Connections are not limited.
    assert!(matches!(one.connect(ip("2001:db8::3")), Ok(Seated::Unlimited)));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_needs_a_token_and_a_seat() {
    let [one, other] = workers(|limits| {
        (limits.connection_rate, limits.max_per_address) = (rate("4/m"), Some(2));
    });
    let address = ip("192.0.2.1");
    let seats = [one.connect(address), other.connect(address)].map(|seated| seated.expect("a seat"));
    assert!(seats.iter().all(|seated| matches!(seated, Seated::Counted(_))));
    let full = Reached { limit: Limit::ConnectionsPerAddress, rate: None };
    assert_eq!(one.connect(address).expect_err("it has two"), full);
    assert_eq!(other.seat(address).expect_err("it has two"), full);
    drop(seats);
    let _seat = other.seat(address).expect("it is no new connection");
    let _last = other.connect(address).expect("the fourth token");
    assert_eq!(one.connect(address).expect_err("no token").limit, Limit::ConnectionRate);
    advance(15 * SECOND).await;
    assert_eq!(one.connect(address).expect_err("no seat"), full);
}

#[tokio::test(start_paused = true)]
async fn a_permit_keeps_the_seat_of_its_client() {
    let [one, _] = workers(|limits| limits.max_per_address = Some(1));
    let info = info(1);
    let admission = Admission::new(info, 1000, None);
    let address = ip("192.0.2.1");
    let Ok(Seated::Counted(seat)) = one.connect(address) else { panic!("it has none yet") };
    let shared = Rc::new(admission.admit().await.seated(Some(seat)));
    let upgraded = Permit::take(shared.clone());
    drop(shared);
    assert_eq!(info.scoreboard.slot(0).clients(), 1);
    assert!(one.connect(address).is_err());
    drop(upgraded);
    assert_eq!(info.scoreboard.slot(0).clients(), 0);
    assert!(one.connect(address).is_ok());
    assert_eq!(size_of::<Permit>(), size_of::<usize>(), "each connection has one");
}

#[test]
fn without_a_table_there_are_no_limits() {
    assert!(AddressLimits::new(info(1), &limits(|limits| limits.request_rate = rate("1/s"))).is_none());
}
