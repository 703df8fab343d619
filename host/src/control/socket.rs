//! The server's end of the control socket: lines of JSON, a request each, and a line of JSON for each as the answer.
//! Whoever connects is bounded in bytes, time and number, and cannot disturb the server. What is asked is passed
//! on; it knows nothing of reloads.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::{Ask, Asker, Reloaded, Status, Which};

/// Bytes of one request.
const REQUEST_MAX: usize = 64 * 1024;
/// Time for a client to send a request, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients at once; more wait.
const CLIENTS_MAX: usize = 64;
/// Time without a new client after one could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Load plugins anew.
    Reload {
        /// By name; none means all.
        #[serde(default)]
        plugins: Vec<String>,
    },
    /// Say how it goes.
    Status {},
}

/// What the server answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To a reload: done.
    Reloaded(Reloaded),
    /// How it goes.
    Status(Box<Status>),
    /// Nothing has changed, and why.
    Refused(String),
}

/// Serves all clients for as long as it is polled.
pub async fn serve(listener: UnixListener, asker: Asker) {
    if let Err(error) = accept(listener, asker).await {
        log::error!("the control socket cannot be used: {error}");
    }
}

async fn accept(listener: UnixListener, asker: Asker) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let seats = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((client, _)) => {
                let asker = asker.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = attend(client, &asker).await {
                        log::debug!("control socket: a client is left: {error}");
                    }
                    drop(seat);
                });
            }
            Err(error) => {
                log::warn!("control socket: no client can be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one client until it has no more to ask.
async fn attend(client: UnixStream, asker: &Asker) -> io::Result<()> {
    let (peer, own) = (client.peer_cred()?.uid(), geteuid().as_raw());
    // The file's mode says so already, where folders and file systems keep to it.
    if peer != own && peer != 0 {
        log::warn!("control socket: user {peer} was refused; it is for user {own} and root");
        return Ok(());
    }
    let (read, mut write) = client.into_split();
    let mut read = BufReader::new(read);
    loop {
        let Some(request) = timeout(PATIENCE, request(&mut read)).await?? else { return Ok(()) };
        let (answer, is_last) = match request {
            Ok(request) => (answer(request, asker).await, false),
            Err(why) => (Answer::Refused(why), true),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        timeout(PATIENCE, write.write_all(&line)).await??;
        // What comes behind a line that is none cannot be told apart.
        if is_last {
            return Ok(());
        }
    }
}

/// The next request, or what is wrong with it. None: there is none.
async fn request(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Result<Request, String>>> {
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

async fn answer(request: Request, asker: &Asker) -> Answer {
    let answered = match request {
        Request::Reload { plugins } => {
            let which = if plugins.is_empty() { Which::All } else { Which::Named(plugins) };
            let (answer, answered) = oneshot::channel();
            let ask = Ask::Reload { which, reason: Some("`callsign reload`".to_owned()), answer };
            let _ = asker.send(ask);
            answered.await.map(|result| result.map_or_else(Answer::Refused, Answer::Reloaded))
        }
        Request::Status {} => {
            let (answer, answered) = oneshot::channel();
            let _ = asker.send(Ask::Status(answer));
            answered.await.map(|status| Answer::Status(Box::new(status)))
        }
    };
    // Nobody is left who could answer.
    answered.unwrap_or_else(|_| Answer::Refused("the server is stopping".to_owned()))
}
