//! Reads the list of extensions that a client offers (RFC 6455 §9.1).
//!
//! Bytes of the header lines enter, [`Offer`]s leave, in the client's order. Nothing here knows an extension.

use std::fmt;

/// The header is not a list of extensions. RFC 6455 §9.1 has the handshake fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sec-WebSocket-Extensions is no list of extensions")
    }
}

impl std::error::Error for Malformed {}

/// One extension with its parameters, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub name: String,
    /// Names, and values without quotes.
    pub parameters: Vec<(String, Option<String>)>,
}

/// Reads all lines of the header. Empty elements of the list count for nothing.
pub(crate) fn parse<'h>(lines: impl IntoIterator<Item = &'h [u8]>) -> Result<Vec<Offer>, Malformed> {
    let mut offers = Vec::new();
    for line in lines {
        let mut rest = Rest(line);
        loop {
            rest.skip_spaces();
            if rest.take(b',') {
                continue;
            }
            if rest.0.is_empty() {
                break;
            }
            offers.push(offer(&mut rest)?);
            if !rest.0.is_empty() && !rest.take(b',') {
                return Err(Malformed);
            }
        }
    }
    Ok(offers)
}

fn offer(rest: &mut Rest<'_>) -> Result<Offer, Malformed> {
    let name = rest.token()?;
    let mut parameters = Vec::new();
    rest.skip_spaces();
    while rest.take(b';') {
        rest.skip_spaces();
        let parameter = rest.token()?;
        rest.skip_spaces();
        let value = if rest.take(b'=') {
            rest.skip_spaces();
            Some(rest.value()?)
        } else {
            None
        };
        parameters.push((parameter, value));
        rest.skip_spaces();
    }
    Ok(Offer { name, parameters })
}

/// What has not been read of a line.
struct Rest<'h>(&'h [u8]);

impl Rest<'_> {
    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Result<String, Malformed> {
        let length = self.0.iter().take_while(|byte| is_token_byte(**byte)).count();
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(String::from_utf8_lossy(token).into_owned()) }
    }

    /// A token, or a quoted string whose content is a token.
    fn value(&mut self) -> Result<String, Malformed> {
        if !self.take(b'"') {
            return self.token();
        }
        let mut value = String::new();
        loop {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            let byte = match byte {
                b'"' if value.is_empty() => return Err(Malformed),
                b'"' => return Ok(value),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first().ok_or(Malformed)?;
                    self.0 = rest;
                    escaped
                }
                byte => byte,
            };
            if !is_token_byte(byte) {
                return Err(Malformed);
            }
            value.push(char::from(byte));
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
