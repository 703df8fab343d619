//! TLS between a client's bytes and its socket: data is opened in the buffer that it is read into, and sealed in a buffer
//! that all clients of a thread share. The socket is the caller's: it comes as a function that reads or writes.
//!
//! Invariant: sealed bytes are written once and in order. What the socket does not accept waits here, and the data in it
//! counts as written only when all of it is.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::TcpStream;

use callsign_tls::{End, Established, PLAINTEXT_MAX, RECORD_MAX, Session};
use callsign_websocket::{Source, put_bytes};

use super::frozen::ThawError;

/// Data that is sealed at once: whole records. A client that does not read keeps so much of it twice.
const BATCH: usize = 3 * PLAINTEXT_MAX;
/// Bytes of one read: small, so that a read of tiny records does not take long.
pub const READ: usize = 64 * 1024;
/// Size of a buffer that every read fits into, with the incomplete record before it.
pub const BUFFER: usize = READ + RECORD_MAX + 256;

/// A read of so many bytes is much work if less than half of them are data: small records and key updates take a
/// millisecond or more for [`READ`] bytes.
const LABORIOUS: usize = 8 * 1024;

thread_local! {
    static SEALED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(3 * RECORD_MAX));
}

/// A TCP socket with TLS over it.
#[derive(Debug)]
pub struct Tls {
    /// The socket.
    pub stream: TcpStream,
    layer: RefCell<Layer>,
}

impl Tls {
    /// Continues a session over its socket, which is in non-blocking mode.
    pub fn new(stream: TcpStream, layer: Layer) -> Self {
        Self { stream, layer: RefCell::new(layer) }
    }

    /// See [`Layer::read`]. A violation is told to the client by [`Tls::close`].
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Read> {
        self.layer.borrow_mut().read(buffer, |buffer| (&self.stream).read(buffer))
    }

    /// See [`Layer::write`].
    ///
    /// # Errors
    /// [`is_worn_out`], once, before the session can seal no more: the client is to be told that the connection ends.
    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut layer = self.layer.borrow_mut();
        if layer.session.is_worn() && !std::mem::replace(&mut layer.worn_reported, true) {
            return Err(worn_out());
        }
        layer.write(slices, |bytes| (&self.stream).write(bytes))
    }

    /// See [`Layer::close`].
    pub fn close(&self) {
        self.layer.borrow_mut().close(|bytes| (&self.stream).write(bytes));
    }

    /// Memory of the beginning of a record.
    #[inline]
    pub fn received_memory(&self) -> usize {
        self.layer.borrow().partial.len()
    }

    /// Whether the client's end of the session has been read: the socket may have nothing more to report.
    pub fn has_ended(&self) -> bool {
        self.layer.borrow().end.is_some()
    }

    /// Memory of sealed bytes that the socket has not accepted.
    pub fn sealed_memory(&self) -> usize {
        self.layer.borrow().unwritten.len()
    }

    /// Bytes that the socket is to accept for data of which the beginning may be sealed already.
    pub fn length_on_wire(&self, data: usize) -> usize {
        let layer = self.layer.borrow();
        layer.unwritten.len() + layer.session.sealed_length(data.saturating_sub(layer.unwritten_data))
    }

    /// How much data is sealed that is not written.
    pub fn sealed_data(&self) -> usize {
        self.layer.borrow().unwritten_data
    }

    /// Whether sealed bytes were written since the last call.
    pub fn take_progressed(&self) -> bool {
        std::mem::take(&mut self.layer.borrow_mut().progressed)
    }

    /// The socket and the session.
    pub fn into_parts(self) -> (TcpStream, Layer) {
        (self.stream, self.layer.into_inner())
    }
}

/// The TLS session of a client, with what waits on either side of it.
pub struct Layer {
    session: Session,
    /// Data that came with the handshake, or behind what hyper has read.
    early: Vec<u8>,
    /// The beginning of a record.
    partial: Box<[u8]>,
    /// Sealed bytes that the socket has not accepted, and how much data is in them.
    unwritten: Box<[u8]>,
    unwritten_data: usize,
    /// No data comes any more.
    end: Option<End>,
    /// Sealed bytes were written since the last look.
    progressed: bool,
    /// The last read was much work for little data.
    laborious: bool,
    /// The caller knows that the session is about to end.
    worn_reported: bool,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.fmt(f)
    }
}

/// Result of [`Layer::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Bytes of data at the start of the buffer. 0: no more data comes.
    pub length: usize,
    /// The socket had fewer bytes than were asked for.
    pub is_empty: bool,
}

impl Layer {
    /// Continues where a handshake has ended.
    pub fn new(established: Established) -> Self {
        let Established { mut session, mut leftover, .. } = established;
        let opened = session.open(&mut leftover);
        let partial = leftover[opened.rest].into();
        leftover.truncate(opened.length);
        Self {
            session,
            early: leftover,
            partial,
            unwritten: Box::default(),
            unwritten_data: 0,
            end: opened.end,
            progressed: false,
            laborious: false,
            worn_reported: false,
        }
    }

    /// Whether sealed bytes wait for the socket.
    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Takes the data that comes before what [`Layer::read`] reads.
    pub fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }

    /// Keeps data that was read, for [`Layer::take_early`].
    pub fn put_back(&mut self, data: &[u8]) {
        self.early = data.to_vec();
    }

    /// Reads records until there is data. `buffer` has at least [`BUFFER`] bytes, or half as many.
    ///
    /// # Errors
    /// Those of the socket; with `WouldBlock` the beginning of a record may have been read. `InvalidData`: the client has
    /// broken the protocol.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Read> {
        loop {
            match self.end {
                None => {}
                Some(End::Closed) => return Ok(Read { length: 0, is_empty: false }),
                Some(End::Alert(number)) => {
                    return Err(invalid(format!("the client has ended TLS with alert {number}")));
                }
                Some(End::Violation(violation)) => return Err(invalid(violation.to_string())),
            }
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            let size = buffer.len().min(kept + READ);
            let received = receive(&mut buffer[kept..size])?;
            let is_empty = kept + received < size;
            if received == 0 {
                return Ok(Read { length: 0, is_empty });
            }
            let opened = self.session.open(&mut buffer[..kept + received]);
            if kept > 0 || !opened.rest.is_empty() {
                self.partial = buffer[opened.rest].into();
            }
            self.end = opened.end;
            self.laborious = received >= LABORIOUS && opened.length < received / 2;
            if opened.length > 0 {
                // The end is the next read's.
                return Ok(Read { length: opened.length, is_empty: is_empty && self.end.is_none() });
            }
        }
    }

    /// Whether others should have their turn before the next read; said once.
    pub fn take_laborious(&mut self) -> bool {
        std::mem::take(&mut self.laborious)
    }

    /// Seals data and writes it; returns how much data is written. After `WouldBlock`, the data at the start of `slices`
    /// may be sealed: the next call must have the same data there.
    ///
    /// # Errors
    /// Those of the socket; `BrokenPipe`: the session can seal no more.
    pub fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.unwritten.is_empty() {
            SEALED.with_borrow_mut(|sealed| {
                sealed.clear();
                let pieces = slices.iter().map(|slice| &**slice);
                let data = self.session.seal(pieces, BATCH, sealed);
                self.unwritten_data =
                    data.map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))?;
                self.send_all(sealed, send)
            })?;
        } else {
            let sealed = std::mem::take(&mut self.unwritten);
            self.send_all(&sealed, send)?;
        }
        Ok(std::mem::take(&mut self.unwritten_data))
    }

    /// Writes sealed bytes; keeps those that the socket does not accept.
    fn send_all(
        &mut self,
        mut sealed: &[u8],
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        while !sealed.is_empty() {
            match send(sealed) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.progressed = true;
                    sealed = &sealed[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.unwritten = sealed.into();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Tells the client that nothing more comes: with a close_notify, or with the alert for what it has done. Not if the
    /// socket does not accept it at once: what the client has not read by then tells it as much.
    pub fn close(&mut self, send: impl FnMut(&[u8]) -> io::Result<usize>) {
        if self.unwritten.is_empty() {
            let mut sealed = Vec::new();
            match self.end {
                Some(End::Violation(violation)) => self.session.seal_violation(violation, &mut sealed),
                _ => self.session.seal_close(&mut sealed),
            }
            let _ = self.send_all(&sealed, send);
        }
    }

    /// All of the layer as bytes, secrets included.
    pub fn freeze(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.partial.len() + self.unwritten.len());
        put_bytes(&mut bytes, &self.session.freeze());
        put_bytes(&mut bytes, &self.partial);
        put_bytes(&mut bytes, &self.unwritten);
        bytes.extend_from_slice(&(self.unwritten_data as u64).to_le_bytes());
        bytes
    }

    /// The layer that [`Layer::freeze`] has written down.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn thaw(bytes: &[u8]) -> Result<Self, ThawError> {
        let mut source = Source(bytes);
        let mut session = Session::thaw(source.bytes()?).map_err(|error| ThawError::Format(error.0))?;
        let (partial, unwritten) = (source.bytes()?, source.bytes()?);
        let unwritten_data = usize::try_from(source.u64()?).unwrap_or(usize::MAX);
        if !source.0.is_empty() || partial.len() > RECORD_MAX + 256 {
            return Err(ThawError::Format("the beginning of a TLS record is too long"));
        }
        if unwritten.is_empty() != (unwritten_data == 0) || unwritten_data > BATCH {
            return Err(ThawError::Format("impossible sealed data"));
        }
        let end = session.open(&mut []).end;
        Ok(Self {
            session,
            early: Vec::new(),
            partial: partial.into(),
            unwritten: unwritten.into(),
            unwritten_data,
            end,
            progressed: false,
            laborious: false,
            worn_reported: false,
        })
    }
}

#[cold]
fn worn_out() -> io::Error {
    io::ErrorKind::QuotaExceeded.into()
}

/// Whether a write has failed because the session will soon be able to seal no more. The next write does not.
pub fn is_worn_out(error: &io::Error) -> bool {
    // A socket has no quota.
    error.kind() == io::ErrorKind::QuotaExceeded
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
pub mod tests;
