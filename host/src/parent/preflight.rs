//! What has to hold before a server can start with its settings, apart from the plugins: whether that is the case here,
//! without starting it.

use anyhow::Result;

use super::control;
use super::copies::Copies;
use super::listeners;
use crate::config::settings::Settings;
use crate::serve::{self, certificates, confinement, listen};
use crate::system::privileges::{self, AS_ROOT};
use crate::system::{access_log, sandbox};

/// Whether this server could start with these settings, as it is started now.
pub fn check_restart(settings: &Settings) -> Result<()> {
    let account = privileges::resolve(settings.user.as_deref(), settings.group.as_deref());
    account.map_err(|error| settings.located(error.key, error.into()))?;
    check(settings).map(drop)
}

/// Whether a server could start here. Returns warnings about the certificates.
pub fn check(settings: &Settings) -> Result<Vec<String>> {
    confinement::check(settings)?;
    let (user, group) = (settings.user.as_deref(), settings.group.as_deref());
    let identity = if settings.workers == 0 {
        serve::check_alone(settings).map(|()| None)?
    } else {
        privileges::look_up(user, group).map_err(|error| settings.located(error.key, error.into()))?
    };
    // Root will start such a server, and may use other ports and folders than this user.
    if identity.is_some() && !privileges::is_root() {
        return Ok(Vec::new());
    }
    access_log::check(&settings.access_log.target).map_err(|error| settings.located("access_log", error))?;
    let tls = certificates::read_all(&settings.listen)?;
    listen::check(&settings.listen)?;
    if settings.workers != 0 {
        listeners::check_count(settings.listen.len()).map_err(|error| settings.located("listen", error))?;
        control::check(&settings.control).map_err(|error| settings.located("control", error))?;
        // Removes the folder again.
        drop(Copies::new(identity)?);
    }
    Ok(certificates::warnings(tls.iter().flatten()))
}

/// What the server warns about when it starts.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = settings.warnings();
    warnings.extend(sandbox::warnings(&settings.sandbox));
    if settings.user.is_none() && privileges::is_root() {
        warnings.push(AS_ROOT.to_owned());
    }
    warnings
}
