//! Queues that are written in pieces, shared, dropped and empty.

use super::*;

/// Takes `step` bytes a call, and blocks after every third.
fn drain(outbox: &mut Outbox, pool: &Pool, step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut calls = 0;
    loop {
        let drained = outbox.write_to(pool, |slices| {
            calls += 1;
            if calls % 3 == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let n = step.min(all.len());
            out.extend_from_slice(&all[..n]);
            Ok(n)
        });
        if drained.expect("no error was written") {
            return out;
        }
    }
}

#[test]
fn bytes_leave_in_the_order_they_came_however_they_are_cut() {
    for step in [1, 2, 3, 7, 1000] {
        let pool = Pool::default();
        let mut outbox = Outbox::default();
        outbox.push(2, b"one", &pool);
        outbox.push_shared(pool.share(b"<shared>".to_vec()), &pool);
        outbox.push_shared(pool.share(b"<again>".to_vec()), &pool);
        outbox.push(1, b"two", &pool);
        outbox.push_framed(b"<framed>", &pool);
        assert_eq!(outbox.len(), 5 + 8 + 7 + 5 + 8);
        assert_eq!(drain(&mut outbox, &pool, step), b"\x82\x03one<shared><again>\x81\x03two<framed>");
        assert!(outbox.is_empty());
        assert_eq!(pool.shared_memory(), 0);
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, 2, payload);
    frame
}

/// Writes so many bytes, then blocks.
fn write(outbox: &mut Outbox, pool: &Pool, mut bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let result = outbox.write_to(pool, |slices| match std::mem::take(&mut bytes) {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        most => {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            out.extend_from_slice(&all[..most.min(all.len())]);
            Ok(out.len())
        }
    });
    result.expect("it only blocks");
    out
}

#[test]
fn a_dropped_queue_ends_with_the_frame_that_was_begun_wherever_that_is() {
    let frames = [frame(b"one"), frame(&[2; 200]), frame(b""), frame(&[3; 70_000]), frame(b"end")];
    let all = frames.concat();
    for at in [0, 1, 4, 5, 6, 100, 204, 208, 209, 211, 212, 1000, 70_000, all.len() - 1] {
        for first_written in [0, at / 2] {
            let (pool, mut outbox) = (Pool::default(), Outbox::default());
            for (number, frame) in frames.iter().enumerate() {
                match number {
                    2 | 3 => outbox.push_shared(pool.share(frame.clone()), &pool),
                    _ => outbox.push_framed(frame, &pool),
                }
            }
            let mut out = write(&mut outbox, &pool, first_written);
            out.extend(write(&mut outbox, &pool, at - first_written));
            let rest = outbox.drop_unbegun(0);
            assert_eq!((rest, pool.shared_memory()), (outbox.len(), 0));
            outbox.push_framed(b"CLOSE", &pool);
            out.extend(drain(&mut outbox, &pool, 10_000));
            let ends = frames.iter().scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            });
            let end = [0].into_iter().chain(ends).find(|end| *end >= at).expect("there is one");
            assert_eq!(out.len(), end + 5, "{at} bytes were written, {first_written} of them first");
            assert!(out == [&all[..end], b"CLOSE"].concat());
        }
    }
}

#[test]
fn a_dropped_queue_keeps_what_is_sealed_and_the_frame_in_which_that_ends() {
    let frames = [frame(b"one"), frame(&[2; 200]), frame(b""), frame(&[3; 70_000]), frame(b"end")];
    let (all, mut end) = (frames.concat(), 0);
    let ends: Vec<usize> = frames
        .iter()
        .map(|frame| {
            end += frame.len();
            end
        })
        .collect();
    for written in [0, 3, 5, 100, 211, 300] {
        for sealed in [0, 1, 10, 205, 1000, 65_000] {
            let (pool, mut outbox) = (Pool::default(), Outbox::default());
            for (number, frame) in frames.iter().enumerate() {
                match number {
                    0 | 2 | 3 => outbox.push_shared(pool.share(frame.clone()), &pool),
                    _ => outbox.push_framed(frame, &pool),
                }
            }
            let mut out = write(&mut outbox, &pool, written);
            let rest = outbox.drop_unbegun(sealed);
            outbox.push_framed(b"CLOSE", &pool);
            out.extend(drain(&mut outbox, &pool, 10_000));
            let end = ends.iter().copied().chain([0]).filter(|end| *end >= written + sealed).min();
            let end = end.expect("there is one");
            assert_eq!(
                (rest, out.len()),
                (end - written, end + 5),
                "{sealed} bytes behind {written} were sealed"
            );
            assert!(out == [&all[..end], b"CLOSE"].concat());
        }
    }
}

#[test]
fn shared_frames_count_once_and_each_queue_has_its_part() {
    let (pool, mut queues) = (Pool::default(), [Outbox::default(), Outbox::default()]);
    let shared = pool.share(vec![0; 8000]);
    queues.iter_mut().for_each(|queue| queue.push_shared(shared.clone(), &pool));
    drop(shared);
    assert_eq!((pool.shared_memory(), queues[0].memory(), queues[0].own_memory()), (8000, 4000, 0));
    drain(&mut queues[0], &pool, 1 << 20);
    assert_eq!((pool.shared_memory(), queues[0].memory(), queues[1].memory()), (8000, 0, 8000));
    queues[1] = Outbox::default();
    assert_eq!(pool.shared_memory(), 0);
}

#[test]
fn what_is_queued_behind_a_partial_write_stays_behind_it() {
    let pool = Pool::default();
    let mut outbox = Outbox::default();
    outbox.push_framed(b"abcdef", &pool);
    let mut first = true;
    let drained = outbox.write_to(&pool, |_| {
        if std::mem::take(&mut first) { Ok(2) } else { Err(io::ErrorKind::WouldBlock.into()) }
    });
    assert!(!drained.expect("it only blocks"));
    outbox.push_shared(pool.share(b"SHARED".to_vec()), &pool);
    outbox.push_framed(b"end", &pool);
    assert_eq!(drain(&mut outbox, &pool, 4), b"cdefSHAREDend");
}

#[test]
fn an_empty_queue_holds_no_memory_and_small_buffers_are_used_again() {
    let pool = Pool::default();
    let mut outbox = Outbox::default();
    outbox.push_framed(b"x", &pool);
    drain(&mut outbox, &pool, 10);
    assert_eq!(outbox.tail.capacity(), 0);
    assert_eq!(pool.spare.borrow().len(), 1);
    outbox.push_framed(&[0; Pool::BUFFER_MAX + 1], &pool);
    drain(&mut outbox, &pool, 4096);
    assert!(pool.spare.borrow().is_empty(), "a large buffer is given back to the system");
}

#[test]
fn a_queue_that_is_never_empty_holds_no_more_than_waits() {
    let pool = Pool::default();
    let mut outbox = Outbox::default();
    let piece = [7; 1000];
    outbox.push_framed(&piece, &pool);
    for _ in 0..10_000 {
        outbox.push_framed(&piece, &pool);
        let mut room = piece.len();
        let drained = outbox.write_to(&pool, |slices| match std::mem::take(&mut room) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            room => Ok(room.min(slices[0].len())),
        });
        assert!(!drained.expect("it only blocks"));
        assert_eq!(outbox.len(), piece.len());
    }
    assert!(
        outbox.tail.capacity() <= 8 * piece.len(),
        "{} bytes for {}",
        outbox.tail.capacity(),
        piece.len()
    );
}

#[test]
fn an_error_is_reported() {
    let pool = Pool::default();
    let mut outbox = Outbox::default();
    outbox.push_framed(b"x", &pool);
    let broken = outbox.write_to(&pool, |_| Err(io::ErrorKind::BrokenPipe.into()));
    assert_eq!(broken.expect_err("the pipe is broken").kind(), io::ErrorKind::BrokenPipe);
}
