//! The floor: the minimal cost of an echo. One thread, one epoll, one recv and one send per event; frames are
//! unmasked from one buffer into another. There are no checks, no control frames and no queue: it works with
//! this program's load only and is not a WebSocket server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::retry_on_intr;

use crate::client::ANSWER;

/// Size of one read, and of the longest frame.
const BUFFER: usize = 256 << 10;

struct Peer {
    stream: TcpStream,
    upgraded: bool,
    /// An incomplete frame, kept until the rest has arrived.
    partial: Vec<u8>,
}

/// Echoes until the process ends.
///
/// # Errors
/// The listener or epoll failed.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let marked = |fd: &dyn AsRawFd| EventData::new_u64(fd.as_raw_fd() as u64);
    epoll::add(&epoll, &listener, marked(&listener), EventFlags::IN)?;
    let mut peers: Vec<Option<Peer>> = Vec::new(); // by descriptor
    let (mut input, mut output) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        retry_on_intr(|| epoll::wait(&epoll, spare_capacity(&mut events), None))?;
        for event in &events {
            let fd = event.data.u64() as usize;
            if fd == listener.as_raw_fd() as usize {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    epoll::add(&epoll, &stream, marked(&stream), EventFlags::IN)?;
                    let fd = stream.as_raw_fd() as usize;
                    peers.resize_with(peers.len().max(fd + 1), || None);
                    peers[fd] = Some(Peer { stream, upgraded: false, partial: Vec::new() });
                }
            } else if let Some(peer) = &mut peers[fd]
                && peer.echo(&mut input, &mut output).is_err()
            {
                peers[fd] = None;
            }
        }
    }
}

impl Peer {
    /// One recv, one send; an error ends the connection.
    fn echo(&mut self, input: &mut [u8], output: &mut [u8]) -> io::Result<()> {
        let kept = self.partial.len();
        input[..kept].copy_from_slice(&self.partial);
        let end = match self.stream.read(&mut input[kept..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => kept + n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        if !self.upgraded {
            self.upgraded = true;
            return self.stream.write_all(ANSWER);
        }
        let (used, made) = answer(&input[..end], output);
        self.partial.clear();
        self.partial.extend_from_slice(&input[used..end]);
        let mut unsent = &output[..made];
        while !unsent.is_empty() {
            match self.stream.write(unsent) {
                Ok(n) => unsent = &unsent[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => {} // the load never stops reading
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Turns the complete masked frames of `input` into frames of a server (RFC 6455, section 5.2). Returns the
/// bytes consumed and the bytes produced, which are fewer.
fn answer(input: &[u8], output: &mut [u8]) -> (usize, usize) {
    let (mut used, mut made) = (0, 0);
    while let [_, second, rest @ ..] = &input[used..] {
        let (length, header) = match (second & 0x7f, rest) {
            (126, [high, low, ..]) => (u16::from_be_bytes([*high, *low]) as usize, 4),
            (short @ ..126, _) => (short as usize, 2),
            _ => break,
        };
        let Some((mask, payload)) = input[used + header..].split_first_chunk::<4>() else { break };
        let Some(payload) = payload.get(..length) else { break };
        output[made..made + header].copy_from_slice(&input[used..used + header]);
        output[made + 1] &= 0x7f; // clears the mask bit
        made += header;
        unmask(payload, *mask, &mut output[made..made + length]);
        made += length;
        used += header + mask.len() + length;
    }
    (used, made)
}

fn unmask(masked: &[u8], mask: [u8; 4], output: &mut [u8]) {
    let wide = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
    let (words, tail) = masked.as_chunks::<8>();
    let (output_words, output_tail) = output.as_chunks_mut::<8>();
    for (to, from) in output_words.iter_mut().zip(words) {
        *to = (u64::from_ne_bytes(*from) ^ wide).to_ne_bytes();
    }
    for (to, (from, mask)) in output_tail.iter_mut().zip(tail.iter().zip(mask.iter().cycle())) {
        *to = from ^ mask;
    }
}
