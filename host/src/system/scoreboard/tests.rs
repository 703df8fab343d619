use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::*;

fn label(name: &str) -> CodeLabel {
    CodeLabel { plugin: "chat".into(), kind: "onmessage handler".into(), name: name.into(), generation: 3 }
}

/// One scoreboard as the parent and as a worker has it mapped.
fn both(workers: usize) -> (Scoreboard, Scoreboard) {
    let (parent, fd) = Scoreboard::create(workers).unwrap();
    let worker = Scoreboard::open(fd.as_fd()).unwrap();
    (parent, worker)
}

#[test]
fn the_parent_sees_what_a_worker_writes_to_its_slot_and_to_no_other() {
    let (parent, worker) = both(3);
    assert_eq!(parent.len(), 3);
    let slot = worker.slot(1);
    slot.define(7, &label("message"));
    slot.enter(7);
    slot.set_clients(12);
    slot.count_accepted();
    assert_eq!(parent.slot(1).running(), Some(RunningCallback { sequence: 1, label: label("message") }));
    assert_eq!(parent.slot(1).clients(), 12);
    assert_eq!(parent.slot(1).counters(), Counters { callbacks: 1, accepted: 1, ..Counters::default() });
    for other in [0, 2] {
        assert_eq!(parent.slot(other).running(), None);
        assert_eq!(parent.slot(other).counters(), Counters::default());
    }
    slot.leave();
    assert_eq!(parent.slot(1).running(), None);
    slot.enter(7);
    assert_eq!(parent.slot(1).running().unwrap().sequence, 2);
}

#[test]
fn a_label_reads_like_a_sentence() {
    assert_eq!(label("message").to_string(), "plugin `chat` (generation 3): onmessage handler `message`");
    let release = CodeLabel { kind: "release hook".into(), ..label("") };
    assert_eq!(release.to_string(), "plugin `chat` (generation 3): release hook");
    assert_eq!(CodeLabel::default().to_string(), "another handler");
}

#[test]
fn more_handlers_than_fit_are_another_handler() {
    let (parent, worker) = both(1);
    let slot: &'static Slot = Box::leak(Box::new(worker)).slot(0);
    adopt(slot);
    let indexes: Vec<u32> = (0..HANDLERS).map(|n| define(&label(&n.to_string()))).collect();
    let expected: Vec<u32> = (1..HANDLERS as u32).chain([0]).collect();
    assert_eq!(indexes, expected);
    for (index, name) in [(1, "0"), (HANDLERS as u32 - 1, "126")] {
        current().enter(index);
        assert_eq!(parent.slot(0).running().unwrap().label, label(name));
    }
    for index in [0, HANDLERS as u32, 32_767, 32_768, u32::MAX] {
        slot.define(index, &label("unnamed"));
        slot.enter(index);
        assert_eq!(parent.slot(0).running().unwrap().label, CodeLabel::default(), "index {index}");
    }
    assert_eq!(parent.slot(0).counters().callbacks, 7);
}

#[test]
fn a_thread_without_a_slot_writes_to_one_that_is_never_read() {
    let index = define(&label("message"));
    assert_ne!(index, 0);
    current().enter(index);
    current().leave();
}

#[test]
fn a_slot_is_empty_after_clear() {
    let (parent, worker) = both(1);
    let slot = worker.slot(0);
    slot.define(1, &label("message"));
    slot.set_modules(&[Module { start: 1, end: 2, bias: 1, path: "/lib/libchat.so".into() }]);
    slot.count_accepted();
    slot.set_clients(1);
    slot.beat();
    assert_eq!(parent.slot(0).pulse().heartbeat, 1);
    slot.enter(1);
    slot.begin_crash(&fault());
    parent.slot(0).clear();
    assert_eq!((slot.running(), slot.crash(), slot.clients()), (None, None, 0));
    assert_eq!((slot.counters(), slot.pulse().heartbeat), (Counters::default(), 0));
    slot.enter(1);
    assert_eq!(slot.running().unwrap().label, CodeLabel::default());
    slot.begin_crash(&fault());
    assert_eq!(slot.crash().unwrap().modules, []);
}

fn fault() -> Fault {
    Fault { signal: 11, code: 1, address: 16, argument: 0, pc: 4711, overflow: false, worker_thread: true }
}

#[test]
fn a_crash_is_read_as_it_was_written_with_no_more_frames_than_fit() {
    let (parent, worker) = both(1);
    let slot = worker.slot(0);
    let path = "/a folder/libchat.so".to_owned();
    let modules = vec![Module { start: 4096, end: 8192, bias: 4096, path }];
    slot.set_modules(&modules);
    assert_eq!(parent.slot(0).crash(), None);
    slot.begin_crash(&fault());
    let frames: Vec<u64> = (1..=FRAMES as u64).collect();
    assert!(frames.iter().all(|&frame| slot.add_frame(frame)));
    assert!(!slot.add_frame(65));
    let crash = parent.slot(0).crash().unwrap();
    assert_eq!((crash.signal, crash.code, crash.address, crash.pc), (11, 1, Some(16), 4711));
    assert_eq!((crash.overflow, crash.worker_thread), (false, true));
    assert_eq!((crash.frames, crash.modules), (frames, modules));
    slot.begin_crash(&Fault { code: 0, ..fault() });
    assert_eq!(slot.crash().unwrap().address, None, "a signal that was sent has no address");
}

#[test]
fn modules_that_do_not_fit_are_left_out_whole() {
    let (_, worker) = both(1);
    let modules: Vec<Module> =
        (0..500).map(|n| Module { start: n, end: n + 1, bias: n, path: "x".repeat(97) }).collect();
    let slot = worker.slot(0);
    slot.set_modules(&modules);
    slot.begin_crash(&fault());
    let read = slot.crash().unwrap().modules;
    assert!(read.len() > 100, "{}", read.len());
    assert_eq!(read, modules[..read.len()]);
}

#[test]
fn any_content_of_a_slot_can_be_read() {
    let (parent, fd) = Scoreboard::create(1).unwrap();
    let memory = std::fs::File::from(fd);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..300_u32 {
        let bytes: Vec<u8> = (0..size_of::<Slot>())
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // Random bytes; digits and line ends, which get further in the parsers; all ones; and again.
                match round % 3 {
                    0 => random as u8,
                    1 => b"0123456789abcdef \n/\x1b"[random as usize % 20],
                    _ => 0xff,
                }
            })
            .collect();
        std::os::unix::fs::FileExt::write_all_at(&memory, &bytes, 0).unwrap();
        let slot = parent.slot(0);
        let crash = slot.crash().expect("any number but 0 is a signal");
        assert!(crash.frames.len() <= FRAMES);
        assert!(crash.modules.iter().all(|module| !module.path.contains(char::is_control)));
        for handler in 0..40_000 {
            if handler < HANDLERS as u64 || handler % 997 == 0 {
                assert!(!slot.label(handler).to_string().contains(char::is_control));
            }
        }
        slot.running();
        slot.clients();
        slot.counters();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn no_process_can_change_the_size_of_the_memory() {
    let (_parent, fd) = Scoreboard::create(2).unwrap();
    let file = std::fs::File::from(fd);
    for size in [0, 4096, 1 << 20] {
        file.set_len(size).expect_err("sealed");
    }
}

#[test]
fn a_file_that_is_no_scoreboard_is_rejected() {
    let size = |bytes| -> OwnedFd {
        let (reader, _writer) = std::io::pipe().unwrap();
        if bytes == 0 { reader.into() } else { shared_memory::create("test", bytes).unwrap() }
    };
    for bytes in [0, 1, 4096, size_of::<Slot>() + 4096] {
        Scoreboard::open(size(bytes).as_fd()).expect_err("no scoreboard");
    }
}

#[test]
fn a_private_scoreboard_has_one_slot() {
    let scoreboard = Scoreboard::private().unwrap();
    assert_eq!(scoreboard.len(), 1);
    scoreboard.slot(0).enter(0);
    assert_eq!(
        scoreboard.slot(0).running(),
        Some(RunningCallback { sequence: 1, label: CodeLabel::default() })
    );
}

const MS: fn(u64) -> Duration = Duration::from_millis;
const SLOW: Option<Duration> = Some(Duration::from_millis(100));
const HANG: Option<Duration> = Some(Duration::from_millis(400));

#[test]
fn a_slow_callback_is_reported_once_and_again_when_it_has_ended() {
    let (parent, worker) = both(1);
    let (slot, mut timer, start) = (worker.slot(0), CallbackTimer::default(), Instant::now());
    let mut sample = |ms| timer.sample(start + MS(ms), parent.slot(0), SLOW, HANG);
    slot.define(1, &label("message"));
    assert_eq!(sample(0), None);
    slot.enter(1);
    for ms in (10..100).step_by(10) {
        assert_eq!(sample(ms), None);
    }
    // It may have begun right after the sample at 0.
    assert_eq!(
        sample(100),
        Some(CallbackEvent::BecameSlow { label: label("message"), running_for: MS(100) })
    );
    assert_eq!(sample(110), None);
    slot.leave();
    assert_eq!(sample(120), Some(CallbackEvent::SlowReturned { label: label("message"), ran_for: MS(110) }));
    assert_eq!(sample(130), None);
}

#[test]
fn quick_callbacks_one_after_the_other_are_not_a_slow_one() {
    let (parent, worker) = both(1);
    let (slot, mut timer, start) = (worker.slot(0), CallbackTimer::default(), Instant::now());
    for ms in (0..10_000).step_by(25) {
        slot.enter(1);
        assert_eq!(timer.sample(start + MS(ms), parent.slot(0), SLOW, HANG), None);
        slot.leave();
    }
}

#[test]
fn the_return_of_a_slow_callback_is_seen_though_the_next_one_runs_already() {
    let (parent, worker) = both(1);
    let (slot, mut timer, start) = (worker.slot(0), CallbackTimer::default(), Instant::now());
    let mut sample = |ms| timer.sample(start + MS(ms), parent.slot(0), SLOW, HANG);
    slot.define(1, &label("first"));
    slot.define(2, &label("second"));
    slot.enter(1);
    assert!((0..100).step_by(10).all(|ms| sample(ms).is_none()));
    assert!(matches!(sample(100), Some(CallbackEvent::BecameSlow { .. })));
    slot.leave();
    slot.enter(2);
    assert_eq!(sample(110), Some(CallbackEvent::SlowReturned { label: label("first"), ran_for: MS(110) }));
    assert!((120..200).step_by(10).all(|ms| sample(ms).is_none()));
    assert_eq!(sample(200), Some(CallbackEvent::BecameSlow { label: label("second"), running_for: MS(100) }));
}

#[test]
fn a_callback_that_never_ends_is_slow_first_and_hung_once() {
    let (parent, worker) = both(1);
    let (slot, mut timer, start) = (worker.slot(0), CallbackTimer::default(), Instant::now());
    slot.define(1, &label("spin"));
    slot.enter(1);
    let findings: Vec<(u64, CallbackEvent)> = (0..2000)
        .step_by(25)
        .filter_map(|ms| Some((ms, timer.sample(start + MS(ms), parent.slot(0), SLOW, HANG)?)))
        .collect();
    let slow = CallbackEvent::BecameSlow { label: label("spin"), running_for: MS(100) };
    let hung = CallbackEvent::Hung { label: label("spin"), running_for: MS(400) };
    assert_eq!(findings, [(100, slow), (400, hung)]);
}

#[test]
fn the_time_for_which_a_callback_waits_is_not_its_own() {
    let scoreboard = Scoreboard::private().unwrap();
    let (slot, mut timer, start) = (scoreboard.slot(0), CallbackTimer::default(), Instant::now());
    let mut sample = |seconds| {
        timer.sample(start + Duration::from_secs(seconds), slot, None, Some(Duration::from_secs(3)))
    };
    slot.enter(1);
    assert!((0..=2).all(|seconds| sample(seconds).is_none()));
    slot.set_waiting(true);
    assert_eq!(sample(20), None);
    slot.set_waiting(false);
    assert_eq!(slot.running().unwrap().sequence, 1);
    assert_eq!(sample(20), None);
    let found = sample(21);
    assert!(
        matches!(&found, Some(CallbackEvent::Hung { running_for, .. }) if running_for.as_secs() == 3),
        "{found:?}"
    );
}

#[test]
fn a_machine_that_stood_still_is_not_a_callback_that_hangs() {
    let (parent, worker) = both(1);
    let (slot, mut timer, start) = (worker.slot(0), CallbackTimer::default(), Instant::now());
    let mut sample = |ms| timer.sample(start + MS(ms), parent.slot(0), None, HANG);
    slot.enter(1);
    assert_eq!(sample(0), None);
    assert_eq!(sample(40), None);
    assert_eq!(sample(60_000), None);
    assert!((60_040..60_200).step_by(40).all(|ms| sample(ms).is_none()));
    assert!(matches!(sample(60_200), Some(CallbackEvent::Hung { .. })));
}

#[test]
fn an_excused_callback_gets_the_hang_limit_once_more() {
    let (parent, worker) = both(1);
    let (slot, mut timer, start) = (worker.slot(0), CallbackTimer::default(), Instant::now());
    slot.enter(1);
    let mut hung_at = Vec::new();
    for ms in (0..1000).step_by(40) {
        let event = timer.sample(start + MS(ms), parent.slot(0), None, HANG);
        if matches!(event, Some(CallbackEvent::Hung { .. })) {
            hung_at.push(ms);
            timer.excuse(start + MS(ms));
        }
    }
    assert_eq!(hung_at, [400, 800]);
    assert_eq!(timer.ran_for(start + MS(1000)), Some(MS(1000)));
}

#[test]
fn limits_that_are_off_find_nothing() {
    let (parent, worker) = both(1);
    let (slot, mut timer, start) = (worker.slot(0), CallbackTimer::default(), Instant::now());
    slot.enter(1);
    for ms in [0, 100_000] {
        assert_eq!(timer.sample(start + MS(ms), parent.slot(0), None, None), None);
    }
}

#[test]
fn a_crash_report_has_the_time_of_the_callback_that_crashed() {
    let (parent, worker) = both(1);
    let (slot, mut timer, start) = (worker.slot(0), CallbackTimer::default(), Instant::now());
    assert_eq!(timer.ran_for(start), None);
    slot.enter(1);
    timer.sample(start, parent.slot(0), None, None);
    assert_eq!(timer.ran_for(start + MS(40)), Some(MS(40)));
    slot.leave();
    slot.enter(1);
    timer.sample(start + MS(50), parent.slot(0), None, None);
    assert_eq!(timer.ran_for(start + MS(50)), Some(MS(0)));
}

#[test]
fn the_interval_follows_the_smaller_limit() {
    assert_eq!(sampling_interval(SLOW, HANG), MS(10));
    assert_eq!(sampling_interval(None, HANG), MS(40));
    assert_eq!(sampling_interval(Some(MS(1)), HANG), MS(5));
    assert_eq!(sampling_interval(None, Some(MS(10_000))), MS(250));
    assert_eq!(sampling_interval(None, None), MS(250));
}
