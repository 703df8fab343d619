//! `callsign assets`: writes the files of a folder as a C header, with the symbols that Kore's build generates.
//!
//! Everything in the header is weak, so that several files of a library may include it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256};

use super::output::print;
use crate::system::sanitize::sanitize_line;

/// Options of `assets`.
#[derive(Debug, Clone, Args)]
pub struct AssetsOptions {
    /// Folder of the files; the folders in it are included
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Header to write; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "assets.h")]
    output: PathBuf,

    /// Content type of the files with an extension; may be repeated
    ///
    /// Takes precedence over the type that Callsign knows. Like `mime_add` in Kore's build.conf.
    #[arg(long, value_name = "EXT:TYPE", value_parser = parse_mime)]
    mime: Vec<(String, String)>,
}

fn parse_mime(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((extension, mime))
            if !extension.is_empty()
                && mime.contains('/')
                && mime.chars().all(|c| matches!(c, ' '..='~')) =>
        {
            Ok((extension.to_lowercase(), mime.trim().to_owned()))
        }
        _ => Err("expected EXT:TYPE, such as md:text/markdown".to_owned()),
    }
}

/// Content types by extension, in lower case. Text without a type of its own is `text/plain`, anything else bytes.
const MIME_TYPES: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("ttf", "font/ttf"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

/// Characters of a line of the header that holds content.
const LINE: usize = 100;

/// Writes the header, and prints what is in it.
pub fn run(options: &AssetsOptions) -> Result<()> {
    let mut found = Assets::default();
    find(&options.folder, &mut found)?;
    if found.files.is_empty() {
        bail!("{} has no file with an extension, so there is nothing to write", options.folder.display());
    }
    let header = header(&found.files, &options.mime)?;
    let skipped = found.skipped.iter().map(|(file, why)| format!("left out {}: {why}\n", file.display()));
    let skipped: String = skipped.collect();
    if options.output == Path::new("-") {
        eprint!("{}", sanitized(&skipped));
        return print(&header);
    }
    fs::write(&options.output, &header)
        .with_context(|| format!("cannot write {}", options.output.display()))?;
    let count = found.files.len();
    let files = if count == 1 { "file" } else { "files" };
    print(&sanitized(&format!("{skipped}wrote {} with {count} {files}\n", options.output.display())))
}

/// File names are untrusted.
fn sanitized(lines: &str) -> String {
    lines.lines().map(|line| sanitize_line(line) + "\n").collect()
}

#[derive(Default)]
struct Assets {
    /// By the ending of their symbols, such as `frontend_html`.
    files: BTreeMap<String, PathBuf>,
    /// With the reason.
    skipped: Vec<(PathBuf, &'static str)>,
}

/// Finds the files of a folder. Hidden files, and those that editors leave behind, are no assets.
fn find(folder: &Path, found: &mut Assets) -> Result<()> {
    let unreadable = || format!("cannot read the folder {}", folder.display());
    let entries = fs::read_dir(folder).with_context(unreadable)?.collect::<Result<Vec<_>, _>>();
    let mut entries = entries.with_context(unreadable)?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') || name.contains(['~', '#']) {
            continue;
        }
        // A link to a folder could lead back here.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, found)?;
            continue;
        }
        match (path.is_file(), name.rsplit_once('.')) {
            (false, _) => found.skipped.push((path, "it is no regular file")),
            (true, None) => found.skipped.push((path, "it has no extension, which its symbols need")),
            (true, Some(_)) => {
                let symbol = symbol(&name);
                if let Some(first) = found.files.get(&symbol) {
                    bail!(
                        "{} and {} would both be asset_{symbol}; rename one",
                        first.display(),
                        path.display()
                    );
                }
                found.files.insert(symbol, path);
            }
        }
    }
    Ok(())
}

/// The ending of a file's symbols: `jquery_3_1_js` for `jquery-3.1.js`.
fn symbol(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn header(files: &BTreeMap<String, PathBuf>, mime: &[(String, String)]) -> Result<String> {
    let mut out = String::from(
        "/* Generated by `callsign assets`. */\n#pragma once\n\n#include <kore/kore.h>\n#include <kore/http.h>\n\n\
         #if defined(__cplusplus)\nextern \"C\" {\n#endif\n",
    );
    for (symbol, path) in files {
        let unreadable = || format!("cannot read {}", path.display());
        let content = fs::read(path).with_context(unreadable)?;
        let modified = fs::metadata(path).and_then(|data| data.modified()).with_context(unreadable)?;
        let modified = modified.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let Ok(length) = u32::try_from(content.len()) else {
            bail!("{} has {} bytes, and an asset at most 2^32 - 1", path.display(), content.len());
        };
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let mime = c_string(content_type(&extension, &content, mime).as_bytes());
        let hash: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        // Declared first: in C++ a constant is otherwise local to its file.
        write!(
            out,
            "\nextern CALLSIGN_KORE_SHARED const u_int8_t asset_{symbol}[];\n\
             extern CALLSIGN_KORE_SHARED const u_int32_t asset_len_{symbol};\n\
             extern CALLSIGN_KORE_SHARED const time_t asset_mtime_{symbol};\n\
             extern CALLSIGN_KORE_SHARED const char *asset_sha256_{symbol};\n\
             int asset_serve_{symbol}(struct http_request *);\n\n\
             /* A NUL follows the content. */\n\
             const u_int8_t asset_{symbol}[] ={};\n\
             const u_int32_t asset_len_{symbol} = {length}u;\n\
             const time_t asset_mtime_{symbol} = {modified};\n\
             const char *asset_sha256_{symbol} = \"\\\"{hash}\\\"\";\n\
             CALLSIGN_KORE_EXPORTED int asset_serve_{symbol}(struct http_request *req)\n{{\n\
             \thttp_serveable(req, asset_{symbol}, asset_len_{symbol}, asset_sha256_{symbol},{mime});\n\
             \treturn KORE_RESULT_OK;\n}}\n",
            c_string(&content),
        )?;
    }
    out += "\n#if defined(__cplusplus)\n}\n#endif\n";
    Ok(out)
}

fn content_type<'m>(extension: &str, content: &[u8], given: &'m [(String, String)]) -> &'m str {
    let known = MIME_TYPES.iter().find(|(other, _)| *other == extension).map(|(_, mime)| *mime);
    let given = given.iter().rev().find(|(other, _)| other == extension).map(|(_, mime)| mime.as_str());
    match given.or(known) {
        Some(mime) => mime,
        None if std::str::from_utf8(content).is_ok() => "text/plain; charset=utf-8",
        None => "application/octet-stream",
    }
}

/// String literals with these bytes, each on a line of its own. Compilers read them much faster than lists of numbers.
fn c_string(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    let mut width = LINE;
    for &byte in bytes {
        if width >= LINE {
            out += if out.is_empty() { "\n\t\"" } else { "\"\n\t\"" };
            width = 0;
        }
        let before = out.len();
        match byte {
            b'\n' => out += "\\n",
            // `??` begins a trigraph of C99.
            b'"' | b'\\' | b'?' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            // Three digits, because a digit may follow.
            _ => _ = write!(out, "\\{byte:03o}"),
        }
        width = if byte == b'\n' { LINE } else { width + out.len() - before };
    }
    out + if bytes.is_empty() { " \"\"" } else { "\"" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_written_as_literals_that_mean_the_same() {
        assert_eq!(c_string(b""), " \"\"");
        assert_eq!(c_string(b"a\"\\\n??/1\x001"), "\n\t\"a\\\"\\\\\\n\"\n\t\"\\?\\?/1\\0001\"");
        assert_eq!(c_string(&[0xff, b'7']), "\n\t\"\\3777\"");
        let long = c_string(&[b'x'; 1000]);
        assert_eq!((long.lines().count(), long.matches('x').count()), (11, 1000));
        assert!(long.lines().all(|line| line.len() <= LINE + 3));
    }

    #[test]
    fn symbols_are_those_of_kore() {
        for (name, ending) in [
            ("frontend.html", "frontend_html"),
            ("jquery-3.1.min.js", "jquery_3_1_min_js"),
            ("a b.c", "a_b_c"),
        ] {
            assert_eq!(symbol(name), ending);
        }
    }

    #[test]
    fn a_type_is_given_or_known_or_follows_from_the_content() {
        let given = [parse_mime("md:text/markdown").unwrap(), parse_mime("JS:text/x; q=\"1\"").unwrap()];
        for (extension, content, wanted) in [
            ("md", &b"x"[..], "text/markdown"),
            ("js", b"x", "text/x; q=\"1\""),
            ("css", b"x", "text/css; charset=utf-8"),
            ("none", b"x", "text/plain; charset=utf-8"),
            ("none", b"\xff", "application/octet-stream"),
        ] {
            assert_eq!(content_type(extension, content, &given), wanted);
        }
        for wrong in ["md", ":text/plain", "md:", "md:text", "md:text/\n"] {
            assert!(parse_mime(wrong).is_err(), "{wrong}");
        }
    }
}
