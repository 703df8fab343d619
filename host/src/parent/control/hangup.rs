//! SIGHUP: reads the settings again and requests a reload with them.

use anyhow::Result;
use log::Level;
use tokio::sync::oneshot;

use super::{ControlRequest, RequestSender, Which};
use crate::config::settings::Settings;
use crate::system::log as logging;
use crate::system::signals::Hangup;

/// Reads the settings again, from the same options and the same config file as at the start.
pub type ReadSettings = Box<dyn Fn() -> Result<Settings>>;

/// Reloads at each SIGHUP, for as long as the future is polled.
pub async fn reload_on(mut hangup: Hangup, read_settings: ReadSettings, sender: RequestSender) {
    while hangup.requested().await {
        // The parent logs the outcome.
        match read_settings() {
            Ok(settings) => reload(settings, &sender).await,
            Err(error) => logging::lines(Level::Error, &format!("SIGHUP: nothing was reloaded: {error:#}")),
        }
    }
}

async fn reload(settings: Settings, sender: &RequestSender) {
    let (answer, answered) = oneshot::channel();
    let which = Which::Settings(Box::new(settings));
    let reason = Some("SIGHUP".to_owned());
    let _ = sender.send(ControlRequest::Reload { which, is_forced: false, reason, answer });
    let _ = answered.await;
}
