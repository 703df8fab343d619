//! `callsign new`
use anyhow::Result;

use crate::cli_dev::NewOptions;

/// Makes.
pub fn make(_: &NewOptions) -> Result<String> {
    Ok(String::new())
}
