//! What a worker is told when it starts: its place, the settings, and the descriptors that it inherits. They
//! come as the first message over the socket that is the worker's standard input.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::banner::Loaded;
use crate::plan::Plan;
use crate::settings::Settings;

/// Listening sockets that one message can carry.
pub const LISTENERS_MAX: usize = 63;
/// Those, and the scoreboard.
const DESCRIPTORS_MAX: usize = LISTENERS_MAX + 1;

/// What a worker is told when it starts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Orders {
    /// Its place among the workers, from 0.
    pub index: usize,
    /// How many workers there are.
    pub workers: usize,
    /// The parent's process id.
    pub parent: u32,
    /// Connections that earlier workers of this place have had: ids go on from there.
    pub first_connection: u64,
    /// How to serve.
    pub settings: Settings,
    /// What to serve.
    pub plan: Plan,
}

/// What a worker is told in a reload. The number is the transaction's.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Load what is new in this plan, and check the names of its routes. Clients are served on.
    Load(u32, Plan),
    /// Stand still, and have the new copies take over everybody's state.
    Prepare(u32),
    /// Use them, and go on.
    Commit(u32),
    /// Forget them, and go on as before.
    Abort(u32),
}

/// What a worker answers, [`Order::Abort`] excepted.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done(u32, Done),
    /// It cannot be, and why; all is as it was.
    Refused(u32, String),
}

/// What came of an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// Connections that were kept, after [`Order::Commit`].
    pub connections: usize,
    /// For how long nothing else was done.
    pub paused: Duration,
    /// What is in use now, after [`Order::Commit`].
    pub loaded: Option<Loaded>,
}

impl Order {
    /// Whether it ends that transaction.
    pub fn decides(&self, transaction: u32) -> bool {
        matches!(self, Self::Commit(number) | Self::Abort(number) if *number == transaction)
    }
}

impl Orders {
    /// Sends the orders and the descriptors. Blocks until they are taken.
    pub fn send(&self, socket: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        send(self, socket, descriptors)
    }

    /// Receives them.
    pub fn receive(socket: &UnixStream) -> Result<(Self, Vec<OwnedFd>)> {
        receive(socket)
    }
}

/// Sends orders of whatever kind, with descriptors. Blocks until they are taken.
pub fn send(orders: &impl Serialize, mut socket: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let json = serde_json::to_vec(orders).context("the settings cannot be handed to a worker")?;
    let length = (json.len() as u64).to_le_bytes();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        bail!("more descriptors than one message can carry");
    }
    // The descriptors travel with the first byte; eight bytes always fit.
    rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut ancillary, SendFlags::empty())?;
    socket.write_all(&json)?;
    Ok(())
}

/// Receives them.
pub fn receive<T: DeserializeOwned>(mut socket: &UnixStream) -> Result<(T, Vec<OwnedFd>)> {
    let mut length = [0; 8];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut length)];
    let received = rustix::net::recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes < length.len() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).context("no orders came");
    }
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    let mut json = vec![0; usize::try_from(u64::from_le_bytes(length))?];
    socket.read_exact(&mut json)?;
    Ok((serde_json::from_slice(&json).context("the orders are not understood")?, descriptors))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn orders_arrive_with_their_descriptors() {
        let Command::Serve { plugins, options, .. } =
            Cli::parse_from(["callsign", "serve", "libchat.so"]).command
        else {
            panic!("`serve` is `serve`");
        };
        let settings = Settings::merge(None, options, plugins, 4).expect("nothing contradicts");
        let orders = Orders {
            index: 2,
            workers: 4,
            parent: 1,
            first_connection: 7,
            plan: Plan::in_place(&settings),
            settings,
        };
        let (parent, worker) = UnixStream::pair().expect("a pair of sockets");
        let (carried, held) = UnixStream::pair().expect("a pair of sockets");
        orders.send(&parent, &[carried.as_fd()]).expect("they fit");
        let (received, descriptors) = Orders::receive(&worker).expect("they were sent");
        assert_eq!((received.index, received.workers, received.first_connection), (2, 4, 7));
        assert_eq!(received.settings, orders.settings);
        let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).expect("one was sent");
        UnixStream::from(descriptor).write_all(b"!").expect("it is the same socket");
        let mut byte = [0];
        (&held).read_exact(&mut byte).expect("its peer hears it");
        assert_eq!(&byte, b"!");
    }
}
