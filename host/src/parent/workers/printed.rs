//! What plugins print: the stdout of a worker is a pipe to the parent, which writes it to the server's stdout. The pipe
//! has a reader for as long as the worker runs, and the parent never blocks on stdout. So a handler that prints neither
//! fails nor hangs because the reader of the server's stdout is gone or slow.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::time::Instant;

use crate::system::output::Output;

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;
/// Time between two attempts to write what stdout did not take.
const RETRY: Duration = Duration::from_millis(50);

/// Bytes that wait for stdout: about what a pipe holds. Beyond that they are dropped.
const WAITING_MAX: usize = 64 * 1024;
/// Time for stdout to take what a worker has printed last.
const LAST_TIMEOUT: Duration = Duration::from_millis(500);

/// The server's stdout, for what all workers print.
#[derive(Clone)]
pub struct Printed(Rc<RefCell<Stdout>>);

impl Printed {
    pub fn new() -> Self {
        let (output, waiting) = (Output::of(rustix::stdio::stdout()), VecDeque::new());
        Self(Rc::new(RefCell::new(Stdout { output, waiting, dropped: 0 })))
    }

    /// Writes what a worker prints, until no process can print any more.
    pub async fn copy(self, mut from: ChildStdout) {
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let waits = !self.0.borrow().waiting.is_empty();
            tokio::select! {
                read = from.read_buf(&mut chunk) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {
                        self.0.borrow_mut().write(&chunk);
                        chunk.clear();
                    }
                },
                () = tokio::time::sleep(RETRY), if waits => self.0.borrow_mut().write_waiting(),
            }
        }
        self.finish().await;
    }

    /// Waits for what is printed last, and reports what nobody has read.
    async fn finish(&self) {
        let end = Instant::now() + LAST_TIMEOUT;
        while !self.0.borrow().waiting.is_empty() && Instant::now() < end {
            tokio::time::sleep(RETRY).await;
            self.0.borrow_mut().write_waiting();
        }
        self.0.borrow_mut().give_up();
    }
}

struct Stdout {
    output: Output,
    waiting: VecDeque<u8>,
    /// Bytes since stdout took any.
    dropped: usize,
}

impl Stdout {
    fn write(&mut self, text: &[u8]) {
        self.write_waiting();
        if self.waiting.len() + text.len() > WAITING_MAX {
            self.dropped += text.len();
            return;
        }
        self.waiting.extend(text);
        self.write_waiting();
    }

    fn write_waiting(&mut self) {
        while !self.waiting.is_empty() {
            match self.output.write_now(rustix::stdio::stdout(), self.waiting.make_contiguous()) {
                Ok(0) => return,
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody will ever read it.
                Err(_) => self.waiting.clear(),
            }
        }
        self.report();
    }

    /// Drops what waits.
    fn give_up(&mut self) {
        self.dropped += self.waiting.len();
        self.waiting.clear();
        self.report();
    }

    fn report(&mut self) {
        if self.dropped > 0 {
            log::warn!(
                "{} bytes that plugins printed were dropped, because nobody read stdout",
                self.dropped
            );
            self.dropped = 0;
        }
    }
}
