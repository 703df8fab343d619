//! SIGHUP: opens the logs again and requests a reload with the settings that the server reads again.

use tokio::sync::oneshot;

use super::{ControlRequest, RequestSender, Which};
use crate::system::service_manager::Service;
use crate::system::signals::Hangup;

/// Opens the logs again and reloads at each SIGHUP, for as long as the future is polled. The service manager may have sent
/// the signal, and waits for the end of the reload.
pub async fn reload_on(mut hangup: Hangup, sender: RequestSender, service: &Service, reopen_logs: impl Fn()) {
    while hangup.requested().await {
        let _reloading = service.asked_to_reload();
        reopen_logs();
        let (answer, answered) = oneshot::channel();
        let which = Which::ReadAgain { needs_file: false };
        let reason = Some("SIGHUP".to_owned());
        let _ = sender.send(ControlRequest::Reload { which, is_forced: false, reason, answer });
        // The parent logs the outcome.
        let _ = answered.await;
    }
}
