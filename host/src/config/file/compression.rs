//! The key `compression` of `[websocket]` and of a route: a mode, or a table with more.

use toml::de::DeValue;

use super::walk::Section;
use super::{size, text, whole_number};
use crate::config::compression::{Compression, CompressionMode, EXPECTED};
use crate::config::defaults::COMPRESSION_LEVELS;
use crate::config::defaults::COMPRESSION_WINDOW_BITS;

const KEYS: &[&str] = &["mode", "window_bits", "level", "threshold"];

/// Reads the key. None: the section does not have it.
pub(super) fn compression(section: &Section) -> anyhow::Result<Option<Compression>> {
    let Some(value) = section.get("compression") else { return Ok(None) };
    if !value.get_ref().is_table() {
        let mode = section.value("compression", |value| CompressionMode::parse(text(value)))?;
        return Ok(mode.map(Compression::of));
    }
    let table = section.open("compression", "in `compression`".into(), value, KEYS, EXPECTED)?;
    let parse = |value: &DeValue| {
        CompressionMode::parse(text(value)).map_err(|_| "expected \"off\", \"on\" or \"context\"".to_owned())
    };
    let defaults = Compression::of(table.required("mode", parse)?);
    let number = |value: &DeValue, range: std::ops::RangeInclusive<u8>| {
        let number = whole_number(value).and_then(|number| u8::try_from(number).ok());
        let (least, most) = (range.start(), range.end());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("expected a whole number from {least} to {most}"))
    };
    let window_bits = table.value("window_bits", |value| number(value, COMPRESSION_WINDOW_BITS))?;
    let level = table.value("level", |value| number(value, COMPRESSION_LEVELS))?;
    Ok(Some(Compression {
        mode: defaults.mode,
        window_bits: window_bits.unwrap_or(defaults.window_bits),
        level: level.unwrap_or(defaults.level),
        threshold: table.value("threshold", size)?.unwrap_or(defaults.threshold),
    }))
}
