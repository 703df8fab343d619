//! What a record says. Of a request that is being answered, and of a connection while it lasts, there is a note of what the
//! record will need.

use std::fmt::Write as _;
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

/// Year, month, day, hour, minute, second and milliseconds in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    year: i64,
    month: u32,
    day: u32,
    second_of_day: u64,
    millisecond: u32,
}

impl Date {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (days, second_of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Years that begin in March have the leap day at their end; 400 of them have 146,097 days.
        let days = days as i64 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = (month_from_march + if month_from_march < 10 { 3 } else { -9 }) as u32;
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Self { year, month, day, second_of_day, millisecond: since.subsec_millis() }
    }

    fn clock(self) -> (u64, u64, u64) {
        (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60)
    }

    /// `28/Nov/2026:06:48:18 +0000`
    pub fn write_clf(self, out: &mut String) {
        let (Self { year, day, .. }, (hour, minute, second)) = (self, self.clock());
        let month = Self::MONTHS[(self.month as usize).clamp(1, 12) - 1];
        let _ = write!(out, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
    }

    /// `2026-11-28T06:48:18.123Z`
    pub fn write_iso(self, out: &mut String) {
        let (Self { year, month, day, millisecond, .. }, (hour, minute, second)) = (self, self.clock());
        let _ =
            write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let text = |seconds: u64, ms| {
            let (mut clf, mut iso) = (String::new(), String::new());
            let date = Date::of(SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + ms));
            date.write_clf(&mut clf);
            date.write_iso(&mut iso);
            (clf, iso)
        };
        for (seconds, ms, clf, iso) in [
            (0, 0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00.000Z"),
            (951_782_400, 7, "29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00.007Z"),
            (951_868_799, 999, "29/Feb/2000:23:59:59 +0000", "2000-02-29T23:59:59.999Z"),
            (951_868_800, 0, "01/Mar/2000:00:00:00 +0000", "2000-03-01T00:00:00.000Z"),
            (1_798_761_599, 0, "31/Dec/2026:23:59:59 +0000", "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, 0, "01/Mar/2100:00:00:00 +0000", "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(seconds, ms), (clf.to_owned(), iso.to_owned()));
        }
    }

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
