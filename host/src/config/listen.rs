//! What the server listens on: an address, and what holds for the clients that connect to it.

use anyhow::{Error, anyhow};
use serde::{Deserialize, Serialize};

use super::listen_address::ListenAddress;
use super::redirect::{Redirect, RedirectTarget};
use super::tls::TlsSource;

/// An entry of `listen`: a `[[listen]]` table, an address of the short form, or one of `--listen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    pub address: ListenAddress,
    /// Whether its clients are proxies that say in a header, before anything else, who their client is.
    pub proxy_protocol: bool,
    /// None: without TLS.
    pub tls: Option<TlsSource>,
    /// Where its clients are sent to. None: they are served.
    pub redirect: Option<Redirect>,
    /// Where it is: `file:line:column` in the config file, or the name of the environment variable. None: in neither.
    pub position: Option<String>,
}

/// What a worker has to know about a listening socket. An entry may stand for several sockets, as `localhost` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSettings {
    /// The address of the socket: `127.0.0.1:8080` or `unix:/run/chat.sock`.
    pub address: String,
    /// As in [`Listen`].
    pub proxy_protocol: bool,
    /// Where clients are sent to. None: they are served.
    pub redirect: Option<RedirectTarget>,
}

impl Listen {
    /// An entry of the command line. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        ListenAddress::parse(text).map(|address| Self { address, ..Self::default() })
    }

    /// The settings of the socket at `address`, one of those that this entry stands for. Whoever knows all sockets adds
    /// where a redirect leads to.
    pub fn settings(&self, address: String) -> ListenerSettings {
        ListenerSettings { address, proxy_protocol: self.proxy_protocol, redirect: None }
    }

    /// Whether it has TLS for clients that come without a proxy, and without a certificate of their own.
    pub fn is_for_redirected(&self) -> bool {
        !self.proxy_protocol && self.tls.as_ref().is_some_and(|tls| tls.client_certificates.is_none())
    }

    /// Whether the clients of both entries are served in the same way.
    pub fn has_settings_of(&self, other: &Self) -> bool {
        let at_default = |entry: &Self| {
            let Self { address, position, .. } = Self::default();
            Self { address, position, ..entry.clone() }
        };
        at_default(self) == at_default(other)
    }

    /// Adds to an error about this entry where the entry is, unless it is of the command line. Hints at the option then
    /// lead astray.
    pub fn located(&self, error: Error) -> Error {
        let Some(position) = &self.position else { return error };
        let text = format!("{error:#}").replace(" (--listen)", "").replace(" with --listen", "");
        anyhow!("{position}: {}", text.replace("--listen", "`listen`"))
    }
}

impl Default for Listen {
    fn default() -> Self {
        let address = ListenAddress::Default;
        Self { address, proxy_protocol: false, tls: None, redirect: None, position: None }
    }
}
