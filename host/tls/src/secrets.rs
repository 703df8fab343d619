//! What rustls reveals while it processes a handshake: the traffic secrets, which its key log gets, and the name of the
//! server, which its certificate resolver gets.
//!
//! Both are shared by all handshakes of a configuration. A handshake is processed in one call, on one thread, so what
//! arrives during the call belongs to it.

use std::cell::Cell;

use rustls::KeyLog;
use zeroize::Zeroizing;

/// What is known of one handshake.
#[derive(Default)]
pub(crate) struct Revealed {
    /// Secrets of the directions; empty in TLS 1.2.
    client: Zeroizing<Vec<u8>>,
    server: Zeroizing<Vec<u8>>,
    /// The name of the server that the client wants (SNI).
    pub(crate) server_name: Option<String>,
}

impl Revealed {
    /// Of the client's direction, then of the server's. Empty in TLS 1.2.
    pub(crate) fn traffic_secrets(&self) -> (&[u8], &[u8]) {
        (&self.client, &self.server)
    }
}

thread_local! {
    static CURRENT: Cell<Option<Box<Revealed>>> = const { Cell::new(None) };
}

/// Runs `f`; what rustls reveals meanwhile is added to `revealed`.
pub(crate) fn capture<R>(revealed: &mut Box<Revealed>, f: impl FnOnce() -> R) -> R {
    CURRENT.set(Some(std::mem::take(revealed)));
    let result = f();
    *revealed = CURRENT.take().unwrap_or_default();
    result
}

fn note(f: impl FnOnce(&mut Revealed)) {
    if let Some(mut revealed) = CURRENT.take() {
        f(&mut revealed);
        CURRENT.set(Some(revealed));
    }
}

/// The client has named the server.
pub(crate) fn note_server_name(name: &str) {
    note(|revealed| revealed.server_name = Some(name.to_owned()));
}

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

/// Keeps the traffic secrets for [`capture`].
#[derive(Debug)]
pub(crate) struct Secrets;

impl KeyLog for Secrets {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        note(|revealed| match label {
            CLIENT => revealed.client = Zeroizing::new(secret.to_vec()),
            SERVER => revealed.server = Zeroizing::new(secret.to_vec()),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER)
    }
}
