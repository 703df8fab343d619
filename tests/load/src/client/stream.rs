//! A connection's socket, or TLS over it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::Result;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::tls::NAME;

/// A server on the loopback.
#[derive(Clone)]
pub struct Target {
    pub port: u16,
    /// None: the server does not speak TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

impl From<u16> for Target {
    fn from(port: u16) -> Self {
        Self { port, tls: None }
    }
}

pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The handshake follows with the first bytes.
    pub fn new(socket: TcpStream, to: &Target) -> Result<Self> {
        let Some(config) = &to.tls else { return Ok(Self::Plain(socket)) };
        let connection = ClientConnection::new(config.clone(), NAME.try_into()?)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// Over TLS, sends the records that the socket has not taken before.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) if stream.conn.wants_write() => stream.flush(),
            _ => Ok(()),
        }
    }
}
