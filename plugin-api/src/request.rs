//! One HTTP request and its answer, as onrequest handlers see them.
#![forbid(unsafe_code)]

use crate::boundary::RawRequest;

/// One HTTP request; valid while its handler runs.
#[repr(transparent)]
pub struct Request {
    pub(crate) raw: RawRequest,
}

impl Request {
    /// "GET", "POST", …
    pub fn method(&self) -> &str {
        self.raw.method()
    }

    /// As sent, without the query, percent-encoding kept.
    pub fn path(&self) -> &str {
        self.raw.path()
    }

    /// What follows the `?`, or "".
    pub fn query(&self) -> &str {
        self.raw.query()
    }

    /// The first header of that name, in any case; None also if it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.raw.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers: names in lower case, values as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        (0..).map_while(|index| self.raw.header_at(index))
    }

    /// The whole body, at most the host's `max_body` bytes.
    pub fn body(&self) -> &[u8] {
        self.raw.body()
    }

    /// Address and port of the client.
    pub fn peer(&self) -> &str {
        self.raw.peer()
    }

    /// Whether this is a WebSocket upgrade (RFC 6455 §4.2.1), ready for [`handshake`](Self::handshake).
    pub fn is_upgrade(&self) -> bool {
        self.raw.is_upgrade()
    }

    /// The answer that upgrades the request and binds three handlers, by name, to the connection.
    ///
    /// A name is looked for in this plugin, then in the others in load order; `plugin:name` in that plugin
    /// alone. `None`: that event is ignored. All are looked up before the 101 is sent; if one is missing or
    /// of another kind, the client gets a 500 and the log says which. A request that is no upgrade gets
    /// 426. Headers may be added to it: a subprotocol, a cookie.
    pub fn handshake<'n>(
        &self,
        onconnect: impl Into<Option<&'n str>>,
        onmessage: impl Into<Option<&'n str>>,
        ondisconnect: impl Into<Option<&'n str>>,
    ) -> Response {
        let names = [onconnect.into(), onmessage.into(), ondisconnect.into()];
        Response { handshake: Some(names.map(|name| name.map(str::to_owned))), ..Response::new(101) }
    }
}

/// The answer to a [`Request`]. The host adds Content-Length, Date and what the connection needs.
#[derive(Clone, Debug)]
#[must_use]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Handler names by event; the status is the host's business then.
    pub(crate) handshake: Option<[Option<String>; 3]>,
}

impl Response {
    /// An empty answer with that status, 200 to 599.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), handshake: None }
    }

    /// 200 with plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "text/plain; charset=utf-8").body(body.into())
    }

    /// 200 with a page.
    pub fn html(body: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "text/html; charset=utf-8").body(body.into())
    }

    /// 200 with JSON that you have made.
    pub fn json(body: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "application/json").body(body.into())
    }

    /// The same answer with another status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header. One that HTTP does not allow, or that is the host's own, fails the request: 500, and
    /// the log names it.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}
