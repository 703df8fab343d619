//! The body of a response: bytes, or a file that is read on other threads while it is sent.

use std::convert::Infallible;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::recorded::RecordedBody;
use crate::system::pool::Pool;

/// Bytes of a file that are read at once, and wait to be sent.
pub const CHUNK: usize = 64 * 1024;

/// A body.
#[derive(Debug)]
pub enum Outgoing {
    Bytes(Full<Bytes>),
    File(Box<FileBody>),
    /// Counted for the access log.
    Recorded(Box<RecordedBody>),
}

/// A part of a file.
pub struct FileBody {
    file: Arc<File>,
    /// Where it is read next, and how much is left to be read.
    at: u64,
    left: u64,
    /// What was read first.
    first: Bytes,
    reading: Option<Pin<Box<dyn Future<Output = io::Result<Bytes>>>>>,
    pool: Pool,
}

impl std::fmt::Debug for FileBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBody").field("file", &self.file).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Those bytes, then `left` bytes of the file from `at` on.
    pub fn file(first: Bytes, file: File, at: u64, left: u64, pool: Pool) -> Self {
        match left {
            0 => first.into(),
            _ => {
                Self::File(Box::new(FileBody { file: Arc::new(file), at, left, first, reading: None, pool }))
            }
        }
    }
}

impl<T: Into<Bytes>> From<T> for Outgoing {
    fn from(bytes: T) -> Self {
        Self::Bytes(Full::new(bytes.into()))
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::Bytes(Full::default())
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Bytes(bytes) => Pin::new(bytes)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|error: Infallible| match error {}))),
            Self::File(file) => file.poll_next(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
            Self::Recorded(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_end_stream(),
            Self::File(file) => file.size() == 0,
            Self::Recorded(body) => body.inner().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => bytes.size_hint(),
            Self::File(file) => SizeHint::with_exact(file.size()),
            Self::Recorded(body) => body.inner().size_hint(),
        }
    }
}

impl FileBody {
    fn size(&self) -> u64 {
        self.first.len() as u64 + self.left
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.first))));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let Self { file, at, left, pool, .. } = self;
        let reading = self.reading.get_or_insert_with(|| {
            let (file, at, left, pool) = (file.clone(), *at, *left, pool.clone());
            Box::pin(async move { pool.call(move || read(&file, at, left)).await })
        });
        let chunk = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        if let Ok(chunk) = &chunk {
            self.at += chunk.len() as u64;
            self.left -= chunk.len() as u64;
        }
        Poll::Ready(Some(chunk))
    }
}

/// Reads the next bytes, at most [`CHUNK`]. A file that is shorter by now is an error, because its length was announced.
pub fn read(file: &File, at: u64, left: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.into())
}
