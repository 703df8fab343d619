//! A client that speaks TLS with a proxy, from an address that is not the proxy's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::net::{AddressFamily, SocketType};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::HeaderName;
use tungstenite::{Error, WebSocket};

use crate::support::{TlsStream, Trust};

/// The proxy's host.
pub const NAME: &str = "chat.example.com";
/// Where clients connect from. The server does not trust it.
pub const CLIENT: &str = "127.0.0.9";

/// A connection to a proxy.
pub struct Client(TlsStream);

impl Client {
    /// Connects from [`CLIENT`].
    pub fn connect(trust: &Trust, port: u16) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        rustix::net::bind(&socket, &address(&format!("{CLIENT}:0"))).expect("it is a loopback address");
        rustix::net::connect(&socket, &address(&format!("127.0.0.1:{port}"))).expect("the proxy listens");
        Self(trust.over(TcpStream::from(socket), NAME).expect("the proxy has the certificate"))
    }

    /// Its address and port.
    pub fn address(&self) -> String {
        self.0.sock.local_addr().expect("the socket is connected").to_string()
    }

    /// Status and body of a request.
    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n");
        headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
        self.0.write_all((request + "\r\n").as_bytes()).expect("the proxy reads it");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("the proxy answers");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("the head is ASCII").to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.and_then(|length| length.parse().ok()).expect("a length")];
        self.0.read_exact(&mut body).expect("the body follows");
        (status, String::from_utf8(body).expect("the body is text"))
    }

    /// Opens a WebSocket.
    pub fn open(&mut self, headers: &[(&str, &str)]) -> WebSocket<&mut TlsStream> {
        self.try_open(headers).expect("the handshake succeeds")
    }

    /// Opens a WebSocket. Err: the status of the response.
    pub fn try_open(&mut self, headers: &[(&str, &str)]) -> Result<WebSocket<&mut TlsStream>, u16> {
        let mut request = format!("wss://{NAME}/").into_client_request().expect("a request");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        match tungstenite::client(request, &mut self.0) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("no handshake: {error}"),
        }
    }
}
