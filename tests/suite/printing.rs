//! What plugins print: it appears at once, and its reader may stop reading or go away.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStdout, Stdio};

use crate::support::{Bare, Host, c_plugin, path, plugin};

/// A server whose stdout the test reads or does not read.
struct Printing {
    server: Bare,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Printing {
    fn serve(library: &Path) -> Self {
        let mut server = Bare::start(Stdio::piped(), Stdio::null(), &[path(library)]);
        let stdout = server.child.stdout.take().map(BufReader::new);
        let mut printing = Self { server, stdout };
        printing.line_with("listening on http://127.0.0.1:");
        printing
    }

    /// Reads up to the line that contains this text.
    fn line_with(&mut self, text: &str) -> String {
        let stdout = self.stdout.as_mut().expect("it is read");
        loop {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).expect("a pipe can be read"), 0, "no `{text}`");
            if line.contains(text) {
                return line;
            }
        }
    }
}

#[test]
fn what_a_plugin_in_c_prints_appears_while_it_serves_and_the_rest_at_its_end() {
    let mut host = Host::start(&["serve", path(&c_plugin("prints.c"))]);
    let mut c = host.open("/");
    assert_eq!(c.ask("hello"), "hello");
    crate::support::eventually("it is printed", || host.stdout().contains("\nprinted hello\n"));
    drop(c);
    assert!(host.terminate().success());
    crate::support::eventually("the last words are printed", || host.stdout().ends_with("printed last\n"));
}

#[test]
fn a_plugin_prints_on_when_nobody_reads_and_when_the_reader_is_gone() {
    for (library, command, greets) in
        [(c_plugin("prints.c"), "", false), (plugin("test-state"), "print ", true)]
    {
        let mut server = Printing::serve(&library);
        let mut c = server.server.open();
        if greets {
            c.next_text();
        }
        let mut ask = |text: &str| {
            let answer = c.ask(&format!("{command}{text}"));
            assert!(answer.ends_with(text), "{answer}");
        };
        ask("hello");
        server.line_with("printed hello");
        // More than the pipes hold.
        let long = "x".repeat(8000);
        (0..100).for_each(|_| ask(&long));
        server.stdout = None;
        (0..20).for_each(|_| ask(&long));
        ask("still here");
    }
}

#[test]
fn a_slow_reader_gets_what_it_has_not_read() {
    let mut server = Printing::serve(&c_plugin("prints.c"));
    let mut c = server.server.open();
    let long = "y".repeat(1000);
    // 100 kB: what the pipe of the server's stdout does not hold, the server keeps.
    (0..100).for_each(|_| assert_eq!(c.ask(&long), long));
    let mut bytes = vec![0; 100 * ("printed ".len() + long.len() + 1)];
    server.stdout.as_mut().expect("it is read").read_exact(&mut bytes).expect("the pipe holds so much");
    assert_eq!(String::from_utf8_lossy(&bytes), format!("printed {long}\n").repeat(100));
}

#[test]
fn a_slow_reader_gets_what_was_printed_before_the_end() {
    let mut server = Printing::serve(&c_plugin("prints.c"));
    let mut c = server.server.open();
    let long = "z".repeat(1000);
    (0..100).for_each(|_| assert_eq!(c.ask(&long), long));
    drop(c);
    server.server.ask_to_stop();
    let mut text = String::new();
    server.stdout.take().expect("it is read").read_to_string(&mut text).expect("a pipe can be read");
    assert_eq!(text.matches(&format!("printed {long}\n")).count(), 100);
    assert!(text.contains("printed last"), "{}", text.len());
}
