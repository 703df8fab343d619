//! A folder with static files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::headers::parse_header_value;

/// What browsers do if the operator does not say: they keep a file, and ask whether it has changed before each use.
pub const DEFAULT_CACHE_CONTROL: &str = "no-cache";

/// A folder with static files, and how they are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The path of a request, as handlers see it, leads to a file below it.
    pub folder: PathBuf,
    /// The value of the header Cache-Control.
    pub cache_control: String,
    /// Whether names may begin with a dot.
    pub dotfiles: bool,
}

/// Parses the value of a Cache-Control header. The error states what was expected.
pub fn parse_cache_control(text: &str) -> Result<String, String> {
    parse_header_value(text)
        .map_err(|_| "expected a value of the header Cache-Control, such as \"max-age=3600\"".to_owned())
}
