//! A session as bytes, to continue in another process.
//!
//! `thaw` validates everything. Numbers are little-endian. The fields in order:
//!
//! - version 1, code of the suite, flags (1 close_notify sent, 2 received, 4 failed, 8 KeyUpdate due);
//! - records without data in a row in 1 byte; length of an incomplete KeyUpdate in 1 byte, its bytes;
//! - records that pay for the client's next key updates, in 2 bytes;
//! - for sending, then for receiving: counter and blocks in 8 bytes each; the traffic secret, in TLS 1.2 the key and 12
//!   bytes of IV.

use std::fmt;

use zeroize::Zeroizing;

use crate::direction::Direction;
use crate::open::UPDATE_BUDGET;
use crate::session::{KEY_UPDATE, Session};
use crate::suite::{Suite, Version};

/// Version of the format.
const VERSION: u8 = 1;

/// Says why bytes are not a frozen session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThawError(pub &'static str);

impl fmt::Display for ThawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a frozen TLS session is damaged: {}", self.0)
    }
}

impl std::error::Error for ThawError {}

impl Session {
    /// All of the session as bytes, secrets included. The session ends here, so that only one process continues it.
    pub fn freeze(self) -> Zeroizing<Vec<u8>> {
        self.to_bytes()
    }

    /// [`Session::freeze`] for tests, which compare what becomes of one session.
    #[cfg(test)]
    pub(crate) fn freeze_copy(session: &Self) -> Zeroizing<Vec<u8>> {
        session.to_bytes()
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Allocated once: a vector that grows leaves copies of its bytes behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(256));
        let (part, count) = self.fragment;
        let flags = u8::from(self.close_sent)
            | u8::from(self.close_received) << 1
            | u8::from(self.failed) << 2
            | u8::from(self.update_due) << 3;
        bytes.extend_from_slice(&[VERSION, self.suite.code(), flags, self.fruitless, count]);
        bytes.extend_from_slice(&part[..usize::from(count)]);
        bytes.extend_from_slice(&self.update_budget.to_le_bytes());
        for direction in [&self.sending, &self.receiving] {
            bytes.extend_from_slice(&direction.counter.to_le_bytes());
            bytes.extend_from_slice(&direction.blocks.to_le_bytes());
            bytes.extend_from_slice(&direction.secret[..self.suite.secret_length()]);
            if self.suite.version() == Version::Tls12 {
                bytes.extend_from_slice(&direction.iv);
            }
        }
        bytes
    }

    /// The session that [`Session::freeze`] has written down.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn thaw(mut bytes: &[u8]) -> Result<Self, ThawError> {
        let source = &mut bytes;
        let [version, code, flags, fruitless, count] = take(source)?;
        if version != VERSION {
            return Err(ThawError("it has another version"));
        }
        let suite = Suite::from_code(code).ok_or(ThawError("its cipher suite is unknown"))?;
        if flags > 15 {
            return Err(ThawError("it has unknown flags"));
        }
        let mut part = [0; 4];
        let place =
            part.get_mut(..usize::from(count)).ok_or(ThawError("its handshake message is too long"))?;
        let (stored, rest) = source.split_at_checked(place.len()).ok_or(TOO_SHORT)?;
        place.copy_from_slice(stored);
        *source = rest;
        let is_possible = part[..usize::from(count)] == [KEY_UPDATE, 0, 0, 1][..usize::from(count)];
        if !is_possible || (suite.version() == Version::Tls12 && (count > 0 || flags & 8 != 0)) {
            return Err(ThawError("its handshake message is impossible"));
        }
        let update_budget = u16::from_le_bytes(take(source)?);
        if update_budget > UPDATE_BUDGET {
            return Err(ThawError("its key updates are impossible"));
        }
        let sending = thaw_direction(source, suite)?;
        let receiving = thaw_direction(source, suite)?;
        if !source.is_empty() {
            return Err(ThawError("bytes follow its end"));
        }
        Ok(Self {
            close_sent: flags & 1 != 0,
            close_received: flags & 2 != 0,
            failed: flags & 4 != 0,
            update_due: flags & 8 != 0,
            fruitless,
            update_budget,
            fragment: (part, count),
            ..Self::new(suite, sending, receiving)
        })
    }
}

fn thaw_direction(source: &mut &[u8], suite: Suite) -> Result<Direction, ThawError> {
    const IMPOSSIBLE: ThawError = ThawError("its key cannot be used");
    let counter = u64::from_le_bytes(take(source)?);
    let blocks = u64::from_le_bytes(take(source)?);
    // A counter that could wrap would repeat a nonce.
    if counter > 1 << 62 || blocks > 1 << 62 {
        return Err(ThawError("its counter is impossible"));
    }
    let (secret, rest) = source.split_at_checked(suite.secret_length()).ok_or(TOO_SHORT)?;
    *source = rest;
    let thawed = match suite.hkdf() {
        Some(hkdf) => Direction::derive(suite, hkdf, secret, counter),
        None => Direction::tls12(suite, secret, take(source)?, counter),
    };
    let mut direction = thawed.map_err(|_| IMPOSSIBLE)?;
    direction.blocks = blocks;
    Ok(direction)
}

const TOO_SHORT: ThawError = ThawError("it is truncated");

fn take<const N: usize>(source: &mut &[u8]) -> Result<[u8; N], ThawError> {
    let (taken, rest) = source.split_first_chunk().ok_or(TOO_SHORT)?;
    *source = rest;
    Ok(*taken)
}
