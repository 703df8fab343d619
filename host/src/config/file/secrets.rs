//! `{ file = "…" }` and `{ env = "…" }`: a file or an environment variable that has a value. In `[plugin.NAME.secrets]`,
//! which is a table of its own so that no table of a plugin's `config` can be taken for one; and in `tls`.
//!
//! Invariant: no message repeats what stands in place of such a table, because it may be the secret itself.

use std::path::Path;

use anyhow::Result;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::text;
use super::walk::{Document, Section};
use crate::config::secret::{PluginSecret, variable_as_path};
use crate::config::tls::{NamedFile, Secret};

const EXPECTED: &str = "expected { file = \"…\" } or { env = \"…\" }, which name the file or the environment variable with the \
                        value";

/// The secrets of a plugin, which are to be read. Paths are joined to `folder`.
pub(super) fn of_plugin(
    section: &Section,
    plugin: &str,
    config: &Table,
    folder: &Path,
) -> Result<Vec<PluginSecret>> {
    let Some(value) = section.get("secrets") else { return Ok(Vec::new()) };
    let place = format!("[{plugin}.secrets]");
    let Some(table) = value.get_ref().as_table() else {
        let at = value.span().start;
        return Err(section.document.error(at, format_args!("expected a table, {place}")));
    };
    let mut secrets = Vec::new();
    Walk { document: section.document, place, folder }.collect(table, &[], Some(config), &mut secrets)?;
    Ok(secrets)
}

/// The source that a table names, without its position. None: it names none.
pub(super) fn source(value: &DeValue, folder: &Path) -> Option<NamedFile> {
    let table = value.as_table()?;
    let named = |key: &str| Some(text(table.get(key)?.get_ref())).filter(|text| !text.is_empty());
    if table.len() != 1 {
        return None;
    }
    match (named("file"), named("env")) {
        (Some(file), _) => Some(NamedFile::of_flag(folder.join(file))),
        (_, Some(name)) if !name.contains(['=', '\0']) => {
            let variable = Some(name.to_owned());
            Some(NamedFile { variable, ..NamedFile::of_flag(variable_as_path(name)) })
        }
        _ => None,
    }
}

struct Walk<'a> {
    document: &'a Document<'a>,
    /// Name of the table, for messages.
    place: String,
    folder: &'a Path,
}

impl Walk<'_> {
    /// Adds the secrets of a table that is at `keys`; `config` is the table there in the settings.
    fn collect(
        &self,
        table: &DeTable,
        keys: &[String],
        config: Option<&Table>,
        secrets: &mut Vec<PluginSecret>,
    ) -> Result<()> {
        for (key, value) in table {
            let keys = [keys, &[key.get_ref().to_string()]].concat();
            let start = value.span().start;
            let reject = |why: &str| {
                let (name, place) = (keys.join("."), &self.place);
                Err(self.document.error(start, format_args!("`{}` in {place}: {why}", name.escape_debug())))
            };
            let beside = config.and_then(|config| config.get(key.get_ref().as_ref()));
            if let Some(source) = source(value.get_ref(), self.folder) {
                if beside.is_some() {
                    return reject("the plugin's `config` has this key too; keep one of them");
                }
                let source = NamedFile { position: Some(self.document.position(start)), ..source };
                secrets.push(PluginSecret { keys, source, value: Secret::from(String::new()) });
                continue;
            }
            let inner = value.get_ref().as_table();
            match inner.filter(|inner| inner.iter().all(|(_, value)| value.get_ref().is_table())) {
                Some(inner) => match beside {
                    None => self.collect(inner, &keys, None, secrets)?,
                    Some(Value::Table(beside)) => self.collect(inner, &keys, Some(beside), secrets)?,
                    Some(_) => {
                        return reject(
                            "the plugin's `config` has this key too, and no table; rename one of them",
                        );
                    }
                },
                None => return reject(EXPECTED),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse;

    fn secrets(text: &str) -> Result<Vec<(String, String, Option<String>)>> {
        let text = format!("[plugin.chat]\npath = 'chat.so'\n{text}");
        let mut plugins = parse(&text, Path::new("/etc/c.toml"))?.plugins;
        let named = |it: PluginSecret| {
            assert_eq!(it.value.expose(), "", "it is read later");
            (it.keys.join("."), it.source.path.display().to_string(), it.source.position)
        };
        Ok(plugins.remove(0).secrets.into_iter().map(named).collect())
    }

    #[test]
    fn a_secret_names_a_file_or_a_variable_at_any_depth() {
        let at = |place: &str| Some(format!("/etc/c.toml:{place}"));
        let text = "[plugin.chat.secrets]\ntoken = { file = 'run/token' }\nfile = { env = 'A' }\n\
                    [plugin.chat.secrets.db]\npassword = { env = 'DB' }\nenv = { file = '/b' }\n\
                    [plugin.chat.config.db]\nuser = 'me'\nlog = { file = 'a.log' }";
        let found = secrets(text).expect("it is valid");
        let expected = [
            ("token", "/etc/run/token", "4:9"),
            ("file", "$A", "5:8"),
            ("db.password", "$DB", "7:12"),
            ("db.env", "/b", "8:7"),
        ];
        let mut expected =
            expected.map(|(key, path, place)| (key.to_owned(), path.to_owned(), at(place))).to_vec();
        let mut sorted = found;
        sorted.sort();
        expected.sort();
        assert_eq!(sorted, expected);
        assert_eq!(secrets("config = { log = { file = 'a.log' } }").expect("it is the plugin's own"), []);
    }

    #[test]
    fn what_is_none_gets_its_line_and_column_and_is_not_repeated() {
        for (text, place, why) in [
            ("secrets = 'hidden'", "3:11", "expected a table, [plugin.chat.secrets]"),
            ("secrets.token = 'hidden'", "3:17", EXPECTED),
            ("secrets.token = { file = '' }", "3:17", EXPECTED),
            ("secrets.token = { file = 'hidden', env = 'B' }", "3:17", EXPECTED),
            ("secrets.token = { env = 'hidden=1' }", "3:17", EXPECTED),
            ("secrets.token = { fle = 'hidden' }", "3:17", EXPECTED),
            (
                "config.token = 'hidden'\nsecrets.token = { file = 'a' }",
                "4:17",
                "the plugin's `config` has this key too; keep one of them",
            ),
            (
                "config.db = 'hidden'\nsecrets.db.a = { file = 'a' }",
                "4:9",
                "the plugin's `config` has this key too, and no table; rename one of them",
            ),
        ] {
            let error = secrets(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("/etc/c.toml:{place}: ")) && error.ends_with(why), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
