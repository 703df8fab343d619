//! From the 101 to the worker: the socket that hyper gives back, or the stream of HTTP/2, becomes the transport of a
//! connection.

use std::rc::Rc;

use hyper_util::rt::TokioIo;
use log::Level;

use super::timed::Timed;
use super::{Sender, http2};
use crate::client::Client;
use crate::client::multiplexed::Multiplexed;
use crate::client::transport::Transport;
use crate::plugin::generation::Generation;
use crate::plugin::handler::Callbacks;
use crate::worker::admission::Permit;
use crate::worker::callbacks::release_request;

/// Waits until the 101 is written, then has the worker take over the socket. `called`: the generation whose handler may
/// have put data into the client.
pub(super) fn hand_over(
    sender: Sender,
    on_upgrade: hyper::upgrade::OnUpgrade,
    client: Rc<Client>,
    handlers: Callbacks,
    called: Option<Rc<Generation>>,
) {
    let Sender { worker, peer, permit, seat, pending, entry, stream: multiplexed, .. } = sender;
    entry.iter().for_each(|entry| entry.hand_over(&client));
    let promised = worker.handshakes.promise(handlers);
    tokio::task::spawn_local(async move {
        let (_pending, _promised) = (pending, promised);
        let fail = || {
            entry.iter().for_each(|entry| entry.fail_upgrade());
            called.iter().for_each(|called| release_request(called, &client));
        };
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                log::debug!("{peer}: left before it was upgraded: {:#}", anyhow::Error::new(error));
                return fail();
            }
        };
        let transport = match upgraded.downcast::<TokioIo<Timed>>() {
            Ok(parts) => {
                let (stream, behind) = parts.io.into_inner().into_inner();
                stream.into_transport().map(|(transport, decrypted)| {
                    (transport, [&parts.read_buf[..], &behind, &decrypted].concat())
                })
            }
            // hyper has no socket, but a stream of HTTP/2.
            Err(upgraded) => {
                let open = multiplexed.map(http2::Open);
                let stream = Multiplexed::new(TokioIo::new(upgraded), Box::new(open));
                Ok((Transport::Multiplexed(Box::new(stream)), Vec::new()))
            }
        };
        let (transport, early) = match transport {
            Ok(transport) => transport,
            Err(error) => {
                let line = format_args!("{peer}: its socket cannot be used: {error}");
                worker.hub.repeats.log(Level::Error, "socket", line);
                return fail();
            }
        };
        // A generation that is not in use any more cannot pass its data on to the next.
        let in_use = worker.registry();
        let old =
            called.filter(|called| in_use.get(called.index).is_none_or(|plugin| !Rc::ptr_eq(plugin, called)));
        old.iter().for_each(|old| release_request(old, &client));
        worker.open(client, transport, handlers, Permit::take(permit).seated(seat), early);
    });
}
