//! The body of a response in small pieces: hyper passes on a piece when the client has room for a byte of it, and the rest
//! waits in memory.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::tasks::Waiting;
use crate::http::outgoing::Outgoing;
use crate::http::recorded::OfStream;

/// Bytes of a piece, as many as a frame has.
const PIECE: usize = 16 * 1024;

/// A body that is sent piece by piece.
#[derive(Debug)]
pub struct Pieces {
    body: Outgoing,
    rest: Bytes,
    waits: Rc<Waiting>,
    /// None: no access log.
    recorded: Option<OfStream>,
    /// Bytes of the last piece, for which the client may have no room yet.
    offered: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unread,
    Begun,
    /// hyper knows that there are no more pieces.
    Ended,
}

impl Pieces {
    /// All of that body. `waits` knows when a piece waits for the client.
    pub fn new(body: Outgoing, waits: Rc<Waiting>, recorded: Option<OfStream>) -> Self {
        Self { body, rest: Bytes::new(), waits, recorded, offered: 0, state: State::Unread }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { body, rest, waits, recorded, offered, state } = self.get_mut();
        if *state == State::Unread {
            *state = State::Begun;
        }
        if let Some(recorded) = recorded {
            recorded.count(std::mem::take(offered));
        }
        if rest.is_empty() {
            waits.end();
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                None => {
                    *state = State::Ended;
                    recorded.iter_mut().for_each(OfStream::complete);
                    return Poll::Ready(None);
                }
                error => return Poll::Ready(error),
            }
        }
        waits.begin();
        let piece = rest.split_to(rest.len().min(PIECE));
        *offered = piece.len();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// With an access log, hyper asks once more behind the last piece, and so tells that the client had room for it.
    fn is_end_stream(&self) -> bool {
        let asks_again = self.recorded.is_some() && self.state == State::Begun;
        self.rest.is_empty() && self.body.is_end_stream() && !asks_again
    }

    fn size_hint(&self) -> SizeHint {
        // hyper asks before the first piece.
        self.body.size_hint()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if self.state == State::Unread && self.body.is_end_stream() {
            self.recorded.iter_mut().for_each(OfStream::complete);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_body_comes_in_pieces_and_the_last_one_ends_it() {
        let whole: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
        let mut body = Pieces::new(whole.clone().into(), Rc::default(), None);
        assert_eq!(body.size_hint().exact(), Some(40_000));
        let (mut read, mut sizes) = (Vec::new(), Vec::new());
        while !body.is_end_stream() {
            let Poll::Ready(Some(Ok(frame))) =
                Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()))
            else {
                panic!("all of it is there")
            };
            let data = frame.into_data().expect("data");
            sizes.push(data.len());
            read.extend_from_slice(&data);
        }
        assert_eq!(sizes, [PIECE, PIECE, 40_000 - 2 * PIECE]);
        assert_eq!(read, whole);
        assert!(Pieces::new(Outgoing::default(), Rc::default(), None).is_end_stream());
    }
}
