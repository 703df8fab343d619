//! The program between start and end: loads, listens, says so, serves, and stops when it is told to.

use std::future::Future;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::banner;
use crate::http;
use crate::settings::Settings;
use crate::worker::Worker;

/// Clients that may wait for their accept: what the kernel allows by default.
const ACCEPT_QUEUE: u32 = 4096;
/// Pause after a failed accept, so that running out of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until a signal says to stop.
pub fn run(settings: &Settings) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let worker = Worker::start(settings)?;
    runtime.block_on(async {
        let listeners = listen(&settings.listen)?;
        let mut stop = Stop::new()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        // Nobody has to read it.
        let _ = io::stdout().write_all(banner::started(worker, &addresses).as_bytes());
        serve(worker, listeners, stop.requested()).await;
        log::info!("stopping: closing {} connections", worker.connections());
        tokio::select! {
            () = worker.drain() => log::info!("stopped: all connections are closed"),
            () = tokio::time::sleep(settings.limits.drain_timeout) => {
                log::warn!("stopped: {} connections did not close in time (--drain-timeout)", worker.connections());
            }
            () = stop.requested() => log::warn!("stopped at once: {} connections were open", worker.connections()),
        }
        Ok(())
    })
}

/// Accepts clients until `stop` is ready. The sockets close with it.
async fn serve(worker: &'static Worker, listeners: Vec<TcpListener>, stop: impl Future<Output = ()>) {
    tokio::task::spawn_local(worker.flush_turns());
    if let Some(interval) = worker.limits.ping_interval {
        tokio::task::spawn_local(worker.ping_silent(interval));
    }
    let accepting: Vec<_> =
        listeners.into_iter().map(|listener| tokio::task::spawn_local(accept(worker, listener))).collect();
    stop.await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn accept(worker: &'static Worker, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it small messages wait for acknowledgements of earlier ones.
                if let Err(error) = stream.set_nodelay(true) {
                    log::debug!("{peer}: {error}");
                }
                tokio::task::spawn_local(http::serve(worker, stream, peer));
            }
            Err(error) => {
                log::error!("cannot accept a client: {error}; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn listen(addresses: &[String]) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let resolved = address.to_socket_addrs().with_context(|| format!("cannot resolve `{address}` (--listen)"))?;
        for address in resolved {
            listeners.push(bind(address).with_context(|| {
                format!("cannot listen on {address}; is another server running? Choose another with --listen")
            })?);
        }
    }
    Ok(listeners)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE)
}

/// SIGINT and SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn requested(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {} _ = self.terminate.recv() => {} }
    }
}
