//! What holds for the new clients of a listening socket. A reload replaces it; clients that have been accepted keep theirs.

use std::sync::Arc;

use callsign_tls::ServerConfig;

use crate::config::listen::ListenerSettings;

/// How the clients of a listening socket are served.
pub struct Listening {
    pub settings: ListenerSettings,
    /// None: without TLS.
    pub tls: Option<Arc<ServerConfig>>,
}
