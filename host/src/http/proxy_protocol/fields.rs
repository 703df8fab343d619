//! What follows the addresses in a header of version 2: fields of type, length and value (PROXY §2.2.7). Only their lengths
//! and the checksum are looked at.

/// PP2_TYPE_CRC32C.
const CHECKSUM: u8 = 0x03;
/// Bytes of the checksum.
const CHECKSUM_LENGTH: usize = 4;
/// Bytes of a field before its value.
const HEAD: usize = 3;

/// Checks the fields, which begin at `from` in the `header`. Err: what is wrong with them.
pub fn check(header: &[u8], from: usize) -> Result<(), &'static str> {
    let mut at = from;
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
        at = end;
    }
    Ok(())
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
            (&b""[..], Ok(())),
            (b"\x04\x00\x00", Ok(())),
            (b"\x04\x00\x02..\x02\x00\x01a", Ok(())),
            (b"\x04", Err("its last field (TLV) is cut off")),
            (b"\x04\x00", Err("its last field (TLV) is cut off")),
            (b"\x04\x00\x01", Err("a field (TLV) in it is longer than the rest of it")),
            (b"\x04\x00\x02..\x02\xff\xffa", Err("a field (TLV) in it is longer than the rest of it")),
            (b"\x03\x00\x03...", Err("its checksum (CRC32C) does not have 4 bytes")),
            (b"\x03\x00\x04....", Err("its checksum (CRC32C) is wrong: it was changed on its way")),
        ] {
            assert_eq!(check(&[b"header", fields].concat(), 6), expected, "{}", fields.escape_ascii());
        }
        let mut header = b"header\x04\x00\x01.\x03\x00\x04....\x02\x00\x01a".to_vec();
        seal(&mut header, 13);
        assert_eq!(check(&header, 6), Ok(()));
        for at in 0..header.len() {
            let mut changed = header.clone();
            changed[at] ^= 1;
            // A change of a length, or of the type itself, is found in other ways, or makes it a header without a checksum.
            assert!(check(&changed, 6).is_err() || at == 10, "{at}");
        }
    }
}
