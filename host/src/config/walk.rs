//! Walks a parsed TOML document and remembers where everything stands in the file.
//!
//! Tables enter, typed values leave, or an error that begins with `file:line:column:`. Knows nothing about
//! what the keys mean.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use anyhow::anyhow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::PLACES;
use crate::nearest::nearest;

/// Letters of a wrong value that a message repeats.
const EXCERPT_MAX: usize = 40;

/// A config file's text and its name for messages.
pub(super) struct Document<'a> {
    pub text: &'a str,
    pub file: &'a Path,
}

impl<'a> Document<'a> {
    /// An error about the text at byte `at`.
    pub fn error(&self, at: usize, message: impl Display) -> anyhow::Error {
        let before = self.text.char_indices().take_while(|&(start, c)| start + c.len_utf8() <= at);
        let column = before.fold(1, |column, (_, c)| if c == '\n' { 1 } else { column + 1 });
        anyhow!("{}:{column}: {message}", self.place(at))
    }

    /// `file:line` of byte `at`.
    pub fn place(&self, at: usize) -> String {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("{}:{line}", self.file.display())
    }

    /// A table whose keys are all among `known`. `name` says which it is: `in [http]`.
    pub fn section(
        &'a self,
        name: String,
        span: Range<usize>,
        table: &'a DeTable<'a>,
        known: &[&str],
    ) -> anyhow::Result<Section<'a>> {
        match table.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
            Some(key) => Err(self.error(key.span().start, unknown_key(key.get_ref(), &name, known))),
            None => Ok(Section { document: self, name, start: span.start, table: Some(table) }),
        }
    }

    /// A value as a message shows it: its type and, unless it is long, itself.
    fn found(&self, value: &Spanned<DeValue>) -> String {
        let kind = match value.get_ref() {
            DeValue::Array(_) => return "an array".into(),
            DeValue::Table(_) => return "a table".into(),
            scalar => scalar.type_str(),
        };
        let text = self.text[value.span()].lines().next().unwrap_or_default();
        match text.char_indices().nth(EXCERPT_MAX) {
            Some((end, _)) => format!("{kind} `{}…`", &text[..end]),
            None => format!("{kind} `{text}`"),
        }
    }
}

fn unknown_key(key: &str, section: &str, known: &[&str]) -> String {
    let hint = if let Some((place, _)) = PLACES.iter().find(|(_, keys)| keys.contains(&key)) {
        format!("it belongs {place}")
    } else if let Some(name) = nearest(key, known.iter().copied()) {
        format!("did you mean `{name}`?")
    } else {
        format!("known keys are `{}`", known.join("`, `"))
    };
    format!("unknown key `{key}` {section}; {hint}")
}

/// A table of the document, or one that the file leaves out.
pub(super) struct Section<'a> {
    pub document: &'a Document<'a>,
    name: String,
    start: usize,
    table: Option<&'a DeTable<'a>>,
}

impl<'a> Section<'a> {
    /// The value of `key` with its place.
    pub fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    /// The value of `key` as `read` understands it; `read` fails with what it expected.
    pub fn value<T>(
        &self,
        key: &str,
        read: impl FnOnce(&DeValue) -> Result<T, String>,
    ) -> anyhow::Result<Option<T>> {
        let read = |value: &Spanned<DeValue>| {
            read(value.get_ref()).map_err(|expected| self.refuse(key, value, &expected))
        };
        self.get(key).map(read).transpose()
    }

    /// Like [`Section::value`] for a key that must be there.
    pub fn required<T>(
        &self,
        key: &str,
        read: impl FnOnce(&DeValue) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        self.value(key, read)?.ok_or_else(|| self.error(format!("`{key}` is missing {}", self.name)))
    }

    /// The table called `key`, without any value if the file leaves it out.
    pub fn table(&self, key: &str, known: &[&str]) -> anyhow::Result<Section<'a>> {
        let name = format!("in [{key}]");
        match self.get(key) {
            Some(value) => self.open(key, name, value, known, &format!("expected a table, [{key}]")),
            None => Ok(Section { document: self.document, name, start: self.start, table: None }),
        }
    }

    /// A `value` found in `key` of this section, as the section called `name`; if it is no table, `expected`
    /// says what should have been.
    pub fn open(
        &self,
        key: &str,
        name: String,
        value: &'a Spanned<DeValue<'a>>,
        known: &[&str],
        expected: &str,
    ) -> anyhow::Result<Section<'a>> {
        let table = value.get_ref().as_table();
        let table = table.ok_or_else(|| self.refuse(key, value, expected))?;
        self.document.section(name, value.span(), table, known)
    }

    /// An error about `value`, found in `key` of this section.
    pub fn refuse(&self, key: &str, value: &Spanned<DeValue>, expected: &str) -> anyhow::Error {
        let found = self.document.found(value);
        self.document
            .error(value.span().start, format_args!("`{key}` {}: found {found}, {expected}", self.name))
    }

    /// An error about the section as a whole.
    pub fn error(&self, message: impl Display) -> anyhow::Error {
        self.document.error(self.start, message)
    }

    /// `file:line` where the section begins.
    pub fn place(&self) -> String {
        self.document.place(self.start)
    }
}
