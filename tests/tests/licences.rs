//! Every package that the lock file names may be used in a product under Apache-2.0, and comes from the registry.
//!
//! Known advisories are not checked here: their database is fetched from the network, which a build may not reach.
//! `cargo deny check advisories` does it where the network is there.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Permissive licences, as SPDX spells them.
const PERMISSIVE: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// What is built on this machine: packages of other platforms are not even downloaded.
fn platform() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

fn packages(manifest: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path", manifest, "--filter-platform", &platform()])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("no packages in {other}"),
    }
}

/// `A AND (B OR C)` and the like: some choice of alternatives is permissive in every part.
fn is_permissive(expression: &str) -> bool {
    let expression = expression.trim();
    if let Some((left, right)) = split(expression, " AND ") {
        return is_permissive(left) && is_permissive(right);
    }
    if let Some((left, right)) = split(expression, " OR ").or_else(|| split(expression, "/")) {
        return is_permissive(left) || is_permissive(right);
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => is_permissive(inner),
        None => PERMISSIVE.contains(&expression),
    }
}

/// The parts around the first `word` that stands outside parentheses.
fn split<'a>(expression: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0;
    for (at, letter) in expression.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && expression[at..].starts_with(word) => return Some((&expression[..at], &expression[at + word.len()..])),
            _ => {}
        }
    }
    None
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for (expression, wanted) in [
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("Apache-2.0 WITH LLVM-exception", true),
    ] {
        assert_eq!(is_permissive(expression), wanted, "{expression}");
    }
}

#[test]
fn every_dependency_is_permissive_and_from_the_registry() {
    let all = packages("Cargo.toml");
    assert!(all.len() > 100, "the workspace has more packages than {}", all.len());
    let mut faults = Vec::new();
    for package in &all {
        let name = format!("{} {}", package["name"].as_str().unwrap_or("?"), package["version"].as_str().unwrap_or("?"));
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_permissive(licence) {
            faults.push(format!("{name}: licence {licence}"));
        }
        // Our own packages have no source.
        if package["source"].as_str().is_some_and(|source| !source.starts_with("registry+")) {
            faults.push(format!("{name}: source {}", package["source"]));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
