//! The answer of a check, for people and for programs.

use serde_json::{Value, json};
use tidegate_connector::{ConnectorError, ErrorClass, Finding, Severity};
use tidegate_pipeline::TaskError;

/// What to try when a server does not answer.
const UNREACHABLE: &str = "see that the server runs and that the endpoint's host and port are right, from this machine: \
                           pg_isready -h HOST -p PORT, or mysqladmin ping -h HOST -P PORT";

/// A finding as a table row: what `tidegate check` prints on standard output.
pub(crate) fn text(finding: &Finding) -> String {
    let mut text = format!(
        "{} [{}] {}\n    found:  {}\n    wanted: {}\n",
        severity_name(finding.severity),
        finding.code,
        finding.object,
        finding.found,
        finding.wanted
    );
    if let Some(fix) = &finding.fix {
        text.push_str(&format!("    fix:    {fix}\n"));
    }
    text
}

/// A finding as JSON.
pub(crate) fn document(finding: &Finding) -> Value {
    json!({
        "severity": severity_name(finding.severity),
        "code": finding.code,
        "object": finding.object,
        "found": finding.found,
        "wanted": finding.wanted,
        "fix": finding.fix,
    })
}

/// A check that could not be done is a finding too: an endpoint that cannot be reached, a password that is wrong.
pub(crate) fn from_error(object: &str, error: &ConnectorError) -> Finding {
    let finding = Finding::error(error.code(), object, error.chain(), "an endpoint that answers and lets the user in");
    let unreachable = (error.class() == ErrorClass::Transient).then_some(UNREACHABLE);
    match error.hint_text().or(unreachable) {
        Some(hint) => finding.fix(hint),
        None => finding,
    }
}

/// What the pipeline's own checks found, or why they could not be done.
pub(crate) fn from_task_error(error: &TaskError) -> Vec<Finding> {
    match error {
        TaskError::ChecksFailed(findings) => findings.clone(),
        TaskError::Connector(error) | TaskError::Definition(error, _) => vec![from_error("check", error)],
        TaskError::Module { .. }
        | TaskError::Plan { .. }
        | TaskError::Row { .. }
        | TaskError::SuspendTable { .. }
        | TaskError::Panicked(_)
        | TaskError::Cancelled => {
            let finding = Finding::error(error.code(), "table mappings", error.chain(), "mappings and modules that fit the source");
            vec![match error.hint() {
                Some(hint) => finding.fix(hint),
                None => finding,
            }]
        }
    }
}

/// The word for a severity.
pub(crate) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// True when a task must not start.
pub(crate) fn any_error(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_connection_is_a_finding_with_its_fix() {
        let error = ConnectorError::definite("wrong_password", "user \"u\" was refused").hint("check the password");
        let finding = from_error("source", &error);
        assert!(any_error(std::slice::from_ref(&finding)));
        assert!(text(&finding).contains("fix:    check the password"));
        assert_eq!(document(&finding)["code"], "wrong_password");
    }
}
