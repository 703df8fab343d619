//! The callbacks of a connection besides onmessage: onconnect first, ondisconnect last, then the release of what
//! plugins keep in it. A handler that fails closes its connection.

use std::fmt;

use log::Level;

use super::Worker;
use crate::client::Client;
use crate::plugin::call;
use crate::plugin::generation::Generation;
use crate::plugin::handler::HandlerRef;
use crate::system::log::repeats::{FEW, Repeats};

thread_local! {
    /// Clients can make some handlers fail at will.
    static REPEATS: Repeats = Repeats::allowing(FEW);
}

/// Close code for a handler that failed (RFC 6455 §7.4.1).
const INTERNAL_ERROR: u16 = 1011;

impl Worker {
    /// The handler failed: logs why, and closes the connection with 1011.
    #[cold]
    pub fn handler_failed(&self, c: &Client, handler: HandlerRef, reason: &str) {
        log_failure(
            handler,
            reason,
            format_args!("; closing connection {} ({}) with {INTERNAL_ERROR}", c.id(), c.peer()),
        );
        self.hub.fail(c, INTERNAL_ERROR, "handler failed");
    }

    /// Calls an onconnect or ondisconnect handler of an open connection.
    pub(super) fn call(&self, c: &Client, handler: Option<HandlerRef>) {
        if let Some(handler) = handler
            && let Err(reason) = call::on_connection(handler, c)
        {
            self.handler_failed(c, handler, &reason);
        }
    }

    /// The last callback of a connection that has ended, then the release of what plugins keep in it.
    pub(super) fn disconnect(&self, c: &Client) {
        if let Some(handler) = c.callbacks().ondisconnect
            && !c.departed.get()
            && let Err(reason) = call::on_connection(handler, c)
        {
            log_failure(
                handler,
                &reason,
                format_args!("; connection {} ({}) has ended already", c.id(), c.peer()),
            );
        }
        self.release(c);
    }

    /// Has the plugins of the connection's handlers release what they keep in it.
    fn release(&self, c: &Client) {
        let registry = self.registry();
        registry.owners(&c.callbacks()).for_each(|plugin| release(plugin, c));
    }

    /// A reload carries nothing over for this connection: to the old generation it leaves. False: the connection is
    /// closing, and leaves anyway.
    pub fn depart(&self, c: &Client) -> bool {
        let stays = c.is_open();
        if stays {
            c.departed.set(true);
            self.call(c, c.callbacks().ondisconnect);
        }
        self.release(c);
        stays
    }

    /// To the new generation the connection arrives.
    pub fn arrive(&self, c: &Client) {
        if c.is_open() {
            c.departed.set(false);
            self.call(c, c.callbacks().onconnect);
        }
    }
}

/// Logs that a handler failed, why, and what follows.
#[cold]
pub fn log_failure(handler: HandlerRef, reason: &str, consequence: fmt::Arguments<'_>) {
    log(&handler.to_string(), format_args!("{handler} failed: {reason}{consequence}"));
}

fn log(kind: &str, line: fmt::Arguments<'_>) {
    REPEATS.with(|repeats| repeats.log(Level::Error, kind, line));
}

/// Has a plugin release what it keeps in a connection, or in the request that could have become one.
pub fn release(plugin: &Generation, c: &Client) {
    if let Err(reason) = plugin.release(c) {
        let what = match c.id() {
            Client::NO_ID => format!("a request from {}", c.peer()),
            id => format!("connection {id}"),
        };
        log(
            &format!("release {}", plugin.name),
            format_args!("plugin `{}`: the data of {what} cannot be dropped: {reason}", plugin.name),
        );
    }
}

/// Releases what a plugin has put into a request that does not become a connection of this generation.
pub fn release_request(plugin: &Generation, c: &Client) {
    if c.has_data_or_tag() {
        release(plugin, c);
        c.clear_data();
    }
}
