//! Checks on who else can use a folder, or replace what is in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

/// Whether only this user can access the folder. A link to a folder is not private: its owner can make it lead elsewhere.
pub fn is_private(folder: &Path) -> io::Result<bool> {
    let about = fs::symlink_metadata(folder)?;
    Ok(about.is_dir() && about.uid() == geteuid().as_raw() && about.mode() & 0o077 == 0)
}

/// A process that is root writes to a folder by its path: who can rename the folder, or one above it, can have it write
/// anywhere. Returns who that is, in words, and None if only root can. For other users only what everybody can do counts.
pub fn who_can_replace(folder: &Path) -> io::Result<Option<String>> {
    let (path, real) = (std::path::absolute(folder)?, folder.canonicalize()?);
    let (us, is_in_namespace) = (geteuid().as_raw(), is_in_namespace());
    for folder in path.ancestors().chain(real.ancestors()) {
        let about = fs::metadata(folder)?;
        if let Some(who) = who_can_write(about.uid(), about.gid(), about.mode(), us, is_in_namespace) {
            return Ok(Some(format!("{who} can replace what is in {}", folder.display())));
        }
    }
    Ok(None)
}

/// Number of a user that a user namespace does not map.
const UNMAPPED: u32 = 65534;
const STICKY: u32 = 0o1000;

fn who_can_write(owner: u32, group: u32, mode: u32, us: u32, is_in_namespace: bool) -> Option<String> {
    // In a sticky folder everybody can rename only what is theirs.
    if mode & 0o002 != 0 && mode & STICKY == 0 {
        return Some("every user".to_owned());
    }
    if us != 0 {
        return None;
    }
    if owner != 0 && !(is_in_namespace && owner == UNMAPPED) {
        return Some(format!("user {owner}"));
    }
    (mode & 0o020 != 0 && mode & STICKY == 0 && group != 0).then(|| format!("group {group}"))
}

/// Whether this process is in a user namespace, where folders of the system may belong to [`UNMAPPED`].
fn is_in_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_whitespace().ne(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_safe_for_root_if_only_root_can_rename_what_is_in_it() {
        let who = |owner, group, mode| who_can_write(owner, group, mode, 0, false);
        for (owner, group, mode) in
            [(0, 0, 0o755), (0, 7, 0o755), (0, 0, 0o1777), (0, 0, 0o775), (0, 7, 0o1775)]
        {
            assert_eq!(who(owner, group, mode), None, "{owner} {group} {mode:o}");
        }
        assert_eq!(who(0, 0, 0o777).as_deref(), Some("every user"));
        assert_eq!(who(7, 0, 0o1777).as_deref(), Some("user 7"));
        assert_eq!(who(7, 0, 0o700).as_deref(), Some("user 7"));
        assert_eq!(who(0, 7, 0o770).as_deref(), Some("group 7"));
        assert_eq!(who(UNMAPPED, 0, 0o755).as_deref(), Some("user 65534"));
        assert_eq!(who_can_write(UNMAPPED, UNMAPPED, 0o755, 0, true), None);
    }

    #[test]
    fn for_another_user_only_a_folder_of_everybody_is_not_safe() {
        let who = |owner, mode| who_can_write(owner, 7, mode, 1000, false);
        assert_eq!((who(7, 0o775), who(1000, 0o700), who(0, 0o1777)), (None, None, None));
        assert_eq!(who(1000, 0o777).as_deref(), Some("every user"));
    }

    #[test]
    fn a_link_is_not_private() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("it is ours");
        assert!(is_private(folder.path()).expect("it is there"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).expect("it is ours");
        assert!(!is_private(&link).expect("it is there"));
    }
}
