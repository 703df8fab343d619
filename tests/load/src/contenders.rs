//! The servers of this binary, with which callsign is compared.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
use futures_util::{SinkExt, StreamExt};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::client::ANSWER;
use crate::servers::Server;
use crate::tls;

/// Recommended by tungstenite for many connections; the default of 128 KiB is zeroed at every read.
const TUNGSTENITE_READ_BUFFER: usize = 4 << 10;

/// Runs one of this binary's servers until the process that started it exits. `folder`: with its certificate.
///
/// # Errors
/// The port is taken, or accepting failed.
pub fn serve(server: Server, port: u16, folder: Option<&Path>) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("port {port}"))?;
    match server {
        Server::Callsign | Server::Yawc => bail!("{} is a program of its own", server.name()),
        Server::Floor => Ok(crate::floor::serve(listener)?),
        Server::Tungstenite => serve_tokio(listener, tungstenite),
        Server::Fastwebsockets => serve_tokio(listener, fastwebsockets),
        Server::TokioRustls => {
            let acceptor = tls::acceptor(folder.context("no folder with a certificate")?)?;
            serve_tokio(listener, move |stream| tls::echo(acceptor.clone(), stream))
        }
    }
}

/// One thread, one task per connection.
fn serve_tokio<F>(listener: TcpListener, echo: impl Fn(tokio::net::TcpStream) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(echo(stream)); // an error only ends its connection
        }
    })
}

async fn tungstenite(stream: tokio::net::TcpStream) -> Result<()> {
    let config = WebSocketConfig::default().read_buffer_size(TUNGSTENITE_READ_BUFFER);
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_binary() || message.is_text() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn fastwebsockets(mut stream: tokio::net::TcpStream) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut request).await? > 0, "no request");
    }
    stream.write_all(ANSWER).await?;
    drop(request);
    // As in the crate's examples: frames that the bare WebSocket's read_frame() returns would be sent masked.
    let mut socket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Binary | OpCode::Text => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
