//! What handlers in C are told that ask for what cannot be.

use super::{get, goes_on, serve};

/// As many as a map can hold would do harm already.
#[test]
fn an_answer_has_a_thousand_headers_at_most_and_its_worker_lives() {
    let host = serve(&[]);
    let before = host.workers();
    let mut client = host.connect();
    let answer = get(&mut client, "/many");
    assert_eq!((answer.status, answer.text()), (200, "taken 1000, then -5; found 0"));
    assert_eq!(answer.headers.iter().filter(|(name, _)| name.starts_with("x-")).count(), 1000);
    goes_on(&mut client);
    assert_eq!(host.workers(), before);
}

#[test]
fn a_request_is_answered_on_the_workers_thread_only() {
    let host = serve(&[]);
    let mut client = host.connect();
    let answer = get(&mut client, "/elsewhere");
    assert_eq!((answer.status, answer.text()), (200, "-9 -9 -9 -9"));
    assert_eq!(answer.header("x"), None);
}
