//! DMS's control tables in a task's target, as files and the API spell them.

use serde::Deserialize;
use tidegate_pipeline::ControlTableSettings;

use crate::exit::Failure;

/// Minutes of a slot of the history: DMS's default, and a day.
const HISTORY_MINUTES: u32 = 5;
const HISTORY_MINUTES_MAX: u32 = 1_440;

/// The longest name of a schema in every kind of target.
const SCHEMA_BYTES_MAX: usize = 63;

/// The key `control_tables`: there at all, it asks for the table of exceptions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControlTablesForm {
    schema: Option<String>,
    #[serde(default)]
    status: bool,
    #[serde(default)]
    suspended_tables: bool,
    #[serde(default)]
    full_load_exceptions: bool,
    #[serde(default)]
    recovery: bool,
    #[serde(default)]
    history: bool,
    history_minutes: Option<u32>,
}

impl ControlTablesForm {
    /// For a task that has this name in the tables.
    ///
    /// # Errors
    /// A usage failure that names the setting that is out of its bounds.
    pub(crate) fn settings(&self, task_name: String) -> Result<ControlTableSettings, Failure> {
        let usage = |text: String| Err(Failure::usage("settings", format!("setting \"control_tables.{text}")));
        let minutes = self.history_minutes.unwrap_or(HISTORY_MINUTES);
        if !(1..=HISTORY_MINUTES_MAX).contains(&minutes) {
            return usage(format!("history_minutes\" is {minutes}, wanted 1 to {HISTORY_MINUTES_MAX}"));
        }
        let schema = self.schema.clone().filter(|schema| !schema.is_empty());
        if schema.as_ref().is_some_and(|schema| schema.len() > SCHEMA_BYTES_MAX || schema.contains('\0')) {
            return usage(format!("schema\" is no name of at most {SCHEMA_BYTES_MAX} bytes"));
        }
        Ok(ControlTableSettings {
            schema,
            task_name,
            server_name: crate::machine::name(),
            status: self.status,
            suspended_tables: self.suspended_tables,
            history: self.history,
            full_load_exceptions: self.full_load_exceptions,
            recovery: self.recovery,
            history_minutes: minutes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<ControlTableSettings, String> {
        serde_json::from_str::<ControlTablesForm>(text).unwrap().settings("shop".into()).map_err(|failure| failure.message)
    }

    #[test]
    fn what_is_left_out_is_not_made_and_bounds_are_named() {
        let plain = settings("{}").unwrap();
        assert_eq!((plain.schema, plain.history_minutes), (None, HISTORY_MINUTES));
        assert!(
            !plain.status
                && !plain.suspended_tables
                && !plain.history
                && !plain.recovery
                && !plain.full_load_exceptions
                && !plain.server_name.is_empty()
        );
        let given = settings(r#"{"schema": "ops", "status": true, "history": true, "history_minutes": 60}"#).unwrap();
        assert_eq!((given.schema.as_deref(), given.history_minutes, given.status, given.history), (Some("ops"), 60, true, true));
        assert!(settings(r#"{"history_minutes": 0}"#).unwrap_err().contains("control_tables.history_minutes"));
        assert!(settings(&format!(r#"{{"schema": "{}"}}"#, "x".repeat(64))).unwrap_err().contains("control_tables.schema"));
    }
}
