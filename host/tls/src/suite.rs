//! The cipher suites of both versions: algorithms, sizes and limits.

use ring::{aead, hkdf};
use rustls::CipherSuite;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A cipher suite, as far as records depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// TLS 1.3, `TLS_AES_128_GCM_SHA256`.
    Aes128Gcm,
    /// TLS 1.3, `TLS_AES_256_GCM_SHA384`.
    Aes256Gcm,
    /// TLS 1.3, `TLS_CHACHA20_POLY1305_SHA256`.
    ChaCha20Poly1305,
    /// TLS 1.2, `TLS_ECDHE_…_WITH_AES_128_GCM_SHA256`.
    Tls12Aes128Gcm,
    /// TLS 1.2, `TLS_ECDHE_…_WITH_AES_256_GCM_SHA384`.
    Tls12Aes256Gcm,
    /// TLS 1.2, `TLS_ECDHE_…_WITH_CHACHA20_POLY1305_SHA256`.
    Tls12ChaCha20Poly1305,
}

/// In the order of their codes in a frozen session, from 1.
const SUITES: [Suite; 6] = [
    Suite::Aes128Gcm,
    Suite::Aes256Gcm,
    Suite::ChaCha20Poly1305,
    Suite::Tls12Aes128Gcm,
    Suite::Tls12Aes256Gcm,
    Suite::Tls12ChaCha20Poly1305,
];

impl Suite {
    /// The suite that rustls has negotiated.
    pub(crate) fn new(suite: CipherSuite) -> Option<Self> {
        Some(match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Self::Aes128Gcm,
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Self::Aes256Gcm,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Self::ChaCha20Poly1305,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Self::Tls12Aes128Gcm,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Self::Tls12Aes256Gcm,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Self::Tls12ChaCha20Poly1305,
            _ => return None,
        })
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        SUITES.get(usize::from(code).checked_sub(1)?).copied()
    }

    pub(crate) fn code(self) -> u8 {
        SUITES.iter().position(|suite| *suite == self).map_or(0, |index| index as u8 + 1)
    }

    /// The version of TLS.
    #[inline]
    pub fn version(self) -> Version {
        if self.hkdf().is_some() { Version::Tls13 } else { Version::Tls12 }
    }

    pub(crate) fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm | Self::Tls12Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm | Self::Tls12Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 | Self::Tls12ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// Derives keys from traffic secrets. None in TLS 1.2.
    #[inline]
    pub(crate) fn hkdf(self) -> Option<hkdf::Algorithm> {
        match self {
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => Some(hkdf::HKDF_SHA256),
            Self::Aes256Gcm => Some(hkdf::HKDF_SHA384),
            _ => None,
        }
    }

    /// Length of what a direction's key is derived from: the traffic secret, in TLS 1.2 the key itself.
    pub(crate) fn secret_length(self) -> usize {
        match self {
            Self::Aes256Gcm => 48,
            Self::Tls12Aes128Gcm => 16,
            _ => 32,
        }
    }

    /// Length of the part of the nonce that a record carries (RFC 5288 §3).
    #[inline]
    pub(crate) fn explicit_nonce(self) -> usize {
        match self {
            Self::Tls12Aes128Gcm | Self::Tls12Aes256Gcm => 8,
            _ => 0,
        }
    }

    /// Most records under one key (RFC 8446 §5.5). A TLS 1.3 session changes its key before.
    ///
    /// TLS 1.2 cannot change the key, so there the limit of AES-GCM is counted in blocks, which is what the limit of
    /// 2^24 records of 2^10 blocks protects: see [`Suite::blocks_max`].
    #[inline]
    pub(crate) fn records_max(self) -> u64 {
        #[cfg(test)]
        if let Some(max) = crate::tests::RECORDS_MAX.get() {
            return max;
        }
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 1 << 24,
            // No counter gets there: it would take 1000 years at a record per 100 us.
            _ => 1 << 48,
        }
    }

    /// Most blocks of 16 bytes under one key.
    #[inline]
    pub(crate) fn blocks_max(self) -> u64 {
        #[cfg(test)]
        if let Some(max) = crate::tests::BLOCKS_MAX.get() {
            return max;
        }
        match self {
            Self::Tls12Aes128Gcm | Self::Tls12Aes256Gcm => 1 << 34,
            _ => u64::MAX,
        }
    }
}
