//! Invalid requests of handlers in C, and the status that they get.

use super::{assert_still_serves, get, serve};

/// The limit is far below the capacity of the header map, because that many headers would already do harm.
#[test]
fn a_response_has_a_thousand_headers_at_most_and_the_worker_survives() {
    let host = serve(&[]);
    let before = host.workers();
    let mut client = host.connect();
    let answer = get(&mut client, "/many");
    assert_eq!((answer.status, answer.text()), (200, "taken 1000, then -5; found 0"));
    assert_eq!(answer.headers.iter().filter(|(name, _)| name.starts_with("x-")).count(), 1000);
    assert_still_serves(&mut client);
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
