//! Headers that a route adds to its responses.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

/// Headers of the connection and of the message itself, which the server sets.
const SET_BY_SERVER: [HeaderName; 13] = [
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    HOST,
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Parses the name of a header of responses, to lower case. The error states what was expected.
pub fn parse_header_name(text: &str) -> Result<String, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "expected the name of a header, such as \"X-Content-Type-Options\"".to_owned())?;
    let of_connection = ["keep-alive", "proxy-connection"].contains(&name.as_str());
    match of_connection || SET_BY_SERVER.contains(&name) {
        true => Err("expected a header that the server does not set itself".to_owned()),
        false => Ok(name.as_str().to_owned()),
    }
}

/// Parses the value of a header. The error states what was expected.
pub fn parse_header_value(text: &str) -> Result<String, String> {
    let value = text.trim_matches([' ', '\t']);
    match HeaderValue::from_str(value) {
        Ok(_) if !value.is_empty() && value.is_ascii() => Ok(value.to_owned()),
        _ => Err("expected the value of a header: text of one line, in ASCII".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_sets_some_headers_itself() {
        assert_eq!(parse_header_name("X-Frame-Options").as_deref(), Ok("x-frame-options"));
        for name in
            ["", "a b", "a:", "é", "Connection", "KEEP-ALIVE", "transfer-encoding", "Sec-WebSocket-Accept"]
        {
            assert!(parse_header_name(name).is_err(), "{name}");
        }
        assert_eq!(parse_header_value(" max-age=1; x\t").as_deref(), Ok("max-age=1; x"));
        for value in ["", " ", "a\r\nb: c", "a\0", "caf\u{e9}"] {
            assert!(parse_header_value(value).is_err(), "{value:?}");
        }
    }
}
