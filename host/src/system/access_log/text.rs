//! A record as text: one line, whatever clients have sent. The combined format is ASCII. JSON is UTF-8, and has no character
//! that controls a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use super::record::{ClosedConnection, Record, address};
use crate::config::access_log::AccessLogFormat;
use crate::config::calendar::{CommonLogTime, Milliseconds};
use crate::system::sanitize::is_unsafe;

/// The line of a record.
pub fn line(format: AccessLogFormat, record: &Record<'_>) -> String {
    let mut line = String::with_capacity(512);
    match format {
        AccessLogFormat::Combined => combined(&mut line, record),
        AccessLogFormat::Json => json(&mut line, record),
    }
    line.push('\n');
    line
}

/// The format of Apache and nginx, then further fields as KEY=VALUE.
fn combined(out: &mut String, record: &Record<'_>) {
    let Record { ended, request, status, bytes, duration, is_aborted, connection } = record;
    let [peer, method, target, version, _, referer, user_agent, route, handler] = request.all();
    push_ascii(out, address(peer).as_bytes());
    out.push_str(" - - [");
    let _ = write!(out, "{}", CommonLogTime(*ended));
    out.push_str("] \"");
    if method.is_empty() {
        // A request that could not be read.
        out.push('-');
    } else {
        push_ascii(out, method);
        out.push(' ');
        push_ascii(out, target);
        out.push(' ');
        push_ascii(out, version);
    }
    let _ = write!(out, "\" {status} {bytes} ");
    quoted(out, referer);
    out.push(' ');
    quoted(out, user_agent);
    out.push_str(" route=");
    quoted(out, route);
    out.push_str(" handler=");
    quoted(out, handler);
    out.push_str(" time=");
    seconds(out, *duration);
    if let Some(ClosedConnection { id, code, reason, by, received, sent }) = connection {
        let _ = write!(out, " connection={id} close={code} by={by} reason=");
        quoted(out, reason);
        let _ = write!(
            out,
            " messages_in={} bytes_in={} messages_out={} bytes_out={}",
            received.messages, received.bytes, sent.messages, sent.bytes
        );
    }
    if *is_aborted {
        out.push_str(" aborted");
    }
}

fn json(out: &mut String, record: &Record<'_>) {
    let Record { ended, request, status, bytes, duration, is_aborted, connection } = record;
    let names = ["peer", "method", "target", "version", "host", "referer", "user_agent", "route", "handler"];
    out.push_str("{\"time\":\"");
    let _ = write!(out, "{}", Milliseconds(*ended));
    out.push('"');
    for (name, text) in names.iter().zip(request.all()).filter(|(_, text)| !text.is_empty()) {
        let _ = write!(out, ",\"{name}\":");
        push_json(out, text);
    }
    let _ = write!(out, ",\"status\":{status},\"bytes\":{bytes},\"duration\":");
    seconds(out, *duration);
    if let Some(ClosedConnection { id, code, reason, by, received, sent }) = connection {
        let _ = write!(out, ",\"connection\":{{\"id\":{id},\"close\":{code},\"by\":\"{by}\",\"reason\":");
        push_json(out, reason);
        let _ = write!(
            out,
            ",\"messages_in\":{},\"bytes_in\":{},\"messages_out\":{},\"bytes_out\":{}}}",
            received.messages, received.bytes, sent.messages, sent.bytes
        );
    }
    if *is_aborted {
        out.push_str(",\"aborted\":true");
    }
    out.push('}');
}

/// Seconds, with six digits.
fn seconds(out: &mut String, duration: Duration) {
    let _ = write!(out, "{}.{:06}", duration.as_secs(), duration.subsec_micros());
}

/// The text in quotes, or `"-"` if there is none.
fn quoted(out: &mut String, text: &[u8]) {
    out.push('"');
    push_ascii(out, if text.is_empty() { b"-" } else { text });
    out.push('"');
}

/// As nginx does: quotes, backslashes and what is not printable ASCII as `\xHH`.
fn push_ascii(out: &mut String, text: &[u8]) {
    for &byte in text {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => _ = write!(out, "\\x{byte:02X}"),
            _ => out.push(char::from(byte)),
        }
    }
}

/// A string of JSON. What is not UTF-8 is replaced.
fn push_json(out: &mut String, text: &[u8]) {
    out.push('"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // None of them is beyond U+FFFF.
            c if is_unsafe(c) => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::super::record::{RequestNote, Traffic};
    use super::*;

    const HOSTILE: &[u8] = b"a\" \\ b\n\r\t\x1b[2J\xff\xc3\xa4\xe2\x80\xae\xe2\x80\xa8\x7f";

    fn lines(record: &Record<'_>) -> [String; 2] {
        [AccessLogFormat::Combined, AccessLogFormat::Json].map(|format| line(format, record))
    }

    fn record(request: &RequestNote) -> Record<'_> {
        Record {
            ended: SystemTime::UNIX_EPOCH + Duration::from_millis(1_796_194_098_123),
            request,
            status: 200,
            bytes: 12,
            duration: Duration::from_micros(1_000_234),
            is_aborted: false,
            connection: None,
        }
    }

    #[test]
    fn a_request_and_a_connection_are_one_line_in_both_formats() {
        let now = Instant::now();
        let mut note = RequestNote::new(
            [b"1.2.3.4:56", b"GET", b"/a?b=c", b"HTTP/1.1", b"example.com", b"http://x/", b"curl/8"],
            now,
        );
        note.set_route("/a", "chat:page");
        let mut record = record(&note);
        assert_eq!(
            lines(&record),
            [
                "1.2.3.4 - - [02/Dec/2026:06:48:18 +0000] \"GET /a?b=c HTTP/1.1\" 200 12 \"http://x/\" \"curl/8\" \
                 route=\"/a\" handler=\"chat:page\" time=1.000234\n",
                "{\"time\":\"2026-12-02T06:48:18.123Z\",\"peer\":\"1.2.3.4:56\",\"method\":\"GET\",\"target\":\"/a?b=c\",\
                 \"version\":\"HTTP/1.1\",\"host\":\"example.com\",\"referer\":\"http://x/\",\"user_agent\":\"curl/8\",\
                 \"route\":\"/a\",\"handler\":\"chat:page\",\"status\":200,\"bytes\":12,\"duration\":1.000234}\n"
            ]
        );
        let (received, sent) = (Traffic { messages: 1, bytes: 2 }, Traffic { messages: 3, bytes: 4 });
        record.connection =
            Some(ClosedConnection { id: 9, code: 1000, reason: b"bye", by: "client", received, sent });
        record.is_aborted = true;
        let [combined, json] = lines(&record);
        let expected = " time=1.000234 connection=9 close=1000 by=client reason=\"bye\" messages_in=1 bytes_in=2 \
                        messages_out=3 bytes_out=4 aborted\n";
        assert!(combined.ends_with(expected), "{combined}");
        let expected = ",\"connection\":{\"id\":9,\"close\":1000,\"by\":\"client\",\"reason\":\"bye\",\"messages_in\":1,\
                        \"bytes_in\":2,\"messages_out\":3,\"bytes_out\":4},\"aborted\":true}\n";
        assert!(json.ends_with(expected), "{json}");
    }

    #[test]
    fn what_clients_send_forges_no_line_and_no_field() {
        let note =
            RequestNote::new([b"", HOSTILE, HOSTILE, b"HTTP/1.1", HOSTILE, HOSTILE, HOSTILE], Instant::now());
        let mut record = record(&note);
        let traffic = Traffic::default();
        record.connection = Some(ClosedConnection {
            id: 1,
            code: 1000,
            reason: HOSTILE,
            by: "client",
            received: traffic,
            sent: traffic,
        });
        let [combined, json] = lines(&record);
        for line in [&combined, &json] {
            let body = line.strip_suffix('\n').expect("a line ends");
            assert!(!body.chars().any(is_unsafe), "{body:?}");
        }
        assert!(combined.is_ascii());
        // Quotes surround the fields alone.
        assert_eq!(combined.matches('"').count(), 12, "{combined}");
        assert!(
            combined.contains(r"a\x22 \x5C b\x0A\x0D\x09\x1B[2J\xFF\xC3\xA4\xE2\x80\xAE\xE2\x80\xA8\x7F")
        );
        let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        let expected = String::from_utf8_lossy(HOSTILE);
        assert_eq!(json["target"], *expected);
        assert_eq!(json["connection"]["reason"], *expected);
    }

    #[test]
    fn a_request_that_cannot_be_read_has_neither_method_nor_target() {
        let note = RequestNote::new([b"[::1]:8", b"", b"", b"", b"", b"", b""], Instant::now());
        let [combined, json] = lines(&Record { status: 400, ..record(&note) });
        assert!(
            combined
                .starts_with("::1 - - [02/Dec/2026:06:48:18 +0000] \"-\" 400 12 \"-\" \"-\" route=\"-\" ")
        );
        let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!((&json["peer"], json.get("method")), (&"[::1]:8".into(), None));
    }
}
