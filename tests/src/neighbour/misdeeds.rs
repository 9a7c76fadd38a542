//! The hostile collection: what modules of tasks do, and what is uploaded in vain.

use crate::upload::{importing, slow_to_compile};

/// What the module `hostile` does by its configuration, and the code with which its task fails; `None` where the host takes what it does
/// within bounds, and the task goes on.
pub const MISDEEDS: [(&str, Option<&str>); 34] = [
    // Endless loops, in the row function and in the plan.
    ("loop", Some("module_exhausted")),
    ("plan-loop", Some("module_exhausted")),
    // Memory and stack.
    ("memory", Some("module_exhausted")),
    ("recursion", Some("module_failed")),
    ("deep-recursion", Some("module_exhausted")),
    ("trap", Some("module_failed")),
    ("refuse", Some("module_failed")),
    // Wrong lengths, offsets out of range, invalid UTF-8.
    ("no-columns", Some("module_failed")),
    ("extra-column", Some("module_failed")),
    ("short", Some("module_failed")),
    ("bad-offsets", Some("module_failed")),
    ("endless-offset", Some("module_failed")),
    ("bad-utf8", Some("module_failed")),
    ("wrong-layout", Some("module_failed")),
    ("bad-bitmap", Some("module_failed")),
    ("far-error", Some("module_failed")),
    // Huge outputs.
    ("long-text", Some("module_failed")),
    ("huge", Some("module_exhausted")),
    ("huge-plan", Some("module_exhausted")),
    ("long-error", Some("module_failed")),
    ("long-name", Some("module_failed")),
    ("long-name-twice", Some("module_failed")),
    // Names longer than a database takes.
    ("many-names", Some("checks_failed")),
    ("many-notes", None),
    ("log-bomb", None),
    ("counter-bomb", None),
    ("chatter", None),
    ("long-line", Some("module_exhausted")),
    // Lies in the plan.
    ("unknown-input", Some("module_failed")),
    ("unknown-key", Some("module_failed")),
    ("unknown-rename", Some("module_failed")),
    ("duplicate-columns", Some("module_failed")),
    ("computed-without-rows", Some("module_failed")),
    ("host-mask", Some("module_failed")),
];

/// Uploads that are refused.
pub const UPLOADS: [&str; 7] = ["malformed", "no component", "files", "sockets", "25 MiB", "100 MB", "slow to compile"];

/// The bytes of an upload, by its name in [`UPLOADS`].
pub(super) fn upload(name: &str) -> Vec<u8> {
    match name {
        "malformed" => b"\0asm\x0d\0\x01\0\x07\xff".to_vec(),
        "no component" => b"\0asm\x01\0\0\0".to_vec(),
        "files" => importing(&["wasi:filesystem/types@0.2.0"]),
        "sockets" => importing(&["wasi:sockets/tcp@0.2.0"]),
        "25 MiB" => vec![0; 25 << 20],
        "100 MB" => vec![0; 100_000_000],
        "slow to compile" => slow_to_compile(32),
        other => panic!("{other} is no upload"),
    }
}
