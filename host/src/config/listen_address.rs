//! An address that clients connect to: `HOST:PORT`, `unix:PATH` for a Unix socket, or `systemd:NAME` for the sockets that
//! systemd passes under a name.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::account::Owner;
use super::defaults::DEFAULT_LISTEN;

/// Begins the address of a Unix socket.
pub const UNIX_PREFIX: &str = "unix:";
/// Begins the name of sockets that systemd passes.
pub const SYSTEMD_PREFIX: &str = "systemd:";
/// The largest mode: permissions of user, group and others, without setuid, setgid and sticky bits.
const MODE_MAX: u32 = 0o777;

/// An address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenAddress {
    /// `HOST:PORT`. The host is a name, an IPv4 address or an IPv6 address in brackets; for port 0 the system chooses
    /// a port.
    Tcp(String),
    /// `unix:PATH` or `unix:PATH?mode=660`.
    Unix {
        /// The socket's file.
        path: PathBuf,
        /// Permission bits of the file. None: [`DEFAULT_UNIX_MODE`](super::defaults::DEFAULT_UNIX_MODE).
        mode: Option<u32>,
        /// None: the user and group of the workers.
        owner: Option<Owner>,
    },
    /// `systemd:NAME`: the sockets of that name.
    Systemd(String),
    /// No address is configured: all sockets that systemd passes, or [`DEFAULT_LISTEN`] if it passes none.
    Default,
}

impl ListenAddress {
    /// Parses an address. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(UNIX_PREFIX) {
            return parse_unix(rest);
        }
        if let Some(name) = text.strip_prefix(SYSTEMD_PREFIX) {
            return parse_systemd(name);
        }
        let well_formed = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let host_fits =
                !host.is_empty() && !host.contains(char::is_whitespace) && (bracketed || !host.contains(':'));
            host_fits && port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok()
        });
        match well_formed {
            true => Ok(Self::Tcp(text.to_owned())),
            false => Err(format!("expected HOST:PORT, such as {DEFAULT_LISTEN}, 0.0.0.0:80 or [::1]:8080")),
        }
    }

    /// Makes the relative path of a Unix socket relative to `folder`, the folder of the config file.
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Unix { path, mode, owner } => Self::Unix { path: folder.join(path), mode, owner },
            other => other,
        }
    }
}

/// `127.0.0.1:8080`, `unix:/run/chat.sock` or `systemd:chat.socket`.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix { path, .. } => write!(f, "{UNIX_PREFIX}{}", path.display()),
            Self::Systemd(name) => write!(f, "{SYSTEMD_PREFIX}{name}"),
            Self::Default => f.write_str(DEFAULT_LISTEN),
        }
    }
}

/// Parses what follows `unix:`.
fn parse_unix(text: &str) -> Result<ListenAddress, String> {
    let (path, mode) = match text.split_once('?') {
        Some((path, parameter)) => {
            let digits = parameter.strip_prefix("mode=").ok_or(
                "expected unix:PATH with no parameter but `mode`, such as unix:/run/chat.sock?mode=660",
            )?;
            let mode = parse_mode(digits).ok_or(
                "expected unix:PATH?mode=MODE with MODE in octal, at most 777, such as \
                 unix:/run/chat.sock?mode=660",
            )?;
            (path, Some(mode))
        }
        None => (text, None),
    };
    if path.is_empty() || path.contains('\0') {
        return Err("expected unix:PATH, such as unix:/run/chat.sock".to_owned());
    }
    Ok(ListenAddress::Unix { path: path.into(), mode, owner: None })
}

/// Parses what follows `systemd:`. Names are those of `FileDescriptorName=`.
fn parse_systemd(name: &str) -> Result<ListenAddress, String> {
    let is_name = !name.is_empty() && !name.contains(|c: char| c == ':' || c.is_control());
    let name = is_name.then(|| ListenAddress::Systemd(name.to_owned()));
    name.ok_or_else(|| {
        "expected systemd:NAME with the name of a socket unit, such as systemd:chat.socket".to_owned()
    })
}

/// Parses permission bits in octal. None: `digits` are none.
pub fn parse_mode(digits: &str) -> Option<u32> {
    // `from_str_radix` also accepts a sign.
    let only_digits = digits.bytes().all(|digit| digit.is_ascii_digit());
    u32::from_str_radix(digits, 8).ok().filter(|&mode| only_digits && mode <= MODE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_addresses_have_a_path_and_may_have_a_mode() {
        let unix = |path: &str, mode| Ok(ListenAddress::Unix { path: path.into(), mode, owner: None });
        assert_eq!(ListenAddress::parse("unix:/run/a.sock"), unix("/run/a.sock", None));
        assert_eq!(ListenAddress::parse(" unix:a.sock?mode=0666 "), unix("a.sock", Some(0o666)));
        for bad in [
            "unix:",
            "unix:?mode=600",
            "unix:a?mode=",
            "unix:a?mode=8",
            "unix:a?mode=7777",
            "unix:a?x=1",
            "unix:a?mode=+7",
        ] {
            assert!(ListenAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_unix_address_says_which_part_is_wrong() {
        const PATH: &str = "expected unix:PATH, such as unix:/run/chat.sock";
        const PARAMETER: &str =
            "expected unix:PATH with no parameter but `mode`, such as unix:/run/chat.sock?mode=660";
        const MODE: &str = "expected unix:PATH?mode=MODE with MODE in octal, at most 777, such as \
             unix:/run/chat.sock?mode=660";
        for (address, message) in [
            ("unix:", PATH),
            ("unix:?mode=600", PATH),
            ("unix:a\0b", PATH),
            ("unix:a?", PARAMETER),
            ("unix:a?owner=root", PARAMETER),
            ("unix:a?mode", PARAMETER),
            ("unix:a?mode=", MODE),
            ("unix:a?mode=rw", MODE),
            ("unix:a?mode=800", MODE),
            ("unix:a?mode=1777", MODE),
            ("unix:a?mode=660&mode=600", MODE),
        ] {
            assert_eq!(ListenAddress::parse(address), Err(message.to_owned()), "{address}");
        }
    }

    #[test]
    fn sockets_of_systemd_have_a_name() {
        let systemd = Ok(ListenAddress::Systemd("chat.socket".to_owned()));
        assert_eq!(ListenAddress::parse(" systemd:chat.socket"), systemd);
        for bad in ["systemd:", "systemd:a:b", "systemd:a\n b"] {
            assert!(ListenAddress::parse(bad).expect_err(bad).starts_with("expected systemd:NAME "), "{bad}");
        }
    }

    #[test]
    fn tcp_addresses_have_a_host_and_a_port() {
        for good in ["localhost:0", "127.0.0.1:80", "[::1]:65535", " a:1 "] {
            assert_eq!(ListenAddress::parse(good), Ok(ListenAddress::Tcp(good.trim().to_owned())), "{good}");
        }
        for bad in ["", "80", ":80", "::1:80", "a:", "a:65536", "a:+1", "a b:1", "Unix:/a", "/run/a.sock"] {
            assert!(ListenAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_relative_unix_path_is_relative_to_the_config_file() {
        let in_folder = |address| {
            let address = ListenAddress::parse(address).expect("it is valid");
            address.relative_to(Path::new("/etc/chat")).to_string()
        };
        assert_eq!(in_folder("unix:a.sock?mode=600"), "unix:/etc/chat/a.sock");
        assert_eq!(in_folder("unix:/a.sock"), "unix:/a.sock");
        assert_eq!(in_folder("127.0.0.1:80"), "127.0.0.1:80");
    }
}
