//! The TLS configurations that new clients get. A reload replaces them; handshakes that have begun, and connections, keep
//! theirs.

use std::cell::RefCell;
use std::sync::Arc;

use callsign_tls::ServerConfig;

/// For each entry of `listen`, its configuration; None: it is without TLS.
pub type TlsConfigs = Vec<Option<Arc<ServerConfig>>>;

/// The configurations in use.
#[derive(Default)]
pub struct TlsInUse(RefCell<TlsConfigs>);

impl TlsInUse {
    /// Has new clients use these.
    pub fn replace(&self, configs: TlsConfigs) {
        self.0.replace(configs);
    }

    /// The configuration of an entry of `listen`.
    pub fn get(&self, entry: usize) -> Option<Arc<ServerConfig>> {
        self.0.borrow().get(entry).cloned().flatten()
    }
}
