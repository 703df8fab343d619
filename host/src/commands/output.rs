//! Standard output of commands that print a result and end.

use std::io::{self, Write};

use anyhow::{Context, Result};

/// Prints text. It is no error if the reader of a pipe has closed it, as `head` does.
pub fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}
