//! The user and group that workers run as, from `--user` and `--group`.

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Group, Uid, User};

/// A user and a group, by number.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub user: u32,
    /// The only group.
    pub group: u32,
}

/// Looks up `--user` and `--group`, each a name or a number. None: neither is given, and workers run as the parent
/// does.
pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    if !Uid::effective().is_root() {
        bail!("--user and --group need a start as root: only root can become another user");
    }
    let user = user.map(find_user).transpose()?;
    let group = match (group, &user) {
        (Some(name), _) => find_group(name)?,
        (None, Some((_, group))) => *group,
        (None, None) => Gid::effective().as_raw(),
    };
    let user = user.map_or_else(|| Uid::effective().as_raw(), |(user, _)| user);
    Ok(Some(Identity { user, group }))
}

/// The numbers of a user and of the user's primary group.
fn find_user(name: &str) -> Result<(u32, u32)> {
    let found = match name.parse() {
        Ok(number) => match User::from_uid(Uid::from_raw(number))? {
            Some(user) => Some(user),
            None => return Ok((number, number)),
        },
        Err(_) => User::from_name(name)?,
    };
    let user = found.with_context(|| format!("no user `{name}` on this machine (--user)"))?;
    Ok((user.uid.as_raw(), user.gid.as_raw()))
}

fn find_group(name: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let group =
        Group::from_name(name)?.with_context(|| format!("no group `{name}` on this machine (--group)"))?;
    Ok(group.gid.as_raw())
}
