//! The WebSocket engine, RFC 6455, server side: bytes in, events out; messages in, frames out.
//!
//! What a client sent enters [`Receiver::next`] in whatever pieces the network made of it, and leaves as
//! whole, validated messages. It knows nothing about sockets, clocks, plugins, nor about what to answer.
#![forbid(unsafe_code)]

mod frame; // the header's layout, and the frames we write

mod mask; // undoing the client's mask

mod receiver; // frames to messages, and every rule a client can break

pub use frame::{Header, close_code_allowed, cut_reason, frame_header, op, write_close, write_frame};
pub use receiver::{Event, Receiver, Violation};

#[cfg(test)]
mod tests;
