//! Requests of the [`super::dev_loop`] to the server. The answers arrive as events.

use std::{io, thread};

use tokio::sync::oneshot;

use super::events::{DevEvent, EventSender};
use crate::parent::control::{ControlRequest, RequestSender, Which};

pub struct ServerRequests {
    sender: RequestSender,
    events: EventSender,
}

impl ServerRequests {
    pub fn new(sender: RequestSender, events: EventSender) -> Self {
        Self { sender, events }
    }

    /// Requests a reload. Its result is [`DevEvent::ReloadEnded`]. Returns false if the server has no parent process.
    pub fn reload(&self, which: Which) -> bool {
        let (answer, answered) = oneshot::channel();
        let request = ControlRequest::Reload { which, is_forced: false, reason: None, answer };
        if self.sender.send(request).is_err() {
            return false;
        }
        let forwarded = self.forward(answered, |answer| {
            let answer = answer.unwrap_or_else(|| Err("the server is stopping".to_owned()));
            Some(DevEvent::ReloadEnded(answer.map(Box::new)))
        });
        if let Err(error) = forwarded {
            let why = format!("it was requested, but no thread can be created to wait for its end: {error}");
            let _ = self.events.send(DevEvent::ReloadEnded(Err(why)));
        }
        true
    }

    /// Requests [`DevEvent::ServerReady`] when the server has started. No event follows if it cannot start, or has no
    /// parent process.
    pub fn await_ready(&self) {
        let (answer, answered) = oneshot::channel();
        if self.sender.send(ControlRequest::Status(answer)).is_ok() {
            let forwarded = self.forward(answered, |status| status.map(|_| DevEvent::ServerReady));
            // The event only makes the output complete.
            let _ = forwarded.inspect_err(|error| log::warn!("no thread can be created: {error}"));
        }
    }

    /// Sends an answer as an event. None: the server has dropped the request. Err: no thread can be created.
    fn forward<T: Send + 'static>(
        &self,
        answered: oneshot::Receiver<T>,
        to_event: impl FnOnce(Option<T>) -> Option<DevEvent> + Send + 'static,
    ) -> io::Result<()> {
        let events = self.events.clone();
        let forward = move || {
            if let Some(event) = to_event(answered.blocking_recv().ok()) {
                // Nobody receives it once the loop of `dev` has ended.
                let _ = events.send(event);
            }
        };
        thread::Builder::new().name("dev answer".to_owned()).spawn(forward).map(drop)
    }
}
