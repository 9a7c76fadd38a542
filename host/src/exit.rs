//! How the process ends: the exit code for scripts, and the sentence and the hint for people.

use std::process::ExitCode;

use tidegate_catalog::CatalogError;
use tidegate_connector::{ConnectorError, ErrorClass};
use tidegate_pipeline::TaskError;

/// The documented exit codes; they stand in the help text too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// The task failed, or a check found errors.
    Failed,
    /// Arguments, configuration file or task file are not right.
    Usage,
    /// The machine does not give what is needed: a directory, a port, a server to talk to.
    Environment,
    /// Stopped by a signal before its end; the same command goes on. Shells know 130 as "ended by Ctrl-C".
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Environment => 3,
            Exit::Interrupted => 130,
        })
    }
}

/// A command that could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) exit: Exit,
    /// Stable code, lower case with underscores.
    pub(crate) code: String,
    /// What happened: object, found, wanted.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// Arguments or files that are not right.
    pub(crate) fn usage(code: &str, message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code: code.into(), message: message.into(), hint: None }
    }

    /// A machine that does not give what is needed.
    pub(crate) fn environment(code: &str, message: impl Into<String>) -> Self {
        Self { exit: Exit::Environment, code: code.into(), message: message.into(), hint: None }
    }

    /// A task or a check that failed.
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, code: code.into(), message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<&ConnectorError> for Failure {
    fn from(error: &ConnectorError) -> Self {
        let message = match error.class() {
            ErrorClass::Bug => format!("{} (this is a fault of tidegate: please report it)", error.chain()),
            ErrorClass::Fenced => fenced_message(error),
            ErrorClass::Transient | ErrorClass::TableDefinite | ErrorClass::TaskDefinite => error.chain(),
        };
        let hint = error.hint_text().map(str::to_owned);
        Self { exit: Exit::Failed, code: error.code().into(), message, hint }
    }
}

/// The words that users look for, whatever the connector said.
fn fenced_message(error: &ConnectorError) -> String {
    let chain = error.chain();
    if chain.contains("another worker took over") { chain } else { format!("another worker took over: {chain}") }
}

impl From<&TaskError> for Failure {
    fn from(error: &TaskError) -> Self {
        if let TaskError::Connector(error) = error {
            return error.into();
        }
        let message = match error.class() {
            ErrorClass::Bug => format!("{} (this is a fault of tidegate: please report it)", error.chain()),
            ErrorClass::Transient | ErrorClass::TableDefinite | ErrorClass::TaskDefinite | ErrorClass::Fenced => error.chain(),
        };
        Self { exit: Exit::Failed, code: error.code().into(), message, hint: error.hint().map(str::to_owned) }
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        let code = match &error {
            CatalogError::NotFound { .. } => "not_found",
            CatalogError::AlreadyExists { .. } => "already_exists",
            CatalogError::InUse { .. } => "in_use",
            CatalogError::Conflict { .. } => "conflict",
            CatalogError::Quota { .. } => "quota",
            CatalogError::Corrupt { .. } | CatalogError::Key { .. } | CatalogError::File { .. } | CatalogError::Storage(_) => "catalog",
        };
        Failure::environment(code, chain(&error))
    }
}

impl From<Failure> for tidegate_catalog::Failure {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message, hint: failure.hint }
    }
}

/// An error and its causes, joined by colons: one sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tidegate_connector::Finding;

    use super::*;

    #[test]
    fn a_fenced_worker_says_that_another_took_over() {
        let failure = Failure::from(&ConnectorError::fenced("shop", 3));
        assert!(failure.message.contains("another worker took over"), "{}", failure.message);
        let failure = Failure::from(&ConnectorError::new(ErrorClass::Fenced, "fenced", "generation 3 is not 4"));
        assert!(failure.message.contains("another worker took over"), "{}", failure.message);
    }

    #[test]
    fn failed_checks_name_every_error_and_the_first_fix() {
        let findings = vec![
            Finding::warning("w", "setting \"a\"", "1", "2"),
            Finding::error("x", "setting \"wal_level\"", "replica", "logical").fix("ALTER SYSTEM SET wal_level = logical"),
            Finding::error("y", "table \"s.t\"", "no key", "a key"),
        ];
        let failure = Failure::from(&TaskError::ChecksFailed(findings));
        assert!(failure.message.contains("wal_level") && failure.message.contains("s.t") && !failure.message.contains("\"a\""));
        assert_eq!(failure.hint.as_deref(), Some("ALTER SYSTEM SET wal_level = logical"));
    }
}
