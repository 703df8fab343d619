//! Fuzzes compression: what a client offers, and the compressed messages that it sends. Nothing panics, an agreement keeps
//! the rules of RFC 7692 §7.1, no message becomes larger than allowed, and messages are inflated with a window as a stream
//! of zlib with a memory of its own inflates them. What is compressed with a window comes back from such a stream, also after messages that do not shrink.
//!
//! Input: one byte (bits 0 to 2: bits of the window minus nine; bit 3: context; high half: length of a message divided by
//! eight, minus one), then the bytes of a header, of a compressed message, and of messages to compress.
#![no_main]

use callsign_deflate::{Agreement, Compressor, Direction, Inflater, Method, Policy, Window, negotiate};
use flate2::{Decompress, FlushDecompress};
use libfuzzer_sys::fuzz_target;

/// Low, so that the fuzzer finds messages on both sides of the limit.
const MESSAGE_MAX: usize = 20_000;
const FLUSH_END: [u8; 4] = [0, 0, 0xFF, 0xFF];

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else { return };
    let window_bits = 9 + (first & 7).min(6);
    let context = first & 8 != 0;
    check_offer(rest, Policy { server_context: context, client_context: context, window_bits });

    let mut inflater = Inflater::default();
    for window in [&b""[..], b"a window that messages may refer to"] {
        let Ok(plain) = inflater.inflate(window, rest, MESSAGE_MAX) else { continue };
        let (&nul, content) = plain.split_last().expect("the NUL");
        assert!(nul == 0 && content.len() <= MESSAGE_MAX);
        assert!(content.is_empty() || inflater.inflate(window, rest, content.len() - 1).is_err());
        inflater.give_back(plain);
    }

    let direction = Direction { context, window_bits };
    let method = Method { level: 1 + first % 9, window_bits };
    let length = (1 + usize::from(first >> 4)) * 8;
    let (mut compressor, mut window) = (Compressor::default(), Window::default());
    let mut stream = Decompress::new_with_window_bits(false, window_bits);
    // Some messages are long, so that they repeat more than the window has.
    let long = rest.repeat(1 + 2000 / (rest.len() + 1));
    for message in rest.chunks(length).take(20).chain([&long[..]]) {
        let Some(compressed) = compressor.compress(method, window.bytes(), message) else { continue };
        assert!(compressed.len() < message.len());
        if !context {
            stream.reset(false);
            stream = Decompress::new_with_window_bits(false, window_bits);
        }
        let mut plain = Vec::with_capacity(message.len() + 1);
        let wire = [compressed, &FLUSH_END].concat();
        stream.decompress_vec(&wire, &mut plain, FlushDecompress::Sync).expect("it is DEFLATE");
        assert_eq!(plain, message);
        let again = inflater.inflate(window.bytes(), compressed, message.len()).expect("it is whole");
        assert_eq!(again.split_last(), Some((&0, message)));
        inflater.give_back(again);
        window.push(message, direction);
        assert!(window.memory() <= if context { 1 << window_bits } else { 0 });
    }
    // Only for some inputs, because it takes long.
    if rest.len() % 16 == 0 {
        check_noise(&mut compressor, method, rest, &long);
    }
});

/// Compresses random bytes, which do not shrink, several times in a row; nothing of them reaches the message that follows.
fn check_noise(compressor: &mut Compressor, method: Method, seed: &[u8], message: &[u8]) {
    let (mut inflater, mut state) = (Inflater::default(), 0x9E37_79B9_7F4A_7C15);
    let mut random = |more: u64| {
        state ^= more;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for &byte in seed.iter().take(4) {
        let method = Method { level: 1 + byte % 9, ..method };
        // 64 KiB in 1 to 64 messages.
        let count = 1 << (random(u64::from(byte)) % 7);
        let noise: Vec<u8> = (0..1 << 16).map(|_| (random(0) >> 24) as u8).collect();
        for message in noise.chunks(noise.len() / count).chain([message]) {
            let Some(compressed) = compressor.compress(method, &[], message) else { continue };
            let plain = inflater.inflate(&[], compressed, message.len()).expect("it is whole");
            assert_eq!(plain.split_last(), Some((&0, message)));
            inflater.give_back(plain);
        }
    }
}

fn check_offer(header: &[u8], policy: Policy) {
    let Ok(Some((agreement, answer))) = negotiate([header], policy) else { return };
    assert_eq!(Agreement::from_bytes(agreement.to_bytes()), Some(agreement));
    assert!(agreement.server.window_bits <= policy.window_bits);
    assert!(!agreement.client.context || agreement.client.window_bits <= policy.window_bits);
    assert!(agreement.server.context <= policy.server_context && agreement.client.context <= policy.client_context);
    let text = String::from_utf8_lossy(header);
    assert!(text.contains("permessage-deflate"));
    // The only parameter that needs an offer.
    assert!(!answer.contains("client_max_window_bits") || text.contains("client_max_window_bits"));
    assert_eq!(answer.contains("server_no_context_takeover"), !agreement.server.context);
    assert_eq!(answer.contains("client_no_context_takeover"), !agreement.client.context);
    // A client that offers what was answered gets the same answer, unless it has a limit of the other kind.
    assert!(negotiate([answer.as_bytes()], policy).is_ok_and(|it| it.is_some()));
}
