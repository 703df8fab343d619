//! The protocol state of one connection: reports messages, writes the answers to control frames, and runs the
//! closing handshake of RFC 6455 section 7.
//!
//! Bytes and time go in, events and bytes come out. All methods take `&self`, because a handler may close the
//! connection while the message that it was called with still borrows from the [`Receiver`].

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::CString;
use std::time::{Duration, Instant};

use super::frame::{close_code_allowed, op, truncate_reason, write_close, write_frame};
use super::input::{Input, Payload};
use super::receiver::{Incomplete, Received, Receiver, Violation};

/// Close code for a Close frame without a code (RFC 6455 §7.1.5). It is never sent.
pub const NO_CODE: u16 = 1005;
/// Close code for a connection that ended without a Close frame (RFC 6455 §7.1.5). It is never sent.
pub const NO_CLOSE: u16 = 1006;

/// The extensions that a handshake has negotiated (RFC 6455 §9.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// permessage-deflate (RFC 7692): the client may send compressed messages, which the endpoint reports as they are.
    pub deflate: bool,
}

/// How far the closing handshake has come (RFC 6455 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Messages go both ways.
    Open,
    /// Our Close was sent, the client's has not arrived.
    Closing,
    /// Both Closes were exchanged, or the connection failed. Nothing more is received or sent.
    Closed,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// This server.
    Server,
    /// The client, or the network.
    Client,
}

/// How a connection ended. The first cause counts.
#[derive(Debug)]
pub struct Ending {
    /// Close code (RFC 6455 §7.1.5).
    pub code: u16,
    /// Close reason (RFC 6455 §7.1.6), truncated before its first NUL.
    pub reason: CString,
    /// The side that ended the connection.
    pub by: Initiator,
    /// Start of the time that [`Endpoint::deadline`] grants.
    pub at: Instant,
}

/// Reported by [`Endpoint::receive`].
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete message.
    Message {
        /// [`op::TEXT`] or [`op::BINARY`].
        op: u8,
        /// Valid UTF-8 in a TEXT message. The byte behind it is 0.
        data: Payload<'a>,
    },
    /// A complete message whose payload is compressed; only its size is checked. Whoever handles it inflates it, and
    /// fails the connection if that is not possible, or if a TEXT message then is not UTF-8.
    Compressed {
        /// [`op::TEXT`] or [`op::BINARY`].
        op: u8,
        /// As it was sent.
        data: &'a [u8],
    },
    /// The client answered a Ping or sent an unsolicited Pong (RFC 6455 §5.5.3).
    Pong(&'a [u8]),
    /// A frame for the client: a Pong, the answer to its Close, or the Close that rejects its input.
    Send(&'a [u8]),
    /// The client broke the protocol or exceeded a limit. [`Event::Send`] with a Close follows unless one was
    /// sent before.
    Violation(Violation),
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) receiver: RefCell<Receiver>,
    pub(super) state: Cell<State>,
    pub(super) extensions: Cell<Extensions>,
    pub(super) ending: OnceCell<Box<Ending>>,
}

impl Endpoint {
    /// A connection whose handshake is done.
    pub fn new(extensions: Extensions) -> Self {
        let (receiver, state) = (RefCell::default(), Cell::new(State::Open));
        Self { receiver, state, extensions: Cell::new(extensions), ending: OnceCell::new() }
    }

    /// How far the closing handshake has come.
    #[inline]
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Whether messages go both ways.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    /// The negotiated extensions.
    pub fn extensions(&self) -> Extensions {
        self.extensions.get()
    }

    /// Sets the negotiated extensions, before the first bytes of the client are received.
    pub fn set_extensions(&self, extensions: Extensions) {
        self.extensions.set(extensions);
    }

    /// Handles all of `input`, unmasking in place. `max_message` bounds a message, in bytes; a compressed one may take an
    /// eighth and 64 bytes more, because some data does not shrink. `now` is called only when the connection ends.
    ///
    /// After our Close, messages are discarded (the WebSocket API of browsers does the same) and Pings are
    /// not answered. A closed endpoint reports nothing.
    #[inline]
    pub fn receive(
        &self,
        input: &mut Input<'_>,
        max_message: usize,
        now: impl Fn() -> Instant,
        handle: impl FnMut(Event<'_>),
    ) {
        let handle = RefCell::new(handle);
        let message = |op, data: Payload<'_>| handle.borrow_mut()(Event::Message { op, data });
        self.receive_until(|| false, input, max_message, now, message, |event| handle.borrow_mut()(event));
    }

    /// [`Endpoint::receive`] until `stop`, which is asked before each message. What is left of `input` then
    /// comes first in the next call. The end of the connection leaves nothing.
    ///
    /// `message` gets what [`Event::Message`] has, and `handle` gets every other event: with one place that calls it,
    /// `message` is compiled into the loop.
    #[inline]
    pub fn receive_until(
        &self,
        mut stop: impl FnMut() -> bool,
        input: &mut Input<'_>,
        max_message: usize,
        now: impl Fn() -> Instant,
        mut message: impl FnMut(u8, Payload<'_>),
        mut handle: impl FnMut(Event<'_>),
    ) {
        let mut receiver = self.receiver.borrow_mut();
        loop {
            if !input.is_empty() && stop() {
                break;
            }
            match receiver.next(input, max_message, self.extensions.get()) {
                Ok(Some(Received::Message { op, data })) => {
                    if self.is_open() {
                        data.terminated(|data| message(op, data));
                    }
                }
                Ok(None) => break,
                Ok(Some(control)) => self.receive_control(control, &now, &mut handle),
                Err(violation) => self.receive_violation(violation, &now, &mut handle),
            }
        }
        // `message` may have failed the connection.
        if self.state.get() == State::Closed {
            receiver.stop();
            input.discard();
        }
    }

    /// Sets the state before `handle` runs, so that a handler that calls `close` or `fail` while our Close is
    /// sent does not get a second Close.
    #[cold]
    fn receive_control(
        &self,
        control: Received<'_>,
        now: &impl Fn() -> Instant,
        handle: &mut impl FnMut(Event<'_>),
    ) {
        let state = self.state.get();
        match control {
            // RFC 6455 §5.5.2: a Pong with the same payload.
            Received::Ping(payload) if state == State::Open => {
                let mut pong = Vec::new();
                write_frame(&mut pong, op::PONG, payload);
                handle(Event::Send(&pong));
            }
            Received::Compressed { op, data } if state == State::Open => {
                handle(Event::Compressed { op, data })
            }
            Received::Pong(payload) if state != State::Closed => handle(Event::Pong(payload)),
            // RFC 6455 §5.5.1: the answer has the same code.
            Received::Close { code, reason } if state == State::Open => {
                self.end(code.unwrap_or(NO_CODE), reason, Initiator::Client, now());
                self.state.set(State::Closed);
                let mut reply = Vec::new();
                write_close(&mut reply, code, reason);
                handle(Event::Send(&reply));
            }
            Received::Close { .. } => self.state.set(State::Closed),
            Received::Message { .. }
            | Received::Compressed { .. }
            | Received::Ping(_)
            | Received::Pong(_) => {}
        }
    }

    #[cold]
    fn receive_violation(
        &self,
        violation: Violation,
        now: &impl Fn() -> Instant,
        handle: &mut impl FnMut(Event<'_>),
    ) {
        if self.state.get() == State::Closed {
            return;
        }
        let close = self.set_failed(violation.code, violation.reason, now);
        handle(Event::Violation(violation));
        if let Some(frame) = close {
            handle(Event::Send(&frame));
        }
    }

    /// Starts the closing handshake (RFC 6455 §7.1.2) and returns the Close to send, or `None` if the
    /// handshake has started before. With `code` 0 the Close has neither code nor reason.
    ///
    /// # Errors
    /// The code may not be sent (RFC 6455 §7.4).
    pub fn close(&self, code: u16, reason: &str, now: Instant) -> Result<Option<Vec<u8>>, ForbiddenCode> {
        if !self.is_open() {
            return Ok(None);
        }
        if code != 0 && !close_code_allowed(code) {
            return Err(ForbiddenCode);
        }
        let (sent, reason) = if code == 0 { (None, "") } else { (Some(code), reason) };
        self.end(sent.unwrap_or(NO_CODE), reason, Initiator::Server, now);
        self.state.set(State::Closing);
        let mut frame = Vec::new();
        write_close(&mut frame, sent, reason);
        Ok(Some(frame))
    }

    /// Fails the connection (RFC 6455 §7.1.7) without waiting for the client's Close. Returns the Close to
    /// send, or `None` if one was sent before. `code` must be one that [`close_code_allowed`] accepts.
    pub fn fail(&self, code: u16, reason: &str, now: Instant) -> Option<Vec<u8>> {
        let close = self.set_failed(code, reason, &|| now);
        self.stop_receiving();
        close
    }

    fn set_failed(&self, code: u16, reason: &str, now: &impl Fn() -> Instant) -> Option<Vec<u8>> {
        debug_assert!(close_code_allowed(code), "a Close frame cannot carry code {code}");
        let was_open = self.is_open();
        self.state.set(State::Closed);
        was_open.then(|| {
            self.end(code, reason, Initiator::Server, now());
            let mut frame = Vec::new();
            write_close(&mut frame, Some(code), reason);
            frame
        })
    }

    /// Ends the connection because the transport is gone. An earlier ending stays.
    pub fn abort(&self, now: Instant) {
        self.end(NO_CLOSE, "", Initiator::Client, now);
        self.state.set(State::Closed);
        self.stop_receiving();
    }

    /// Frees the receiver's buffers. If [`Endpoint::receive`] is running, it frees them when it returns.
    fn stop_receiving(&self) {
        if let Ok(mut receiver) = self.receiver.try_borrow_mut() {
            receiver.stop();
        }
    }

    fn end(&self, code: u16, reason: &str, by: Initiator, at: Instant) {
        let reason = truncate_reason(reason).split('\0').next().unwrap_or_default();
        let reason = CString::new(reason).unwrap_or_default();
        let _ = self.ending.set(Box::new(Ending { code, reason, by, at }));
    }

    /// Bytes that are held of an incomplete message or control frame. Not while [`Endpoint::receive`] runs.
    pub fn held_bytes(&self) -> usize {
        self.receiver.borrow().held_bytes()
    }

    /// The incomplete message or control frame, if there is one. Not while [`Endpoint::receive`] runs.
    #[inline]
    pub fn incomplete(&self) -> Option<Incomplete> {
        self.receiver.borrow_mut().incomplete()
    }

    /// How the connection ended; `None` while it is open.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get().map(|ending| &**ending)
    }

    /// When to drop the connection: `patience` after it ended. `None` while the connection is open, or if the
    /// deadline exceeds what [`Instant`] can represent.
    pub fn deadline(&self, patience: Duration) -> Option<Instant> {
        self.ending()?.at.checked_add(patience)
    }
}

/// A close code that no Close frame may carry (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForbiddenCode;
