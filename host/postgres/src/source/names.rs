//! Names of what a task has on its source: one slot and one publication, named alike.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use tidegate_model::TaskId;

/// NAMEDATALEN - 1: longer names are cut by the server, and two of them could become one.
const NAME_BYTES_MAX: usize = 63;
const PREFIX: &str = "tidegate_";

/// The name of the task's slot, its publication, and its replication connection's `application_name`.
///
/// Task names have no underscore, so `-` becomes `_` without two tasks meeting. A name that would be too long ends in
/// a hash of the whole task name instead.
pub(crate) fn capture_name(task: &TaskId) -> String {
    let plain = format!("{PREFIX}{}", task.as_str().replace('-', "_"));
    if plain.len() <= NAME_BYTES_MAX {
        return plain;
    }
    let hash = Sha256::digest(task.as_str().as_bytes());
    // Two underscores: no short name has them, because task names have no double hyphen.
    let mut name = plain[..NAME_BYTES_MAX - 18].trim_end_matches('_').to_owned();
    name.push_str("__");
    for byte in &hash[..8] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_server_and_differ() {
        let of = |text: &str| capture_name(&TaskId::new(text).expect("a task name"));
        assert_eq!(of("shop-1"), "tidegate_shop_1");
        let long = [of(&"a".repeat(63)), of(&"a".repeat(62)), of(&format!("{}-{}", "a".repeat(40), "b".repeat(22)))];
        for name in &long {
            assert!(name.len() <= 63, "{name}");
        }
        assert!(long[0] != long[1] && long[1] != long[2] && long[0] != long[2]);
    }
}
