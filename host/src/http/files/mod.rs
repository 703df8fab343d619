//! Static files of a route: the path of a request enters, as handlers would see it, and a response leaves. Files are looked up,
//! opened and read on other threads, because a disk may be slow, and by the user of the workers.
//!
//! Invariant: nothing outside of the route's folder is opened ([`Folder`]), and nothing that is no regular file is read.

mod conditions; // 304, 206, 412, 416

mod encoding; // .br and .gz

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use log::Level;
use rustix::io::Errno;

use super::answer::{HttpResponse, text};
use super::outgoing::{Outgoing, read};
use crate::config::route::Files;
use crate::config::uri_path::{decode, normalize};
use crate::system::beneath::Folder;
use crate::system::log::repeats::Repeats;
use crate::system::pool::Pool;
use conditions::{Conditions, Validators, Verdict};
use encoding::Encoding;

/// Threads that read files.
const THREADS: usize = 8;
/// What is served for a folder.
const INDEX: &str = "index.html";
/// A file that was changed a moment ago may change again without a new time: systems count in steps of some milliseconds. Its
/// entity tag is weak.
const SETTLED: Duration = Duration::from_secs(2);

thread_local! {
    static POOL: Pool = Pool::new("files", THREADS);
    static REPEATS: Repeats = Repeats::default();
}

/// What a request asks for.
struct Ask {
    names: Vec<OsString>,
    /// Whether the path ends in `/`.
    is_folder: bool,
    is_get: bool,
    conditions: Conditions,
    encodings: Vec<Encoding>,
}

/// What there is.
enum Found {
    Nothing,
    /// It is a folder, and the path does not end in `/`.
    Folder,
    File(Box<Answer>),
}

/// A response from a file, before it is one of this thread.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    first: Bytes,
    /// The file, where to read on, and how much.
    rest: Option<(File, u64, u64)>,
}

/// Serves the file that the path leads to, as seen by handlers.
pub async fn respond(files: &Rc<Files>, parts: &Parts, path: &str) -> HttpResponse {
    let not_found = || text(StatusCode::NOT_FOUND, "there is no such file");
    let Some((names, is_folder)) = names(path, files.dotfiles) else { return not_found() };
    let ask = Ask {
        names,
        is_folder,
        is_get: parts.method == Method::GET,
        conditions: Conditions::of(&parts.headers),
        encodings: encoding::accepted(&parts.headers),
    };
    let pool = POOL.with(Pool::clone);
    let served = (**files).clone();
    match pool.call(move || find(&served, ask)).await {
        Ok(Found::File(answer)) => {
            let Answer { status, headers, first, rest } = *answer;
            let body = match rest {
                Some((file, at, left)) => Outgoing::file(first, file, at, left, pool),
                None => first.into(),
            };
            let mut response = HttpResponse::new(body);
            (*response.status_mut(), *response.headers_mut()) = (status, headers);
            response
        }
        Ok(Found::Folder) => moved(parts),
        Ok(Found::Nothing) => not_found(),
        Err(error) => failed(files, path, &error),
    }
}

/// The names that a path consists of, and whether it ends in `/`. None: it leads to no file.
fn names(path: &str, dotfiles: bool) -> Option<(Vec<OsString>, bool)> {
    let inside = path.strip_prefix('/')?;
    let (inside, is_folder) = match inside.strip_suffix('/') {
        Some(inside) => (inside, true),
        None => (inside, inside.is_empty()),
    };
    if inside.is_empty() {
        // `//` would be the same as `/`.
        return (path == "/").then(|| (Vec::new(), true));
    }
    let mut names = Vec::new();
    for segment in inside.split('/') {
        let name = decode(segment);
        let is_hidden = name.starts_with(b".") && !dotfiles && !(names.is_empty() && name == b".well-known");
        if matches!(&*name, b"" | b"." | b"..") || name.contains(&0) || name.contains(&b'/') || is_hidden {
            return None;
        }
        names.push(OsString::from_vec(name));
    }
    Some((names, is_folder))
}

fn find(files: &Files, mut ask: Ask) -> io::Result<Found> {
    let folder = Folder::open(&files.folder)?;
    if ask.is_folder {
        ask.names.push(INDEX.into());
    }
    let Some((file, about)) = open(&folder, &ask.names)? else { return Ok(Found::Nothing) };
    if about.is_dir() && !ask.is_folder {
        return Ok(Found::Folder);
    }
    if !about.is_file() {
        return Ok(Found::Nothing);
    }
    let encoded = ask.encodings.iter().find_map(|(name, ending)| {
        let mut names = ask.names.clone();
        names.last_mut()?.push(ending);
        let (file, encoded) = open(&folder, &names).ok()??;
        // One that was made before the file was changed has the old content.
        let is_current = encoded.modified().ok() >= about.modified().ok();
        (encoded.is_file() && is_current).then_some((file, encoded, *name))
    });
    let (file, about, encoding) = match encoded {
        Some((file, about, encoding)) => (file, about, Some(encoding)),
        None => (file, about, None),
    };
    answer(files, &ask, file, &about, encoding).map(|answer| Found::File(Box::new(answer)))
}

/// None: there is no such file.
fn open(folder: &Folder, names: &[OsString]) -> io::Result<Option<(File, Metadata)>> {
    let opened = folder.file(names).and_then(|file| file.metadata().map(|about| (file, about)));
    match opened {
        Ok(found) => Ok(Some(found)),
        Err(error) => match Errno::from_io_error(&error) {
            // XDEV: it is outside of the folder. NXIO: a socket, or a pipe without a reader.
            Some(
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::XDEV | Errno::NXIO,
            ) => Ok(None),
            _ => Err(error),
        },
    }
}

fn answer(
    files: &Files,
    ask: &Ask,
    file: File,
    about: &Metadata,
    encoding: Option<&'static str>,
) -> io::Result<Answer> {
    let size = about.len();
    let validators = validators(about, encoding);
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &str| {
        headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    };
    set(header::ETAG, &validators.tag);
    validators.modified.iter().for_each(|&date| set(header::LAST_MODIFIED, &httpdate::fmt_http_date(date)));
    set(header::CACHE_CONTROL, &files.cache_control);
    set(header::VARY, "Accept-Encoding");
    let none = |status, headers| Answer { status, headers, first: Bytes::new(), rest: None };
    let (status, at, length) = match ask.conditions.verdict(&validators, size, ask.is_get) {
        Verdict::NotModified => return Ok(none(StatusCode::NOT_MODIFIED, headers)),
        Verdict::Failed => return Ok(none(StatusCode::PRECONDITION_FAILED, headers)),
        Verdict::Unsatisfiable => {
            set(header::CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(none(StatusCode::RANGE_NOT_SATISFIABLE, headers));
        }
        Verdict::Part(from, to) => {
            set(header::CONTENT_RANGE, &format!("bytes {from}-{to}/{size}"));
            (StatusCode::PARTIAL_CONTENT, from, to - from + 1)
        }
        Verdict::Whole => (StatusCode::OK, 0, size),
    };
    set(header::ACCEPT_RANGES, "bytes");
    ask.names.last().iter().for_each(|name| set(header::CONTENT_TYPE, &content_type(name)));
    encoding.iter().for_each(|encoding| set(header::CONTENT_ENCODING, encoding));
    if !ask.is_get {
        set(header::CONTENT_LENGTH, &length.to_string());
        return Ok(none(status, headers));
    }
    // Most files are sent with this one job.
    let first = read(&file, at, length)?;
    let read = first.len() as u64;
    let rest = (read < length).then_some((file, at + read, length - read));
    Ok(Answer { status, headers, first, rest })
}

fn validators(about: &Metadata, encoding: Option<&str>) -> Validators {
    let now = SystemTime::now();
    let modified = about.modified().ok().filter(|time| *time >= UNIX_EPOCH);
    let since = modified.unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
    let is_settled = modified.is_none_or(|time| now.duration_since(time).is_ok_and(|age| age >= SETTLED));
    let weak = if is_settled { "" } else { "W/" };
    let (seconds, nanos, size) = (since.as_secs(), since.subsec_nanos(), about.len());
    let encoding = encoding.map_or_else(String::new, |encoding| format!("-{encoding}"));
    Validators {
        tag: format!("{weak}\"{seconds:x}.{nanos:x}-{size:x}{encoding}\""),
        // RFC 9110 §8.8.2.1: not in the future.
        modified: modified.filter(|time| *time <= now).map(|_| UNIX_EPOCH + Duration::from_secs(seconds)),
    }
}

/// Text is taken for UTF-8.
fn content_type(name: &OsString) -> String {
    let found = mime_guess::from_path(name).first_or_octet_stream();
    match found.type_().as_str() {
        "text" => format!("{}; charset=utf-8", found.essence_str()),
        _ => found.essence_str().to_owned(),
    }
}

/// To the same path with a `/` behind it, so that relative links of the index lead into the folder.
fn moved(parts: &Parts) -> HttpResponse {
    let query = parts.uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let path = normalize(parts.uri.path());
    // A location that begins with `//` would name another host.
    let location = format!("/{}/{query}", path.trim_start_matches('/'));
    let mut response = text(StatusCode::MOVED_PERMANENTLY, "it is a folder");
    let location = HeaderValue::from_str(&location).ok();
    response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
    response
}

fn failed(files: &Files, path: &str, error: &io::Error) -> HttpResponse {
    let folder = files.folder.display();
    REPEATS.with(|repeats| {
        let line = format_args!("the file for `{path}` in {folder} cannot be served: {error}");
        repeats.log(Level::Warn, &format!("{folder} {:?}", error.kind()), line);
    });
    match error.kind() {
        io::ErrorKind::PermissionDenied => text(StatusCode::FORBIDDEN, "this file may not be read"),
        io::ErrorKind::NotFound => text(StatusCode::NOT_FOUND, "there is no such file"),
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_below_the_folder() {
        let names = |path: &str| {
            let (names, is_folder) = names(path, false)?;
            let names: Vec<_> = names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect();
            Some((names.join("|"), is_folder))
        };
        for (path, expected) in [
            ("/", Some(("", true))),
            ("/a", Some(("a", false))),
            ("/a/b%20c/", Some(("a|b c", true))),
            ("/caf%C3%A9", Some(("café", false))),
            ("/.well-known/x", Some((".well-known|x", false))),
            ("/a...", Some(("a...", false))),
            ("", None),
            ("*", None),
            ("//", None),
            ("//a", None),
            ("/a//b", None),
            ("/a//", None),
            ("/..", None),
            ("/a/%2e%2E/b", None),
            ("/./a", None),
            ("/a%2Fb", None),
            ("/a%00", None),
            ("/.git/config", None),
            ("/%2egit", None),
            ("/a/.well-known", None),
        ] {
            let expected = expected.map(|(names, is_folder)| (names.to_owned(), is_folder));
            assert_eq!(names(path), expected, "{path}");
        }
        assert!(super::names("/.git/config", true).is_some());
        assert!(super::names("/../x", true).is_none());
    }
}
