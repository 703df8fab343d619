//! The default of each setting, with unit and reason, and the bounds of its values. Code, help and error messages read
//! these constants; `examples/callsign.toml` repeats them and a test compares it.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use super::compression::CompressionMode;
use super::log_level::LogLevel;

/// Only this machine can connect until the operator names another address.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Permission bits of a Unix socket for clients: its user and group, as most reverse proxies are set up.
pub const DEFAULT_UNIX_MODE: u32 = 0o660;
/// The default control socket, for the help. `parent::control` chooses between these paths.
pub const DEFAULT_CONTROL: &str = "/run/callsign.sock for root, else $XDG_RUNTIME_DIR/callsign.sock";
/// Far more than cores: every worker receives every broadcast.
pub const MAX_WORKERS: usize = 256;
/// `dev`: one process to debug, and one copy of every log line.
pub const DEFAULT_DEV_WORKERS: usize = 1;
/// What was loaded and why something failed; nothing per message.
pub const DEFAULT_LOG: LogLevel = LogLevel::Info;

/// Bytes of one message with all its frames: as in comparable servers; enough for a small picture.
pub const DEFAULT_MAX_MESSAGE: usize = 1 << 20;
/// Bytes. The link between parent and workers carries a broadcast of this size in one message.
pub const MAX_MAX_MESSAGE: usize = 1 << 31;
/// Compression costs much more CPU than it saves where bandwidth is cheap. And who can have text of their own sent beside a
/// secret can learn the secret from the sizes of messages, also over TLS (CRIME, BREACH).
pub const DEFAULT_COMPRESSION: CompressionMode = CompressionMode::Off;
/// zlib's own default. Lower levels are hardly faster for messages of a kilobyte, most of whose time goes into preparing
/// the compressor.
pub const DEFAULT_COMPRESSION_LEVEL: u8 = 6;
/// From the fastest to the smallest result.
pub const COMPRESSION_LEVELS: RangeInclusive<u8> = 1..=9;
/// Bits of a window: 512 bytes to 32 KiB.
pub const COMPRESSION_WINDOW_BITS: RangeInclusive<u8> = 9..=15;
/// Without context a window costs no memory per client, so it is the largest.
pub const ON_WINDOW_BITS: u8 = 15;
/// 4 KiB per client and direction: several messages of most applications.
pub const CONTEXT_WINDOW_BITS: u8 = 12;
/// Bytes. By itself, a smaller message hardly shrinks.
pub const ON_THRESHOLD: usize = 512;
/// Bytes. With earlier messages to refer to, short ones shrink too; below this, headers of TCP and IP are larger.
pub const CONTEXT_THRESHOLD: usize = 64;
/// Bytes of one client's write queue: seconds of a busy broadcast.
pub const DEFAULT_MAX_BACKLOG: usize = 4 << 20;
/// Bytes of incomplete messages in one worker: hundreds of clients that are in the middle of their largest message.
pub const DEFAULT_RECEIVE_MEMORY: usize = 256 << 20;
/// Bytes of write queues in one worker: a hundred clients that have stopped reading, or thousands that read slowly.
pub const DEFAULT_SEND_MEMORY: usize = 512 << 20;
/// Largest messages, and write queues, for which a worker has memory if the operator does not set it.
pub const DEFAULT_MEMORY_FACTOR: usize = 16;
/// 1 MiB within this time is 140 kbit/s, as in a poor mobile network.
pub const DEFAULT_MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of one client's write queue: about the size of the kernel's socket buffer, so that a plugin learns early
/// that a client is slow.
pub const DEFAULT_HIGH_WATER: usize = 64 << 10;
/// Bytes of a request body: forms and JSON, no uploads.
pub const DEFAULT_MAX_BODY: usize = 1 << 20;
/// Bytes of request line and headers: room for large cookies and tokens.
pub const DEFAULT_MAX_HEAD: usize = 64 << 10;
/// Bytes. hyper's smallest read buffer.
pub const MIN_MAX_HEAD: usize = 8 << 10;
/// Slow mobile networks send a request within this time; a client that only occupies a socket does not.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the 60 s for which load balancers keep an idle connection, so that the balancer closes it and not the
/// server while a request is on its way.
pub const DEFAULT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// A client that pauses, such as a video player or a phone in a tunnel, reads on within this time. Each client that
/// does not read keeps its response in memory.
pub const DEFAULT_SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// A round trip with retransmissions.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A third of the 60 s after which common proxies and NATs drop an idle connection: one ping may be lost.
pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(20);
/// Docker kills a container this long after it asked it to stop.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A pause that people notice, for all clients of the worker.
pub const DEFAULT_SLOW_CALLBACK: Duration = Duration::from_millis(100);
/// No working callback takes this long, and most people still wait when a new worker serves them.
pub const DEFAULT_HANG_TIMEOUT: Duration = Duration::from_secs(10);
/// No working callback or load hook takes this long.
pub const DEFAULT_RELOAD_TIMEOUT: Duration = Duration::from_secs(10);
/// `callsign check`: time to load the plugins, hooks included. The same as for a reload, whose probe does the same.
pub const DEFAULT_CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// `serve`: one worker per core that this process may use, at most [`MAX_WORKERS`].
pub fn default_serve_workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS)
}
