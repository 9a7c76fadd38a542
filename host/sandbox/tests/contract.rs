//! The contract's text: what is published of a version never changes, and every item says what it means.

mod support;

use std::path::PathBuf;

use support::{ENGINE, guest};
use tidegate_sandbox::ModuleError;

/// Version 1.0.0 without its documentation, which may be improved.
const FROZEN: &str = include_str!("contract/1.0.0.wit");

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guest-transforms/wit")
}

/// The lines that mean something.
fn meaning(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).collect()
}

#[test]
fn published_version_is_frozen() {
    let text = std::fs::read_to_string(folder().join("transform.wit")).unwrap();
    let (found, frozen) = (meaning(&text), meaning(FROZEN));
    assert!(frozen.contains(&"package tidegate:transform@1.0.0;"));
    let differs = found.iter().zip(&frozen).find(|(found, frozen)| found != frozen);
    assert!(
        differs.is_none() && found.len() == frozen.len(),
        "the contract is not what was published as 1.0.0: {differs:?}. Modules of tenants are linked against it: a new function of the \
         interface `host` is version 1.1.0 with a frozen copy of its own, every other change is version 2 beside this one"
    );
}

#[test]
fn every_item_is_documented() {
    let text = std::fs::read_to_string(folder().join("transform.wit")).unwrap();
    let mut documented = false;
    let mut bare = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()) {
        // What a world or an interface takes from elsewhere is documented there.
        let is_item = !["}", "use ", "import ", "export ", "///"].iter().any(|start| line.starts_with(start));
        if is_item && !documented {
            bare.push(format!("line {}: {line}", index + 1));
        }
        documented = line.strip_prefix("///").is_some_and(|text| !text.trim().is_empty());
    }
    assert!(bare.is_empty(), "items of the contract without documentation:\n{}", bare.join("\n"));
}

#[test]
fn a_module_for_another_version_is_refused_by_name() {
    let mut bytes = guest("mask-email");
    // Names of interfaces stand in the module as text; one of the same length leaves it well-formed.
    let (ours, other) = (b"@1.0.0", b"@2.0.0");
    for at in 0..bytes.len() - ours.len() {
        if bytes[at..].starts_with(ours) {
            bytes[at..at + ours.len()].copy_from_slice(other);
        }
    }
    let error = ENGINE.compile(&bytes).unwrap_err();
    assert_eq!(error, ModuleError::Contract { found: vec!["tidegate:transform@2.0.0".to_owned()] });
    assert_eq!(error.to_string(), "the module is built for tidegate:transform@2.0.0, and this host accepts tidegate:transform@1.0.0");
}
