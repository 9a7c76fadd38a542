//! A task's policy for rows at fault, as files and the API spell it.

use serde::Deserialize;
use tidegate_pipeline::{ConflictAction, MissingDelete, RowAction, RowErrorPolicy};

use crate::exit::Failure;

/// The key `row_errors` of a task's settings; what is left out has [`RowErrorPolicy`]'s default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowErrorsForm {
    data: Option<RowActionForm>,
    truncation: Option<RowActionForm>,
    masking: Option<RowActionForm>,
    conflict: Option<ConflictForm>,
    insert_conflict: Option<ConflictForm>,
    update_conflict: Option<ConflictForm>,
    conflict_escalation_count: Option<u64>,
    conflict_escalation: Option<TableForm>,
    missing_delete: Option<MissingDeleteForm>,
    conflicts_max: Option<u32>,
    escalation_count: Option<u64>,
    escalation: Option<TableForm>,
    images: Option<bool>,
    consecutive_max: Option<u64>,
    share_percent_max: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RowActionForm {
    Log,
    Ignore,
    SuspendTable,
    Stop,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ConflictForm {
    Stop,
    Upsert,
    Log,
    Ignore,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MissingDeleteForm {
    Conflict,
    Log,
    Ignore,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TableForm {
    SuspendTable,
    Stop,
}

impl RowErrorsForm {
    /// Fills in defaults.
    ///
    /// # Errors
    /// A usage failure that names the setting that is out of its bounds.
    pub(crate) fn policy(&self) -> Result<RowErrorPolicy, Failure> {
        let default = RowErrorPolicy::default();
        let data = self.data.map_or(default.data, action);
        let percent = self.share_percent_max.unwrap_or(default.share_percent_max);
        if percent > 100 {
            return Err(Failure::usage("settings", format!("setting \"row_errors.share_percent_max\" is {percent}, wanted 0 to 100")));
        }
        let escalation = self.escalation.map_or(RowAction::SuspendTable, table_action);
        Ok(RowErrorPolicy {
            data,
            truncation: self.truncation.map_or(data, action),
            masking: self.masking.map_or(data, action),
            missing_delete: match self.missing_delete {
                Some(MissingDeleteForm::Ignore) => MissingDelete::Ignore,
                Some(MissingDeleteForm::Log) => MissingDelete::Log,
                Some(MissingDeleteForm::Conflict) | None => MissingDelete::Conflict,
            },
            insert_conflict: conflict(self.insert_conflict.or(self.conflict)),
            update_conflict: conflict(self.update_conflict.or(self.conflict)),
            conflict_escalation: self.conflict_escalation_count.filter(|count| *count > 0).map(|count| {
                let escalation = self.conflict_escalation.map_or(RowAction::SuspendTable, table_action);
                (count, escalation)
            }),
            conflicts_max: self.conflicts_max.filter(|count| *count > 0),
            escalation: self.escalation_count.filter(|count| *count > 0).map(|count| (count, escalation)),
            images: self.images.unwrap_or(default.images),
            consecutive_max: self.consecutive_max.unwrap_or(default.consecutive_max),
            share_percent_max: percent,
        })
    }
}

fn conflict(form: Option<ConflictForm>) -> ConflictAction {
    match form {
        Some(ConflictForm::Upsert) => ConflictAction::Upsert,
        Some(ConflictForm::Log) => ConflictAction::Log,
        Some(ConflictForm::Ignore) => ConflictAction::Ignore,
        Some(ConflictForm::Stop) | None => ConflictAction::Stop,
    }
}

fn action(form: RowActionForm) -> RowAction {
    match form {
        RowActionForm::Log => RowAction::Log,
        RowActionForm::Ignore => RowAction::Ignore,
        RowActionForm::SuspendTable => RowAction::SuspendTable,
        RowActionForm::Stop => RowAction::Stop,
    }
}

fn table_action(form: TableForm) -> RowAction {
    match form {
        TableForm::SuspendTable => RowAction::SuspendTable,
        TableForm::Stop => RowAction::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> RowErrorPolicy {
        serde_json::from_str::<RowErrorsForm>(text).unwrap().policy().unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_default_and_truncation_and_masking_follow_data() {
        assert_eq!(policy("{}"), RowErrorPolicy::default());
        let given = policy(r#"{"data": "log", "escalation_count": 7, "images": false}"#);
        assert_eq!((given.data, given.truncation, given.masking), (RowAction::Log, RowAction::Log, RowAction::Log));
        assert_eq!((given.escalation, given.images), (Some((7, RowAction::SuspendTable)), false));
        assert_eq!(policy(r#"{"data": "log", "truncation": "stop"}"#).truncation, RowAction::Stop);
        let given = policy(r#"{"data": "log", "masking": "stop", "missing_delete": "ignore"}"#);
        assert_eq!((given.masking, given.missing_delete), (RowAction::Stop, MissingDelete::Ignore));
    }
}
