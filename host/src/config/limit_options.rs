//! The options of `serve` and `dev` that set limits.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::rate::Rate;
use super::units::{parse_count, parse_duration, parse_size};

/// The limits that one source sets, the command line or the config file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Largest WebSocket message
    ///
    /// Counts the payload of all frames of a message. A client that exceeds it is closed with 1009. A larger message of
    /// a handler is not sent either. At most 2GiB. Clients that send larger messages may need a longer
    /// --message-timeout.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_MESSAGE", value_parser = parse_size)]
    pub max_message: Option<usize>,

    /// Maximum write queue
    ///
    /// Counts the bytes that wait to be sent to the client. A client that reads so slowly that its queue exceeds this
    /// size is closed with 1013.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_BACKLOG", value_parser = parse_size)]
    pub max_backlog: Option<usize>,

    /// Time for a message to arrive
    ///
    /// A client whose message is not complete this long after its first frame is closed with 1008. Time in which the
    /// server does not read from the client does not count. 0 disables this.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_MESSAGE_TIMEOUT", value_parser = parse_duration)]
    pub message_timeout: Option<Duration>,

    /// Memory for partial messages
    ///
    /// Counts the memory of messages that the clients of one worker have sent in part. If it exceeds this size, the
    /// worker closes the clients that have held most for the longest time with 1013. At least three times
    /// --max-message, because buffers take more than the messages, and by default at least sixteen times.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_RECEIVE_MEMORY", value_parser = parse_size)]
    pub receive_memory: Option<usize>,

    /// Memory for write queues
    ///
    /// Counts the memory of what waits for the clients of one worker whose sockets accept no more; a broadcast that
    /// waits for several clients may count once. If it exceeds this size, the worker drops the largest queues and closes
    /// their clients with 1013. At least --max-backlog, and by default at least sixteen times.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_SEND_MEMORY", value_parser = parse_size)]
    pub send_memory: Option<usize>,

    /// Write queue counted as high
    ///
    /// While a client's write queue exceeds this size, sending to it returns QUEUED to the plugin, which can then send
    /// less. At most --max-backlog.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_HIGH_WATER", value_parser = parse_size)]
    pub high_water: Option<usize>,

    /// Maximum request body
    ///
    /// A larger request gets 413.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_BODY", value_parser = parse_size)]
    pub max_body: Option<usize>,

    /// Maximum request head
    ///
    /// Counts the request line and all headers. A larger request gets 431, and so does one with more than 1000
    /// headers. At least 8KiB.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_HEAD", value_parser = parse_size)]
    pub max_head: Option<usize>,

    /// Time for a request to arrive
    ///
    /// Begins when a client is accepted, and ends when the head of its first request is complete: the PROXY header and
    /// the TLS handshake are part of it. Each further head, and each body, has this time again. A client that takes
    /// longer is disconnected.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_HANDSHAKE_TIMEOUT", value_parser = parse_duration)]
    pub handshake_timeout: Option<Duration>,

    /// Time between two requests
    ///
    /// A client that sends no request for this time after a response is disconnected. Set it above the idle timeout of
    /// a load balancer in front of the server.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_KEEPALIVE_TIMEOUT", value_parser = parse_duration)]
    pub keepalive_timeout: Option<Duration>,

    /// Time a response may go unread
    ///
    /// A client that reads nothing of a response for this time is disconnected. WebSocket clients are limited by
    /// --max-backlog.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_SEND_TIMEOUT", value_parser = parse_duration)]
    pub send_timeout: Option<Duration>,

    /// Time to answer a Close frame
    ///
    /// A client that takes longer to answer the server's Close frame is disconnected.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_CLOSE_TIMEOUT", value_parser = parse_duration)]
    pub close_timeout: Option<Duration>,

    /// Time of silence before a ping
    ///
    /// A client that sends nothing for this time gets a ping, or up to an eighth of the time earlier, so that not all
    /// clients get theirs at once. If it then sends nothing for this time, it is disconnected. Proxies drop idle
    /// connections: nginx after 60s, unless proxy_read_timeout says otherwise. 0 disables pings; TCP keepalive then
    /// finds clients that are gone after two minutes.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_PING_INTERVAL", value_parser = parse_duration)]
    pub ping_interval: Option<Duration>,

    /// Time to close at shutdown
    ///
    /// Connections that are still open this long after SIGINT or SIGTERM are aborted, and the exit status is 1.
    /// Background work that takes longer is abandoned.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_DRAIN_TIMEOUT", value_parser = parse_duration)]
    pub drain_timeout: Option<Duration>,

    /// Callback that counts as slow
    ///
    /// A callback that runs longer is logged with its name, because it blocks the other clients of its worker. A worker
    /// whose clients wait longer for their turn, because of many callbacks, is logged with the name of the callback
    /// that takes most of the time. 0 disables both. At most --hang-timeout. A worker that does not run for 1s outside
    /// of any callback is always logged. Has no effect with --workers 0.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_SLOW_CALLBACK", value_parser = parse_duration)]
    pub slow_callback: Option<Duration>,

    /// Callback that counts as hung
    ///
    /// A worker whose callback runs longer, or which does not run for this time (at least 1s) outside of any callback,
    /// is killed and replaced; its clients are disconnected. So is a worker that does not read the messages of other
    /// workers. 0 disables this. A traced worker (gdb, strace) is left alone. Has no effect with --workers 0.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_HANG_TIMEOUT", value_parser = parse_duration)]
    pub hang_timeout: Option<Duration>,

    /// Time for a reload
    ///
    /// A reload is rejected, and the old code keeps running, if it takes longer: copying the libraries, a trial in the
    /// probe (a process that loads the new code first), loading them in all workers, and waiting until no worker is in a
    /// callback. Clients wait only while workers carry over the state of connections, and never long for another
    /// worker.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_RELOAD_TIMEOUT", value_parser = parse_duration)]
    pub reload_timeout: Option<Duration>,

    /// Maximum number of connections of all workers
    ///
    /// Counts clients with and without WebSocket. Further clients wait until one disconnects. Without this option, the
    /// system's limit on open files applies.
    #[arg(long, value_name = "N", env = "CALLSIGN_MAX_CONNECTIONS", value_parser = parse_count)]
    pub max_connections: Option<usize>,

    /// Maximum number of connections of one address
    ///
    /// On all workers together, with and without WebSocket. A further client gets 429, or is disconnected if it has come
    /// to an address with TLS. Off by default, and with 0.
    ///
    /// The address is that of the client: for a trusted proxy (--trusted-proxy) that of its client, whose requests and
    /// WebSockets count. The proxies themselves, and clients of Unix sockets, have no limit. An IPv6 network of 64 bits
    /// counts as one address. Many people can share one, such as those in an office.
    #[arg(long, value_name = "N", env = "CALLSIGN_MAX_PER_ADDRESS", value_parser = parse_count)]
    pub max_per_address: Option<usize>,

    /// New connections of one address
    ///
    /// RATE is a number in a time, such as 10/s or 100/10s: an address may have that many at once, and as many in each such
    /// time, evenly. A further client gets 429, or is disconnected before its handshake if it has come to an address with
    /// TLS. Connections of a trusted proxy do not count. Off by default, and with 0. For addresses see
    /// --max-per-address.
    #[arg(long, value_name = "RATE", env = "CALLSIGN_CONNECTION_RATE", value_parser = Rate::parse)]
    pub connection_rate: Option<Rate>,

    /// Requests of one address
    ///
    /// RATE is a number in a time, such as 100/s or 600/m, as for --connection-rate. WebSocket handshakes are requests too;
    /// messages are not. A further request gets 429, with the time until the next one in Retry-After. Off by default, and
    /// with 0.
    #[arg(long, value_name = "RATE", env = "CALLSIGN_REQUEST_RATE", value_parser = Rate::parse)]
    pub request_rate: Option<Rate>,

    /// WebSocket handshakes of one address
    ///
    /// RATE is a number in a time, such as 10/s or 60/m, as for --connection-rate. A further handshake gets 429, with the
    /// time until the next one in Retry-After. Off by default, and with 0.
    #[arg(long, value_name = "RATE", env = "CALLSIGN_HANDSHAKE_RATE", value_parser = Rate::parse)]
    pub handshake_rate: Option<Rate>,
}

impl LimitOptions {
    /// The keys of the limits that are set.
    pub fn keys(&self) -> Vec<String> {
        let Ok(serde_json::Value::Object(limits)) = serde_json::to_value(self) else { return Vec::new() };
        limits.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect()
    }
}
