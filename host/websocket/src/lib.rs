//! The WebSocket protocol, RFC 6455, server side, without I/O.
//!
//! An [`Endpoint`] is the protocol state of one connection: the client's bytes and the time go in, complete
//! messages and bytes for the client come out. The caller owns the socket and the clock. [`Receiver`] is the
//! receiving half, [`write_frame`] and [`write_close`] are the sending half for frames that go to many
//! clients.

mod frame; // the frame header and server frames, section 5.2

mod mask; // client masking, section 5.3

mod input; // bytes of a read, and payloads in them

mod receiver; // frames to messages, sections 5.4 to 5.6

mod endpoint; // the closing handshake, section 7

mod snapshot; // an endpoint as bytes

pub use endpoint::{Ending, Endpoint, Event, Extensions, ForbiddenCode, Initiator, NO_CLOSE, NO_CODE, State};
pub use frame::{
    Header, close_code_allowed, frame_header, op, server_frame_length, truncate_reason, write_close,
    write_frame,
};
pub use input::{Input, Payload};
pub use receiver::{Incomplete, Received, Receiver, Violation};
pub use snapshot::{SnapshotError, Source, put_bytes};

#[cfg(test)]
mod tests;
