//! `callsign headers`: writes the C headers to a folder. This program contains them, so that a plugin in C needs no other
//! sources.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use callsign_plugin::C_HEADER;
use clap::Args;

use super::output::print;
use crate::system::sanitize::sanitize_line;

macro_rules! of_sources {
    ($($path:literal)*) => { &[$(($path, include_str!(concat!("../../../plugin-api/include/", $path)))),*] };
}

/// Path and content of each header for Kore's API.
const KORE: &[(&str, &str)] = of_sources![
    "kore/callsign/abi.h"
    "kore/callsign/memory.h"
    "kore/callsign/messages.h"
    "kore/callsign/requests.h"
    "kore/callsign/runtime.h"
    "kore/hooks.h"
    "kore/http.h"
    "kore/kore.h"
    "kore/seccomp.h"
    "kore/tasks.h"
];

/// Options of `headers`.
#[derive(Debug, Clone, Args)]
pub struct HeadersOptions {
    /// Folder for the headers; it is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the headers, and prints where they are.
pub fn run(options: &HeadersOptions) -> Result<()> {
    let folder = &options.folder;
    let headers = [&[("callsign.h", C_HEADER)], KORE].concat();
    for (path, text) in &headers {
        let file = folder.join(path);
        file.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&file, text))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let folder = sanitize_line(&folder.to_string_lossy());
    print(&format!("wrote {} headers to {folder}; compile with -I {folder}\n", headers.len()))
}
