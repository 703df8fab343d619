//! Descriptors for a worker that runs: the new listening sockets of a reload. They have a socket of their own beside the
//! link, on which each message is one datagram: descriptors cannot be lost between the pieces of a stream, and reading the
//! link costs nothing more. A message has the number of its transaction, and the parent sends it before the order that
//! needs it.
//!
//! Invariant: a worker keeps no descriptor of a transaction that has ended.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::setup::LISTENERS_MAX;

/// The parent's end.
#[derive(Debug)]
pub struct Sender(UnixDatagram);

/// The worker's end.
#[derive(Debug)]
pub struct Receiver(UnixDatagram);

/// Both ends, for a worker that starts.
pub fn channel() -> io::Result<(Sender, Receiver)> {
    let (parent, worker) = UnixDatagram::pair()?;
    parent.set_nonblocking(true)?;
    worker.set_nonblocking(true)?;
    Ok((Sender(parent), Receiver(worker)))
}

impl Sender {
    /// Sends descriptors for a transaction. Does not wait: Err if the worker has not taken earlier ones.
    pub fn send(&self, transaction: u32, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if descriptors.len() > LISTENERS_MAX || !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            bail!("more descriptors than one message can carry");
        }
        let number = transaction.to_le_bytes();
        let sent =
            rustix::net::sendmsg(&self.0, &[IoSlice::new(&number)], &mut ancillary, SendFlags::empty());
        match sent {
            Ok(_) => Ok(()),
            Err(Errno::AGAIN | Errno::NOBUFS) => bail!("it has not taken those of earlier reloads"),
            Err(error) => Err(error.into()),
        }
    }
}

impl Receiver {
    /// The end that a worker got from its parent.
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// Takes the descriptors that were sent for a transaction; none if there are none. Those of others are closed.
    pub fn receive(&self, transaction: u32) -> Result<Vec<OwnedFd>> {
        let mut received = Vec::new();
        while let Some((number, descriptors)) = self.next().context("the descriptors of a reload")? {
            if number == transaction {
                received.extend(descriptors);
            }
        }
        Ok(received)
    }

    /// Closes what was sent for transactions that have ended.
    pub fn discard(&self) {
        while matches!(self.next(), Ok(Some(_))) {}
    }

    /// Takes a message. None: there is none.
    fn next(&self) -> Result<Option<(u32, Vec<OwnedFd>)>> {
        let mut number = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut number)];
        let received = loop {
            match rustix::net::recvmsg(&self.0, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let descriptors = taken(&mut ancillary);
        // The kernel closes descriptors beyond the limit on open files.
        if received.flags.contains(ReturnFlags::CTRUNC) {
            bail!("the worker cannot have that many open files");
        }
        if received.bytes != number.len() {
            bail!("the parent has sent a message of {} bytes", received.bytes);
        }
        Ok(Some((u32::from_le_bytes(number), descriptors)))
    }
}

/// The descriptors that came with a message.
pub(super) fn taken(ancillary: &mut RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.flatten().collect()
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    /// The read end of a pipe that has this text and then ends.
    fn pipe(text: &str) -> OwnedFd {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        rustix::io::write(write, text.as_bytes()).expect("it fits");
        read
    }

    fn texts(descriptors: Vec<OwnedFd>) -> Vec<String> {
        let text = |descriptor| {
            let mut text = String::new();
            File::from(descriptor).read_to_string(&mut text).expect("a text");
            text
        };
        descriptors.into_iter().map(text).collect()
    }

    #[test]
    fn descriptors_arrive_in_order_and_those_of_other_transactions_are_closed() {
        let (parent, worker) = channel().expect("a pair of sockets");
        assert!(worker.receive(1).expect("nothing was sent").is_empty());
        let (old, one, two) = (pipe("old"), pipe("one"), pipe("two"));
        parent.send(1, &[old.as_fd()]).expect("it fits");
        parent.send(2, &[one.as_fd(), two.as_fd()]).expect("they fit");
        assert_eq!(texts(worker.receive(2).expect("they were sent")), ["one", "two"]);
        assert!(worker.receive(2).expect("all were taken").is_empty());
    }

    #[test]
    fn discarded_descriptors_are_closed() {
        let (parent, worker) = channel().expect("a pair of sockets");
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        parent.send(1, &[write.as_fd()]).expect("it fits");
        drop(write);
        worker.discard();
        let mut rest = Vec::new();
        File::from(read).read_to_end(&mut rest).expect("nobody can write any more");
        assert!(worker.receive(1).expect("none is left").is_empty());
    }

    #[test]
    fn a_worker_that_takes_none_does_not_block_the_parent_and_a_dead_one_is_an_error() {
        let (parent, worker) = channel().expect("a pair of sockets");
        let descriptor = pipe("");
        let error = (0..10_000).find_map(|number| parent.send(number, &[descriptor.as_fd()]).err());
        assert_eq!(
            error.expect("the queue is bounded").to_string(),
            "it has not taken those of earlier reloads"
        );
        drop(worker);
        parent.send(1, &[descriptor.as_fd()]).expect_err("nobody is there");
    }

    #[test]
    fn the_largest_number_of_listeners_fits() {
        let (parent, worker) = channel().expect("a pair of sockets");
        let descriptor = pipe("");
        parent.send(1, &[descriptor.as_fd(); LISTENERS_MAX]).expect("they fit");
        assert_eq!(worker.receive(1).expect("they were sent").len(), LISTENERS_MAX);
        parent.send(1, &[descriptor.as_fd(); LISTENERS_MAX + 1]).expect_err("one too many");
    }
}
