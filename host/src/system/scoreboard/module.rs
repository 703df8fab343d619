//! Where code is in a worker's memory, as a line of the scoreboard.

use crate::system::sanitize::sanitize_line;

/// Code in the worker's memory: the program or a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    pub start: u64,
    /// Exclusive.
    pub end: u64,
    /// Address in memory minus address in the file.
    pub bias: u64,
    pub path: String,
}

impl Module {
    /// A line of the scoreboard: start, end and bias in hexadecimal, path.
    pub(super) fn line(&self) -> String {
        let Self { start, end, bias, path } = self;
        format!("{start:x} {end:x} {bias:x} {path}\n")
    }

    /// Reads [`Module::line`]. None: the line is truncated or invalid.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_suffix('\n')?.splitn(4, ' ');
        let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
        let (start, end, bias) = (number()?, number()?, number()?);
        Some(Self { start, end, bias, path: sanitize_line(fields.next()?) })
    }
}
