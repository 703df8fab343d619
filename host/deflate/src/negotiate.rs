//! Answers what a client offers (RFC 7692 §5 and §7.1).
//!
//! The header lines of a request and the operator's [`Policy`] enter; an [`Agreement`] and the value of the response's
//! header leave, or nothing if no offer can be accepted.
//!
//! Only `client_max_window_bits` needs an offer. The other three parameters may be in the answer although the client has
//! not offered them.

use crate::offers::{Malformed, Offer, parse};
use crate::{MAX_WINDOW_BITS, MIN_WINDOW_BITS};

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether messages may refer to earlier ones from the server.
    pub server_context: bool,
    /// Whether messages may refer to earlier ones from the client.
    pub client_context: bool,
    /// Largest window of the server, and of a client whose messages refer to earlier ones: from [`MIN_WINDOW_BITS`] to
    /// [`MAX_WINDOW_BITS`].
    pub window_bits: u8,
}

/// How one side compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// Whether its messages may refer to earlier ones ("context takeover").
    pub context: bool,
    /// Bits of its window, from [`MIN_WINDOW_BITS`] to [`MAX_WINDOW_BITS`].
    pub window_bits: u8,
}

/// What a handshake has agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    pub server: Direction,
    pub client: Direction,
}

/// Accepts the first offer of permessage-deflate that is possible. Returns the value of `Sec-WebSocket-Extensions` too.
/// None: there is none.
///
/// # Errors
/// The header is not a list of extensions.
pub fn negotiate<'h>(
    lines: impl IntoIterator<Item = &'h [u8]>,
    policy: Policy,
) -> Result<Option<(Agreement, String)>, Malformed> {
    let offers = parse(lines)?;
    let offers = offers.iter().filter(|offer| offer.name == EXTENSION);
    Ok(offers.filter_map(Parameters::of).find_map(|offered| offered.answer(policy)))
}

const EXTENSION: &str = "permessage-deflate";

/// The parameters of an offer.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// The inner value is None if the client only says that it can be limited.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// None: a parameter is unknown, occurs twice, or has a value that it cannot have (RFC 7692 §7.1).
    fn of(offer: &Offer) -> Option<Self> {
        let mut found = Self::default();
        for (name, value) in &offer.parameters {
            let value = value.as_deref();
            let is_second = match name.as_str() {
                "server_no_context_takeover" if value.is_none() => {
                    std::mem::replace(&mut found.server_no_context_takeover, true)
                }
                "client_no_context_takeover" if value.is_none() => {
                    std::mem::replace(&mut found.client_no_context_takeover, true)
                }
                "server_max_window_bits" => found.server_max_window_bits.replace(bits(value?)?).is_some(),
                "client_max_window_bits" => {
                    let value = match value {
                        Some(value) => Some(bits(value)?),
                        None => None,
                    };
                    found.client_max_window_bits.replace(value).is_some()
                }
                _ => return None,
            };
            if is_second {
                return None;
            }
        }
        Some(found)
    }

    /// None: the client wants a window of the server that cannot be had.
    fn answer(&self, policy: Policy) -> Option<(Agreement, String)> {
        let mut answer = EXTENSION.to_owned();
        let window_bits = policy.window_bits.min(self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS));
        if window_bits < MIN_WINDOW_BITS {
            return None;
        }
        let server =
            Direction { context: policy.server_context && !self.server_no_context_takeover, window_bits };
        if !server.context {
            answer += "; server_no_context_takeover";
        }
        if self.server_max_window_bits.is_some() || window_bits < MAX_WINDOW_BITS {
            answer += &format!("; server_max_window_bits={window_bits}");
        }
        // A client that cannot be limited, and may use more than the server wants to keep, gets no context.
        let client_bits = match self.client_max_window_bits {
            Some(offered) => Some(policy.window_bits.min(offered.unwrap_or(MAX_WINDOW_BITS))),
            None => Some(MAX_WINDOW_BITS).filter(|bits| policy.window_bits == *bits),
        };
        let wants_context = policy.client_context && !self.client_no_context_takeover;
        let client = match client_bits.filter(|_| wants_context) {
            Some(bits) => {
                if self.client_max_window_bits.is_some() {
                    answer += &format!("; client_max_window_bits={bits}");
                }
                // A client's zlib that is asked for 8 bits uses 9.
                Direction { context: true, window_bits: bits.max(MIN_WINDOW_BITS) }
            }
            None => {
                answer += "; client_no_context_takeover";
                Direction { context: false, window_bits: MAX_WINDOW_BITS }
            }
        };
        Some((Agreement { server, client }, answer))
    }
}

/// 8 to 15, in decimal without leading zeros (RFC 7692 §7.1.2).
fn bits(text: &str) -> Option<u8> {
    let bits = text.parse().ok().filter(|bits| (8..=MAX_WINDOW_BITS).contains(bits))?;
    (bits.to_string() == text).then_some(bits)
}

impl Agreement {
    /// Length of [`Agreement::to_bytes`].
    pub const BYTES: usize = 4;

    /// The agreement as bytes, to be used by another process.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let Self { server, client } = self;
        [u8::from(server.context), server.window_bits, u8::from(client.context), client.window_bits]
    }

    /// The agreement that [`Agreement::to_bytes`] wrote down. None: it is impossible.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let direction = |context: u8, window_bits| {
            let is_possible = context <= 1 && (MIN_WINDOW_BITS..=MAX_WINDOW_BITS).contains(&window_bits);
            is_possible.then_some(Direction { context: context == 1, window_bits })
        };
        let [server_context, server_bits, client_context, client_bits] = bytes;
        let (server, client) =
            (direction(server_context, server_bits)?, direction(client_context, client_bits)?);
        Some(Self { server, client })
    }
}
