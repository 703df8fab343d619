//! Client masking, RFC 6455 section 5.3. Bytes enter masked and leave plain, in place.
//! It knows nothing about frames: whoever stops in the middle of one rotates the mask itself.

/// XORs `data` with `mask` over and over; `data[0]` meets `mask[0]`.
///
/// In words of eight bytes, which the compiler turns into vectors.
#[inline]
pub(super) fn unmask(data: &mut [u8], mask: [u8; 4]) {
    let half = u32::from_ne_bytes(mask);
    let whole = u64::from(half) << 32 | u64::from(half);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ whole).to_ne_bytes();
    }
    let (words, tail) = tail.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ half).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
