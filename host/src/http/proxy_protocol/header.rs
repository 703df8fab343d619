//! The header of the PROXY protocol, versions 1 and 2 (haproxy.org/download/2.8/doc/proxy-protocol.txt, cited as PROXY). The
//! first bytes of a connection enter; the address of the client leaves.
//!
//! Invariant: a header is complete as soon as its last byte is there, so that no byte behind it is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::fields;

/// The line of version 1 begins with it.
const LINE: &[u8] = b"PROXY ";
/// PROXY §2.1, with the end of the line.
const LINE_MAX: usize = 107;
/// Version 2 begins with it, PROXY §2.2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of version 2.
const FIXED: usize = 16;
const SHORT: &str = "it is too short for its addresses";
/// Longest header, as in nginx. Most have less than 200 bytes; further fields may contain names and certificates.
const HEADER_MAX: usize = 4096;

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes.
    pub length: usize,
    /// The client. None: the connection is the proxy's own, or comes from where there are no such addresses.
    pub client: Option<SocketAddr>,
    /// Whether the client speaks TLS with the proxy. None: the proxy does not tell.
    pub is_tls: Option<bool>,
}

/// What is wrong with the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// They are no header.
    NoHeader,
    /// They are the beginning of a header with this fault.
    Malformed(&'static str),
}

impl From<&'static str> for Wrong {
    fn from(fault: &'static str) -> Self {
        Self::Malformed(fault)
    }
}

/// Parses the first bytes of a connection. Ok(None): more are needed.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Wrong> {
    let begins_like = |beginning: &[u8]| {
        let length = beginning.len().min(bytes.len());
        bytes[..length] == beginning[..length]
    };
    if begins_like(SIGNATURE) {
        Ok(parse_binary(bytes)?)
    } else if begins_like(LINE) {
        Ok(parse_line(bytes)?)
    } else {
        Err(Wrong::NoHeader)
    }
}

/// PROXY §2.1.
fn parse_line(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let within = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        return if within.len() == LINE_MAX { Err("its line does not end") } else { Ok(None) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or("its line does not end with CR LF")?;
    let line = str::from_utf8(line).map_err(|_| "its line is not text")?;
    let client = match line.split(' ').collect::<Vec<_>>()[..] {
        [_, "UNKNOWN", ..] => None,
        [_, "TCP4", client, server, client_port, server_port] => {
            Some((address::<Ipv4Addr>(client, client_port), address::<Ipv4Addr>(server, server_port)))
        }
        [_, "TCP6", client, server, client_port, server_port] => {
            Some((address::<Ipv6Addr>(client, client_port), address::<Ipv6Addr>(server, server_port)))
        }
        _ => return Err("its line does not have the fields of TCP4, TCP6 or UNKNOWN"),
    };
    let client = match client {
        None => None,
        Some((Some(client), Some(_))) => Some(client),
        Some(_) => return Err("an address or port in its line is malformed"),
    };
    Ok(Some(Header { length: end + 1, client, is_tls: None }))
}

fn address<A: std::str::FromStr + Into<IpAddr>>(address: &str, port: &str) -> Option<SocketAddr> {
    let is_canonical =
        port.bytes().all(|byte| byte.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
    let port = port.parse().ok().filter(|_| is_canonical)?;
    Some(socket_address(address.parse::<A>().ok()?.into(), port))
}

/// PROXY §2.2.
fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_MAX {
        return Err("it is longer than 4096 bytes");
    }
    let is_proxied = match command {
        0x20 => false,
        0x21 => true,
        _ => return Err("its version or command is unknown"),
    };
    if bytes.len() < length {
        return Ok(None);
    }
    if !is_proxied {
        // The connection is the proxy's own, such as a check whether the server is there. The rest does not count.
        return Ok(Some(Header { length, client: None, is_tls: None }));
    }
    let (header, addresses) = (&bytes[..length], &rest[..length - FIXED]);
    let client = match family {
        0x11 => Some(binary_address::<4, Ipv4Addr>(addresses)?),
        0x21 => Some(binary_address::<16, Ipv6Addr>(addresses)?),
        // Not known, datagrams, or Unix sockets.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err("its address family is unknown"),
    };
    let addresses_length = match family {
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => 0,
    };
    if addresses.len() < addresses_length {
        return Err(SHORT);
    }
    let is_tls = fields::read(header, FIXED + addresses_length)?;
    Ok(Some(Header { length, client, is_tls }))
}

/// The first of two addresses with their ports.
fn binary_address<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(
    fields: &[u8],
) -> Result<SocketAddr, &'static str> {
    let (client, rest) = fields.split_first_chunk::<N>().ok_or(SHORT)?;
    let (_server, ports) = rest.split_first_chunk::<N>().ok_or(SHORT)?;
    let [high, low, _, _] = *ports.first_chunk::<4>().ok_or(SHORT)?;
    Ok(socket_address(A::from(*client).into(), u16::from_be_bytes([high, low])))
}

fn socket_address(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Option<SocketAddr> {
        Some(address.parse().expect(address))
    }

    /// A header of version 2.
    fn binary(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).expect("it fits").to_be_bytes();
        [SIGNATURE, &[command, family], &length, fields].concat()
    }

    /// Whatever follows, and however the bytes arrive: the header is complete with its last byte, and not before.
    fn assert_header(header: &[u8], expected: Option<SocketAddr>) {
        assert_tells(header, expected, None);
    }

    fn assert_tells(header: &[u8], client: Option<SocketAddr>, is_tls: Option<bool>) {
        let shown = header.escape_ascii().to_string();
        for length in 0..header.len() {
            assert_eq!(parse(&header[..length]), Ok(None), "{length} bytes of {shown}");
        }
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n", SIGNATURE, b"PROXY ", &[0; 300]] {
            let expected = Header { length: header.len(), client, is_tls };
            assert_eq!(parse(&[header, behind].concat()), Ok(Some(expected)), "{shown}");
        }
    }

    #[test]
    fn a_line_tells_the_client() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 51314 80\r\n", client("192.0.2.7:51314")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255:65535")),
            ("PROXY TCP4 192.0.2.7 10.0.0.1 0 80\r\n", client("192.0.2.7:0")),
            ("PROXY TCP6 2001:db8::7 ::1 51314 80\r\n", client("[2001:db8::7]:51314")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 51314 80\r\n", client("192.0.2.7:51314")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN anything else\r\n", None),
            (
                "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 \
                 65535\r\n",
                None,
            ),
        ] {
            assert_header(line.as_bytes(), expected);
        }
    }

    #[test]
    fn a_malformed_line_is_rejected() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "PROXYTCP4 192.0.2.7 10.0.0.1 51314 80\r\n",
            "proxy TCP4 192.0.2.7 10.0.0.1 51314 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51314 80\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51314 80\r\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51314\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51314 80 90\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 51314 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51314 80 \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 051 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51314 x\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 51314 80\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0 51314 80\r\n",
            "PROXY TCP4 2001:db8::7 ::1 51314 80\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 51314 80\r\n",
            "PROXY TCP5 192.0.2.7 10.0.0.1 51314 80\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 51314 80\r\n",
            "PROXY \r\n",
            "PROXY UNKNOWNS\r\n",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        assert!(parse(b"PROXY UNKNOWN \xff\r\n").is_err());
        let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
        assert_eq!(parse(&long[..106]), Ok(None));
        assert_eq!(parse(&long[..107]), Err(Wrong::Malformed("its line does not end")));
        assert!(parse(&[&long[..106], b"\r\n"].concat()).is_err());
    }

    #[test]
    fn what_is_no_header_is_told_from_one_that_is_malformed() {
        for bytes in ["GET / HTTP/1.1", "PROXYTCP4 ", "proxy TCP4", "P", "\r\n\r\nGET", "\x16\x03"] {
            let expected = if bytes == "P" { Ok(None) } else { Err(Wrong::NoHeader) };
            assert_eq!(parse(bytes.as_bytes()), expected, "{bytes}");
        }
        assert!(matches!(parse(b"PROXY TCP9 \r\n"), Err(Wrong::Malformed(_))));
        assert!(matches!(parse(&binary(0x31, 0, &[])), Err(Wrong::Malformed(_))));
    }

    #[test]
    fn a_binary_header_tells_the_client() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x72, 0, 80];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().expect("an address").octets());
        v6[32..].copy_from_slice(&[0xc8, 0x72, 0, 80]);
        // PROXY §2.2: PP2_TYPE_NOOP, PP2_TYPE_AUTHORITY.
        let tlv = b"\x04\x00\x02..\x02\x00\x09localhost";
        let long = [&b"\x04\x0f\xe1"[..], &[b'.'; 0x0fe1]].concat();
        assert_eq!(FIXED + v4.len() + long.len(), HEADER_MAX);
        let mut sealed = binary(0x21, 0x11, &[&v4[..], b"\x03\x00\x04....", tlv].concat());
        fields::tests::seal(&mut sealed, FIXED + v4.len() + 3);
        for (header, expected) in [
            (binary(0x21, 0x11, &v4), client("192.0.2.7:51314")),
            (binary(0x21, 0x11, &[&v4[..], tlv].concat()), client("192.0.2.7:51314")),
            (binary(0x21, 0x11, &[&v4[..], &long].concat()), client("192.0.2.7:51314")),
            (sealed, client("192.0.2.7:51314")),
            (binary(0x21, 0x21, &v6), client("[2001:db8::7]:51314")),
            (binary(0x21, 0x21, &[&v6[..], tlv].concat()), client("[2001:db8::7]:51314")),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &v4), None),
            (binary(0x20, 0xff, tlv), None),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x21, 0x00, tlv), None),
            (binary(0x21, 0x12, &v4), None),
            (binary(0x21, 0x31, &[b'/'; 216]), None),
        ] {
            assert_header(&header, expected);
        }
    }

    #[test]
    fn a_binary_header_tells_whether_the_client_speaks_tls() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x72, 0, 80];
        let secure = b"\x20\x00\x0f\x01\0\0\0\0\x21\x00\x07TLSv1.3";
        let plain = b"\x20\x00\x05\x00\0\0\0\0";
        let of_v4 = client("192.0.2.7:51314");
        assert_tells(&binary(0x21, 0x11, &[&v4[..], secure].concat()), of_v4, Some(true));
        assert_tells(&binary(0x21, 0x11, &[&v4[..], plain].concat()), of_v4, Some(false));
        assert_tells(&binary(0x21, 0x00, secure), None, Some(true));
        assert_tells(&binary(0x20, 0x00, secure), None, None);
    }

    #[test]
    fn a_malformed_binary_header_is_rejected() {
        for header in [
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x2f, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x11, &[]),
            binary(0x21, 0x12, &[0; 11]),
            binary(0x21, 0x31, &[0; 215]),
            binary(0x21, 0x11, &[0; 13]),
            binary(0x21, 0x11, &[&[0; 12][..], b"\x04\x00\x02."].concat()),
            binary(0x21, 0x11, &[&[0; 12][..], b"\x03\x00\x04...."].concat()),
            binary(0x21, 0x00, b"\x04\x00\x02."),
            binary(0x21, 0x00, b"\x20\x00\x04...."),
            binary(0x21, 0x10, &[0; 12]),
            binary(0x21, 0x13, &[0; 12]),
            binary(0x21, 0x41, &[0; 40]),
            binary(0x20, 0x00, &[0; HEADER_MAX - FIXED + 1]),
            b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
            b"\r\n\r\nGET / HTTP/1.1".to_vec(),
        ] {
            assert!(parse(&header).is_err(), "{}", header.escape_ascii());
        }
        // Its length alone is too much; so nothing more is read.
        assert!(parse(&[SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat()).is_err());
        assert!(parse(&[SIGNATURE, &[0x31, 0x11, 0, 12]].concat()).is_err());
    }
}
