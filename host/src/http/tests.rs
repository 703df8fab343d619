//! How much memory each client takes.

use super::*;

fn size_of_future<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn plain_clients_need_no_memory_for_what_comes_before_requests() {
    // It is 2.2 KiB: hyper's connection and the socket.
    let size = size_of_future(serve);
    assert!(size <= 2560, "{size} bytes");
}
