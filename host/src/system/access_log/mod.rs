//! The access log: one line for each response, and for each connection that has ended.
//!
//! A worker formats its records ([`AccessLog`]) and writes them in batches to a pipe of its own, which never blocks. One
//! thread of the parent ([`Writer`]) reads the pipes and writes to the file or to stdout. It may block: then the pipes fill,
//! and the workers drop lines and count them.

mod record; // what a record says

mod text; // combined and JSON

mod batch; // a worker's end

mod sink; // the file, or stdout

mod thread; // writes what workers send

mod writer; // the parent's end

pub use batch::AccessLog;
pub use record::{ClosedConnection, Record, RequestNote, Traffic};
pub use sink::{Sink, check};
pub use writer::Writer;
