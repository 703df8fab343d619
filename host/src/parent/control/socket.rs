//! The server's end of the control socket. A client sends requests, each a line of JSON, and gets a line of JSON as the
//! answer to each. Bytes, time and number of clients are bounded, so that no client can disturb the server. Requests go
//! to the parent's channel.

use std::fmt;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use log::Level;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::{ControlRequest, Reloaded, RequestSender, Status, Which};
use crate::system::log::repeats::Repeats;
use crate::system::task;

/// Most bytes of a request.
const REQUEST_MAX: usize = 64 * 1024;
/// Time for a client to send a request, and to read the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Clients at the same time; more clients wait.
const CLIENTS_MAX: usize = 64;
/// Pause after a failed accept, so that a lasting failure does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    static REPEATS: Repeats = Repeats::default();
}

/// A request of a client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum WireRequest {
    /// Reload plugins.
    Reload {
        /// By name. Empty: all.
        #[serde(default)]
        plugins: Vec<String>,
        /// Those that have not changed too.
        #[serde(default)]
        force: bool,
        /// Reads the config file again first; for all plugins.
        #[serde(default)]
        config: bool,
    },
    /// Report the state of the server.
    Status {},
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireResponse {
    /// The reload is done.
    Reloaded(Box<Reloaded>),
    /// The state of the server.
    Status(Box<Status>),
    /// The request is rejected and nothing has changed, and why.
    Refused(String),
}

/// Serves all clients for as long as the future is polled.
pub async fn serve(listener: UnixListener, sender: RequestSender) {
    if let Err(error) = accept(listener, sender).await {
        log::error!("the control socket cannot be used: {error}");
    }
}

async fn accept(listener: UnixListener, sender: RequestSender) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((client, _)) => {
                let sender = sender.clone();
                task::spawn("control client", async move {
                    if let Err(error) = serve_client(client, &sender).await {
                        log::debug!("control socket: closing a client: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn("accept", format_args!("no client can be accepted: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Logs what clients may cause at will.
fn warn(kind: &str, line: fmt::Arguments<'_>) {
    REPEATS.with(|repeats| repeats.log(Level::Warn, kind, format_args!("control socket: {line}")));
}

/// Answers the requests of one client until it closes its end.
async fn serve_client(client: UnixStream, sender: &RequestSender) -> io::Result<()> {
    let (peer, own) = (client.peer_cred()?.uid(), geteuid().as_raw());
    // The mode of the file ensures this already, except on file systems that ignore it.
    if peer != own && peer != 0 {
        warn("user", format_args!("rejected a client of user {peer}; only user {own} and root may connect"));
        return Ok(());
    }
    let (read, mut write) = client.into_split();
    let mut read = BufReader::new(read);
    loop {
        let Some(request) = timeout(CLIENT_TIMEOUT, request(&mut read)).await?? else { return Ok(()) };
        let (answer, is_last) = match request {
            Ok(request) => (answer(request, sender).await, false),
            Err(why) => (WireResponse::Refused(why), true),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        timeout(CLIENT_TIMEOUT, write.write_all(&line)).await??;
        // Where the next request begins is unknown after an invalid one.
        if is_last {
            return Ok(());
        }
    }
}

/// Reads the next request. None: the client has closed its end. The inner Err says why the request is invalid.
async fn request(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Result<WireRequest, String>>> {
    let mut line = Vec::new();
    read.take(REQUEST_MAX as u64 + 1).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() > REQUEST_MAX {
        return Ok(Some(Err(format!("the request is longer than {REQUEST_MAX} bytes"))));
    }
    Ok(Some(serde_json::from_slice(&line).map_err(|error| {
        format!("the request is not understood: {error}; expected a line such as {{\"ask\":\"status\"}}")
    })))
}

async fn answer(request: WireRequest, sender: &RequestSender) -> WireResponse {
    let answered = match request {
        WireRequest::Reload { plugins, config: true, .. } if !plugins.is_empty() => {
            let why = "a reload with the config file is for all plugins; name none";
            return WireResponse::Refused(why.to_owned());
        }
        WireRequest::Reload { plugins, force, config } => {
            let (which, command) = match config {
                true => (Which::ReadAgain { needs_file: true }, "`callsign reload --config`"),
                false if plugins.is_empty() => (Which::All, "`callsign reload`"),
                false => (Which::Named(plugins), "`callsign reload`"),
            };
            let (answer, answered) = oneshot::channel();
            let reason = Some(command.to_owned());
            let _ = sender.send(ControlRequest::Reload { which, is_forced: force, reason, answer });
            let response = |reloaded| WireResponse::Reloaded(Box::new(reloaded));
            answered.await.map(|result| result.map_or_else(WireResponse::Refused, response))
        }
        WireRequest::Status {} => {
            let (answer, answered) = oneshot::channel();
            let _ = sender.send(ControlRequest::Status(answer));
            answered.await.map(|status| WireResponse::Status(Box::new(status)))
        }
    };
    // The receiver was dropped.
    answered.unwrap_or_else(|_| WireResponse::Refused("the server is stopping".to_owned()))
}
