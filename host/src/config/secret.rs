//! Values that the config file does not contain: it names a file or an environment variable that has them. They are read
//! with the config file, by the process that was started.
//!
//! Invariant: no message repeats a value.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use zeroize::Zeroizing;

use crate::config::regular_file;
use crate::config::tls::{NamedFile, Secret};

/// Bytes of the longest value.
const VALUE_MAX: u64 = 1 << 20;

/// A value of a plugin's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PluginSecret {
    /// Its place among the settings: a key, and those of the tables around it.
    pub keys: Vec<String>,
    pub source: NamedFile,
    pub value: Secret,
}

/// The same value, wherever it comes from.
impl PartialEq for PluginSecret {
    fn eq(&self, other: &Self) -> bool {
        (&self.keys, &self.value) == (&other.keys, &other.value)
    }
}

impl PluginSecret {
    /// Reads the value. `section` is where the config file names it.
    pub fn read(&mut self, section: &str) -> Result<()> {
        self.value = read(&self.source).map_err(|why| {
            let (key, source) = (self.keys.join("."), &self.source);
            anyhow!("{}`{key}` {section}: {} {why}", source.place(), source.label())
        })?;
        Ok(())
    }

    /// Puts the value at its place.
    pub fn add_to(&self, settings: &mut Table) {
        let Some((key, tables)) = self.keys.split_last() else { return };
        let mut table = settings;
        for key in tables {
            let inner = table.entry(key.as_str()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = inner else { return };
            table = inner;
        }
        table.insert(key.clone(), Value::String(self.value.expose().to_owned()));
    }
}

/// The value of an environment variable. It is not that of a change after the start of this process.
pub fn variable(name: &str) -> Result<Zeroizing<String>> {
    let Some(value) = env::var_os(name) else { bail!("is not set") };
    let value = value.into_string();
    Ok(Zeroizing::new(value.map_err(|value| {
        drop(Zeroizing::new(value.into_encoded_bytes()));
        anyhow!("is no text in UTF-8")
    })?))
}

/// Reads a value, without one line break at its end, which editors and `echo` write.
fn read(source: &NamedFile) -> Result<Secret> {
    let mut text = match &source.variable {
        Some(name) => variable(name)?,
        None => file(&source.path)?,
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Secret::from(text))
}

fn file(path: &Path) -> Result<Zeroizing<String>> {
    let bytes = regular_file::read_at_most(path, VALUE_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!("does not exist"),
        io::ErrorKind::PermissionDenied => anyhow!("cannot be read by this user"),
        _ => anyhow!("cannot be read: {error}"),
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        anyhow!("is no text in UTF-8")
    })?;
    Ok(Zeroizing::new(text))
}

/// The name of a variable as a path, for messages and `callsign status`: `$CHAT_KEY`.
pub fn variable_as_path(name: &str) -> PathBuf {
    format!("${name}").into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(path: &Path) -> NamedFile {
        NamedFile { path: path.to_owned(), position: Some("c.toml:2:9".to_owned()), variable: None }
    }

    fn secret(keys: &[&str], source: NamedFile) -> PluginSecret {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        PluginSecret { keys, source, value: Secret::from(String::new()) }
    }

    #[test]
    fn one_line_break_at_the_end_is_no_part_of_a_value() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("token");
        for (text, value) in
            [("t\n", "t"), ("t\r\n", "t"), ("t\n\n", "t\n"), ("\nt", "\nt"), ("", ""), ("t ", "t ")]
        {
            fs::write(&file, text).expect("it is ours");
            let mut secret = secret(&["token"], at(&file));
            secret.read("in [plugin.chat.secrets]").expect("it can be read");
            assert_eq!(secret.value.expose(), value);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place_and_without_its_content() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (none, binary) = (folder.path().join("none"), folder.path().join("binary"));
        fs::write(&binary, b"key\xff").expect("it is ours");
        let variable = NamedFile { variable: Some("CALLSIGN_TEST_NO_SUCH".to_owned()), ..at(Path::new("")) };
        for (source, why) in [
            (at(&none), format!("the file {} does not exist", none.display())),
            (at(&binary), format!("the file {} is no text in UTF-8", binary.display())),
            (variable, "the environment variable CALLSIGN_TEST_NO_SUCH is not set".to_owned()),
        ] {
            let error = secret(&["db", "password"], source).read("in [plugin.chat.secrets]").expect_err(&why);
            assert_eq!(
                error.to_string(),
                format!("c.toml:2:9: `db.password` in [plugin.chat.secrets]: {why}")
            );
        }
    }

    #[test]
    fn a_value_is_put_beside_the_settings_of_its_table() {
        let mut settings: Table = toml::from_str("topic = 'birds'\n[db]\nuser = 'me'").expect("it is valid");
        for (keys, value) in [(&["token"][..], "t"), (&["db", "password"], "p"), (&["new", "a"], "n")] {
            PluginSecret { value: Secret::from(value.to_owned()), ..secret(keys, at(Path::new("a"))) }
                .add_to(&mut settings);
        }
        let expected = "topic = 'birds'\ntoken = 't'\n[db]\nuser = 'me'\npassword = 'p'\n[new]\na = 'n'";
        assert_eq!(settings, toml::from_str(expected).expect("it is valid"));
    }

    #[test]
    fn no_text_for_debugging_has_the_value() {
        let secret =
            PluginSecret { value: Secret::from("hidden".to_owned()), ..secret(&["a"], at(Path::new("a"))) };
        assert!(!format!("{secret:?}").contains("hidden"));
    }
}
