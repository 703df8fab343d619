//! What any process may read: libraries and the loader's files, certificates of authorities, names of hosts, users and
//! time zones, and what the kernel tells.

use std::fs;
use std::path::{Path, PathBuf};

/// Files and folders; those that a machine does not have are left out.
const PATHS: &[&str] = &[
    // Libraries.
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    // Authorities of TLS.
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    // Names.
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/etc/services",
    "/etc/protocols",
    "/etc/passwd",
    "/etc/group",
    // Time zones and languages.
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    "/usr/share/locale",
    "/usr/share/i18n",
    // What the kernel tells. The private files of other processes stay closed (Landlock confines ptrace).
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Most files that the loader's configuration may include.
const INCLUDES_MAX: usize = 1000;

/// What exists on this machine.
pub fn paths() -> Vec<PathBuf> {
    let searched = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let searched = std::env::split_paths(&searched).filter(|folder| folder.is_absolute());
    let paths = PATHS.iter().map(PathBuf::from).chain(loader_folders()).chain(searched);
    paths.filter(|path| path.exists()).collect()
}

/// The folders that `/etc/ld.so.conf` names.
fn loader_folders() -> Vec<PathBuf> {
    let (mut files, mut folders) = (vec![PathBuf::from("/etc/ld.so.conf")], Vec::new());
    let mut at = 0;
    while let Some(file) = files.get(at).filter(|_| at < INCLUDES_MAX) {
        at += 1;
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        for line in lines {
            match line.strip_prefix("include") {
                Some(patterns) => files.extend(patterns.split_whitespace().flat_map(included)),
                None if line.starts_with('/') => folders.push(line.into()),
                None => {}
            }
        }
    }
    folders
}

/// The files of an `include`, whose pattern is that of Debian and Fedora: all of a folder with an ending.
fn included(pattern: &str) -> Vec<PathBuf> {
    let pattern = Path::new("/etc").join(pattern);
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(ending) = name.strip_prefix('*') else { return vec![pattern] };
    let folder = pattern.parent().unwrap_or(Path::new("/"));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|file| file.to_string_lossy().ends_with(ending)).collect()
}
