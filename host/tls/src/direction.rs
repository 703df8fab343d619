//! One direction of a session: its key, and the number of the next record.
//!
//! The expanded key is kept: to expand it for each record would save 0.5 KiB per direction and cost more than a small
//! record.

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hkdf::{Algorithm, KeyType, Prk};
use zeroize::Zeroizing;

use crate::suite::Suite;

/// The longest secret.
const SECRET_MAX: usize = 48;

/// A secret, in the first bytes.
pub(crate) type Secret = Zeroizing<[u8; SECRET_MAX]>;

/// The key and the counter of one direction. Not `Clone`: two copies would seal two records with one nonce.
pub(crate) struct Direction {
    key: LessSafeKey,
    /// What the key is made of: the traffic secret, in TLS 1.2 the key itself.
    pub(crate) secret: Secret,
    pub(crate) iv: [u8; NONCE_LEN],
    /// The number of the next record.
    pub(crate) counter: u64,
    /// Blocks that were sealed with the key, about.
    pub(crate) blocks: u64,
}

impl Direction {
    /// From a traffic secret of TLS 1.3.
    pub(crate) fn derive(
        suite: Suite,
        hkdf: Algorithm,
        secret: &[u8],
        counter: u64,
    ) -> Result<Self, Unspecified> {
        let mut key = Zeroizing::new([0; 32]);
        let key = key.get_mut(..suite.aead().key_len()).ok_or(Unspecified)?;
        let mut iv = [0; NONCE_LEN];
        expand_label(hkdf, secret, b"key", key)?;
        expand_label(hkdf, secret, b"iv", &mut iv)?;
        Self::new(suite, key, secret, iv, counter)
    }

    /// From a key of TLS 1.2.
    pub(crate) fn tls12(
        suite: Suite,
        key: &[u8],
        iv: [u8; NONCE_LEN],
        counter: u64,
    ) -> Result<Self, Unspecified> {
        Self::new(suite, key, key, iv, counter)
    }

    fn new(
        suite: Suite,
        key: &[u8],
        of: &[u8],
        iv: [u8; NONCE_LEN],
        counter: u64,
    ) -> Result<Self, Unspecified> {
        let key = LessSafeKey::new(UnboundKey::new(suite.aead(), key)?);
        let mut secret = Secret::new([0; SECRET_MAX]);
        secret.get_mut(..of.len()).ok_or(Unspecified)?.copy_from_slice(of);
        Ok(Self { key, secret, iv, counter, blocks: 0 })
    }

    /// Replaces the key by its successor, RFC 8446 §7.2.
    pub(crate) fn update(&mut self, suite: Suite) -> Result<(), Unspecified> {
        let hkdf = suite.hkdf().ok_or(Unspecified)?;
        let length = suite.secret_length();
        let mut next = Secret::new([0; SECRET_MAX]);
        expand_label(hkdf, &self.secret[..length], b"traffic upd", &mut next[..length])?;
        *self = Self::derive(suite, hkdf, &next[..length], 0)?;
        Ok(())
    }

    /// The nonce of a record, RFC 8446 §5.3; also that of RFC 5288 and RFC 7905.
    #[inline]
    pub(crate) fn nonce(&self, counter: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, part) in nonce[NONCE_LEN - 8..].iter_mut().zip(counter.to_be_bytes()) {
            *byte ^= part;
        }
        nonce
    }

    /// Encrypts in place; returns the tag.
    #[inline]
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        bytes: &mut [u8],
    ) -> Result<ring::aead::Tag, Unspecified> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), bytes)
    }

    /// Decrypts what begins at `from`, the tag last, to the start of `bytes`. Returns the length.
    #[inline]
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        bytes: &mut [u8],
        from: usize,
    ) -> Result<usize, Unspecified> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        Ok(self.key.open_within(nonce, Aad::from(aad), bytes, from..)?.len())
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label without a context, RFC 8446 §7.1.
fn expand_label(hkdf: Algorithm, secret: &[u8], label: &[u8], out: &mut [u8]) -> Result<(), Unspecified> {
    const PREFIX: &[u8] = b"tls13 ";
    let length = (out.len() as u16).to_be_bytes();
    let label_length = [(PREFIX.len() + label.len()) as u8];
    let info = [&length[..], &label_length, PREFIX, label, &[0]];
    Prk::new_less_safe(hkdf, secret).expand(&info, Length(out.len()))?.fill(out)
}
