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
    /// The number of its entry, for the certificates of its clients. None: without TLS.
    pub tls: Option<usize>,
    /// Where clients are sent to. None: they are served.
    pub redirect: Option<RedirectTarget>,
}

impl Listen {
    /// An entry of the command line. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        ListenAddress::parse(text).map(|address| Self { address, ..Self::default() })
    }

    /// The settings of the socket at `address`, one of those that this entry stands for. Whoever knows all sockets adds
    /// what TLS needs.
    pub fn settings(&self, address: String) -> ListenerSettings {
        ListenerSettings { address, proxy_protocol: self.proxy_protocol, tls: None, redirect: None }
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

/// Names the entries that only one of the two lists has: `listen (127.0.0.1:80, unix:/run/chat.sock)`. An entry whose
/// settings differ counts, but a reload can change certificates. None: the lists have the same entries.
pub fn differences(old: &[Listen], new: &[Listen]) -> Option<String> {
    let anywhere = |entry: &Listen| {
        let tls = entry.tls.as_ref().map(|_| TlsSource::default());
        Listen { position: None, tls, ..entry.clone() }
    };
    let [old, new] = [old, new].map(|list| list.iter().map(anywhere).collect::<Vec<_>>());
    let gone = old.iter().filter(|entry| !new.contains(entry));
    let added = new.iter().filter(|entry| !old.contains(entry));
    let mut names = Vec::new();
    for name in gone.chain(added).map(|entry| entry.address.to_string()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| format!("listen ({})", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(addresses: &[&str], position: &str) -> Vec<Listen> {
        let entry = |address: &&str| {
            let entry = Listen::parse(address).expect("it is valid");
            Listen { position: Some(position.to_owned()), ..entry }
        };
        addresses.iter().map(entry).collect()
    }

    #[test]
    fn entries_that_differ_are_named_by_their_addresses() {
        let differ = |old: &[&str], new: &[&str]| differences(&entries(old, "a:1:1"), &entries(new, "a:2:2"));
        assert_eq!(differ(&["a:1", "b:2"], &["b:2", "a:1"]), None);
        assert_eq!(differ(&["a:1", "b:2"], &["b:2", "unix:/c"]), Some("listen (a:1, unix:/c)".to_owned()));
        assert_eq!(
            differ(&["unix:/c", "a:1"], &["b:2", "unix:/c?mode=600"]),
            Some("listen (unix:/c, a:1, b:2)".to_owned())
        );
    }
}
