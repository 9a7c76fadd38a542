//! What the checks before a task find.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// The task runs, but something will not be as the user may think.
    Warning,
    /// The task must not start.
    Error,
}

/// One result of a check: which object, what was found, what is wanted, and the command that fixes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable code, e.g. `wal_level`.
    pub code: &'static str,
    /// The object, with its kind: `setting "wal_level"`, `table "shop.orders"`.
    pub object: String,
    /// What was found.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
    /// The command that fixes it.
    pub fix: Option<String>,
}

impl Finding {
    /// A finding that stops the task.
    pub fn error(code: &'static str, object: impl Into<String>, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, object: object.into(), found: found.into(), wanted: wanted.into(), fix: None }
    }

    /// A finding that does not.
    pub fn warning(code: &'static str, object: impl Into<String>, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, object, found, wanted) }
    }

    /// Adds the command that fixes it.
    #[must_use]
    pub fn fix(mut self, command: impl Into<String>) -> Self {
        self.fix = Some(command.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, wanted {}", self.object, self.found, self.wanted)?;
        match &self.fix {
            Some(command) => write!(f, "; fix: {command}"),
            None => Ok(()),
        }
    }
}
