//! TLS 1.2 and 1.3 (RFC 5246, RFC 8446), server side, without I/O.
//!
//! A [`Handshake`] takes the client's bytes and returns bytes for the client until it yields a [`Session`]: rustls
//! does all of it. A session protects and opens records itself, in buffers of the caller, and holds nothing but two keys
//! and two counters. It can be frozen to bytes and thawed in another process. The caller owns the socket.
//!
//! Sessions are not resumed: there are neither tickets nor session ids, so a secret of one connection never opens
//! another one.
//!
//! Invariant: no nonce is used for two records. [`Session`] counts a record before it seals it, cannot be cloned, and is
//! consumed by [`Session::freeze`].

mod config; // certificates, keys, and what is negotiated

mod explain; // what is wrong with a file

mod certificates; // which certificate a client gets

mod secrets; // what rustls reveals of a handshake

mod handshake; // the client's hello to the first record of data

mod suite; // cipher suites and their limits

mod direction; // the key and the counter of one direction

mod alert; // alerts, RFC 8446 section 6

mod session; // sending: records, alerts, key updates

mod open; // receiving: records, alerts, key updates

mod frozen; // a session as bytes

pub use alert::Violation;
pub use certificates::{CertifiedPem, ConfigError, Faulty, Pem};
pub use config::{HTTP_1, HTTP_2, ServerConfig};
pub use explain::explain_pem;
pub use frozen::ThawError;
pub use handshake::{Established, Handshake, HandshakeError, Progress, Work};
pub use open::{End, Opened};
pub use session::{Exhausted, PLAINTEXT_MAX, RECORD_MAX, Session};
pub use suite::{Suite, Version};

#[cfg(test)]
mod tests;
