//! The events of the [`super::dev_loop`]. File watcher, build, server and main thread send them over one channel, so
//! that the loop handles one at a time.

use std::sync::mpsc;

use crate::commands::watch::folders::FileEvent;
use crate::parent::control::Reloaded;

pub enum DevEvent {
    /// A file or folder of the sources has an event.
    File(FileEvent),
    /// The build has ended. Lines of its standard output, if it is read.
    BuildEnded(Vec<String>),
    /// The server starts with the first library. Without a parent process (`--workers 0`), it cannot reload.
    ServerStarts { has_parent: bool },
    /// The server has started and answers requests.
    ServerReady,
    /// The server has reloaded the plugin, or rejected the reload.
    ReloadEnded(Result<Box<Reloaded>, String>),
    /// The server has ended, or will not start.
    Stop,
}

pub type EventSender = mpsc::Sender<DevEvent>;
pub type EventReceiver = mpsc::Receiver<DevEvent>;
