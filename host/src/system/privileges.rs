//! The user and group that workers run as, from `--user` and `--group`.

use std::fmt;

use nix::unistd::{Gid, Group, Uid, User};

use crate::config::account::Owner;

/// What an operator has to know who starts the server as root without `--user`.
pub const AS_ROOT: &str = "plugins run as root, because --user is not given: a fault in a plugin is one in the whole \
                           system; name a user, such as --user www-data, or `user` in the config file";

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Identity {
    pub user: u32,
    /// The only group.
    pub group: u32,
    /// Whether processes with this identity have no capabilities, and cannot get any: a user was named.
    pub drops_capabilities: bool,
}

impl Identity {
    /// That of this process.
    pub fn own() -> Self {
        Self { user: Uid::effective().as_raw(), group: Gid::effective().as_raw(), drops_capabilities: false }
    }
}

/// Why workers cannot run as that user or group.
#[derive(Debug)]
pub struct AccountError {
    /// The setting that is wrong: `user` or `group`.
    pub key: &'static str,
    why: String,
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for AccountError {}

/// Looks up `--user` and `--group`, each a name or a number, and whether this process may become them. None: neither is
/// given, and workers run as the parent does.
pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, AccountError> {
    let key = if user.is_some() { "user" } else { "group" };
    if (user.is_some() || group.is_some()) && !is_root() {
        let why = "--user and --group need a start as root: only root can become another user";
        return Err(AccountError { key, why: why.to_owned() });
    }
    look_up(user, group)
}

/// Looks up `--user` and `--group`, each a name or a number.
pub fn look_up(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, AccountError> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let wrong = |key, why| AccountError { key, why: format!("{why} (--{key})") };
    let user = user.map(find_user).transpose().map_err(|why| wrong("user", why))?;
    let group = match (group, &user) {
        (Some(name), _) => find_group(name).map_err(|why| wrong("group", why))?,
        (None, Some((_, group))) => *group,
        (None, None) => Gid::effective().as_raw(),
    };
    let drops_capabilities = user.is_some();
    let user = user.map_or_else(|| Uid::effective().as_raw(), |(user, _)| user);
    Ok(Some(Identity { user, group, drops_capabilities }))
}

/// Looks up the owner of a file.
pub fn look_up_owner(owner: &Owner) -> Result<Identity, String> {
    let (user, primary) = find_user(&owner.user)?;
    let group = owner.group.as_deref().map_or(Ok(primary), find_group)?;
    Ok(Identity { user, group, drops_capabilities: true })
}

/// Whether this process is root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The numbers of a user and of the user's primary group.
fn find_user(name: &str) -> Result<(u32, u32), String> {
    let (found, number) = match name.parse() {
        Ok(number) => (User::from_uid(Uid::from_raw(number)), Some(number)),
        Err(_) => (User::from_name(name), None),
    };
    match (found, number) {
        (Ok(Some(user)), _) => Ok((user.uid.as_raw(), user.gid.as_raw())),
        (Ok(None), Some(number)) => Ok((number, number)),
        (Ok(None), None) => Err(format!("no user `{name}` on this machine")),
        (Err(why), _) => Err(format!("user `{name}` cannot be looked up: {why}")),
    }
}

fn find_group(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("no group `{name}` on this machine")),
        Err(why) => Err(format!("group `{name}` cannot be looked up: {why}")),
    }
}

/// Whether this program's file has capabilities (setcap). The C library then ignores some variables of the environment,
/// such as TMPDIR and GLIBC_TUNABLES, and removes them.
pub fn has_file_capabilities() -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::getxattr("/proc/self/exe", c"security.capability", &mut [0_u8; 64][..]).is_ok();
    #[cfg(not(target_os = "linux"))]
    false
}
