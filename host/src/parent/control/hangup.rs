//! SIGHUP: reads the settings again and requests a reload with them. The file may be slow to read and long, so a thread
//! reads it: the event loop carries the broadcasts of the workers meanwhile.

use std::sync::Arc;

use anyhow::Result;
use log::Level;
use tokio::sync::oneshot;

use super::{ControlRequest, RequestSender, Which};
use crate::config::settings::Settings;
use crate::system::log as logging;
use crate::system::pool::Pool;
use crate::system::service_manager::Service;
use crate::system::signals::Hangup;

/// Whether the server could start with the settings.
pub type CheckRestart = fn(&Settings) -> Result<()>;

/// Reads the settings again, from the same options and the same config file as at the start.
pub type ReadSettings = Arc<dyn Fn() -> Result<Settings> + Send + Sync>;

/// Opens the logs again and reloads at each SIGHUP, for as long as the future is polled. A restart may need more than a reload. The service manager
/// may have sent the signal, and waits for the end of the reload.
pub async fn reload_on(
    mut hangup: Hangup,
    read_settings: ReadSettings,
    check_restart: CheckRestart,
    sender: RequestSender,
    service: &Service,
    reopen_logs: impl Fn(),
) {
    let pool = Pool::new("settings", 1);
    while hangup.requested().await {
        let reloading = service.asked_to_reload();
        reopen_logs();
        // The parent logs the outcome.
        match read(&pool, &read_settings).await {
            Ok(settings) => {
                reload(settings.clone(), &sender).await;
                if let Err(error) = pool.call(move || check_restart(&settings)).await {
                    log::warn!("SIGHUP: the next start of the server will fail: {error:#}");
                }
            }
            Err(error) => {
                let outcome = format!("nothing was reloaded: {error:#}");
                logging::lines(Level::Error, &format!("SIGHUP: {outcome}"));
                reloading.end(&outcome);
            }
        }
    }
}

async fn read(pool: &Pool, read_settings: &ReadSettings) -> Result<Settings> {
    let read_settings = read_settings.clone();
    pool.call(move || read_settings()).await
}

async fn reload(settings: Settings, sender: &RequestSender) {
    let (answer, answered) = oneshot::channel();
    let which = Which::Settings(Box::new(settings));
    let reason = Some("SIGHUP".to_owned());
    let _ = sender.send(ControlRequest::Reload { which, is_forced: false, reason, answer });
    let _ = answered.await;
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    use anyhow::bail;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn the_event_loop_runs_while_the_settings_are_read() {
        let (loop_runs, wait) = mpsc::channel();
        let wait = Mutex::new(wait);
        let read_settings: ReadSettings = Arc::new(move || {
            let wait = wait.lock().expect("no panic");
            match wait.recv_timeout(Duration::from_secs(10)) {
                Ok(()) => bail!("it was read meanwhile"),
                Err(_) => bail!("the loop waits for it"),
            }
        });
        let pool = Pool::new("settings", 1);
        let (result, ()) = tokio::join!(read(&pool, &read_settings), async {
            loop_runs.send(()).expect("the thread waits");
        });
        assert_eq!(
            result.map(drop).map_err(|error| error.to_string()),
            Err("it was read meanwhile".to_owned())
        );
    }
}
