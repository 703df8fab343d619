//! Requests for the access log. A request is noted when its head has arrived, and recorded when the last byte of its response
//! is written, or its client is gone. A connection takes its note with it, and is recorded when it ends.
//!
//! Invariant: every request is recorded once. Its response counts as written when the socket has accepted all that hyper has
//! buffered after it took the last piece of the body ([`Phase::flushes`]).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{self, HeaderName};
use hyper::{Request, StatusCode, Version};

use super::answer::HttpResponse;
use super::forwarded;
use super::outgoing::Outgoing;
use super::timed::Phase;
use super::{Peer, Sender};
use crate::client::Client;
use crate::client::recorded::Recorded;
use crate::plugin::dispatch::{Answerer, ResolvedRoute};
use crate::plugin::handler::HandlerRef;
use crate::system::access_log::{AccessLog, Record, RequestNote};
use crate::worker::Worker;

/// What nginx records for a request whose client has gone before there was a response.
const CLIENT_GONE: u16 = 499;

/// The requests of one socket that are not recorded yet. Empty without an access log.
#[derive(Clone, Default)]
pub struct Recorder(Option<Rc<Open>>);

struct Open {
    log: &'static AccessLog,
    phase: Phase,
    /// In the order of their responses.
    entries: RefCell<VecDeque<Rc<Entry>>>,
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Entry {
    log: &'static AccessLog,
    note: RefCell<RequestNote>,
    status: Cell<u16>,
    /// Bytes of the body that hyper has taken.
    bytes: Cell<u64>,
    /// [`Phase::flushes`] when hyper had taken the last piece of the body.
    ended_at: Cell<Option<u64>>,
    /// The request became a connection.
    is_upgraded: Cell<bool>,
}

impl Recorder {
    /// Records the requests of a socket if the worker has an access log.
    pub fn new(worker: &'static Worker, phase: &Phase) -> Self {
        let log = worker.access_log();
        Self(log.map(|log| Rc::new(Open { log, phase: phase.clone(), entries: RefCell::default() })))
    }

    /// A request has arrived.
    pub(super) fn begin(&self, sender: &Sender, request: &Request<Incoming>) -> Option<Rc<Entry>> {
        let open = self.0.as_ref()?;
        let entry = Entry::new(open.log, sender, request);
        open.entries.borrow_mut().push_back(entry.clone());
        Some(entry)
    }

    /// The request has this response, which hyper writes next.
    pub fn answer(&self, entry: Option<Rc<Entry>>, response: HttpResponse) -> HttpResponse {
        let (Some(open), Some(entry)) = (&self.0, entry) else { return response };
        entry.status.set(response.status().as_u16());
        let phase = open.phase.clone();
        response.map(|body| Outgoing::Recorded(Box::new(RecordedBody { body, entry, phase })))
    }

    /// Records requests as hyper writes their responses.
    pub async fn follow<C: Future + Unpin>(&self, connection: &mut C) -> C::Output {
        poll_fn(|cx| {
            let polled = Pin::new(&mut *connection).poll(cx);
            self.settle();
            polled
        })
        .await
    }

    /// Records the requests whose responses are written.
    fn settle(&self) {
        let Some(open) = &self.0 else { return };
        let flushes = open.phase.flushes();
        let is_written = |entry: &Rc<Entry>| entry.ended_at.get().is_some_and(|at| at < flushes);
        let mut entries = open.entries.borrow_mut();
        while entries.front().is_some_and(is_written)
            && let Some(entry) = entries.pop_front()
        {
            entry.record(entry.bytes.get(), false);
        }
    }

    /// Records all requests: hyper is done with the socket. What it has not written of them is lost.
    pub fn finish(&self) {
        let Some(open) = &self.0 else { return };
        self.settle();
        let mut unwritten = open.phase.unwritten();
        let mut entries = open.entries.take();
        // hyper has written in order, so what is left is of the last ones.
        let mut written: Vec<_> = entries.iter().map(|entry| entry.bytes.get()).collect();
        for bytes in written.iter_mut().rev() {
            let lost = unwritten.min(*bytes);
            *bytes -= lost;
            unwritten -= lost;
        }
        for (entry, bytes) in entries.drain(..).zip(written) {
            entry.record(bytes, true);
        }
    }

    /// hyper could not read a request, and has answered by itself.
    pub fn finish_unreadable(&self, peer: Peer, error: &hyper::Error, beginning: &[u8]) {
        // hyper does not answer to HTTP/2.
        if !error.is_parse() || beginning.starts_with(b"PRI ") {
            return;
        }
        let status = match error.to_string() {
            text if text == "URI too long" => StatusCode::URI_TOO_LONG,
            _ if error.is_parse_too_large() => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        self.0.iter().for_each(|open| record_unreadable(open.log, peer, status));
    }
}

/// A request on a stream of HTTP/2, which is recorded when its stream ends: hyper has dropped its response, or the client has
/// reset it before there was one. Bytes count as written when hyper asks for the next ones, because the client had room.
#[derive(Debug)]
pub struct OfStream {
    entry: Rc<Entry>,
    is_complete: bool,
}

impl OfStream {
    /// A request has arrived. None: the worker has no access log.
    pub(super) fn begin(sender: &Sender, request: &Request<Incoming>) -> Option<Self> {
        let entry = Entry::new(sender.worker.access_log()?, sender, request);
        Some(Self { entry, is_complete: false })
    }

    pub fn entry(&self) -> Rc<Entry> {
        self.entry.clone()
    }

    /// The request has a response with this status.
    pub fn answer(&self, status: StatusCode) {
        self.entry.status.set(status.as_u16());
    }

    /// So many bytes of the body are written.
    pub fn count(&self, bytes: usize) {
        self.entry.bytes.set(self.entry.bytes.get() + bytes as u64);
    }

    /// All of the response is written.
    pub fn complete(&mut self) {
        self.is_complete = true;
    }
}

impl Drop for OfStream {
    fn drop(&mut self) {
        self.entry.record(self.entry.bytes.get(), !self.is_complete);
    }
}

/// Records a request that could not be read, and was answered with this status and no body.
pub fn record_unreadable(log: &AccessLog, peer: Peer, status: StatusCode) {
    let now = Instant::now();
    let peer = peer.to_string();
    let note = RequestNote::new([peer.as_bytes(), b"", b"", b"", b"", b"", b""], now);
    record(log, &note, status.as_u16(), 0, false);
}

fn record(log: &AccessLog, note: &RequestNote, status: u16, bytes: u64, is_aborted: bool) {
    log.record(&Record {
        ended: SystemTime::now(),
        request: note,
        status,
        bytes,
        duration: note.elapsed(Instant::now()),
        is_aborted,
        connection: None,
    });
}

impl Entry {
    fn new(log: &'static AccessLog, sender: &Sender, request: &Request<Incoming>) -> Rc<Self> {
        let dispatch = sender.worker.dispatch();
        // The log hears of a problem when the route is looked up.
        let (peer, _) = forwarded::find(sender.trusted_proxies(&dispatch), sender.peer, request.headers());
        let peer = peer.to_string();
        let (uri, version) = (request.uri(), format!("{:?}", request.version()));
        // Over HTTP/2 the host is beside the target, and not in a header.
        let (target, authority) = match request.version() {
            Version::HTTP_2 => {
                (uri.path_and_query().map_or("", |target| target.as_str()).to_owned(), uri.authority())
            }
            _ => (uri.to_string(), None),
        };
        let text =
            |name: HeaderName| request.headers().get(name).map(|value| value.as_bytes()).unwrap_or_default();
        let note = RequestNote::new(
            [
                peer.as_bytes(),
                request.method().as_str().as_bytes(),
                target.as_bytes(),
                version.as_bytes(),
                authority.map_or_else(|| text(header::HOST), |host| host.as_str().as_bytes()),
                text(header::REFERER),
                text(header::USER_AGENT),
            ],
            Instant::now(),
        );
        Rc::new(Self {
            log,
            note: RefCell::new(note),
            status: Cell::new(CLIENT_GONE),
            bytes: Cell::default(),
            ended_at: Cell::default(),
            is_upgraded: Cell::default(),
        })
    }

    /// The route that answers.
    pub fn set_route(&self, route: &ResolvedRoute) {
        let name = |handler: HandlerRef| format!("{}:{}", handler.plugin_name, handler.name);
        let handlers = match route.answerer {
            Answerer::Handler(handler) => name(handler),
            Answerer::Callbacks(callbacks) => callbacks.iter().map(name).collect::<Vec<_>>().join(","),
            Answerer::Files => "files".to_owned(),
        };
        self.note.borrow_mut().set_route(&route.path, &handlers);
    }

    /// The request becomes this connection if hyper can write the 101.
    pub fn hand_over(&self, client: &Client) {
        self.is_upgraded.set(true);
        client.set_recorded(Recorded::new(self.note.borrow().clone()));
    }

    /// The client was gone before it had its 101.
    pub fn fail_upgrade(&self) {
        record(self.log, &self.note.borrow(), StatusCode::SWITCHING_PROTOCOLS.as_u16(), 0, true);
    }

    fn record(&self, bytes: u64, is_aborted: bool) {
        // A connection has taken the note with it.
        if !self.is_upgraded.get() {
            record(self.log, &self.note.borrow(), self.status.get(), bytes, is_aborted);
        }
    }
}

/// A body whose bytes are counted.
pub struct RecordedBody {
    body: Outgoing,
    entry: Rc<Entry>,
    phase: Phase,
}

impl RecordedBody {
    /// The next piece, which hyper takes.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.entry.bytes.set(self.entry.bytes.get() + length as u64);
        }
        polled
    }

    /// The body itself.
    pub fn inner(&self) -> &Outgoing {
        &self.body
    }
}

impl Drop for RecordedBody {
    fn drop(&mut self) {
        self.entry.ended_at.set(Some(self.phase.flushes()));
    }
}

impl std::fmt::Debug for RecordedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordedBody").field("body", &self.body).finish_non_exhaustive()
    }
}
