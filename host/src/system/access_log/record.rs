//! What a record says. Of a request that is being answered, and of a connection while it lasts, there is a note of what the
//! record will need.

use std::time::{Duration, Instant, SystemTime};

/// Bytes of each text that a client decides; longer ones are cut.
const TEXT_MAX: usize = 4096;
/// The end of a text that was cut.
const CUT: &[u8] = b"...";
/// The texts of a note.
const FIELDS: usize = 9;

/// What a record says of a request, from its arrival on. In one allocation, because a connection keeps it.
#[derive(Debug, Clone)]
pub struct RequestNote {
    /// peer NUL method NUL target NUL version NUL host NUL referer NUL user agent NUL route NUL handler NUL
    texts: Vec<u8>,
    /// When the head of the request had arrived.
    begun: Instant,
}

impl RequestNote {
    /// A request that has arrived now. `texts`: peer, method, target, version, host, referer and user agent; empty if there is
    /// none.
    pub fn new(texts: [&[u8]; FIELDS - 2], begun: Instant) -> Self {
        let mut note = Self { texts: Vec::with_capacity(160), begun };
        texts.into_iter().for_each(|text| note.push(text));
        note
    }

    /// What answers the request: the route, as it is configured, and its handler.
    pub fn set_route(&mut self, route: &str, handler: &str) {
        if self.texts().count() == FIELDS - 2 {
            self.push(route.as_bytes());
            self.push(handler.as_bytes());
        }
    }

    /// HTTP allows no NUL in any of them. A NUL would only truncate its text.
    fn push(&mut self, text: &[u8]) {
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        match text.get(..TEXT_MAX) {
            Some(start) if text.len() > TEXT_MAX => self.texts.extend([start, CUT].concat()),
            _ => self.texts.extend_from_slice(text),
        }
        self.texts.push(0);
    }

    fn texts(&self) -> impl Iterator<Item = &[u8]> {
        // What follows the last NUL is no text.
        let whole = self.texts.strip_suffix(&[0]).unwrap_or_default();
        whole.split(|&byte| byte == 0)
    }

    /// All texts; the last two are empty without a route.
    pub(super) fn all(&self) -> [&[u8]; FIELDS] {
        let mut texts = self.texts();
        std::array::from_fn(|_| texts.next().unwrap_or_default())
    }

    /// Frees what it does not need, for a connection that keeps it.
    pub fn shrink(&mut self) {
        self.texts.shrink_to_fit();
    }

    /// Since the request has arrived.
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// All of it as bytes, for [`RequestNote::from_bytes`].
    pub fn to_bytes(&self, now: Instant) -> Vec<u8> {
        let nanoseconds = u64::try_from(self.elapsed(now).as_nanos()).unwrap_or(u64::MAX);
        [&nanoseconds.to_le_bytes()[..], &self.texts].concat()
    }

    /// The note that [`RequestNote::to_bytes`] has given. None: the bytes are none.
    pub fn from_bytes(bytes: &[u8], now: Instant) -> Option<Self> {
        let (nanoseconds, texts) = bytes.split_first_chunk()?;
        let elapsed = Duration::from_nanos(u64::from_le_bytes(*nanoseconds));
        let count = texts.iter().filter(|&&byte| byte == 0).count();
        let is_note = texts.ends_with(&[0]) && (count == FIELDS || count == FIELDS - 2);
        // The clock may have begun later, in another boot of the system.
        is_note.then(|| Self { texts: texts.to_vec(), begun: now.checked_sub(elapsed).unwrap_or(now) })
    }
}

/// One record.
#[derive(Debug)]
pub struct Record<'a> {
    /// When the response was written, or the connection has ended.
    pub ended: SystemTime,
    pub request: &'a RequestNote,
    pub status: u16,
    /// Of the body that was written; of a connection, what was sent to the client.
    pub bytes: u64,
    /// Since the request has arrived.
    pub duration: Duration,
    /// Whether the client was gone before everything was written.
    pub is_aborted: bool,
    /// For a connection that has ended.
    pub connection: Option<ClosedConnection<'a>>,
}

/// How a connection has ended.
#[derive(Debug)]
pub struct ClosedConnection<'a> {
    pub id: u64,
    /// Close code and reason.
    pub code: u16,
    pub reason: &'a [u8],
    /// `client` or `server`: the side that ended it.
    pub by: &'static str,
    /// From the client, and to it.
    pub received: Traffic,
    pub sent: Traffic,
}

/// Complete messages, and bytes of all frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub messages: u64,
    pub bytes: u64,
}

/// The address without the port, as other servers record it.
pub(super) fn address(peer: &[u8]) -> String {
    let text = String::from_utf8_lossy(peer);
    match text.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_canonical().to_string(),
        Err(_) => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_as_bytes_and_nothing_else_is_one() {
        let now = Instant::now() + Duration::from_secs(100);
        let begun = now - Duration::from_secs(7);
        let mut note =
            RequestNote::new([b"1.2.3.4:5", b"GET", b"/a?b", b"HTTP/1.1", b"h", b"", b"u\0x"], begun);
        for has_route in [false, true] {
            if has_route {
                note.set_route("/*", "chat:connect");
                note.set_route("/other", "");
            }
            let bytes = note.to_bytes(now);
            let thawed = RequestNote::from_bytes(&bytes, now).expect("it is one");
            assert_eq!((thawed.all(), thawed.elapsed(now)), (note.all(), Duration::from_secs(7)));
            for end in 0..bytes.len() {
                let part = RequestNote::from_bytes(&bytes[..end], now);
                assert!(part.is_none_or(|_| has_route && bytes[8..end].ends_with(b"u\0")), "{end}");
            }
        }
        assert_eq!(note.all()[6..], [&b"u"[..], b"/*", b"chat:connect"]);
        assert!(RequestNote::from_bytes(&[&[0xff; 8][..], &[0; 9]].concat(), now).is_some());
    }

    #[test]
    fn long_texts_are_cut() {
        let long = vec![b'x'; TEXT_MAX + 1];
        let note = RequestNote::new([b"", b"", &long, b"", &long[1..], b"", b""], Instant::now());
        assert_eq!(note.all()[2], [&long[1..], CUT].concat());
        assert_eq!(note.all()[4], &long[1..]);
    }

    #[test]
    fn an_address_has_no_port() {
        let of = |peer: &str| address(peer.as_bytes());
        assert_eq!(of("1.2.3.4:5"), "1.2.3.4");
        assert_eq!(of("[2001:db8::1]:80"), "2001:db8::1");
        assert_eq!(of("[::ffff:1.2.3.4]:80"), "1.2.3.4");
        assert_eq!(of("unix:"), "unix:");
    }
}
