//! Who sent a request, and over what it came.

use std::cell::OnceCell;
use std::rc::Rc;

use super::http2;
use super::recorded::Entry;
use super::stream::Peer;
use crate::client::Client;
use crate::client::certificate::ClientCertificate;
use crate::config::route::Params;
use crate::config::trusted_proxies::TrustedProxies;
use crate::plugin::dispatch::Dispatch;
use crate::system::addresses::Seat;
use crate::worker::Worker;
use crate::worker::admission::Permit;
use crate::worker::handshakes::Pending;
use crate::worker::listening::Listening;

/// Who sent a request.
#[derive(Clone)]
pub(super) struct Sender {
    pub worker: &'static Worker,
    /// The client, or the proxy that the request came from as long as its headers were not looked at.
    pub peer: Peer,
    /// Whether `peer` sends the bytes of the connection, and not a client that its proxy has not named. Headers of proxies do
    /// not count from that one.
    pub is_named: bool,
    pub permit: Rc<Permit>,
    /// The connection of a client that a proxy's header names, during its request.
    pub seat: Option<Rc<Seat>>,
    /// Whether what `peer` sends is encrypted on its way.
    pub is_secure: bool,
    /// What the client has proved its identity with.
    pub certificate: Option<Rc<ClientCertificate>>,
    /// Where the client has come to.
    pub listener: Rc<Listening>,
    /// From the first request on, a drain waits until its response is written.
    pub pending: Rc<OnceCell<Pending>>,
    /// For the access log.
    pub entry: Option<Rc<Entry>>,
    /// The stream of the request. None: HTTP/1.1.
    pub stream: Option<Rc<http2::Waiting>>,
}

impl Sender {
    /// The proxies whose headers name the client. None where no PROXY header has named the proxy itself.
    pub fn trusted_proxies<'d>(&self, dispatch: &'d Dispatch) -> &'d TrustedProxies {
        if self.is_named { &dispatch.trusted_proxies } else { TrustedProxies::NONE }
    }

    /// Has the client know what its request head does not tell.
    pub fn describe(&self, client: &Client, params: Params) {
        self.certificate.iter().for_each(|certificate| client.set_certificate(certificate.clone()));
        client.is_secure.set(self.is_secure);
        client.set_params(params);
    }
}
