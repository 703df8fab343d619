//! `callsign-load-yawc PORT on|context`: an echo server of the crate `yawc` with permessage-deflate, for `callsign-load`. One
//! thread, one task per connection. `on`: no context in either direction, and a pool of compressors, as yawc recommends for
//! many connections. `context`: windows of 12 bits in both directions. Ends with the process that has started it.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use yawc::frame::{Frame, OpCode};
use yawc::{CompressionLevel, DeflatePool, Options, Role, WebSocket};

/// The answer to the example key of RFC 6455, section 1.3, which is what `callsign-load` sends.
const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
/// As the default of Callsign.
const LEVEL: u32 = 6;
const THRESHOLD: usize = 64;

fn main() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, mode] = &arguments[..] else { bail!("expected PORT and a mode, `on` or `context`") };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    listener.set_nonblocking(true)?;
    let options = Options::default()
        .with_compression_level(CompressionLevel::new(LEVEL))
        .with_compression_threshold(THRESHOLD)
        .with_utf8();
    let (extension, options) = match mode.as_str() {
        "on" => (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            options
                .server_no_context_takeover()
                .client_no_context_takeover()
                .with_deflate_pool(DeflatePool::new(1)),
        ),
        "context" => (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            options.with_server_max_window_bits(12).with_client_max_window_bits(12),
        ),
        other => bail!("unknown mode `{other}`, expected `on` or `context`"),
    };
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(echo(stream, extension, options.clone())); // an error only ends its connection
        }
    })
}

async fn echo(mut stream: TcpStream, extension: &str, options: Options) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut request).await? > 0, "no request");
    }
    let request = String::from_utf8(request).context("the request is no text")?;
    let extension = request.contains("permessage-deflate").then_some(extension);
    let header = extension.map(|extension| format!("Sec-WebSocket-Extensions: {extension}\r\n"));
    stream.write_all(format!("{ANSWER}{}\r\n", header.unwrap_or_default()).as_bytes()).await?;
    drop(request);
    let mut socket = WebSocket::from_stream_with_extensions(stream, Role::Server, extension, options)?;
    while let Some(frame) = socket.next().await {
        match frame.opcode() {
            OpCode::Text => socket.send(Frame::text(frame.into_payload())).await?,
            OpCode::Binary => socket.send(Frame::binary(frame.into_payload())).await?,
            _ => {}
        }
    }
    Ok(())
}
