//! The rows with TLS: a certificate for each server, and the contender: Callsign's protocol engine over tokio-rustls.

use std::cell::RefCell;
use std::fs;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use callsign_websocket::{Endpoint, Event, Extensions, Input, write_frame};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsAcceptor;

use crate::client::ANSWER;

/// The name in the certificates.
pub const NAME: &str = "localhost";
/// Size of one read; as of a worker of callsign, whose clients share the buffer too.
const BUFFER: usize = 256 << 10;
const MAX_MESSAGE: usize = 1 << 20;

/// A certificate for one server, and its key, in a folder that exists as long as this value.
pub struct Certificate {
    folder: PathBuf,
    pub client: Arc<ClientConfig>,
}

impl Certificate {
    /// Makes a new one in this folder, which must not exist.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(folder: PathBuf) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let certificate = Self { folder, client: Arc::new(client) };
        fs::write(certificate_in(&certificate.folder), made.cert.pem())?;
        fs::write(key_in(&certificate.folder), made.signing_key.serialize_pem())?;
        Ok(certificate)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The certificate in that folder, as PEM.
pub fn certificate_in(folder: &Path) -> PathBuf {
    folder.join("certificate.pem")
}

/// Its key.
pub fn key_in(folder: &Path) -> PathBuf {
    folder.join("key.pem")
}

/// What the contender needs to accept connections, from that folder.
///
/// # Errors
/// There is no certificate.
pub fn acceptor(folder: &Path) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(certificate_in(folder))?;
    let key = PrivateKeyDer::from_pem_file(key_in(folder))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

thread_local! {
    static INPUT: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER + 1].into());
}

/// Echoes on one connection: one read, the engine, one write.
pub async fn echo(acceptor: TlsAcceptor, stream: tokio::net::TcpStream) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut request).await? > 0, "no request");
    }
    drop(request);
    stream.write_all(ANSWER).await?;
    stream.flush().await?;
    let mut endpoint = Endpoint::new(Extensions::default());
    while endpoint.is_open() {
        let mut output = Vec::new();
        let length = poll_fn(|cx| {
            INPUT.with_borrow_mut(|buffer| {
                let mut input = ReadBuf::new(&mut buffer[..BUFFER]);
                ready!(Pin::new(&mut stream).poll_read(cx, &mut input))?;
                let length = input.filled().len();
                answer(&mut endpoint, &mut Input::new(&mut buffer[..length + 1]), &mut output);
                Poll::Ready(std::io::Result::Ok(length))
            })
        })
        .await?;
        ensure!(length > 0, "the client disconnected");
        stream.write_all(&output).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// Passes on what the engine makes of the client's bytes.
fn answer(endpoint: &mut Endpoint, input: &mut Input<'_>, output: &mut Vec<u8>) {
    endpoint.receive(input, MAX_MESSAGE, Instant::now, |event| match event {
        Event::Message { op, data } => write_frame(output, op, &data),
        Event::Send(frame) => output.extend_from_slice(frame),
        _ => {}
    });
}
