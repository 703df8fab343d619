//! Sizes and durations as text: `16MiB`, `64KiB`, `250ms`, `1.5s`.
//!
//! [`Size`] and [`Time`] print the shortest text that the parsers read back as the same value.

use std::fmt;
use std::time::Duration;

pub const SIZE_EXPECTED: &str = "expected a size in bytes, such as 65536, 64KiB or 16MiB";

pub const DURATION_EXPECTED: &str =
    "expected a duration of at most 365 days, such as 10s, 250ms, 1.5m or 10 (seconds)";

pub const COUNT_EXPECTED: &str = "expected a whole number, such as 4";

/// Adding this duration to the current time never overflows.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Long name, short name and bytes of each unit, largest first. `MB` is missing because it has two meanings.
const SIZE_UNITS: [(&str, &str, usize); 4] =
    [("GiB", "G", 1 << 30), ("MiB", "M", 1 << 20), ("KiB", "K", 1 << 10), ("B", "", 1)];

/// Parses a number of bytes: a whole number and, after optional spaces, a unit (`B`, `KiB`, `MiB`, `GiB` or their
/// first letter, in any case). No unit means bytes. The error is [`SIZE_EXPECTED`], also if the size overflows.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text, |c| c.is_ascii_digit());
    let factor = SIZE_UNITS
        .iter()
        .find(|(long, short, _)| unit.eq_ignore_ascii_case(long) || unit.eq_ignore_ascii_case(short))
        .map(|&(_, _, factor)| factor);
    let number = number.parse::<usize>().ok();
    number.zip(factor).and_then(|(n, factor)| n.checked_mul(factor)).ok_or_else(|| SIZE_EXPECTED.to_owned())
}

/// Parses a whole number. The error is [`COUNT_EXPECTED`], also if it is too large for the machine.
pub fn parse_count(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| COUNT_EXPECTED.to_owned())
}

/// Parses a duration: a decimal number and, after optional spaces, a unit (`ms`, `s`, `m` or `h`). No unit means
/// seconds. The error is [`DURATION_EXPECTED`], also for more than 365 days.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text, |c| c.is_ascii_digit() || c == '.');
    let seconds_per_unit = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(DURATION_EXPECTED.to_owned()),
    };
    let seconds = number.parse::<f64>().ok().map(|n| n * seconds_per_unit);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| DURATION_EXPECTED.to_owned())
}

/// Splits text into the leading number and its unit, both trimmed.
fn split(text: &str, in_number: fn(char) -> bool) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c| !in_number(c)).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Prints a number of bytes in the largest unit that is exact: `16MiB`, `1000B`.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().find(|(_, _, factor)| self.0.is_multiple_of(*factor)) {
            Some((unit, _, factor)) if self.0 > 0 => write!(f, "{}{unit}", self.0 / factor),
            _ => f.write_str("0"),
        }
    }
}

/// Prints a duration in the largest unit that is exact: `10s`, `250ms`, `1m`.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        match (seconds, nanos) {
            (0, 0) => f.write_str("0"),
            (0, _) if nanos.is_multiple_of(1_000_000) => write!(f, "{}ms", nanos / 1_000_000),
            (_, 0) if seconds.is_multiple_of(3600) => write!(f, "{}h", seconds / 3600),
            (_, 0) if seconds.is_multiple_of(60) => write!(f, "{}m", seconds / 60),
            (_, 0) => write!(f, "{seconds}s"),
            _ => write!(f, "{}s", self.0.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_binary_multiples() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("100B", 100),
            ("4k", 4096),
            ("64 KiB", 64 << 10),
            ("16MiB", 16 << 20),
            ("16mib", 16 << 20),
            (" 2 G ", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn ambiguous_and_malformed_sizes_are_rejected() {
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "16MB",
            "16 x",
            "1 2",
            "99999999999999999999",
            "18446744073709551615k",
        ] {
            assert_eq!(parse_size(text), Err(SIZE_EXPECTED.to_owned()), "{text}");
        }
    }

    #[test]
    fn durations_without_a_unit_are_seconds() {
        for (text, millis) in [
            ("10", 10_000),
            ("0", 0),
            ("10s", 10_000),
            ("250ms", 250),
            ("250 ms", 250),
            ("2m", 120_000),
            ("1.5s", 1_500),
            (".5", 500),
            ("1h", 3_600_000),
            ("8760h", 31_536_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn malformed_and_too_long_durations_are_rejected() {
        for text in
            ["", "s", ".", "-1s", "1e3", "10x", "10 S", "1.2.3", "inf", "8760.1h", "99999999999999999999999"]
        {
            assert_eq!(parse_duration(text), Err(DURATION_EXPECTED.to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_exact_unit_and_parse_back() {
        for (bytes, text) in [
            (0, "0"),
            (1000, "1000B"),
            (1024, "1KiB"),
            (1536, "1536B"),
            (16 << 20, "16MiB"),
            (3 << 30, "3GiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
            assert_eq!(parse_size(text), Ok(bytes));
        }
    }

    #[test]
    fn durations_print_in_the_largest_exact_unit_and_parse_back() {
        for (micros, text) in [
            (0, "0"),
            (250_000, "250ms"),
            (250, "0.00025s"),
            (1_500_000, "1.5s"),
            (10_000_000, "10s"),
            (60_000_000, "1m"),
            (90_000_000, "90s"),
            (7_200_000_000, "2h"),
        ] {
            assert_eq!(Time(Duration::from_micros(micros)).to_string(), text);
            assert_eq!(parse_duration(text), Ok(Duration::from_micros(micros)));
        }
    }
}
