//! Which versions of the contract this host takes.
//!
//! Modules are built for `tidegate:transform@MAJOR.MINOR.PATCH`. A host takes every version of its own major number:
//! minor versions only add what older modules do not ask for, and what a newer module asks for beyond that is told when
//! it is linked.

use crate::error::ModuleError;

/// Name of the package that modules are built for.
pub const CONTRACT_PACKAGE: &str = "tidegate:transform";
/// The versions that are published, the newest last.
pub const CONTRACT_VERSIONS: &[&str] = &["1.0.0"];
/// The newest of them, as WIT.
pub const CONTRACT_WIT: &str = include_str!("../../../guest-transforms/wit/transform.wit");

/// The accepted major number as names end with it.
const MAJOR: &str = "1.";

/// Looks at the names of a module's imports and exports.
///
/// # Errors
/// [`ModuleError::Contract`] when one of them belongs to another major version of the contract, or to none.
pub(crate) fn check<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), ModuleError> {
    let of_contract = names.into_iter().filter(|name| name.strip_prefix(CONTRACT_PACKAGE).is_some_and(|rest| rest.starts_with('/')));
    let accepted = |name: &str| name.split_once('@').is_some_and(|(_, version)| version.starts_with(MAJOR));
    let mut found: Vec<String> = of_contract.filter(|name| !accepted(name)).map(version_of).collect();
    found.sort();
    found.dedup();
    if found.is_empty() { Ok(()) } else { Err(ModuleError::Contract { found }) }
}

/// `tidegate:transform@2.0.0` of `tidegate:transform/host@2.0.0`.
fn version_of(name: &str) -> String {
    match name.split_once('@') {
        Some((_, version)) => format!("{CONTRACT_PACKAGE}@{version}"),
        None => format!("{CONTRACT_PACKAGE} without a version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_major_version_or_none_is_refused_by_name() {
        assert_eq!(check(["tidegate:transform/host@1.0.0", "tidegate:transform/transformer@1.7.2", "wasi:cli/exit@0.2.0"]), Ok(()));
        let cases = [
            ("tidegate:transform/transformer@2.0.0", "tidegate:transform@2.0.0"),
            ("tidegate:transform/transformer@10.0.0", "tidegate:transform@10.0.0"),
            ("tidegate:transform/transformer@0.1.0", "tidegate:transform@0.1.0"),
            ("tidegate:transform/transformer", "tidegate:transform without a version"),
        ];
        for (name, wanted) in cases {
            let message = check([name, "tidegate:transform/types@1.0.0"]).unwrap_err().to_string();
            assert!(message.contains(wanted) && message.contains("1.0.0"), "{message}");
        }
    }
}
