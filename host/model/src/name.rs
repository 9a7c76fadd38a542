//! Names of tables, tasks and tenants.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// A table as its database names it. `schema` is the schema in PostgreSQL, the database in MySQL and MariaDB.
///
/// The spelling is the server's own: never folded, never quoted. Quoting is done where SQL is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Schema (PostgreSQL) or database (MySQL, MariaDB).
    pub schema: String,
    /// The table's own name.
    pub name: String,
}

impl TableName {
    /// A name from its two parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The name of a task, unique within a catalog: `[a-z][a-z0-9-]{0,62}`, no double or trailing hyphen.
///
/// It becomes part of slot names, publication names and control rows, which is why it is this narrow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(String);

/// A task name that is not of the form `[a-z][a-z0-9-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task name \"{0}\" is not of the form [a-z][a-z0-9-]{{0,62}} without double or trailing hyphen")]
pub struct TaskIdError(pub String);

impl TaskId {
    /// Checks the form.
    ///
    /// # Errors
    /// [`TaskIdError`] for any other form.
    pub fn new(text: impl Into<String>) -> Result<Self, TaskIdError> {
        let text = text.into();
        if has_form(&text, TASK_BYTES_MAX) { Ok(Self(text)) } else { Err(TaskIdError(text)) }
    }

    /// What a tenant's task is called outside of the catalog: in slots, publications, control rows, files and the log,
    /// where tasks of several tenants meet. The default tenant's keep their names.
    ///
    /// Others have `tenant--task`, which no name of the ordinary form is and which two tenants cannot both have. What would
    /// be too long ends in a digest of the task's name.
    #[must_use]
    pub fn outside(&self, tenant: &TenantId) -> TaskId {
        if *tenant == TenantId::default() {
            return self.clone();
        }
        let plain = format!("{tenant}--{self}");
        if plain.len() <= TASK_BYTES_MAX {
            return TaskId(plain);
        }
        let digest: String = Sha256::digest(self.0.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // Another double hyphen: no task's own name has one.
        let head = plain[..TASK_BYTES_MAX - 2 - digest.len()].trim_end_matches('-');
        TaskId(format!("{head}--{digest}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name of a task: what PostgreSQL keeps of an identifier.
const TASK_BYTES_MAX: usize = 63;

/// Longest name of a tenant, so that tenant, separator and a digest fit into a task's name outside of the catalog, and
/// the separator stands before the place where a name of a slot is cut.
const TENANT_BYTES_MAX: usize = 24;

/// The name of a tenant: `[a-z][a-z0-9-]{0,23}`, no double or trailing hyphen. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// A tenant name that is not of the form `[a-z][a-z0-9-]{0,23}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant name \"{0}\" is not of the form [a-z][a-z0-9-]{{0,23}} without double or trailing hyphen")]
pub struct TenantIdError(pub String);

impl TenantId {
    /// Checks the form.
    ///
    /// # Errors
    /// [`TenantIdError`] for any other form.
    pub fn new(text: &str) -> Result<Self, TenantIdError> {
        if has_form(text, TENANT_BYTES_MAX) { Ok(Self(text.into())) } else { Err(TenantIdError(text.chars().take(100).collect())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    /// The tenant of everything on a server without keys.
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn has_form(text: &str, bytes_max: usize) -> bool {
    let bytes = text.as_bytes();
    let first = bytes.first().is_some_and(u8::is_ascii_lowercase);
    let rest = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    first && rest && bytes.len() <= bytes_max && !text.contains("--") && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_names_outside_the_form_are_refused() {
        for text in ["", "A", "1a", "a_b", "a--b", "a-", "é", &"a".repeat(64)] {
            assert!(TaskId::new(text).is_err(), "{text}");
        }
        for text in ["a", "shop-1", &"a".repeat(63)] {
            assert!(TaskId::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn tenant_names_outside_the_form_are_refused() {
        for text in ["", "A", "1a", "a_b", "a--b", "a-", "é", &"a".repeat(25)] {
            assert!(TenantId::new(text).is_err(), "{text}");
        }
        for text in ["a", "acme-1", &"a".repeat(24), TenantId::default().as_str()] {
            assert!(TenantId::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn tasks_of_two_tenants_never_have_one_name_outside() {
        let tenants = ["default", "a", "a-b", "b", &"t".repeat(24)].map(|text| TenantId::new(text).unwrap());
        let long = "b-".repeat(31) + "b";
        let names = ["a", "b", "a-b", "b-b", "a-a-b", &"t".repeat(24), &long, &long[..61], &"t".repeat(63)];
        let mut seen = std::collections::HashSet::new();
        for (tenant, name) in tenants.iter().flat_map(|tenant| names.iter().map(move |name| (tenant, name))) {
            let outside = TaskId::new(*name).unwrap().outside(tenant);
            assert!(outside.as_str().len() <= 63, "{outside}");
            assert!(seen.insert(outside.clone()), "{tenant} and another have {outside}");
        }
        let shop = TaskId::new("shop").unwrap();
        assert_eq!(shop.outside(&TenantId::default()), shop, "what exists would lose its slot and its place");
        assert_eq!(shop.outside(&TenantId::new("acme").unwrap()).as_str(), "acme--shop");
    }
}
