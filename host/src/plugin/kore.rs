//! Hooks of Kore that are called in another way, or not at all. `kore.h` logs the same when a plugin is loaded.

use super::image::Image;

/// The handler that Kore's headers export.
const KORE_ONLOAD: &str = "kore_onload";

const HOOKS: &[(&str, &str)] = &[
    (
        "kore_parent_configure",
        "runs in every worker, not in the parent: memory that it maps, and files and sockets that it opens, are not shared by \
         the workers",
    ),
    ("kore_parent_daemonized", "is never called: no code of a plugin runs in the parent"),
    (
        "kore_parent_teardown",
        "is never called: no code of a plugin runs in the parent; define kore_worker_teardown instead",
    ),
    ("kore_worker_signal", "is never called: the server handles the signals"),
    (
        "kore_seccomp_hook",
        "is never called: there is no seccomp filter; restrict the server's process instead",
    ),
];

/// What to know about the hooks of a plugin that was written for Kore.
pub(super) fn hooks(image: &Image) -> impl Iterator<Item = String> {
    let is_kores = image.handlers.iter().any(|(name, _)| name == KORE_ONLOAD);
    let found =
        HOOKS.iter().filter(move |(hook, _)| is_kores && image.functions.iter().any(|name| name == hook));
    found.map(|(hook, what)| format!("{hook} {what}"))
}
