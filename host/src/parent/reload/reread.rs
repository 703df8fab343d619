//! The settings, read again for a reload, and whether the server could start with them. Files may be slow to read and
//! long, and names slow to look up, so a thread does both: the event loop carries the broadcasts of the workers
//! meanwhile.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::timeout;

use crate::config::settings::Settings;
use crate::parent::control::ReadSettings;
use crate::parent::deadline::Deadline;
use crate::parent::preflight;
use crate::system::pool::Pool;

/// Time to find out whether the server could start again. The one who asked for the reload waits.
const RESTART_CHECK: Duration = Duration::from_secs(10);

/// Reads the settings.
pub async fn read(read_settings: &ReadSettings, needs_file: bool, deadline: Deadline) -> Result<Settings> {
    let read_settings = read_settings.clone();
    let late = "the settings had not been read";
    let settings = deadline.on_thread("settings", late, move || read_settings()).await?;
    if needs_file && settings.config.is_none() {
        bail!("the server has no config file; start it with --config FILE, or reload without --config");
    }
    Ok(settings)
}

/// Why the next start of the server will fail with these settings. None: it will not.
pub async fn restart_failure(settings: Settings) -> Option<String> {
    let pool = Pool::new("settings", 1);
    let checked = timeout(RESTART_CHECK, pool.call(move || preflight::check_restart(&settings))).await;
    match checked {
        Ok(checked) => {
            checked.err().map(|error| format!("the next start of the server will fail: {error:#}"))
        }
        Err(_) => Some(format!(
            "whether the server could start with these settings was not found out within {RESTART_CHECK:?}: a file or a \
             name server does not answer"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

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
        let deadline = Deadline::after(Duration::from_secs(20));
        let (result, ()) = tokio::join!(read(&read_settings, false, deadline), async {
            loop_runs.send(()).expect("the thread waits");
        });
        assert_eq!(
            result.map(drop).map_err(|error| error.to_string()),
            Err("it was read meanwhile".to_owned())
        );
    }

    #[tokio::test(flavor = "local")]
    async fn settings_that_take_too_long_to_read_reject_the_reload() {
        let (end, ended) = mpsc::channel::<()>();
        let ended = Mutex::new(ended);
        let read_settings: ReadSettings = Arc::new(move || {
            let _ = ended.lock().expect("no panic").recv();
            bail!("nobody waits for this")
        });
        let error = read(&read_settings, false, Deadline::after(Duration::from_millis(1))).await;
        drop(end);
        let error = error.expect_err("it takes too long").to_string();
        assert_eq!(error, "the settings had not been read within 1ms (--reload-timeout)");
    }
}
