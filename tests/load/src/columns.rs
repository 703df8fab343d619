//! The columns of the tables.

/// A column of a table. Ratios compare the first column.
pub struct Column {
    pub title: &'static str,
    pub key: &'static str,
    pub decimals: usize,
}

const RATE: Column = Column { title: "msg/s", key: "messages_per_second", decimals: 0 };
const P50: Column = Column { title: "p50 us", key: "p50_us", decimals: 0 };
const P99: Column = Column { title: "p99 us", key: "p99_us", decimals: 0 };
const P999: Column = Column { title: "p99.9 us", key: "p999_us", decimals: 0 };
const MEMORY: Column = Column { title: "KiB/conn", key: "kib_per_connection", decimals: 2 };

const fn cpu(decimals: usize) -> Column {
    Column { title: "CPU us/msg", key: "cpu_us_per_message", decimals }
}

pub const MESSAGE_COLUMNS: &[Column] = &[cpu(3), RATE, P50, P99, P999];
pub const DEFLATE_COLUMNS: &[Column] = &[
    cpu(2),
    RATE,
    P50,
    P99,
    P999,
    Column { title: "sent/plain", key: "sent_over_plain", decimals: 3 },
    MEMORY,
];
pub const MEMORY_COLUMNS: &[Column] = &[MEMORY];
pub const SCOREBOARD_COLUMNS: &[Column] =
    &[Column { title: "ns/callback", key: "scoreboard_ns_per_callback", decimals: 2 }];

pub const RELOAD_COLUMNS: &[Column] = &[
    Column { title: "gap ms", key: "longest_gap_ms", decimals: 1 },
    Column { title: "aim ms", key: "aim_ms", decimals: 0 },
    Column { title: "worst ms", key: "worst_gap_ms", decimals: 1 },
    Column { title: "paused ms", key: "reported_pause_ms", decimals: 0 },
    Column { title: "without ms", key: "gap_without_reload_ms", decimals: 1 },
];
pub const EDIT_COLUMNS: &[Column] = &[
    Column { title: "total ms", key: "save_to_answer_ms", decimals: 0 },
    Column { title: "build ms", key: "build_ms", decimals: 0 },
    Column { title: "rest ms", key: "rest_ms", decimals: 0 },
    Column { title: "aim ms", key: "aim_ms", decimals: 0 },
    Column { title: "by hand ms", key: "build_by_hand_ms", decimals: 0 },
];
