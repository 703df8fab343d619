//! Why a probe ended without an answer, in words: which plugin, in which function, and the call stack of a crash.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use crate::config::plan::PlannedPlugin;
use crate::system::crash;
use crate::system::scoreboard::Slot;

/// ``plugin `chat` (libchat.so) crashes in its onload hook `configure`: SIGSEGV: no access to address 0x10``
pub(super) fn describe_exit(
    slot: &Slot,
    plugins: &[PlannedPlugin],
    status: ExitStatus,
    is_confined: bool,
) -> String {
    let (who, place) = running_plugin(slot, plugins);
    let crash = slot.crash().filter(|crash| Some(crash.signal) == status.signal());
    match (crash, status.signal(), status.code()) {
        (Some(crash), ..) => format!("{who} crashes {place}: {}", crash::cause(&crash)),
        (None, Some(signal), _) => {
            format!("{who} dies {place}: {}", crash::unrecorded_cause(signal, is_confined))
        }
        (None, None, Some(code)) => format!("{who} ends the process with status {code} {place}"),
        (None, None, None) => format!("{who} ends {place}: {status}"),
    }
}

/// ``plugin `chat` (libchat.so) hangs in its onload hook `configure`: it did not return``
pub(super) fn describe_hang(slot: &Slot, plugins: &[PlannedPlugin]) -> String {
    let (who, place) = running_plugin(slot, plugins);
    format!("{who} hangs {place}: it did not return")
}

/// The plugin whose code is running in the probe, and the function.
fn running_plugin(slot: &Slot, plugins: &[PlannedPlugin]) -> (String, String) {
    let Some(running) = slot.running() else {
        return ("the process that loads the plugins".to_owned(), "outside of plugin code".to_owned());
    };
    let label = running.label;
    let place = match (label.kind.as_str(), label.name.as_str()) {
        (_, "") => "while the library is loaded, before its onload hook".to_owned(),
        (kind, name) => format!("in its {kind} `{name}`"),
    };
    let is_named = |plugin: &&PlannedPlugin| plugin.source.name.as_deref() == Some(label.plugin.as_str());
    let file = match plugins {
        [only] => Some(only),
        several => several.iter().find(is_named),
    };
    let file = file.map(|plugin| format!(" ({})", plugin.source.path.display())).unwrap_or_default();
    (format!("plugin `{}`{file}", label.plugin), place)
}

/// Adds the innermost call of a plugin's own code to the first line, and the call stack as further lines.
pub(super) fn add_stack(what: String, stack: Vec<String>, plugins: &[PlannedPlugin]) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files: Vec<(String, String)> =
        plugins.iter().map(|plugin| (name(&plugin.file), name(&plugin.source.path))).collect();
    let is_plugin_code = |line: &&String| {
        let mut files = files.iter();
        // Rust's standard library is part of a plugin's file, and rarely the cause.
        !line.contains(" at library/") && files.any(|(file, _)| line.contains(&format!("({file}")))
    };
    let call = |line: &String| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).to_owned();
    let place =
        stack.iter().find(is_plugin_code).map(|line| format!("; at {}", call(line))).unwrap_or_default();
    let text = [what + &place].into_iter().chain(stack).collect::<Vec<_>>().join("\n");
    // The operator knows the original files, not the copies that the probe loads.
    let copies = files.iter().filter(|(file, path)| file != path);
    copies.fold(text, |text, (file, path)| text.replace(file, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::PluginSource;

    #[test]
    fn the_innermost_call_of_the_plugin_is_named_by_the_operators_file() {
        let source = PluginSource::library("target/libchat.so".into());
        let plugin =
            PlannedPlugin { file: "/tmp/copies/1-libchat.so".into(), ..PlannedPlugin::in_place(source) };
        let stack = [
            "  0  abort (libc.so.6)",
            "  1  core::panicking::panic at library/core/src/panicking.rs:1 (1-libchat.so)",
            "  2  chat::load at src/lib.rs:7 (1-libchat.so)",
        ];
        let text = add_stack("it crashes".to_owned(), stack.map(str::to_owned).to_vec(), &[plugin]);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("it crashes; at chat::load at src/lib.rs:7 (libchat.so)"));
        assert_eq!(lines.next(), Some(stack[0]));
        assert_eq!(lines.last(), Some("  2  chat::load at src/lib.rs:7 (libchat.so)"));
    }
}
