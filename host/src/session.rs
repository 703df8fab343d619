//! The life of a connection, from onconnect to ondisconnect: reads, hands messages to the plugin, writes what
//! it has queued, and closes in the order of RFC 6455 §7.1.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::connection::{Connection, Phase};
use crate::plugin::call;
use crate::plugin::handler::HandlerRef;
use crate::plugin::loaded;
use crate::websocket::{Event, Receiver, op};

/// Reads after which a client that sends on and on lets the others have their turn.
const READS_PER_TURN: usize = 8;
/// Time without a byte written after which a client counts as not reading.
const STALL: Duration = Duration::from_secs(1);
/// Close code for a handler that failed (RFC 6455 §7.4.1).
const INTERNAL_ERROR: u16 = 1011;

/// A connection's task. It is as small as can be: an idle connection costs little more than this.
struct Session {
    c: Rc<Connection>,
    receiver: Receiver,
    stage: Stage,
    /// Runs while the client takes nothing of what waits for it.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs once the closing has begun.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Where in its life the session is.
enum Stage {
    /// Until the closing handshake is done or the socket is gone.
    Serving,
    /// The last callback has run; our side of the socket is still open.
    Disconnected,
    /// Waits for the client to close its side.
    Lingering,
}

/// Serves a connection until it has ended. `early`: bytes that came behind the request.
pub fn start(c: Rc<Connection>, mut early: Vec<u8>) {
    let mut session =
        Session { c, receiver: Receiver::new(), stage: Stage::Serving, stall: None, deadline: None };
    session.reading(|session| {
        let c = &*session.c;
        if let Some(handler) = c.callbacks.onconnect
            && let Err(reason) = call::on_connection(handler, c)
        {
            failed(c, handler, &reason);
        }
        if !early.is_empty() {
            session.receive(&mut early);
        }
    });
    tokio::task::spawn_local(session);
}

/// The last callbacks. The connection is in nobody's list any more, and takes no more messages.
fn disconnect(c: &Connection) {
    if let Some(handler) = c.callbacks.ondisconnect
        && !c.left.get()
        && let Err(reason) = call::on_connection(handler, c)
    {
        log::error!("{handler} failed: {reason}; connection {} ({}) has ended already", c.id, c.peer());
    }
    release(c);
}

/// Has the plugins of the connection's handlers free what they have put into it.
fn release(c: &Connection) {
    let registry = c.worker.registry();
    registry.owners(&c.callbacks).for_each(|plugin| loaded::release(plugin, c));
}

/// A reload carries nothing over for this connection: the code that it had so far sees it leave. False: it is
/// closing, and will be seen leaving anyway.
pub fn leave(c: &Connection) -> bool {
    let stays = c.phase.get() == Phase::Open;
    if stays {
        c.left.set(true);
        if let Some(handler) = c.callbacks.ondisconnect
            && let Err(reason) = call::on_connection(handler, c)
        {
            failed(c, handler, &reason);
        }
    }
    release(c);
    stays
}

/// The code that it has now sees it come.
pub fn enter(c: &Connection) {
    if c.phase.get() != Phase::Open {
        return;
    }
    c.left.set(false);
    if let Some(handler) = c.callbacks.onconnect
        && let Err(reason) = call::on_connection(handler, c)
    {
        failed(c, handler, &reason);
    }
}

impl Future for Session {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        if let Stage::Serving = session.stage {
            ready!(session.poll_serving(cx));
            session.c.worker.remove(&session.c);
            disconnect(&session.c);
            session.stage = Stage::Disconnected;
        }
        if session.c.phase.get() == Phase::Gone || session.poll_deadline(cx).is_ready() {
            return Poll::Ready(());
        }
        session.poll_lingering(cx)
    }
}

impl Session {
    /// Ready when the connection has ended: all is written after the Closes, or the socket is gone, or the
    /// time for closing is up.
    fn poll_serving(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let c = self.c.clone();
        if !c.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *c.waker.borrow_mut() = Some(cx.waker().clone());
        }
        while c.blocked.get() && c.stream.borrow().poll_write_ready(cx).is_ready() {
            c.flush();
        }
        // Before the reads: with a client that sends on and on they use up all that tokio grants this turn.
        if c.phase.get() != Phase::Open && self.poll_deadline(cx).is_ready() {
            c.lost();
            return Poll::Ready(());
        }
        let mut reads = 0;
        while matches!(c.phase.get(), Phase::Open | Phase::Closing)
            && !self.waits_for_writes(cx)
            && self.poll_read(cx).is_ready()
        {
            reads += 1;
            if reads == READS_PER_TURN {
                // Not at once: first the others, and a look at which sockets are ready.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                break;
            }
        }
        if c.phase.get() == Phase::Open {
            return Poll::Pending;
        }
        if c.phase.get() == Phase::Closed && !c.blocked.get() {
            c.flush();
        }
        match c.phase.get() {
            Phase::Gone => return Poll::Ready(()),
            Phase::Closed if c.is_flushed() => return Poll::Ready(()),
            _ => {}
        }
        ready!(self.poll_deadline(cx));
        c.lost();
        Poll::Ready(())
    }

    /// While a client is behind with its own answers it is not read from: it sends no faster than it takes. But
    /// one that takes nothing for [`STALL`] is read from again, up to the bound of its queue.
    fn waits_for_writes(&mut self, cx: &mut Context<'_>) -> bool {
        if self.c.phase.get() != Phase::Open || !self.c.is_behind() {
            self.stall = None;
            return false;
        }
        if self.c.progressed.replace(false) {
            self.c.heard.set(true);
            self.stall = None;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        stall.as_mut().poll(cx).is_pending()
    }

    /// After a proper Close: ends our side, and waits until the client has ended its own. Closing a socket
    /// with unread bytes in it would reset it, and the client might lose our last words.
    fn poll_lingering(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stream = self.c.stream.borrow_mut();
        if let Stage::Disconnected = self.stage {
            if ready!(Pin::new(&mut *stream).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.stage = Stage::Lingering;
        }
        loop {
            let mut buffer = self.c.worker.read_buffer.borrow_mut();
            let mut buffer = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Ready when the time for closing is up.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let time = self.c.worker.limits.close_timeout;
        self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(time))).as_mut().poll(cx)
    }

    /// Reads once and handles what came.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let worker = self.c.worker;
        // One buffer for all connections: it is only in use between a read and the end of its callbacks.
        let mut buffer = worker.read_buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        let result = ready!(Pin::new(&mut *self.c.stream.borrow_mut()).poll_read(cx, &mut read));
        let n = read.filled().len();
        match result {
            Ok(()) if n > 0 => self.reading(|session| session.receive(&mut buffer[..n])),
            _ => self.c.lost(),
        }
        Poll::Ready(())
    }

    /// Runs callbacks; what they send to this connection leaves in one write after them.
    fn reading(&mut self, f: impl FnOnce(&mut Self)) {
        let flush_is_mine = !self.c.flush_due.replace(true);
        f(self);
        if flush_is_mine {
            self.c.flush_due.set(false);
            if !self.c.blocked.get() {
                self.c.flush();
            }
        }
    }

    fn receive(&mut self, mut input: &mut [u8]) {
        let c = &*self.c;
        c.heard.set(true);
        let max_message = c.worker.limits.max_message;
        loop {
            match self.receiver.next(&mut input, max_message) {
                Ok(Some(Event::Message { op, data })) => {
                    if c.phase.get() == Phase::Open
                        && let Some(handler) = c.callbacks.onmessage
                        && let Err(reason) = call::on_message(handler, c, op, data)
                    {
                        failed(c, handler, &reason);
                    }
                }
                Ok(Some(Event::Ping(data))) => {
                    c.send(op::PONG, data);
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close { code, reason })) => return c.closed_by_client(code, reason),
                Ok(None) => return,
                Err(violation) => {
                    log::debug!("connection {} ({}): {violation}", c.id, c.peer());
                    return c.fail(violation.code, violation.reason);
                }
            }
        }
    }
}

/// Says why a callback failed, and closes its connection.
#[cold]
pub fn failed(c: &Connection, handler: HandlerRef, reason: &str) {
    log::error!("{handler} failed: {reason}; closing connection {} ({}) with 1011", c.id, c.peer());
    c.fail(INTERNAL_ERROR, "handler failed");
}
