//! The body of a request, whole, within its bounds of size, time and number of chunks.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};

use super::answer::{HttpResponse, close, text};
use crate::system::scoreboard::Limit;
use crate::worker::Worker;

/// Chunks of a body that may be of any size. Each chunk costs about a microsecond, however small it is.
const CHUNKS_FREE: usize = 16 * 1024;
/// Average size of a body's further chunks, in bytes.
const CHUNK_MIN: usize = 32;

/// Reads the whole body. Err: the response that rejects it.
pub async fn read(worker: &Worker, body: Incoming) -> Result<Bytes, HttpResponse> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let (max, timeout) = (worker.hub.limits.get().max_body, worker.hub.limits.get().handshake_timeout);
    collect(body, max, timeout).await.map_err(|failure| {
        match failure {
            Failure::TooLarge | Failure::TooManyChunks => worker.count_limit(Limit::Body),
            Failure::TooSlow => worker.count_limit(Limit::HandshakeTimeout),
            Failure::Broken => {}
        }
        let (status, reason) = match failure {
            Failure::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, &*format!("the body is longer than {max} bytes"))
            }
            Failure::TooManyChunks => {
                (StatusCode::PAYLOAD_TOO_LARGE, "the body has too many small chunks; send larger ones")
            }
            Failure::Broken => (StatusCode::BAD_REQUEST, "the body is broken"),
            Failure::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        };
        close(text(status, reason))
    })
}

enum Failure {
    TooLarge,
    TooManyChunks,
    Broken,
    TooSlow,
}

/// Copies the pieces into one buffer as they arrive: hyper gives each chunk as a piece, which would keep much more
/// memory than the chunk has.
async fn collect(mut body: Incoming, max: usize, time: Duration) -> Result<Bytes, Failure> {
    if body.size_hint().lower() > max as u64 {
        return Err(Failure::TooLarge);
    }
    let is_chunked = body.size_hint().exact().is_none();
    let collected = async {
        let (mut whole, mut pieces) = (BytesMut::new(), 0);
        while let Some(frame) = body.frame().await {
            // Anything else is a trailer.
            let Ok(piece) = frame.map_err(|_| Failure::Broken)?.into_data() else { continue };
            pieces += 1;
            if piece.len() > max - whole.len() {
                return Err(Failure::TooLarge);
            }
            whole.extend_from_slice(&piece);
            if is_chunked && pieces > CHUNKS_FREE + whole.len() / CHUNK_MIN {
                return Err(Failure::TooManyChunks);
            }
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(time, collected).await.map_err(|_| Failure::TooSlow)?
}
