//! (being written)
#[path = "support/mod.rs"]
mod support;

use support::Host;

#[test]
fn echo_answers() {
    let mut host = Host::serve("echo", &[]);
    let mut c = host.open("/");
    assert_eq!(c.ask("hi"), "hi");
    assert_eq!(c.close(1000, "bye"), Some((1000, String::new())));
    assert!(host.terminate().success());
}
