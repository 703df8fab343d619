//! A client that speaks TLS with a proxy, from an address that is not the proxy's.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::HeaderName;
use tungstenite::{Error as WebSocketError, WebSocket};

use crate::support::DEADLINE;

/// The proxy's host.
pub const NAME: &str = "chat.example.com";
/// Where clients connect from. The server does not trust it.
pub const CLIENT: &str = "127.0.0.9";

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection to a proxy.
pub struct Client(Tls);

/// Creates a certificate for [`NAME`]. Returns the files with it and with its key.
pub fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate can be made");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    fs::write(&certificate, made.cert.pem()).expect("the scratch folder can be written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("the scratch folder can be written");
    (certificate, key)
}

impl Client {
    pub fn connect(port: u16) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        rustix::net::bind(&socket, &address(&format!("{CLIENT}:0"))).expect("it is a loopback address");
        rustix::net::connect(&socket, &address(&format!("127.0.0.1:{port}"))).expect("the proxy listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout can be set");
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        let name = ServerName::try_from(NAME).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("the settings fit");
        Self(StreamOwned::new(connection, stream))
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
    pub fn open(&mut self, headers: &[(&str, &str)]) -> WebSocket<&mut Tls> {
        self.try_open(headers).expect("the handshake succeeds")
    }

    /// Opens a WebSocket. Err: the status of the response.
    pub fn try_open(&mut self, headers: &[(&str, &str)]) -> Result<WebSocket<&mut Tls>, u16> {
        let mut request = format!("wss://{NAME}/").into_client_request().expect("a request");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        match tungstenite::client(request, &mut self.0) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Failure(WebSocketError::Http(response))) => Err(response.status().as_u16()),
            Err(error) => panic!("no handshake: {error}"),
        }
    }
}

/// Accepts every certificate: the tests are not about those.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
