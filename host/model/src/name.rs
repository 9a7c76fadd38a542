//! Names of tables and tasks.

use std::fmt;

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
        let bytes = text.as_bytes();
        let first = bytes.first().is_some_and(u8::is_ascii_lowercase);
        let rest = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if first && rest && bytes.len() <= 63 && !text.contains("--") && !text.ends_with('-') {
            Ok(Self(text))
        } else {
            Err(TaskIdError(text))
        }
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
}
