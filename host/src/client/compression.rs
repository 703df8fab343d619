//! What compression keeps of one client: what its handshake has agreed on, and the ends of earlier messages if later ones
//! may refer to them.

use callsign_deflate::{Agreement, Method, Window};
use callsign_websocket::{SnapshotError, Source, op, put_bytes};

use crate::config::defaults::COMPRESSION_LEVELS;

/// What compression keeps of one client.
#[derive(Debug)]
pub struct Compression {
    pub agreement: Agreement,
    /// Of the server's messages.
    pub level: u8,
    /// Bytes; smaller messages of the server are not compressed.
    pub threshold: u32,
    /// Messages of the server.
    pub sent: Window,
    /// Messages of the client.
    pub received: Window,
    /// Memory of both windows that the worker has counted, in bytes.
    pub counted: (usize, usize),
}

impl Compression {
    /// Before the first message.
    pub fn new(agreement: Agreement, level: u8, threshold: usize) -> Self {
        let threshold = u32::try_from(threshold).unwrap_or(u32::MAX);
        let (sent, received) = (Window::default(), Window::default());
        Self { agreement, level, threshold, sent, received, counted: (0, 0) }
    }

    /// Whether a message of the server is to be compressed.
    pub fn is_due(&self, op: u8, data: &[u8]) -> bool {
        matches!(op, op::TEXT | op::BINARY) && data.len() >= self.threshold as usize
    }

    /// What messages of the server are compressed with.
    pub fn method(&self) -> Method {
        Method { level: self.level, window_bits: self.agreement.server.window_bits }
    }

    /// Bytes that the client's window may take.
    pub fn received_max(&self) -> usize {
        let client = self.agreement.client;
        if client.context { 1 << client.window_bits } else { 0 }
    }

    /// Appends everything but the worker's notes.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.agreement.to_bytes());
        out.push(self.level);
        out.extend_from_slice(&u64::from(self.threshold).to_le_bytes());
        put_bytes(out, self.sent.bytes());
        put_bytes(out, self.received.bytes());
    }

    /// Reads what [`Compression::write_to`] wrote.
    pub(super) fn read_from(source: &mut Source<'_>) -> Result<Self, SnapshotError> {
        const IMPOSSIBLE: SnapshotError = SnapshotError("impossible compression");
        let agreement = source.take(Agreement::BYTES)?.try_into().ok().and_then(Agreement::from_bytes);
        let agreement = agreement.ok_or(IMPOSSIBLE)?;
        let level = source.u8()?;
        let threshold = u32::try_from(source.u64()?).map_err(|_| IMPOSSIBLE)?;
        let sent = Window::from_bytes(source.bytes()?, agreement.server).ok_or(IMPOSSIBLE)?;
        let received = Window::from_bytes(source.bytes()?, agreement.client).ok_or(IMPOSSIBLE)?;
        if !COMPRESSION_LEVELS.contains(&level) {
            return Err(IMPOSSIBLE);
        }
        Ok(Self { agreement, level, threshold, sent, received, counted: (0, 0) })
    }
}
