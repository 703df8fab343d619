//! Parts of the server for its tests, fuzz targets and benchmark. They may change at any time.

pub use crate::client::Client;
pub use crate::commands::watch::{auto_reload, libraries};
pub use crate::config::compression::{Compression, CompressionMode};
pub use crate::config::defaults as settings;
pub use crate::config::file::{self, Config};
pub use crate::config::limit_options::LimitOptions;
pub use crate::config::plugin_source::{BroadcastTo, PluginSource};
pub use crate::config::rate::Rate;
pub use crate::config::route::{Files, RoutePath, Target};
pub use crate::config::sandbox::SandboxSettings;
pub use crate::http::upgrade::{Upgrade, classify};
pub use crate::parent::control::{ControlRequest, Reloaded, RequestReceiver, Which};
pub use crate::system::crash;
pub use crate::system::scoreboard::{self, Crash, Scoreboard};
