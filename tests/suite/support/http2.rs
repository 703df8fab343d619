//! An HTTP/2 client: the `h2` crate on a thread of its own. Every wait ends with a result or fails the test.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use bytes::{Buf, Bytes};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream, SendStream, ext::Protocol};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Version};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tungstenite::WebSocket;
use tungstenite::protocol::Role;

use super::{DEADLINE, Trust};

/// A connection. Dropping it ends the connection.
pub struct Http2 {
    handle: Handle,
    port: u16,
    requests: SendRequest<Bytes>,
    stop: Option<oneshot::Sender<()>>,
    end: mpsc::Receiver<Result<(), h2::Error>>,
    thread: Option<JoinHandle<()>>,
}

/// A response, or the stream of a WebSocket.
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A stream that is read and written like a socket.
pub struct Tunnel {
    handle: Handle,
    send: SendStream<Bytes>,
    receive: RecvStream,
    read: Bytes,
}

impl Http2 {
    /// Connects to the server at `localhost`.
    pub fn connect(trust: &Trust, port: u16) -> Self {
        let mut builder = Builder::new();
        // A stream that a test does not read stops no other one.
        builder.initial_connection_window_size(1 << 24);
        Self::connect_with(trust, port, &builder)
    }

    /// The same, with these settings.
    pub fn connect_with(trust: &Trust, port: u16, builder: &Builder) -> Self {
        let config = trust.clone().offering(&[b"h2"]).config();
        let (connected, is_connected) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let builder = builder.clone();
        let run = async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = TlsConnector::from(config).connect(name, stream).await.expect("it speaks TLS");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (requests, connection) = builder.handshake(stream).await.expect("it speaks HTTP/2");
            let _ = connected.send((Handle::current(), requests));
            let mut stopped = stopped;
            tokio::select! {
                result = connection => {
                    let _ = ended.send(result);
                    // Its streams may still be read.
                    let _ = stopped.await;
                }
                _ = &mut stopped => {}
            }
        };
        let thread = thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(run)
        });
        let (handle, requests) = is_connected.recv_timeout(DEADLINE).expect("the client connects");
        let client = Self { handle, port, requests, end, stop: Some(stop), thread: Some(thread) };
        super::eventually("the server's settings", || client.has_websockets());
        client
    }

    fn ready(&mut self) {
        let mut requests = self.requests.clone();
        self.requests = wait(&self.handle, async move {
            poll_fn(|cx| requests.poll_ready(cx)).await.expect("the connection is open");
            requests
        });
    }

    /// `GET path`.
    pub fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    /// Sends a request with a body and reads the response.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let (response, mut send) = self.begin(method, path, headers, body.is_empty());
        let body = Bytes::copy_from_slice(body);
        let sent = self.handle.spawn(async move {
            if !body.is_empty() {
                // The server may reject it before all of it is sent.
                let _ = send_all(&mut send, body, true).await;
            }
        });
        let response =
            wait(&self.handle, async { response.await?.finish().await }).expect("the server responds");
        drop(sent);
        response
    }

    /// Sends the head of a request. The response comes with the future.
    pub fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        is_end: bool,
    ) -> (impl Future<Output = Result<hyper::Response<RecvStream>, h2::Error>> + use<>, SendStream<Bytes>)
    {
        let request = self.head(method, path, headers);
        self.ready();
        self.requests.send_request(request, is_end).expect("the connection is open")
    }

    fn head(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let uri = format!("https://localhost:{}{path}", self.port);
        let mut request = Request::builder().version(Version::HTTP_2).method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    /// A WebSocket at `path`. Err: the response, if it is none.
    pub fn upgrade(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Tunnel, HeaderMap), Box<Response>> {
        let mut request = self.head("GET", path, headers);
        request.headers_mut().entry("sec-websocket-version").or_insert("13".parse().expect("a value"));
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        self.ready();
        let (response, send) = self.requests.send_request(request, false).expect("the connection is open");
        let response = wait(&self.handle, response).expect("the server responds");
        if response.status() != 200 {
            return Err(Box::new(wait(&self.handle, response.finish()).expect("the server responds")));
        }
        let (head, receive) = response.into_parts();
        Ok((Tunnel { handle: self.handle.clone(), send, receive, read: Bytes::new() }, head.headers))
    }

    /// A WebSocket at `path`.
    pub fn open(&mut self, path: &str) -> WebSocket<Tunnel> {
        let (tunnel, _) = self.upgrade(path, &[]).unwrap_or_else(|response| panic!("{}", response.status));
        WebSocket::from_raw_socket(tunnel, Role::Client, None)
    }

    /// How many streams the server allows at once.
    pub fn streams_max(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Whether the server has said that there may be WebSockets.
    pub fn has_websockets(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// Waits for a response and its body.
    pub fn finish(
        &self,
        response: impl Future<Output = Result<hyper::Response<RecvStream>, h2::Error>>,
    ) -> Response {
        self.wait(async { response.await?.finish().await }).expect("the server responds")
    }

    /// Waits for a future on the thread of the connection.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        wait(&self.handle, future)
    }

    /// Waits until the server has ended the connection.
    pub fn ended(self) -> Result<(), h2::Error> {
        self.end.recv_timeout(DEADLINE).expect("the server ends the connection")
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

trait Finish {
    async fn finish(self) -> Result<Response, h2::Error>;
}

impl Finish for hyper::Response<RecvStream> {
    /// Reads the body.
    async fn finish(self) -> Result<Response, h2::Error> {
        let (head, mut receive) = self.into_parts();
        let mut body = Vec::new();
        while let Some(data) = receive.data().await {
            let data = data?;
            body.extend_from_slice(&data);
            receive.flow_control().release_capacity(data.len())?;
        }
        Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("it is text"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("it is text")
    }
}

impl Tunnel {
    /// Ends the stream with RST_STREAM.
    pub fn reset(mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Ends our side.
    pub fn end(&mut self) {
        self.send.send_data(Bytes::new(), true).expect("it is open");
    }

    /// Sends these bytes in frames of that size.
    pub fn send_in_frames(&mut self, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            self.write_all(piece).expect("the server reads it");
        }
    }
}

async fn send_all(send: &mut SendStream<Bytes>, mut bytes: Bytes, is_end: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        while send.capacity() == 0 {
            match poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(capacity) => _ = capacity?,
                None => return Err(Reason::STREAM_CLOSED.into()),
            }
        }
        let piece = bytes.split_to(send.capacity().min(bytes.len()));
        send.send_data(piece, is_end && bytes.is_empty())?;
    }
    Ok(())
}

impl Read for Tunnel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read.is_empty() {
            let data = wait(&self.handle, self.receive.data());
            let Some(data) = data else { return Ok(0) };
            self.read = data.map_err(io::Error::other)?;
            let _ = self.receive.flow_control().release_capacity(self.read.len());
        }
        let length = buffer.len().min(self.read.len());
        self.read.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Write for Tunnel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = wait(&self.handle, send_all(&mut self.send, Bytes::copy_from_slice(bytes), false));
        sent.map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The connection's thread runs meanwhile.
fn wait<T>(handle: &Handle, future: impl Future<Output = T>) -> T {
    handle.block_on(async { timeout(DEADLINE, future).await }).expect("it takes less time")
}
