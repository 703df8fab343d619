//! Points in time as text, in UTC. Times before 1970 count as 1970 where they come from the system's clock.

use std::fmt;
use std::time::SystemTime;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The day of a Unix time in seconds: `2027-02-28`.
#[derive(Debug, Clone, Copy)]
pub struct Date(pub i64);

/// A Unix time in seconds, as RFC 3339 spells it: `2027-02-28T13:05:09Z`.
#[derive(Debug, Clone, Copy)]
pub struct Timestamp(pub i64);

/// The same with milliseconds: `2027-02-28T13:05:09.123Z`.
#[derive(Debug, Clone, Copy)]
pub struct Milliseconds(pub SystemTime);

/// A time as in the common log format of web servers: `28/Feb/2027:13:05:09 +0000`.
#[derive(Debug, Clone, Copy)]
pub struct CommonLogTime(pub SystemTime);

impl Date {
    /// Year, month from 1, and day from 1.
    fn parts(self) -> (i64, i64, i64) {
        // Counted from 0000-03-01, so that a leap day is the last day of its year.
        let days = self.0.div_euclid(SECONDS_PER_DAY) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year + 400 * era + i64::from(month <= 2), month, day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.parts();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = clock(self.0);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}Z", Date(self.0))
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millisecond) = unix(self.0);
        let (hour, minute, second) = clock(seconds);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z", Date(seconds))
    }
}

impl fmt::Display for CommonLogTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, _) = unix(self.0);
        let ((year, month, day), (hour, minute, second)) = (Date(seconds).parts(), clock(seconds));
        let month = MONTHS[month as usize - 1];
        write!(f, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
    }
}

/// Hour, minute and second of the day.
fn clock(seconds: i64) -> (i64, i64, i64) {
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    (second / 3600, second / 60 % 60, second % 60)
}

/// Seconds since 1970, and milliseconds.
fn unix(time: SystemTime) -> (i64, u32) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() as i64, since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_printed_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_798_712_999, "2026-12-31T10:29:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, ms, common, iso) in [
            (0, 0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00.000Z"),
            (951_782_400, 7, "29/Feb/2000:00:00:00 +0000", "2000-02-29T00:00:00.007Z"),
            (951_868_799, 999, "29/Feb/2000:23:59:59 +0000", "2000-02-29T23:59:59.999Z"),
            (951_868_800, 0, "01/Mar/2000:00:00:00 +0000", "2000-03-01T00:00:00.000Z"),
            (1_798_761_599, 0, "31/Dec/2026:23:59:59 +0000", "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, 0, "01/Mar/2100:00:00:00 +0000", "2100-03-01T00:00:00.000Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1000 + ms);
            let text = (CommonLogTime(time).to_string(), Milliseconds(time).to_string());
            assert_eq!(text, (common.to_owned(), iso.to_owned()));
        }
    }
}
