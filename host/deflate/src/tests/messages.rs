//! Messages and windows.

use super::*;

const MAX: usize = 1 << 20;

fn inflate(message: &[u8]) -> Result<Vec<u8>, InflateError> {
    inflate_up_to(message, MAX)
}

fn inflate_up_to(message: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
    let mut plain = Inflater::default().inflate(&[], message, max)?;
    assert_eq!(plain.pop(), Some(0), "a NUL follows");
    Ok(plain)
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3() {
    let hello = Ok(b"Hello".to_vec());
    assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), hello, "7.2.3.1");
    assert_eq!(
        inflate(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]),
        hello,
        "7.2.3.3"
    );
    assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]), hello, "7.2.3.4");
    let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&two_blocks), hello, "7.2.3.5");
    assert_eq!(inflate(&[0x00]), Ok(Vec::new()), "7.2.3.6");
    // Section 7.2.3.2: the second message refers to the first one.
    let (direction, mut window) = (Direction { context: true, window_bits: 9 }, Window::default());
    window.push(b"Hello", direction);
    let second = Inflater::default().inflate(window.bytes(), &[0xf2, 0x00, 0x11, 0x00, 0x00], MAX);
    assert_eq!(second, Ok(b"Hello\0".to_vec()));
}

#[test]
fn blocks_that_end_a_stream_may_be_anywhere() {
    let mut wire = Vec::new();
    let mut plain = Vec::new();
    let mut random = Random(3);
    for i in 0..20 {
        let part = random.json(20);
        let mut stream = Compress::new(Compression::new(6), false);
        let from = plain.len();
        if i % 2 == 1 {
            // It refers to what came before in the same message.
            stream.set_dictionary(&plain[from.saturating_sub(32_768)..]).unwrap();
        }
        wire.reserve(part.len() + 64);
        stream.compress_vec(&part, &mut wire, FlushCompress::Finish).unwrap();
        plain.extend(part);
    }
    assert_eq!(inflate(&wire), Ok(plain.clone()), "the message ends with the stream");
    wire.push(0);
    assert_eq!(inflate(&wire), Ok(plain), "as the RFC has it");
    // Each end of a stream costs something, and so their number is bounded.
    let empty_streams = |count: usize| [3, 0].repeat(count);
    assert_eq!(inflate(&empty_streams(256)), Ok(Vec::new()));
    assert_eq!(inflate(&empty_streams(257)), Err(InflateError::Invalid));
}

#[test]
fn streams_of_zlib_are_inflated_with_the_window_alone() {
    for window_bits in 9..=15 {
        let (mut peer, mut inflater, mut random) = (Peer::new(window_bits), Inflater::default(), Random(11));
        let (direction, mut window) = (Direction { context: true, window_bits }, Window::default());
        for i in 0..200 {
            let message = match i % 5 {
                4 => random.bytes(i * 30),
                _ => random.json(i / 2),
            };
            let compressed = peer.compress(&message);
            let mut plain = inflater.inflate(window.bytes(), &compressed, MAX).expect("it is whole");
            assert_eq!(plain.pop(), Some(0));
            assert!(plain == message, "{window_bits} bits, message {i}");
            inflater.give_back(plain);
            window.push(&message, direction);
            assert!(window.memory() <= 1 << window_bits);
        }
    }
}

#[test]
fn zlib_inflates_what_was_compressed_with_the_window_alone() {
    for (window_bits, level) in (9..=15).flat_map(|bits| [1, 6, 9].map(|level| (bits, level))) {
        let (mut peer, mut compressor, mut random) =
            (Peer::new(window_bits), Compressor::default(), Random(17));
        let (direction, mut window) = (Direction { context: true, window_bits }, Window::default());
        let (mut sent, mut plain) = (0, 0);
        for i in 0..200 {
            let message = match i % 5 {
                4 => random.bytes(i * 30),
                _ => random.json(1 + i / 2),
            };
            // Every third is compressed for many: without the window, which it enters.
            let with = if i % 3 == 0 { &[] } else { window.bytes() };
            let Some(compressed) = compressor.compress(Method { level, window_bits }, with, &message) else {
                assert!(i % 5 == 4 || message.len() < 100, "message {i} is not smaller");
                continue;
            };
            assert!(compressed.len() < message.len());
            (sent, plain) = (sent + compressed.len(), plain + message.len());
            assert!(peer.inflate(compressed, message.len()) == message, "{window_bits} bits, message {i}");
            window.push(&message, direction);
        }
        assert!(sent < plain * 6 / 10, "{sent} of {plain}");
    }
}

#[test]
fn a_window_is_as_good_as_a_compressor_of_its_own() {
    let (method, direction) =
        (Method { level: 6, window_bits: 12 }, Direction { context: true, window_bits: 12 });
    let (mut peer, mut compressor, mut window) = (Peer::new(12), Compressor::default(), Window::default());
    let (mut random, mut of_peer, mut ours) = (Random(5), 0, 0);
    for _ in 0..500 {
        let message = random.json(4);
        of_peer += peer.compress(&message).len();
        ours += compressor.compress(method, window.bytes(), &message).expect("it is smaller").len();
        window.push(&message, direction);
    }
    assert!(ours * 100 <= of_peer * 101, "{ours} and {of_peer}");
}

#[test]
fn what_does_not_shrink_is_not_compressed() {
    let (mut compressor, mut random) = (Compressor::default(), Random(23));
    let method = Method { level: 6, window_bits: 15 };
    for length in [0, 1, 2, 5, 100, 5000, 100_000, 1_000_000] {
        assert_eq!(compressor.compress(method, &[], &random.bytes(length)), None, "{length}");
    }
    assert!(compressor.compress(method, &[], &[b'x'; 100]).is_some());
    assert!(compressor.buffer.capacity() <= 300, "a large buffer is freed: {}", compressor.buffer.capacity());
}

/// A compressor that is reused before zlib has written all of a message aborts after several of them.
#[test]
fn messages_that_do_not_shrink_leave_nothing_behind() {
    let kinds = [(12, 6, 6, 12_000), (9, 6, 70, 1000), (15, 1, 70, 1000), (15, 1, 1, 64_000)];
    let all = (9..=15).flat_map(|bits| (1..=9).map(move |level| (bits, level, 3, 20_000)));
    for (window_bits, level, count, length) in kinds.into_iter().chain(all) {
        let (mut compressor, mut random) = (Compressor::default(), Random(37));
        let method = Method { level, window_bits };
        for i in 0..count {
            assert_eq!(
                compressor.compress(method, &[], &random.bytes(length)),
                None,
                "{method:?}, message {i}"
            );
            assert_eq!(
                compressor.methods(),
                1,
                "{method:?}: zlib has written all of it, so its state is kept"
            );
        }
        let message = random.json(40);
        let compressed = compressor.compress(method, &[], &message).expect("it is smaller");
        assert_eq!(inflate(compressed), Ok(message), "{method:?}");
    }
}

/// As [`Compressor::compress`] would meet it if the bound on its output were wrong.
#[test]
fn a_state_that_has_not_written_all_of_a_message_is_not_used_again() {
    for (window_bits, level) in [(9, 6), (12, 6), (15, 1), (15, 6), (15, 9)] {
        let (mut compressor, mut random) = (Compressor::default(), Random(41));
        let method = Method { level, window_bits };
        for _ in 0..70 {
            assert_eq!(compressor.compress_within(1000, method, &[], &random.bytes(12_000)), None);
            assert_eq!(compressor.methods(), 0, "{method:?}");
        }
        let message = random.json(40);
        let compressed = compressor.compress(method, &[], &message).expect("it is smaller");
        assert_eq!(inflate(compressed), Ok(message), "{method:?}");
    }
}

#[test]
fn a_message_is_bounded_while_it_is_inflated() {
    let mut peer = Peer::new(15);
    for length in [0, 1, 100, 4095, 4096, 4097, 99_999, MAX] {
        let compressed = peer.compress(&vec![b'x'; length]);
        peer.compress.reset();
        assert_eq!(inflate_up_to(&compressed, length).map(|plain| plain.len()), Ok(length));
        if length > 0 {
            assert_eq!(inflate_up_to(&compressed, length - 1), Err(InflateError::TooBig), "{length}");
        }
    }
    // 64 MiB in 64 KiB.
    let bomb = peer.compress(&vec![0; 64 << 20]);
    assert!(bomb.len() < 70_000);
    let mut inflater = Inflater::default();
    assert_eq!(inflater.inflate(&[], &bomb, 100_000), Err(InflateError::TooBig));
    assert!(inflater.buffer.capacity() <= 100_001, "{}", inflater.buffer.capacity());
    assert_eq!(inflater.inflate(&[], &bomb, 1 << 20), Err(InflateError::TooBig));
    assert_eq!(inflater.buffer.capacity(), 0, "a large buffer is freed");
    assert_eq!(
        inflater.inflate(&[], &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5),
        Ok(b"Hello\0".to_vec())
    );
}

#[test]
fn what_is_not_a_whole_message_is_invalid() {
    let message = Random(29).json(50);
    let compressed = Peer::new(15).compress(&message);
    assert_eq!(inflate(&compressed), Ok(message.clone()));
    for length in 1..compressed.len() {
        // A stream that is cut between two blocks would be whole; this one has a single block.
        assert_eq!(inflate(&compressed[..length]), Err(InflateError::Invalid), "cut to {length}");
    }
    for garbage in
        [&[0x07][..], &[0xff; 9], b"plain text", &[0x01, 0xff, 0xff, 0x00, 0x00], &[0xf2, 0x00, 0x11]]
    {
        assert_eq!(inflate(garbage), Err(InflateError::Invalid), "{garbage:x?}");
    }
    // It refers to bytes before the window.
    let mut inflater = Inflater::default();
    assert_eq!(inflater.inflate(b"Hel", &[0xf2, 0x00, 0x11, 0x00, 0x00], MAX), Err(InflateError::Invalid));
    assert_eq!(inflater.inflate(b"Hello", &[0xf2, 0x00, 0x11, 0x00, 0x00], MAX), Ok(b"Hello\0".to_vec()));
}

#[test]
fn a_window_has_the_last_bytes_and_no_more_memory_than_they_may_take() {
    let direction = Direction { context: true, window_bits: 9 };
    let (mut window, mut all, mut random) = (Window::default(), Vec::new(), Random(31));
    assert_eq!(window.memory(), 0);
    for _ in 0..300 {
        let length = random.below(700);
        let message = random.bytes(length);
        all.extend_from_slice(&message);
        window.push(&message, direction);
        assert_eq!(window.bytes(), &all[all.len().saturating_sub(512)..]);
        assert!(window.memory() <= 512);
    }
    let copy = Window::from_bytes(window.bytes(), direction).expect("it is possible");
    assert_eq!(copy.bytes(), window.bytes());
    assert!(Window::from_bytes(&[0; 513], direction).is_none());
    window.clear();
    assert_eq!((window.bytes(), window.memory()), (&[][..], 0));
    let none = Direction { context: false, window_bits: 15 };
    window.push(b"Hello", none);
    assert_eq!(window.memory(), 0);
    assert!(Window::from_bytes(b"H", none).is_none() && Window::from_bytes(b"", none).is_some());
}
