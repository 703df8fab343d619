//! Client masking, RFC 6455 section 5.3, in place. `unmask` keeps no state: a caller that gets a payload in
//! pieces rotates the mask between them.

/// XORs `data[i]` with `mask[i % 4]`.
///
/// Works on eight-byte words, which the compiler vectorizes.
#[inline]
pub(super) fn unmask(data: &mut [u8], mask: [u8; 4]) {
    let mask_u32 = u32::from_ne_bytes(mask);
    let mask_u64 = u64::from(mask_u32) << 32 | u64::from(mask_u32);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ mask_u64).to_ne_bytes();
    }
    let (words, tail) = tail.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ mask_u32).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
