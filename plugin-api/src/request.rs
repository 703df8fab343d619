//! One HTTP request and its response.
#![forbid(unsafe_code)]

use crate::boundary::RawRequest;

/// One HTTP request, valid while its handler runs.
#[repr(transparent)]
pub struct Request {
    pub(crate) raw: RawRequest,
}

impl Request {
    /// "GET", "POST", …
    pub fn method(&self) -> &str {
        self.raw.method()
    }

    /// The path as sent, without the query and the `strip_prefix` of its route. Percent-encoding is kept.
    pub fn path(&self) -> &str {
        self.raw.path()
    }

    /// The part after the `?`, or "".
    pub fn query(&self) -> &str {
        self.raw.query()
    }

    /// Value of a parameter in the path of the route: `room` of `/room/{room}`. None if the route has none of that
    /// name.
    ///
    /// The path is split at its slashes before values are decoded: for `/room/a%2Fb` it is `a/b`. A value comes from the
    /// client, so do not use it as the path of a file: it may contain `/` and `..`. Only that of a parameter such as
    /// `{*path}` may be empty. A request whose value is not UTF-8, or has a NUL, got 400 from the host.
    ///
    /// ```
    /// # use callsign_plugin::prelude::*;
    /// #[onrequest]
    /// fn page(request: &mut Request) -> Response {
    ///     Response::text(format!("this is {}", request.param("room").unwrap_or("no room")))
    /// }
    /// # fn main() {}
    /// ```
    pub fn param(&self, name: &str) -> Option<&str> {
        self.raw.param(name)
    }

    /// Value of the first header of that name, which is case-insensitive. None also if the value is not
    /// UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.raw.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers, with names in lower case and values as sent. Several Cookie lines are
    /// one header, joined by `; `.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        (0..).map_while(|index| self.raw.header_at(index))
    }

    /// The subprotocols that the client offers, in its order of preference (RFC 6455 §4.1).
    ///
    /// ```
    /// # use callsign_plugin::prelude::*;
    /// #[onrequest]
    /// fn connect(request: &mut Request) -> Response {
    ///     let response = request.handshake("join", "message", "leave");
    ///     match request.protocols().find(|name| ["chat.v2", "chat.v1"].contains(name)) {
    ///         Some(name) => response.protocol(name),
    ///         None => response,
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        let lines = self.headers().filter(|(name, _)| *name == "sec-websocket-protocol");
        let lines = lines.filter_map(|(_, value)| std::str::from_utf8(value).ok());
        lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty())
    }

    /// The complete body, at most `max_body` bytes of the host's configuration.
    pub fn body(&self) -> &[u8] {
        self.raw.body()
    }

    /// Address and port of the client, as [`Connection::peer`](crate::Connection::peer) describes.
    pub fn peer(&self) -> &str {
        self.raw.peer()
    }

    /// Whether what the client sends is encrypted on its way, as
    /// [`Connection::is_secure`](crate::Connection::is_secure) describes.
    pub fn is_secure(&self) -> bool {
        self.raw.is_secure()
    }

    /// Whether this is a valid WebSocket upgrade (RFC 6455 §4.2.1), which [`handshake`](Self::handshake)
    /// accepts.
    pub fn is_upgrade(&self) -> bool {
        self.raw.is_upgrade()
    }

    /// The response that upgrades the request and binds three handlers to the connection by name.
    ///
    /// The host searches `name` in this plugin, then in the other plugins, of which only one may have it; it
    /// searches `plugin:name` in that plugin only. `None`: the event is ignored. The host resolves all names before it
    /// sends the 101. If a handler does not exist or has another kind, the client gets a 500 and the log
    /// names the handler. A request that is not an upgrade gets 426. The response may have headers, such as a
    /// subprotocol or a cookie.
    pub fn handshake<'n>(
        &self,
        onconnect: impl Into<Option<&'n str>>,
        onmessage: impl Into<Option<&'n str>>,
        ondisconnect: impl Into<Option<&'n str>>,
    ) -> Response {
        let names = [onconnect.into(), onmessage.into(), ondisconnect.into(), None];
        Response { handshake: Some(names.map(|name| name.map(str::to_owned))), ..Response::new(101) }
    }
}

/// The response to a [`Request`]. The host adds Content-Length, Date and the headers of the connection.
#[derive(Clone, Debug)]
#[must_use]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Names of onconnect, onmessage, ondisconnect and ondrain handler. The host then sets the status.
    pub(crate) handshake: Option<[Option<String>; 4]>,
}

impl Response {
    /// An empty response with that status, 200 to 599. With any other status the request fails: the client
    /// gets a 500, and the log has the reason.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), handshake: None }
    }

    /// 200 with plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "text/plain; charset=utf-8").body(body.into())
    }

    /// 200 with HTML.
    pub fn html(body: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "text/html; charset=utf-8").body(body.into())
    }

    /// 200 with JSON; `body` is the serialized text.
    pub fn json(body: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "application/json").body(body.into())
    }

    /// Sets the status, 200 to 599.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header. The request fails if the header is malformed or is one that the host sets itself: the
    /// client gets a 500, and the log names the header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Selects the subprotocol of a [`handshake`](Request::handshake), one that the client offers
    /// ([`Request::protocols`]). It takes precedence over `protocols` of the route. If the client does not offer
    /// it, the connection has none, and the host logs a warning. The request fails if a subprotocol is selected
    /// twice.
    pub fn protocol(self, name: impl Into<String>) -> Self {
        self.header("sec-websocket-protocol", name)
    }

    /// Binds an ondrain handler, too, to the connection of a [`handshake`](Request::handshake); see
    /// [`Connection::queued`](crate::Connection::queued). Ignored for other responses.
    pub fn ondrain(mut self, name: impl Into<String>) -> Self {
        if let Some([_, _, _, ondrain]) = &mut self.handshake {
            *ondrain = Some(name.into());
        }
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}
