//! Rates as text: `10/s`, `600/m`, `100/10s`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::{Time, parse_duration};

pub const RATE_EXPECTED: &str =
    "expected a number in a time of at most an hour, such as 10/s, 600/m or 100/10s";

/// The most that a number can be.
const COUNT_MAX: u32 = 1_000_000;
const PER_MAX: Duration = Duration::from_secs(3600);

/// So many at once, and as many in each such time, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// 0: no limit.
    pub count: u32,
    /// Not 0.
    pub per: Duration,
}

impl Rate {
    /// Parses `COUNT/TIME`; TIME may be a unit alone. `0` is no limit. The error is [`RATE_EXPECTED`].
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "0" {
            return Ok(Self { count: 0, per: Duration::from_secs(1) });
        }
        let rate = text.split_once('/').and_then(|(count, per)| {
            let (count, per) = (count.trim().parse().ok()?, per.trim());
            let unit = per.starts_with(|first: char| first.is_ascii_alphabetic());
            let per = if unit { parse_duration(&format!("1{per}")) } else { parse_duration(per) }.ok()?;
            Some(Self { count, per })
        });
        rate.filter(|rate| (1..=COUNT_MAX).contains(&rate.count))
            .filter(|rate| !rate.per.is_zero() && rate.per <= PER_MAX)
            .ok_or_else(|| RATE_EXPECTED.to_owned())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = Time(self.per).to_string();
        let unit = per.strip_prefix('1').filter(|unit| unit.starts_with(|c: char| c.is_ascii_alphabetic()));
        write!(f, "{}/{}", self.count, unit.unwrap_or(&per))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        for (text, count, per, printed) in [
            ("10/s", 10, 1000, "10/s"),
            ("600/m", 600, 60_000, "600/m"),
            (" 100 / 10s ", 100, 10_000, "100/10s"),
            ("1/h", 1, 3_600_000, "1/h"),
            ("7/1m", 7, 60_000, "7/m"),
            ("5/250ms", 5, 250, "5/250ms"),
            ("5/ms", 5, 1, "5/ms"),
            ("5/10", 5, 10_000, "5/10s"),
            ("1000000/15s", 1_000_000, 15_000, "1000000/15s"),
            ("0", 0, 1000, "0/s"),
        ] {
            let rate = Rate::parse(text).expect(text);
            assert_eq!(rate, Rate { count, per: Duration::from_millis(per) }, "{text}");
            assert_eq!(rate.to_string(), printed);
            assert!(count == 0 || Rate::parse(printed) == Ok(rate), "{printed}");
        }
    }

    #[test]
    fn another_text_is_rejected() {
        for text in [
            "",
            "10",
            "/",
            "/s",
            "10/",
            "0/s",
            "-1/s",
            "1.5/s",
            "10/0s",
            "10/2h",
            "10/d",
            "10/s/s",
            "1000001/s",
            "10 per s",
        ] {
            assert_eq!(Rate::parse(text), Err(RATE_EXPECTED.to_owned()), "{text}");
        }
    }
}
