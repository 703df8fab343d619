//! Alerts, RFC 8446 section 6 and RFC 5246 section 7.2.

use std::fmt;

pub(crate) const CLOSE_NOTIFY: u8 = 0;
pub(crate) const UNEXPECTED_MESSAGE: u8 = 10;
pub(crate) const BAD_RECORD_MAC: u8 = 20;
pub(crate) const RECORD_OVERFLOW: u8 = 22;
pub(crate) const ILLEGAL_PARAMETER: u8 = 47;
pub(crate) const DECODE_ERROR: u8 = 50;
pub(crate) const PROTOCOL_VERSION: u8 = 70;
pub(crate) const INTERNAL_ERROR: u8 = 80;
pub(crate) const USER_CANCELED: u8 = 90;
pub(crate) const NO_RENEGOTIATION: u8 = 100;

/// Levels of an alert. TLS 1.3 ignores them.
pub(crate) const WARNING: u8 = 1;
pub(crate) const FATAL: u8 = 2;

/// Why a session has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The alert that tells the client, for [`Session::seal_violation`].
    ///
    /// [`Session::seal_violation`]: crate::Session::seal_violation
    pub(crate) alert: u8,
    /// What the client has done.
    pub reason: &'static str,
}

impl Violation {
    pub(crate) const fn new(alert: u8, reason: &'static str) -> Self {
        Self { alert, reason }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for Violation {}
