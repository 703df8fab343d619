//! Which part of a file a request is for, and under which conditions (RFC 9110 §13 and §14). Headers enter with what the file is
//! like; a verdict leaves.

use std::time::SystemTime;

use http_range_header::parse_range_header;
use httpdate::parse_http_date;
use hyper::HeaderMap;
use hyper::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};

/// The conditions of a request.
#[derive(Debug, Default)]
pub struct Conditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_modified_since: Option<SystemTime>,
    if_unmodified_since: Option<SystemTime>,
    range: Option<String>,
    if_range: Option<String>,
}

/// How a file differs from what a client may have.
#[derive(Debug)]
pub struct Validators {
    /// An entity tag, which begins with `W/` if it is weak.
    pub tag: String,
    /// In whole seconds, as Last-Modified says.
    pub modified: Option<SystemTime>,
}

/// What is sent of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Whole,
    /// From this byte to that one, both included.
    Part(u64, u64),
    NotModified,
    /// A condition does not hold.
    Failed,
    /// The file does not have that part.
    Unsatisfiable,
}

impl Conditions {
    pub fn of(headers: &HeaderMap) -> Self {
        let date = |name| headers.get(name).and_then(|value| parse_http_date(value.to_str().ok()?).ok());
        // Two ranges in two lines have no meaning.
        let one = |name: HeaderName| match headers.get_all(&name).iter().count() {
            1 => headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned),
            _ => None,
        };
        Self {
            if_match: joined(headers, IF_MATCH),
            if_none_match: joined(headers, IF_NONE_MATCH),
            if_modified_since: date(IF_MODIFIED_SINCE),
            if_unmodified_since: date(IF_UNMODIFIED_SINCE),
            range: one(RANGE),
            if_range: joined(headers, IF_RANGE),
        }
    }

    /// In the order of RFC 9110 §13.2.2. A range is only followed for GET.
    pub fn verdict(&self, file: &Validators, size: u64, is_get: bool) -> Verdict {
        let Validators { tag, modified } = file;
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !lists(tags, tag, true) => return Verdict::Failed,
            (None, Some(since)) if modified.is_some_and(|modified| modified > since) => {
                return Verdict::Failed;
            }
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) if lists(tags, tag, false) => return Verdict::NotModified,
            (None, Some(since)) if modified.is_some_and(|modified| modified <= since) => {
                return Verdict::NotModified;
            }
            _ => {}
        }
        let range = self.range.as_ref().filter(|_| is_get && self.has_same_file(file));
        let Some(ranges) = range.and_then(|range| parse_range_header(range.trim()).ok()) else {
            return Verdict::Whole;
        };
        // The server may ignore a range (§14.2): of several, it sends the whole file.
        match ranges.len() {
            1 => match ranges.validate(size).as_deref() {
                Ok([range]) if size > 0 => Verdict::Part(*range.start(), *range.end()),
                _ => Verdict::Unsatisfiable,
            },
            _ => Verdict::Whole,
        }
    }

    /// Whether If-Range names this file, so that its parts fit together.
    fn has_same_file(&self, file: &Validators) -> bool {
        let Some(condition) = self.if_range.as_deref().map(str::trim) else { return true };
        match condition.contains('"') {
            true => is_strong(&file.tag) && condition == file.tag,
            false => parse_http_date(condition).is_ok_and(|date| file.modified == Some(date)),
        }
    }
}

/// The lines of a header as one list.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// Whether a list has the tag (§8.8.3.2). The server's own tags have no comma.
fn lists(tags: &str, tag: &str, strongly: bool) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    tags.split(',').map(str::trim).any(|other| match strongly {
        _ if other == "*" => true,
        true => other == tag && is_strong(tag),
        false => opaque(other) == opaque(tag),
    })
}

fn is_strong(tag: &str) -> bool {
    !tag.starts_with("W/")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn verdict(headers: &[(HeaderName, &str)], tag: &str) -> Verdict {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect();
        let file = Validators { tag: tag.to_owned(), modified: parse_http_date(DATE).ok() };
        Conditions::of(&headers).verdict(&file, 100, true)
    }

    #[test]
    fn conditions_have_the_order_of_rfc_9110() {
        for (headers, expected) in [
            (&[][..], Verdict::Whole),
            (&[(IF_NONE_MATCH, "\"a\"")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "W/\"x\", W/\"a\"")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "*")], Verdict::NotModified),
            (&[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, LATER)], Verdict::Whole),
            (&[(IF_MODIFIED_SINCE, DATE)], Verdict::NotModified),
            (&[(IF_MODIFIED_SINCE, EARLIER)], Verdict::Whole),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Verdict::Whole),
            (&[(IF_MATCH, "\"a\""), (IF_UNMODIFIED_SINCE, EARLIER)], Verdict::Whole),
            (&[(IF_MATCH, "W/\"a\"")], Verdict::Failed),
            (&[(IF_MATCH, "\"b\"")], Verdict::Failed),
            (&[(IF_MATCH, "*")], Verdict::Whole),
            (&[(IF_UNMODIFIED_SINCE, EARLIER)], Verdict::Failed),
            (&[(IF_UNMODIFIED_SINCE, DATE)], Verdict::Whole),
            (&[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, "\"a\"")], Verdict::NotModified),
        ] {
            assert_eq!(verdict(headers, "\"a\""), expected, "{headers:?}");
        }
        assert_eq!(verdict(&[(IF_NONE_MATCH, "\"a\"")], "W/\"a\""), Verdict::NotModified);
        assert_eq!(verdict(&[(IF_MATCH, "W/\"a\"")], "W/\"a\""), Verdict::Failed);
    }

    #[test]
    fn a_range_is_one_part_of_the_same_file() {
        for (range, expected) in [
            ("bytes=0-9", Verdict::Part(0, 9)),
            ("bytes=90-", Verdict::Part(90, 99)),
            ("bytes=90-1000", Verdict::Part(90, 99)),
            ("bytes=-1", Verdict::Part(99, 99)),
            ("bytes=-1000", Verdict::Part(0, 99)),
            ("bytes=100-", Verdict::Unsatisfiable),
            ("bytes=-0", Verdict::Unsatisfiable),
            ("bytes=0-1,5-6", Verdict::Whole),
            ("bytes=9-0", Verdict::Whole),
            ("lines=0-9", Verdict::Whole),
            ("bytes=", Verdict::Whole),
        ] {
            assert_eq!(verdict(&[(RANGE, range)], "\"a\""), expected, "{range}");
        }
        for (condition, tag, is_same) in [
            ("\"a\"", "\"a\"", true),
            ("\"b\"", "\"a\"", false),
            ("W/\"a\"", "W/\"a\"", false),
            (DATE, "\"a\"", true),
            (LATER, "\"a\"", false),
        ] {
            let part = verdict(&[(RANGE, "bytes=0-0"), (IF_RANGE, condition)], tag);
            assert_eq!(part == Verdict::Part(0, 0), is_same, "{condition}");
        }
        let empty = Validators { tag: "\"a\"".into(), modified: None };
        let range = Conditions { range: Some("bytes=0-0".into()), ..Conditions::default() };
        assert_eq!(range.verdict(&empty, 0, true), Verdict::Unsatisfiable);
        assert_eq!(range.verdict(&empty, 10, false), Verdict::Whole);
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let conditions = Conditions { if_modified_since: Some(since), ..Conditions::default() };
        assert_eq!(conditions.verdict(&empty, 10, true), Verdict::Whole);
    }
}
