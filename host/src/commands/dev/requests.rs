//! Requests of the [`super::dev_loop`] to the server. The answers arrive as events.

use std::thread;

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
        if self.sender.send(ControlRequest::Reload { which, reason: None, answer }).is_err() {
            return false;
        }
        self.forward(answered, |answer| {
            Some(DevEvent::ReloadEnded(answer.unwrap_or_else(|| Err("the server is stopping".to_owned()))))
        });
        true
    }

    /// Requests [`DevEvent::ServerReady`] when the server has started. No event follows if it cannot start, or has no
    /// parent process.
    pub fn await_ready(&self) {
        let (answer, answered) = oneshot::channel();
        if self.sender.send(ControlRequest::Status(answer)).is_ok() {
            self.forward(answered, |status| status.map(|_| DevEvent::ServerReady));
        }
    }

    /// Sends an answer as an event. None: the server has dropped the request.
    fn forward<T: Send + 'static>(
        &self,
        answered: oneshot::Receiver<T>,
        to_event: impl FnOnce(Option<T>) -> Option<DevEvent> + Send + 'static,
    ) {
        let events = self.events.clone();
        thread::spawn(move || to_event(answered.blocking_recv().ok()).map(|event| events.send(event)));
    }
}
