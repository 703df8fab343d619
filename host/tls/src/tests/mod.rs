//! rustls' client is the oracle: it speaks with a session as with any server.

mod certificates;
mod handshake;
mod records;

mod control; // alerts, key updates, limits

mod frozen;

use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};

use super::{
    CertifiedPem, End, Established, Handshake, HandshakeError, Pem, Progress, ServerConfig, Session, Suite,
};

thread_local! {
    /// Limits of a key that a test can reach.
    pub(crate) static RECORDS_MAX: Cell<Option<u64>> = const { Cell::new(None) };
    pub(crate) static BLOCKS_MAX: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Every suite, as rustls and as we call it.
const SUITES: [(SupportedCipherSuite, Suite); 6] = [
    (cipher_suite::TLS13_AES_128_GCM_SHA256, Suite::Aes128Gcm),
    (cipher_suite::TLS13_AES_256_GCM_SHA384, Suite::Aes256Gcm),
    (cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, Suite::ChaCha20Poly1305),
    (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, Suite::Tls12Aes128Gcm),
    (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, Suite::Tls12Aes256Gcm),
    (cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, Suite::Tls12ChaCha20Poly1305),
];
const TLS13: SupportedCipherSuite = SUITES[1].0;
const TLS12: SupportedCipherSuite = SUITES[4].0;

/// An issuer of certificates.
struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key as PEM.
struct Files {
    certificate: String,
    key: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, key()).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names.
    fn issue(&self, names: &[&str]) -> Files {
        self.issue_for(&key(), names)
    }

    fn issue_for(&self, key: &KeyPair, names: &[&str]) -> Files {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let issuer: &Issuer<'static, KeyPair> = &self.0;
        let certificate = params.signed_by(key, issuer).expect("a certificate");
        Files { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// What a client is configured with that trusts this issuer.
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an issuer");
        roots
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

impl Files {
    fn pair(&self) -> CertifiedPem<'_> {
        CertifiedPem { certificate: pem("server.pem", &self.certificate), key: pem("server.key", &self.key) }
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).map(|der| der.expect("PEM")).collect()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM")
    }
}

fn pem<'a>(file: &'a str, content: &'a str) -> Pem<'a> {
    Pem { file, bytes: content.as_bytes() }
}

/// A server `localhost`, and what its clients are configured with.
struct Setup {
    ca: Ca,
    server: Arc<ServerConfig>,
}

impl Setup {
    fn new() -> Self {
        let ca = Ca::new("test");
        let files = ca.issue(&["localhost"]);
        let server = ServerConfig::new(&[files.pair()], None).expect("a valid pair");
        Self { ca, server }
    }

    fn client(&self, suite: SupportedCipherSuite) -> ClientConnection {
        client(client_config(&self.ca, suite), "localhost")
    }

    fn connect(&self, suite: SupportedCipherSuite) -> Pair {
        connect(&self.server, self.client(suite)).expect("both sides support the suite")
    }
}

fn client_config(ca: &Ca, suite: SupportedCipherSuite) -> ClientConfig {
    let provider = rustls::crypto::CryptoProvider { cipher_suites: vec![suite], ..default_provider() };
    let versions: &[_] = match suite {
        SupportedCipherSuite::Tls13(_) => &[&rustls::version::TLS13],
        _ => &[&rustls::version::TLS12],
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(ca.roots()).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn client(config: ClientConfig, name: &'static str) -> ClientConnection {
    let name = ServerName::try_from(name).expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a configuration")
}

/// What a client has to send.
fn sent_by(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a vector");
    }
    bytes
}

/// Gives a client bytes; returns the data in them.
fn give(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut data = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("a slice");
        client.process_new_packets()?;
        // WouldBlock at the end of what is there.
        let _ = client.reader().read_to_end(&mut data);
    }
    Ok(data)
}

/// A client and a session.
struct Pair {
    client: ClientConnection,
    established: Established,
}

/// The handshake.
fn connect(
    server: &ServerConfig,
    client: ClientConnection,
) -> Result<Pair, (HandshakeError, Box<ClientConnection>)> {
    connect_in_pieces(server, client, usize::MAX)
}

fn connect_in_pieces(
    server: &ServerConfig,
    mut client: ClientConnection,
    piece: usize,
) -> Result<Pair, (HandshakeError, Box<ClientConnection>)> {
    let mut handshake = Handshake::new(server).expect("a configuration");
    loop {
        let bytes = sent_by(&mut client);
        assert!(!bytes.is_empty(), "both sides wait");
        let mut pieces = bytes.chunks(piece.min(bytes.len()));
        while let Some(part) = pieces.next() {
            let mut out = Vec::new();
            let result = handshake.receive(part).and_then(|_| handshake.advance(&mut out));
            let given = give(&mut client, &out);
            match result {
                Err(error) => return Err((error, Box::new(client))),
                Ok(Progress::Established(mut established)) => {
                    given.expect("the server ends the handshake");
                    pieces.for_each(|rest| established.leftover.extend_from_slice(rest));
                    return Ok(Pair { client, established: *established });
                }
                Ok(Progress::Waiting) => given.map(drop).expect("the client accepts the server"),
            }
        }
    }
}

impl Pair {
    fn session(&mut self) -> &mut Session {
        &mut self.established.session
    }

    /// Has the client send data.
    fn send(&mut self, data: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        for part in data.chunks(10_000) {
            self.client.writer().write_all(part).expect("a buffer");
            sent.extend(sent_by(&mut self.client));
        }
        sent
    }

    /// Has the session seal data, and the client read it.
    fn deliver(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(self.session().seal([data], usize::MAX, &mut out), Ok(data.len()));
        give(&mut self.client, &out).expect("valid records")
    }
}

/// Opens bytes that arrive in pieces; returns the data, and how the session has ended.
fn open_pieces(session: &mut Session, bytes: &[u8], piece: usize) -> (Vec<u8>, Option<End>) {
    let (mut data, mut rest) = (Vec::new(), Vec::new());
    for part in bytes.chunks(piece) {
        let mut buffer = [&rest[..], part].concat();
        let opened = session.open(&mut buffer);
        data.extend_from_slice(&buffer[..opened.length]);
        if opened.end.is_some() {
            return (data, opened.end);
        }
        assert!(opened.rest.start == 0 || opened.length < opened.rest.start, "no byte behind the data");
        rest = buffer[opened.rest].to_vec();
    }
    (data, None)
}

/// The client's end of a session, which can also send what no client sends.
fn mirror(session: &Session) -> Session {
    let bytes = Session::freeze_copy(session);
    let suite = session.suite;
    let one = (bytes.len() - 7) / 2;
    let swapped = [&bytes[..7], &bytes[7 + one..], &bytes[7..7 + one]].concat();
    let mirrored = Session::thaw(&swapped).expect("a frozen session");
    assert_eq!(mirrored.suite, suite);
    mirrored
}
