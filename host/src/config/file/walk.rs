//! Reads typed values from a parsed TOML document. Every error begins with `file:line:column:`.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use anyhow::anyhow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::SECTIONS;
use crate::config::nearest::nearest;

/// Characters of a wrong value that an error message repeats.
const EXCERPT_MAX: usize = 40;

/// The text of a config file, and its name for messages.
pub(super) struct Document<'a> {
    text: &'a str,
    file: &'a Path,
    /// Where each line ends.
    line_ends: Vec<usize>,
}

impl<'a> Document<'a> {
    pub fn new(text: &'a str, file: &'a Path) -> Self {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        Self { text, file, line_ends: line_ends.collect() }
    }

    /// Makes an error about the text at byte `at`.
    pub fn error(&self, at: usize, message: impl Display) -> anyhow::Error {
        anyhow!("{}: {message}", self.position(at))
    }

    /// `file:line:column` of byte `at`.
    pub fn position(&self, at: usize) -> String {
        let before = self.line_ends.partition_point(|&end| end < at).checked_sub(1);
        let start = before.map_or(0, |line| self.line_ends[line] + 1);
        let columns = self.text[start..].char_indices().take_while(|&(i, c)| start + i + c.len_utf8() <= at);
        format!("{}:{}", self.location(at), columns.count() + 1)
    }

    /// `file:line` of byte `at`.
    pub fn location(&self, at: usize) -> String {
        let line = self.line_ends.partition_point(|&end| end < at) + 1;
        format!("{}:{line}", self.file.display())
    }

    /// Opens a table whose keys must all be in `known`. `name` is for messages: `in [http]`.
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

    /// Describes a value for a message: its type and, truncated, its text.
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
    let hint = if let Some((right_section, _)) = SECTIONS.iter().find(|(_, keys)| keys.contains(&key)) {
        format!("it belongs {right_section}")
    } else if let Some(name) = nearest(key, known.iter().copied()) {
        format!("did you mean `{name}`?")
    } else {
        format!("known keys are `{}`", known.join("`, `"))
    };
    format!("unknown key `{key}` {section}; {hint}")
}

/// A table of the document. A table that the file does not have has no keys.
pub(super) struct Section<'a> {
    pub document: &'a Document<'a>,
    name: String,
    start: usize,
    table: Option<&'a DeTable<'a>>,
}

impl<'a> Section<'a> {
    /// Returns the value of `key` with its position.
    pub fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    /// Parses the value of `key`. The error of `parse` states what was expected.
    pub fn value<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&DeValue) -> Result<T, String>,
    ) -> anyhow::Result<Option<T>> {
        let parse = |value: &Spanned<DeValue>| {
            parse(value.get_ref()).map_err(|expected| self.rejection(key, value, &expected))
        };
        self.get(key).map(parse).transpose()
    }

    /// Parses the value of `key`, which is one value or an array of them. The error of `parse` states what was expected.
    pub fn list<T>(
        &self,
        key: &str,
        parse: impl Fn(&DeValue) -> Result<T, String>,
    ) -> anyhow::Result<Option<Vec<T>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let parse = |item: &Spanned<DeValue>| {
            parse(item.get_ref()).map_err(|expected| self.rejection(key, item, &expected))
        };
        items.into_iter().map(parse).collect::<Result<_, _>>().map(Some)
    }

    /// Like [`Section::value`], for a required key.
    pub fn required<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&DeValue) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        self.value(key, parse)?.ok_or_else(|| self.error(format!("`{key}` is missing {}", self.name)))
    }

    /// The positions of the values of these keys, except for tables.
    pub fn positions(&self, keys: &[&str]) -> impl Iterator<Item = (String, String)> {
        let values = keys.iter().filter_map(|&key| Some((key, self.get(key)?)));
        let values = values.filter(|(_, value)| !value.get_ref().is_table());
        values.map(|(key, value)| (key.to_owned(), self.document.position(value.span().start)))
    }

    /// Opens the table `key`; it is empty if the file does not have it.
    pub fn table(&self, key: &str, known: &[&str]) -> anyhow::Result<Section<'a>> {
        let name = format!("in [{key}]");
        match self.get(key) {
            Some(value) => self.open(key, name, value, known, &format!("expected a table, [{key}]")),
            None => Ok(Section { document: self.document, name, start: self.start, table: None }),
        }
    }

    /// Opens `value`, the value of `key`, as a section called `name`. If `value` is no table, the error says
    /// `expected`.
    pub fn open(
        &self,
        key: &str,
        name: String,
        value: &'a Spanned<DeValue<'a>>,
        known: &[&str],
        expected: &str,
    ) -> anyhow::Result<Section<'a>> {
        let table = value.get_ref().as_table();
        let table = table.ok_or_else(|| self.rejection(key, value, expected))?;
        self.document.section(name, value.span(), table, known)
    }

    /// Makes an error about `value`, the value of `key`.
    pub fn rejection(&self, key: &str, value: &Spanned<DeValue>, expected: &str) -> anyhow::Error {
        let found = self.document.found(value);
        self.document
            .error(value.span().start, format_args!("`{key}` {}: found {found}, {expected}", self.name))
    }

    /// Makes an error about the whole section.
    pub fn error(&self, message: impl Display) -> anyhow::Error {
        self.document.error(self.start, message)
    }

    /// `file:line` where the section begins.
    pub fn location(&self) -> String {
        self.document.location(self.start)
    }
}
