//! Where a server's control socket is: `--control`, `CALLSIGN_CONTROL` or `control`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a server's control socket is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlAddress {
    /// The path that `callsign reload` and `callsign status` try first. If another server of this user has it, the
    /// server starts without a control socket.
    #[default]
    Default,
    /// The server does not start if another server has this path.
    Path(PathBuf),
    /// No control socket.
    Off,
}

impl ControlAddress {
    /// Parses a path, or `none`. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("expected the path of a socket, such as /run/callsign.sock, or `none`".to_owned()),
            "none" => Ok(Self::Off),
            path => Ok(Self::Path(path.into())),
        }
    }
}
