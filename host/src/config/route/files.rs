//! A folder with static files.

use std::path::PathBuf;

use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};

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
    match HeaderValue::from_str(text) {
        Ok(_) if !text.trim().is_empty() && text.is_ascii() => Ok(text.trim().to_owned()),
        _ => Err("expected a value of the header Cache-Control, such as \"max-age=3600\"".to_owned()),
    }
}
