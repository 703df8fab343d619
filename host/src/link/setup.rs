//! The first message of a child process: a worker's index, settings and descriptors. It comes over the socket that
//! is the child's standard input.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::descriptors;
use crate::config::plan::Plan;
use crate::system::sandbox::Confinement;

/// Listening sockets that one message can carry.
pub const LISTENERS_MAX: usize = 63;
/// The scoreboard, the table of addresses, the pipe of the access log, the socket for later descriptors, and the listening
/// sockets.
const DESCRIPTORS_MAX: usize = LISTENERS_MAX + 4;

/// What a worker needs to start.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Its index among the workers, from 0.
    pub index: usize,
    /// The number of workers.
    pub workers: usize,
    /// The parent's process id.
    pub parent: u32,
    /// Connections that earlier workers of this index accepted. Ids continue from there.
    pub first_connection: u64,
    /// What to serve, with the listeners in the order of the descriptors.
    pub plan: Plan,
    /// Bytes of a message of another worker, which may have begun with other limits.
    pub link_max_message: usize,
    /// What the worker may do. None: it is not confined.
    pub confinement: Option<Confinement>,
}

impl Setup {
    /// Sends the descriptors, and how long the setup is. Returns the setup, which has to be written to the socket next:
    /// it may be longer than what the socket holds, and the child may be stopped.
    pub fn announce(
        &self,
        socket: &UnixStream,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Zeroizing<Vec<u8>>> {
        announce(self, socket, descriptors)
    }

    /// Receives setup and descriptors.
    pub fn receive(socket: &UnixStream) -> Result<(Self, Vec<OwnedFd>)> {
        receive(socket)
    }
}

/// Sends a value as JSON, with descriptors. Blocks until the child has taken them.
pub fn send(setup: &impl Serialize, mut socket: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let json = announce(setup, socket, descriptors)?;
    Ok(socket.write_all(&json)?)
}

/// The value as JSON. It may have private keys: it is overwritten when it is dropped.
fn announce(
    setup: &impl Serialize,
    socket: &UnixStream,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Zeroizing<Vec<u8>>> {
    let json = serde_json::to_vec(setup).context("the settings cannot be handed to a worker")?;
    let json = Zeroizing::new(json);
    let length = (json.len() as u64).to_le_bytes();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        bail!("more descriptors than one message can carry");
    }
    // The descriptors travel with the first byte; eight bytes always fit.
    rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut ancillary, SendFlags::empty())?;
    Ok(json)
}

/// Receives a value and descriptors from [`send`].
pub fn receive<T: DeserializeOwned>(socket: &UnixStream) -> Result<(T, Vec<OwnedFd>)> {
    let mut length = [0; 8];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut length)];
    let received = rustix::net::recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes < length.len() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).context("no setup came");
    }
    let descriptors = descriptors::taken(&mut ancillary);
    let length = u64::from_le_bytes(length);
    let mut json = Zeroizing::new(Vec::new());
    // Memory follows what arrives, not the length that is announced.
    if socket.take(length).read_to_end(&mut json)? as u64 != length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).context("the setup is incomplete");
    }
    Ok((serde_json::from_slice(&json).context("the setup is not understood")?, descriptors))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use clap::Parser;

    use super::*;
    use crate::commands::cli::{Cli, Command};
    use crate::config::plan::PlannedListener;
    use crate::config::settings::Settings;

    #[test]
    fn a_setup_arrives_with_its_descriptors() {
        let Command::Serve { plugins, options, .. } =
            Cli::parse_from(["callsign", "serve", "libchat.so"]).command
        else {
            panic!("`serve` is `serve`");
        };
        let settings = Settings::merge(None, options, plugins, 4).expect("nothing contradicts");
        let setup = Setup {
            index: 2,
            workers: 4,
            parent: 1,
            first_connection: 7,
            plan: Plan {
                listeners: vec![PlannedListener {
                    id: 3,
                    settings: settings.listen[0].settings("127.0.0.1:80".to_owned()),
                    tls: None,
                }],
                ..Plan::in_place(&settings)
            },
            link_max_message: 1 << 20,
            confinement: None,
        };
        let (parent, worker) = UnixStream::pair().expect("a pair of sockets");
        let (carried, held) = UnixStream::pair().expect("a pair of sockets");
        let json = setup.announce(&parent, &[carried.as_fd()]).expect("they fit");
        (&parent).write_all(&json).expect("it fits");
        let (received, descriptors) = Setup::receive(&worker).expect("they were sent");
        assert_eq!((received.index, received.workers, received.first_connection), (2, 4, 7));
        assert_eq!((received.link_max_message, received.plan), (setup.link_max_message, setup.plan));
        let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).expect("one was sent");
        UnixStream::from(descriptor).write_all(b"!").expect("it is the same socket");
        let mut byte = [0];
        (&held).read_exact(&mut byte).expect("its peer hears it");
        assert_eq!(&byte, b"!");
    }
}
