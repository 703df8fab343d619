//! The handshake, by rustls: from the client's hello to the keys of a session.
//!
//! rustls gets one record at a time, so that it never sees a record that follows the handshake: those belong to the
//! session.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion};

use crate::config::ServerConfig;
use crate::direction::Direction;
use crate::secrets::{Revealed, capture};
use crate::session::{HEADER, Session};
use crate::suite::Suite;

/// Most bytes that wait for the end of a message. A hello takes up to 2 KiB, also with keys for the time after quantum
/// computers.
const INCOMING_MAX: usize = 32 * 1024;
/// The same where clients send certificates: rustls accepts messages of up to 64 KiB.
const INCOMING_MAX_CERTIFICATES: usize = 96 * 1024;
/// Most calls of rustls for one record: each makes progress.
const CALLS_MAX: usize = 64;

/// A handshake that has begun.
pub struct Handshake {
    /// None after the end.
    connection: Option<UnbufferedServerConnection>,
    /// What the client has sent and rustls has not discarded.
    incoming: Vec<u8>,
    /// How much of `incoming` rustls has seen.
    seen: usize,
    incoming_max: usize,
    verifies_client: bool,
    revealed: Box<Revealed>,
}

/// What the next step of a handshake computes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A key agreement and a signature.
    Signature,
    /// What follows the server's signature: the key agreement of TLS 1.2, the verification of a client's certificates.
    Rest,
    /// A few hashes: TLS 1.3 without certificates of clients, behind the server's signature.
    Hashes,
}

/// How far a handshake has come.
#[derive(Debug)]
pub enum Progress {
    /// The client has to send more.
    Waiting,
    /// The client is connected.
    Established(Box<Established>),
}

/// A client that has completed its handshake.
#[derive(Debug)]
pub struct Established {
    /// The keys of both directions.
    pub session: Session,
    /// What the client has sent after its handshake, not opened.
    pub leftover: Vec<u8>,
    /// The name of the server that the client wanted (SNI).
    pub server_name: Option<String>,
    /// The protocol that was negotiated (ALPN).
    pub protocol: Option<Vec<u8>>,
    /// The client's verified certificate and those of its issuers, as the client has sent them. Empty: the
    /// configuration asks for none.
    pub client_certificates: Vec<CertificateDer<'static>>,
}

/// Why a handshake has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct HandshakeError(Reason);

#[derive(Clone, Debug, PartialEq)]
enum Reason {
    Rustls(rustls::Error),
    Other(&'static str),
}

impl HandshakeError {
    /// Whether the client has no certificate that the configuration accepts.
    pub fn is_about_certificate(&self) -> bool {
        use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
        matches!(&self.0, Reason::Rustls(NoCertificatesPresented | InvalidCertificate(_)))
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Rustls(error) => error.fmt(f),
            Reason::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        Self(Reason::Rustls(error))
    }
}

const fn other(reason: &'static str) -> HandshakeError {
    HandshakeError(Reason::Other(reason))
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("incoming", &self.incoming.len()).finish_non_exhaustive()
    }
}

impl Handshake {
    /// Waits for a client's hello.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn new(config: &ServerConfig) -> Result<Self, HandshakeError> {
        Ok(Self {
            connection: Some(UnbufferedServerConnection::new(config.rustls.clone())?),
            incoming: Vec::new(),
            seen: 0,
            incoming_max: if config.verifies_clients { INCOMING_MAX_CERTIFICATES } else { INCOMING_MAX },
            verifies_client: config.verifies_clients,
            revealed: Box::default(),
        })
    }

    /// What [`Handshake::advance`] computes next at most. A hello that asks for another hello is followed by a signature.
    pub fn next_work(&self) -> Work {
        let version = self.connection.as_ref().and_then(|connection| connection.protocol_version());
        // rustls reveals the secrets of TLS 1.3 when it signs; in TLS 1.2 it signs as soon as the version is known.
        match (version, self.revealed.traffic_secrets().1) {
            (Some(ProtocolVersion::TLSv1_2), _) => Work::Rest,
            (_, []) => Work::Signature,
            _ if self.verifies_client => Work::Rest,
            _ => Work::Hashes,
        }
    }

    /// Takes bytes of the client. True: [`Handshake::advance`] can do something.
    ///
    /// # Errors
    /// The client sends too much for a handshake.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<bool, HandshakeError> {
        if self.incoming.len() + bytes.len() > self.incoming_max {
            return Err(other("the client sends more than a handshake takes"));
        }
        self.incoming.extend_from_slice(bytes);
        Ok(self.next_record().is_some())
    }

    /// How many bytes [`Handshake::receive`] takes.
    pub fn room(&self) -> usize {
        self.incoming_max - self.incoming.len()
    }

    /// Where the next record ends. A header that is none counts as a record, for rustls to reject.
    fn next_record(&self) -> Option<usize> {
        let header = self.incoming.get(self.seen..)?.first_chunk::<HEADER>()?;
        let [kind, major, _, high, low] = *header;
        let is_header = (20..=23).contains(&kind) && major == 3;
        let length = if is_header { usize::from(u16::from_be_bytes([high, low])) } else { 0 };
        let end = self.seen + HEADER + length;
        (end <= self.incoming.len() || length > 0x4800).then_some(end.min(self.incoming.len()))
    }

    /// Does what the received bytes allow, which may include operations with the private key. Appends bytes for the
    /// client to `out`, also where it fails: an alert. After an established session, the handshake is of no more use.
    ///
    /// # Errors
    /// The client has broken the protocol, or there is nothing that both sides support.
    pub fn advance(&mut self, out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        while let Some(end) = self.next_record() {
            self.seen = end;
            let mut connection = self.connection.take().ok_or(other("the handshake has ended before"))?;
            let result = capture(&mut self.revealed, || {
                process(&mut connection, &mut self.incoming, &mut self.seen, out)
            });
            if let Err(error) = result {
                append_alert(&mut connection, out);
                return Err(error);
            }
            if !connection.is_handshaking() {
                return self.establish(connection).map(Box::new).map(Progress::Established);
            }
            self.connection = Some(connection);
        }
        Ok(Progress::Waiting)
    }

    fn establish(&mut self, connection: UnbufferedServerConnection) -> Result<Established, HandshakeError> {
        const UNUSABLE: HandshakeError = other("the keys of the handshake cannot be used");
        let suite = connection.negotiated_cipher_suite().and_then(|suite| Suite::new(suite.suite()));
        let suite = suite.ok_or(UNUSABLE)?;
        let protocol = connection.alpn_protocol().map(<[u8]>::to_vec);
        let certificates = connection.peer_certificates().unwrap_or_default();
        let client_certificates = certificates.iter().map(|der| der.clone().into_owned()).collect();
        let (ExtractedSecrets { tx, rx }, _) = connection.dangerous_into_kernel_connection()?;
        let (client, server) = self.revealed.traffic_secrets();
        let sending = direction(suite, server, tx).ok_or(UNUSABLE)?;
        let receiving = direction(suite, client, rx).ok_or(UNUSABLE)?;
        Ok(Established {
            session: Session::new(suite, sending, receiving),
            leftover: self.incoming.split_off(self.seen),
            server_name: self.revealed.server_name.take(),
            protocol,
            client_certificates,
        })
    }
}

/// Has rustls process the first `seen` bytes of `incoming`, and removes those that it does not need any more.
fn process(
    connection: &mut UnbufferedServerConnection,
    incoming: &mut Vec<u8>,
    seen: &mut usize,
    out: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    for _ in 0..CALLS_MAX {
        let UnbufferedStatus { discard, state } = connection.process_tls_records(&mut incoming[..*seen]);
        let is_done = match state? {
            ConnectionState::EncodeTlsData(mut data) => {
                append(out, |room| data.encode(room))?;
                false
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                false
            }
            ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => true,
            ConnectionState::PeerClosed | ConnectionState::Closed => {
                return Err(other("the client has closed the connection"));
            }
            // There is no early data, and no record after the handshake.
            _ => return Err(other("the client sends data before the handshake has ended")),
        };
        incoming.drain(..discard);
        *seen -= discard;
        if is_done {
            return Ok(());
        }
    }
    Err(other("the handshake makes no progress"))
}

/// Appends the alert that rustls has for the client after an error.
fn append_alert(connection: &mut UnbufferedServerConnection, out: &mut Vec<u8>) {
    // What waits comes before rustls looks at its input.
    while connection.wants_write() {
        let Ok(ConnectionState::EncodeTlsData(mut data)) = connection.process_tls_records(&mut []).state
        else {
            return;
        };
        if append(out, |room| data.encode(room)).is_err() {
            return;
        }
    }
}

fn append(
    out: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), HandshakeError> {
    const FAILED: HandshakeError = other("a handshake record cannot be encoded");
    let Err(EncodeError::InsufficientSize(error)) = encode(&mut []) else { return Err(FAILED) };
    let at = out.len();
    out.resize(at + error.required_size, 0);
    encode(&mut out[at..]).map(drop).map_err(|_| FAILED)
}

/// The direction with these keys of rustls. `secret`: the traffic secret that they are derived from, in TLS 1.3.
fn direction(
    suite: Suite,
    secret: &[u8],
    (counter, keys): (u64, ConnectionTrafficSecrets),
) -> Option<Direction> {
    use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
    let (Aes128Gcm { key, iv } | Aes256Gcm { key, iv } | Chacha20Poly1305 { key, iv }) = keys else {
        return None;
    };
    let iv = iv.as_ref().try_into().ok()?;
    match suite.hkdf() {
        None => Direction::tls12(suite, key.as_ref(), iv, counter).ok(),
        // A secret that leads to another IV is not that of these keys.
        Some(hkdf) => Direction::derive(suite, hkdf, secret, counter).ok().filter(|new| new.iv == iv),
    }
}
