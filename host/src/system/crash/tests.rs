use super::*;
use crate::system::scoreboard::Module;

fn crash(frames: &[u64], modules: Vec<Module>) -> Crash {
    let (pc, frames) = (frames.first().copied().unwrap_or(0), frames.to_vec());
    let (signal, code, overflow) = (libc::SIGSEGV, 1, false);
    Crash { signal, code, address: Some(16), pc, argument: 0, overflow, worker_thread: true, frames, modules }
}

fn module(path: &str) -> Module {
    Module { start: 0x1000, end: 0x9000, bias: 0x1000, path: path.to_owned() }
}

#[test]
fn signals_have_their_names() {
    assert_eq!(signal_name(libc::SIGSEGV), "SIGSEGV");
    assert_eq!(signal_name(libc::SIGKILL), "SIGKILL");
    assert_eq!(signal_name(0), "signal 0");
    assert_eq!(signal_name(i32::MIN), "signal -2147483648");
}

#[test]
fn the_cause_names_signal_and_address() {
    let segfault = crash(&[0x1234], vec![]);
    assert_eq!(cause(&segfault), "SIGSEGV: no access to address 0x10");
    assert_eq!(cause(&Crash { overflow: true, ..segfault.clone() }), "SIGSEGV: out of stack");
    assert_eq!(cause(&Crash { pc: 16, ..segfault.clone() }), "SIGSEGV: a jump to 0x10, where no code is");
    assert_eq!(cause(&Crash { address: None, ..segfault.clone() }), "SIGSEGV");
    assert_eq!(cause(&Crash { signal: libc::SIGSYS, address: None, ..segfault.clone() }), "SIGSYS");
    let elsewhere = Crash { signal: libc::SIGABRT, address: None, worker_thread: false, ..segfault };
    assert_eq!(cause(&elsewhere), "SIGABRT, on a thread of a plugin's own");
}

#[test]
fn an_address_that_cannot_be_resolved_stays_a_number() {
    let modules = vec![module("/no such folder/libgone.so")];
    assert_eq!(
        describe(&crash(&[0x10, 0x2345, 0x2345, 0x2345, u64::MAX], modules)),
        [
            "  1  0x10 (in no known library)",
            "  2  libgone.so+0x1344, 3 times",
            "  3  0xffffffffffffffff (in no known library)"
        ]
    );
    assert_eq!(describe(&crash(&[], vec![])), [""; 0]);
}

#[test]
fn files_that_are_no_code_are_harmless() {
    let folder = std::env::temp_dir().join(format!("callsign-crash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // An ELF header with garbage behind it; this program, truncated, and with bytes changed.
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut files = vec![own[..64].to_vec(), own[..own.len() / 2].to_vec(), vec![0; 4096], b"text".to_vec()];
    files.push(own[..64].iter().copied().chain((0..100_000_u32).map(|n| (n * 31) as u8)).collect());
    let headers: [usize; 4] = [0x20, 0x28, 0x3a, 0x3c];
    files.extend(headers.map(|at| {
        let mut file = own[..own.len().min(1 << 20)].to_vec();
        file[at] ^= 0xa5;
        file
    }));
    for (n, bytes) in files.iter().enumerate() {
        let path = folder.join(n.to_string());
        std::fs::write(&path, bytes).unwrap();
        let lines = describe(&crash(&[0x1000, 0x1001, 0x8fff], vec![module(path.to_str().unwrap())]));
        assert!((1..=3 * 16).contains(&lines.len()), "file {n}: {lines:?}");
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "file {n}: {lines:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn devices_and_folders_are_not_read() {
    for path in ["/dev/zero", "/", "", "a\u{fffd}b"] {
        let lines = describe(&crash(&[0x1000], vec![module(path)]));
        assert!(lines.len() == 1 && lines[0].contains("0x0"), "{lines:?}");
    }
}

#[test]
fn a_module_with_impossible_addresses_is_harmless() {
    let own = std::env::current_exe().unwrap();
    let whole = Module { start: 0, end: u64::MAX, bias: u64::MAX, path: own.to_str().unwrap().to_owned() };
    let turned = Module { start: 9, end: 1, ..whole.clone() };
    let lines = describe(&crash(&[0, 5, u64::MAX, 9], vec![turned, whole]));
    // An address can be in code that is inlined into other code: one line for each of the functions.
    assert!((4..=4 * 16).contains(&lines.len()), "{lines:?}");
}
