//! Where requests are recorded, and in which format: `--access-log`, `--access-log-format`.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Where requests are recorded, and in which format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLogSettings {
    pub target: AccessLogTarget,
    pub format: AccessLogFormat,
}

impl AccessLogSettings {
    /// The format of records. None: nothing is recorded.
    pub fn recorded_format(&self) -> Option<AccessLogFormat> {
        self.is_on().then_some(self.format)
    }

    /// The keys of the settings that differ in `other`.
    pub fn differences(&self, other: &Self) -> impl Iterator<Item = String> {
        let pairs =
            [("access_log", self.target != other.target), ("access_log_format", self.format != other.format)];
        pairs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned())
    }

    /// Whether requests are recorded.
    pub fn is_on(&self) -> bool {
        self.target != AccessLogTarget::Off
    }
}

/// Where requests are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessLogTarget {
    #[default]
    Off,
    Stdout,
    /// Records are appended. SIGHUP opens the path again.
    File(PathBuf),
}

impl AccessLogTarget {
    /// Parses a path, `-` or `none`. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => {
                Err("expected the path of a file, such as /var/log/callsign/access.log, `-` for stdout, or \
                       `none`"
                    .to_owned())
            }
            "none" => Ok(Self::Off),
            "-" => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }

    /// The same, with a relative path below `folder`.
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            other => other,
        }
    }
}

impl fmt::Display for AccessLogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("none"),
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The format of a record, which is one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum AccessLogFormat {
    /// That of Apache and nginx, and further fields behind it
    #[default]
    Combined,
    /// An object of JSON
    Json,
}

impl AccessLogFormat {
    /// Parses `combined` or `json`. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(text, false).map_err(|_| "expected \"combined\" or \"json\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path_or_stdout_or_none() {
        let parse = |text| AccessLogTarget::parse(text).map(|target| target.within(Path::new("/etc")));
        assert_eq!(parse("-"), Ok(AccessLogTarget::Stdout));
        assert_eq!(parse("none"), Ok(AccessLogTarget::Off));
        assert_eq!(parse("a.log"), Ok(AccessLogTarget::File("/etc/a.log".into())));
        assert_eq!(parse("/a.log"), Ok(AccessLogTarget::File("/a.log".into())));
        assert!(parse("").is_err_and(|error| error.contains("`-` for stdout")));
        assert_eq!(AccessLogFormat::parse("json"), Ok(AccessLogFormat::Json));
        assert!(AccessLogFormat::parse("JSON").is_err() && AccessLogFormat::parse("").is_err());
    }
}
