//! What follows the addresses in a header of version 2: fields of type, length and value (PROXY §2.2.7). Of most of them
//! only the lengths are looked at.

/// PP2_TYPE_CRC32C.
const CHECKSUM: u8 = 0x03;
/// Bytes of the checksum.
const CHECKSUM_LENGTH: usize = 4;
/// PP2_TYPE_SSL.
const TLS: u8 = 0x20;
/// Bytes of its fixed part: flags, and whether the client's certificate is valid.
const TLS_LENGTH: usize = 5;
/// PP2_CLIENT_SSL, of its flags: the client speaks TLS with the proxy.
const TLS_CLIENT: u8 = 0x01;
/// Bytes of a field before its value.
const HEAD: usize = 3;

/// Checks the fields, which begin at `from` in the `header`, and returns whether the client speaks TLS with the proxy. None:
/// the proxy does not tell. Err: what is wrong with them.
pub fn read(header: &[u8], from: usize) -> Result<Option<bool>, &'static str> {
    let (mut at, mut is_tls) = (from, None);
    while at < header.len() {
        let end = match header[at..] {
            [_, high, low, ..] => at + HEAD + usize::from(u16::from_be_bytes([high, low])),
            _ => return Err("its last field (TLV) is cut off"),
        };
        let value = header.get(at + HEAD..end).ok_or("a field (TLV) in it is longer than the rest of it")?;
        if header[at] == CHECKSUM {
            let wanted: [u8; CHECKSUM_LENGTH] =
                value.try_into().map_err(|_| "its checksum (CRC32C) does not have 4 bytes")?;
            // The checksum is that of the header with zeros in its place.
            let parts = [&header[..at + HEAD], &[0; CHECKSUM_LENGTH], &header[end..]];
            if crc32c(parts.into_iter().flatten()) != u32::from_be_bytes(wanted) {
                return Err("its checksum (CRC32C) is wrong: it was changed on its way");
            }
        }
        if header[at] == TLS {
            let fixed = value.get(..TLS_LENGTH).ok_or("its SSL field (TLV) is too short")?;
            is_tls = Some(fixed[0] & TLS_CLIENT != 0);
        }
        at = end;
    }
    Ok(is_tls)
}

/// RFC 9260, appendix A.
fn crc32c<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.fold(!0, |crc: u32, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const fn table() -> [u32; 256] {
    /// The polynomial, with its bits in reverse order.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Sets the checksum in the header, whose value begins at `at`.
    pub fn seal(header: &mut [u8], at: usize) {
        header[at..at + CHECKSUM_LENGTH].fill(0);
        let crc = crc32c(header.iter());
        header[at..at + CHECKSUM_LENGTH].copy_from_slice(&crc.to_be_bytes());
    }

    #[test]
    fn the_checksum_is_that_of_the_rfcs() {
        // RFC 3720 §B.4.
        for (bytes, crc) in [
            ([0; 32], 0x8a91_36aa_u32),
            ([0xff; 32], 0x62a8_ab43),
            (std::array::from_fn(|at| at as u8), 0x46dd_794e),
            (std::array::from_fn(|at| 31 - at as u8), 0x113f_db5c),
        ] {
            assert_eq!(crc32c(bytes.iter()), crc);
        }
        assert_eq!(crc32c(b"123456789".iter()), 0xe306_9283);
    }

    #[test]
    fn fields_end_with_the_header_and_a_checksum_is_right() {
        for (fields, expected) in [
            (&b""[..], Ok(None)),
            (b"\x04\x00\x00", Ok(None)),
            (b"\x04\x00\x02..\x02\x00\x01a", Ok(None)),
            (b"\x20\x00\x05\x01\0\0\0\0", Ok(Some(true))),
            (b"\x20\x00\x0f\x07\0\0\0\0\x21\x00\x07TLSv1.3\x04\x00\x00", Ok(Some(true))),
            (b"\x04\x00\x00\x20\x00\x05\x00\0\0\0\0", Ok(Some(false))),
            (b"\x20\x00\x05\x06\0\0\0\x01", Ok(Some(false))),
            (b"\x20\x00\x04\x01\0\0\0", Err("its SSL field (TLV) is too short")),
            (b"\x04", Err("its last field (TLV) is cut off")),
            (b"\x04\x00", Err("its last field (TLV) is cut off")),
            (b"\x04\x00\x01", Err("a field (TLV) in it is longer than the rest of it")),
            (b"\x04\x00\x02..\x02\xff\xffa", Err("a field (TLV) in it is longer than the rest of it")),
            (b"\x03\x00\x03...", Err("its checksum (CRC32C) does not have 4 bytes")),
            (b"\x03\x00\x04....", Err("its checksum (CRC32C) is wrong: it was changed on its way")),
        ] {
            assert_eq!(read(&[b"header", fields].concat(), 6), expected, "{}", fields.escape_ascii());
        }
        let mut header = b"header\x04\x00\x01.\x03\x00\x04....\x02\x00\x01a".to_vec();
        seal(&mut header, 13);
        assert_eq!(read(&header, 6), Ok(None));
        for at in 0..header.len() {
            let mut changed = header.clone();
            changed[at] ^= 1;
            // A change of a length, or of the type itself, is found in other ways, or makes it a header without a checksum.
            assert!(read(&changed, 6).is_err() || at == 10, "{at}");
        }
    }
}
