//! Log lines go to stderr: time, level, and the worker that wrote them.

use std::io::Write;

use log::LevelFilter;

/// Starts logging. `worker` is the index of this process among the workers, None in the parent.
pub fn start(level: LevelFilter, worker: Option<usize>) {
    let mut log = env_logger::Builder::new();
    log.filter_level(level);
    log.format(move |out, record| {
        let level_style = out.default_level_style(record.level());
        let (time, level) = (out.timestamp_millis(), record.level());
        let worker = worker.map(|index| format!(" worker {index}:")).unwrap_or_default();
        writeln!(out, "{time} {level_style}{level:<5}{level_style:#}{worker} {}", record.args())
    });
    log.init();
}
