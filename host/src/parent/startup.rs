//! The start of a server: the first worker starts alone, so that a faulty plugin is reported once. The start is over
//! when it serves, and has failed if no worker can. Afterwards the supervisor starts workers again for ever.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Result, bail};
use tokio::sync::mpsc;

use crate::link::inventory::Inventory;

/// Deaths of the first worker before it serves, after which the parent gives up.
const ATTEMPTS: u32 = 3;

/// What happens to the first worker.
pub enum StartupEvent {
    /// It serves what it has loaded.
    Ready(Rc<Inventory>),
    /// It cannot start, for a reason that holds for every other worker too.
    Failed(String),
    /// It died before it served.
    Died { in_a_row: u32, report: String },
}

/// The supervisors' end.
pub struct Startup {
    events: mpsc::UnboundedSender<StartupEvent>,
    is_over: Cell<bool>,
}

/// The other end.
pub struct StartupEvents(mpsc::UnboundedReceiver<StartupEvent>);

impl Startup {
    pub fn new() -> (Self, StartupEvents) {
        let (events, receiver) = mpsc::unbounded_channel();
        (Self { events, is_over: Cell::new(false) }, StartupEvents(receiver))
    }

    /// Has no effect when the start is over.
    pub fn report(&self, event: StartupEvent) {
        if !self.is_over() {
            self.is_over.set(matches!(event, StartupEvent::Ready(_)));
            let _ = self.events.send(event);
        }
    }

    /// Whether a worker has served.
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }
}

impl StartupEvents {
    /// Waits until the first worker serves. Err: no worker can start.
    pub async fn first_inventory(mut self) -> Result<Rc<Inventory>> {
        loop {
            match self.0.recv().await {
                Some(StartupEvent::Ready(inventory)) => return Ok(inventory),
                Some(StartupEvent::Failed(reason)) => bail!(reason),
                Some(StartupEvent::Died { in_a_row, report }) if in_a_row >= ATTEMPTS => {
                    bail!("no worker can start, after {in_a_row} tries: {report}")
                }
                Some(StartupEvent::Died { .. }) => {}
                None => bail!("the first worker has no supervisor"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(events: Vec<StartupEvent>) -> (bool, Result<Rc<Inventory>, String>) {
        let (startup, receiver) = Startup::new();
        events.into_iter().for_each(|event| startup.report(event));
        let is_over = startup.is_over();
        drop(startup);
        (is_over, receiver.first_inventory().await.map_err(|error| error.to_string()))
    }

    fn died(in_a_row: u32) -> StartupEvent {
        StartupEvent::Died { in_a_row, report: format!("death {in_a_row}") }
    }

    #[tokio::test]
    async fn the_start_succeeds_with_the_first_worker_that_serves() {
        let inventory = Rc::new(Inventory { routes_more: 7, ..Inventory::default() });
        let events = vec![died(1), died(2), StartupEvent::Ready(inventory.clone()), died(3)];
        assert_eq!(outcome(events).await, (true, Ok(inventory)));
    }

    #[tokio::test]
    async fn the_start_fails_at_the_third_death_and_at_once_with_a_reason() {
        let error = "no worker can start, after 3 tries: death 3".to_owned();
        assert_eq!(outcome(vec![died(1), died(2), died(3)]).await, (false, Err(error)));
        let failed = StartupEvent::Failed("no such handler".to_owned());
        assert_eq!(outcome(vec![died(1), failed]).await, (false, Err("no such handler".to_owned())));
    }
}
