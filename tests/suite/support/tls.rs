//! Certificates for tests, and a TLS client.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tungstenite::WebSocket;

use super::DEADLINE;

/// Who issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

/// A certificate and its key, in files.
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a server with these names.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| ())
    }

    /// The same, valid from the first to the second day: year, month, day.
    pub fn issue_between(&self, names: &[&str], from: [u16; 3], until: [u16; 3]) -> Issued {
        let date = |[year, month, day]: [u16; 3]| date_time_ymd(year.into(), month as u8, day as u8);
        self.issue_with(names, |params| (params.not_before, params.not_after) = (date(from), date(until)))
    }

    /// A certificate with these names and whatever `change` sets.
    pub fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate").pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

impl Issued {
    /// Writes both to `NAME.pem` and `NAME.key`, each in one step.
    pub fn write(&self, folder: &Path, name: &str) -> Files {
        let write = |ending: &str, text: &str| {
            let (path, new) = (folder.join(format!("{name}.{ending}")), folder.join(format!("{name}.new")));
            fs::write(&new, text).expect("the scratch folder can be written");
            fs::rename(&new, &path).expect("the scratch folder can be written");
            path
        };
        Files { certificate: write("pem", &self.certificate), key: write("key", &self.key) }
    }

    pub fn der(&self) -> Vec<u8> {
        der(&self.certificate)
    }
}

/// The first certificate of a PEM text.
pub fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("it is one").to_vec()
}

/// What a TLS client reads and writes.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A TLS client of a server.
pub struct Secure(TlsStream);

impl Secure {
    /// Sends data to a server that rejects the client. Its alert, and what comes behind it: 0 bytes are an end in order.
    pub fn rejection(mut self, data: &[u8]) -> (String, io::Result<usize>) {
        self.0.write_all(data).expect("the server reads what the client sends");
        let alert = self.0.read(&mut [0]).expect_err("the server has rejected the client").to_string();
        (alert, self.0.sock.read(&mut [0]))
    }
}

/// Whom a client trusts, and who it is.
#[derive(Clone)]
pub struct Trust {
    versions: &'static [&'static SupportedProtocolVersion],
    authority: String,
    identity: Option<(String, String)>,
    protocols: &'static [&'static [u8]],
}

impl Trust {
    /// Trusts an authority, given as PEM.
    pub fn in_pem(authority: &str) -> Self {
        Self {
            versions: rustls::ALL_VERSIONS,
            authority: authority.to_owned(),
            identity: None,
            protocols: &[],
        }
    }

    pub fn of(authority: &Authority) -> Self {
        Self::in_pem(&authority.pem())
    }

    /// The same for a client with a certificate.
    pub fn with(self, identity: &Issued) -> Self {
        let identity = Some((identity.certificate.clone(), identity.key.clone()));
        Self { identity, ..self }
    }

    /// The same for a client that speaks only these versions of TLS.
    pub fn versions(self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        Self { versions, ..self }
    }

    /// The same for a client that offers these protocols (ALPN).
    pub fn offering(self, protocols: &'static [&'static [u8]]) -> Self {
        Self { protocols, ..self }
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.as_bytes()).expect("it is one"))
            .expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("they are supported")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("it is one")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it is one");
                builder.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// Connects to the server, which has to have a certificate for `name`.
    pub fn connect(&self, port: u16, name: &str) -> io::Result<Secure> {
        self.over(TcpStream::connect(("127.0.0.1", port))?, name).map(Secure)
    }

    /// Speaks TLS over this connection.
    pub fn over(&self, stream: TcpStream, name: &str) -> io::Result<TlsStream> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(self.config(), name).expect("the name fits");
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// The first bytes of a client that speaks TLS.
    pub fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(self.config(), name).expect("the name fits");
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).expect("a vector");
        hello
    }

    /// The certificate that the server has for `name`.
    pub fn certificate(&self, port: u16, name: &str) -> Vec<u8> {
        let secure = self.connect(port, name).expect("the server has a certificate for the name");
        secure.0.conn.peer_certificates().expect("a handshake needs one")[0].to_vec()
    }

    /// The body of the response to `GET path`; Err: the server has ended the connection.
    pub fn get(&self, port: u16, path: &str) -> io::Result<String> {
        let mut secure = self.connect(port, "localhost")?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
        secure.0.write_all(request.as_bytes())?;
        let mut response = String::new();
        secure.0.read_to_string(&mut response)?;
        let (head, body) = response.split_once("\r\n\r\n").expect("a response has a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{response}");
        Ok(body.to_owned())
    }

    /// A WebSocket at `path`.
    pub fn open(&self, port: u16, path: &str) -> WebSocket<TlsStream> {
        let secure = self.connect(port, "localhost").expect("the server serves");
        let url = format!("wss://localhost:{port}{path}");
        let (socket, _) = tungstenite::client(url, secure.0).expect("the server upgrades");
        socket
    }
}
