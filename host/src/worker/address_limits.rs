//! What the clients of one address may do: connections at a time, new ones, requests and WebSocket handshakes in a time. The
//! counts are those of all workers together ([`Addresses`]). An address enters; a seat leaves, or what the client has
//! reached.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::admission::WorkerInfo;
use crate::config::rate::Rate;
use crate::config::settings::Limits;
use crate::system::addresses::{Addresses, Bucket, Key, NoSeat, Seat};
use crate::system::scoreboard::Limit;

/// The limits per address of a worker.
pub struct AddressLimits {
    addresses: &'static Addresses,
    worker: usize,
    /// None: any number.
    pub max_connections: Option<usize>,
    /// New connections.
    connections: Option<Limited>,
    requests: Option<Limited>,
    handshakes: Option<Limited>,
    /// A moment, and the nanoseconds of the clock that all workers share.
    start: (Instant, u64),
}

/// A rate that is limited.
#[derive(Clone, Copy)]
struct Limited {
    limit: Limit,
    bucket: Bucket,
    rate: Rate,
    /// Among the rates of an address.
    index: usize,
}

/// A limit that an address has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    pub limit: Limit,
    /// The rate, if the limit is one, and when the address may do more.
    pub rate: Option<(Rate, Duration)>,
}

/// Whether an address may have a connection.
#[derive(Debug)]
pub enum Seated {
    /// It has it.
    Counted(Rc<Seat>),
    /// Nothing limits its connections.
    Unlimited,
    /// There is no room to count it: more addresses have connections than the table has places for.
    Uncounted,
}

impl AddressLimits {
    /// None: there are no such limits.
    pub fn new(info: WorkerInfo, limits: &Limits) -> Option<Self> {
        let limited = |index, limit, rate: Option<Rate>| {
            rate.map(|rate| Limited { limit, bucket: Bucket::new(rate.count, rate.per), rate, index })
        };
        let addresses = info.addresses.filter(|_| limits.are_per_address())?;
        // Only then: rustix reads the clock in a way that does not work under valgrind.
        let time = clock_gettime(ClockId::Monotonic);
        let nanoseconds = Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32).as_nanos();
        Some(Self {
            addresses,
            worker: info.index,
            max_connections: limits.max_per_address,
            connections: limited(0, Limit::ConnectionRate, limits.connection_rate),
            requests: limited(1, Limit::RequestRate, limits.request_rate),
            handshakes: limited(2, Limit::HandshakeRate, limits.handshake_rate),
            start: (Instant::now(), u64::try_from(nanoseconds).unwrap_or(0)),
        })
    }

    /// A client of that address has come.
    pub fn connect(&self, address: IpAddr) -> Result<Seated, Reached> {
        let key = self.addresses.key(address);
        self.take(key, self.connections)?;
        self.seat_of(key)
    }

    /// A client of that address has sent a request, which may be a WebSocket handshake.
    pub fn request(&self, address: IpAddr, is_handshake: bool) -> Result<(), Reached> {
        let key = self.addresses.key(address);
        self.take(key, self.requests)?;
        if is_handshake { self.take(key, self.handshakes) } else { Ok(()) }
    }

    /// A connection of that address, which is no new one: it comes over one of a proxy.
    pub fn seat(&self, address: IpAddr) -> Result<Seated, Reached> {
        self.seat_of(self.addresses.key(address))
    }

    fn seat_of(&self, key: Key) -> Result<Seated, Reached> {
        let Some(max) = self.max_connections else { return Ok(Seated::Unlimited) };
        match self.addresses.connect(self.worker, key, max, self.now()) {
            Ok(seat) => Ok(Seated::Counted(Rc::new(seat))),
            Err(NoSeat::Full) => Err(Reached { limit: Limit::ConnectionsPerAddress, rate: None }),
            Err(NoSeat::Unknown) => Ok(Seated::Uncounted),
        }
    }

    fn take(&self, key: Key, limited: Option<Limited>) -> Result<(), Reached> {
        let Some(Limited { limit, bucket, rate, index }) = limited else { return Ok(()) };
        self.addresses
            .take(key, index, bucket, self.now())
            .map_err(|wait| Reached { limit, rate: Some((rate, Duration::from_nanos(wait))) })
    }

    /// tokio's clock, which tests can stop, as the clock that all workers share.
    fn now(&self) -> u64 {
        let (start, nanoseconds) = self.start;
        nanoseconds + u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX / 4)
    }
}
