//! What each key of DMS's settings does here, or why it does nothing.
//!
//! A key without effect is accepted, because documents that work with DMS shall work here, and listed wherever somebody
//! looks at the task, because a setting that is silently not there is worse than an error. The table is also the source
//! of `docs/task-settings.md`.

use serde_json::{Value, json};

use super::{defaults, sections_not_in_the_defaults};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// This; the text names the native setting.
    Does(&'static str),
    /// Nothing, for this reason.
    Nothing(&'static str),
    /// Only one value is accepted: the other would ask for rows or changes that do not come.
    Refused(&'static str),
}

use Effect::{Does, Nothing, Refused};

const LOAD_THREADS: &str =
    "AWS has it for streams, DynamoDB, search and warehouses; `MaxFullLoadSubTasks` says how many connections load into a database";
const APPLY_THREADS: &str =
    "AWS has it for streams, documents, search and warehouses; how many lanes apply to a database follows the task's units";
const BEFORE_IMAGE: &str =
    "it is about the field of a message; a table gets old values in columns, which the rule action `add-before-image-columns` names";
const VALIDATES: &str = "it says how rows are compared, and they are not";
const RESYNCS: &str = "it repairs what a comparison finds, and rows are not compared";
const RETRY: &str = "`retry`, from the first of the five `RecoverableError…` keys that has another value than DMS's default; otherwise a task \
                     tries again for ever, at least every 8 s";

/// Every key by its section, in the order of DMS's documents.
pub(crate) const EFFECTS: &[(&str, &str, Effect)] = &[
    ("TargetMetadata", "TargetSchema", Does("`target_schema`: the schema (MySQL, MariaDB: database) of tables whose rules leave it")),
    ("TargetMetadata", "SupportLobs", Does("`large_values`, mode `excluded`: false leaves them out")),
    ("TargetMetadata", "FullLobMode", Does("`large_values`, mode `full`; true by default, other than at AWS")),
    ("TargetMetadata", "LobChunkSize", Nothing("no large value is read in pieces of its own: it travels whole, inside of its row")),
    ("TargetMetadata", "LimitedSizeLobMode", Does("`large_values`, mode `limited`; false by default, other than at AWS")),
    ("TargetMetadata", "LobMaxSize", Does("`large_values.max_kib` of the limited mode, and turns it on where no mode is said")),
    (
        "TargetMetadata",
        "InlineLobMaxSize",
        Nothing("every large value travels inside of its row, as if the limit were endless; none is looked up afterwards"),
    ),
    ("TargetMetadata", "LoadMaxFileSize", Nothing("rows are streamed into the target: there are no files whose size could be bounded")),
    ("TargetMetadata", "ParallelLoadThreads", Nothing(LOAD_THREADS)),
    ("TargetMetadata", "ParallelLoadBufferSize", Nothing(LOAD_THREADS)),
    ("TargetMetadata", "ParallelLoadQueuesPerThread", Nothing(LOAD_THREADS)),
    ("TargetMetadata", "ParallelApplyThreads", Nothing(APPLY_THREADS)),
    ("TargetMetadata", "ParallelApplyBufferSize", Nothing(APPLY_THREADS)),
    ("TargetMetadata", "ParallelApplyQueuesPerThread", Nothing(APPLY_THREADS)),
    (
        "TargetMetadata",
        "BatchApplyEnabled",
        Does(
            "`batch` from the `BatchApply…` keys. Changes are always applied by set and by whole transactions; this makes groups rarer and larger",
        ),
    ),
    (
        "TargetMetadata",
        "TaskRecoveryTableEnabled",
        Does(
            "`control_tables.recovery`: `awsdms_txn_state` tells the checkpoint, in the transactions that move it, and with it `awsdms_apply_exceptions`. The task itself goes on from `tidegate.checkpoint`",
        ),
    ),
    ("FullLoadSettings", "TargetTablePrepMode", Does("`preparation`")),
    (
        "FullLoadSettings",
        "CreatePkAfterFullLoad",
        Does("`primary_keys`: `after-load`, with `DROP_AND_CREATE`; an interrupted load of a table starts over then"),
    ),
    ("FullLoadSettings", "StopTaskCachedChangesApplied", Does("`after_load`: `stop-after-changes`")),
    ("FullLoadSettings", "StopTaskCachedChangesNotApplied", Does("`after_load`: `stop-before-changes`; it comes first when both are true")),
    ("FullLoadSettings", "MaxFullLoadSubTasks", Does("`load_lanes`")),
    (
        "FullLoadSettings",
        "TransactionConsistencyTimeout",
        Does(
            "`transaction_wait.seconds`: how long the start waits for open transactions (PostgreSQL) before it says so, or fails. It never begins without them",
        ),
    ),
    ("FullLoadSettings", "CommitRate", Does("`chunk_rows`, at least 1,000; 10,000, DMS's default, means the native default")),
    ("ChangeProcessingTuning", "BatchApplyPreserveTransaction", Nothing("whole transactions are always preserved")),
    ("ChangeProcessingTuning", "BatchApplyTimeoutMin", Does("`batch.interval_seconds`, with `BatchApplyEnabled`")),
    (
        "ChangeProcessingTuning",
        "BatchApplyTimeoutMax",
        Does("bounds `BatchApplyTimeoutMin`, which is refused above it: no group waits longer than the least time between two"),
    ),
    ("ChangeProcessingTuning", "BatchApplyMemoryLimit", Does("`batch.mib`, with `BatchApplyEnabled`, at most 32")),
    ("ChangeProcessingTuning", "BatchSplitSize", Does("`batch.changes_max`, with `BatchApplyEnabled`; 0: no limit")),
    (
        "ChangeProcessingTuning",
        "MinTransactionSize",
        Does(
            "`batch.changes_min`: so many changes do not wait for `CommitTimeout`. Without `BatchApplyEnabled`, from the first of the two on that has another value than DMS's default; otherwise nothing waits",
        ),
    ),
    (
        "ChangeProcessingTuning",
        "CommitTimeout",
        Does(
            "`batch.interval_seconds`, likewise: at least so long between two groups, unless `MinTransactionSize` changes wait. A change never waits longer",
        ),
    ),
    (
        "ChangeProcessingTuning",
        "MemoryLimitTotal",
        Does("`cache_mib`, at least 8; 1,024, DMS's default, means the native default of 64 for each unit"),
    ),
    ("ChangeProcessingTuning", "MemoryKeepTime", Nothing("changes go to disk when memory is used up, not by their age")),
    (
        "ChangeProcessingTuning",
        "StatementCacheSize",
        Nothing(
            "rows are applied by set, and statements of single rows are few: a session of PostgreSQL keeps about 200 of them, MySQL and MariaDB get none prepared",
        ),
    ),
    (
        "ChangeProcessingTuning",
        "RecoveryTimeout",
        Does(
            "`retry.give_up_seconds`: the task fails when it has not recovered from an interruption in so long, at most 30 days; -1: never. How long the log is that it has to read is not counted",
        ),
    ),
    ("ErrorBehavior", "DataErrorPolicy", Does("`row_errors.data`")),
    (
        "ErrorBehavior",
        "EventErrorPolicy",
        Nothing(
            "events are sent nowhere: they are rows of the catalog, beside the task's own state, and there is no second error to have a policy for",
        ),
    ),
    ("ErrorBehavior", "DataTruncationErrorPolicy", Does("`row_errors.truncation`")),
    (
        "ErrorBehavior",
        "DataMaskingErrorPolicy",
        Does(
            "`row_errors.masking`: for values that a mask cannot be applied to. With `LOG_ERROR` the row goes to the error table and not, as at AWS, unmasked to the target",
        ),
    ),
    ("ErrorBehavior", "DataErrorEscalationPolicy", Does("`row_errors.escalation`")),
    ("ErrorBehavior", "DataErrorEscalationCount", Does("`row_errors.escalation_count`")),
    ("ErrorBehavior", "TableErrorPolicy", Does("`table_errors`")),
    ("ErrorBehavior", "TableErrorEscalationPolicy", Does("`STOP_TASK` is its only value")),
    (
        "ErrorBehavior",
        "TableErrorEscalationCount",
        Does("`table_errors_max`: from so many errors of one table in a run on, the task stops; 0: never"),
    ),
    (
        "ErrorBehavior",
        "ApplyErrorDeletePolicy",
        Does(
            "`row_errors.missing_delete`: `ignore`, or `log`, which says it once for each table and run, and in `awsdms_apply_exceptions` for each row. `SUSPEND_TABLE` and `STOP_TASK` as for inserts. In tables without a key, a delete that finds no row is a conflict in any case; with `INSERT_RECORD` and `UPDATE_RECORD` it is none",
        ),
    ),
    (
        "ErrorBehavior",
        "ApplyErrorInsertPolicy",
        Does(
            "`row_errors.insert_conflict`: `log`, `ignore`, `upsert` for `INSERT_RECORD`; `SUSPEND_TABLE` as `table_errors` says, `STOP_TASK` by `row_errors.conflicts_max` 1. In tables without a key, and in transactions of more than 8 MiB of changes, a conflict suspends the table or stops the task; so does a value of another unique key that clashes",
        ),
    ),
    ("ErrorBehavior", "ApplyErrorUpdatePolicy", Does("`row_errors.update_conflict`, likewise, with `UPDATE_RECORD`")),
    (
        "ErrorBehavior",
        "ApplyErrorEscalationPolicy",
        Does("`row_errors.conflict_escalation`, for conflicts that are logged or ignored; `STOP_TASK`: `row_errors.conflicts_max`, too"),
    ),
    (
        "ErrorBehavior",
        "ApplyErrorEscalationCount",
        Does("`row_errors.conflict_escalation_count`, and `row_errors.conflicts_max` with `STOP_TASK`; 0: never"),
    ),
    ("ErrorBehavior", "ApplyErrorFailOnTruncationDdl", Does("`ddl.truncate_table`: `stop`")),
    (
        "ErrorBehavior",
        "FullLoadIgnoreConflicts",
        Nothing("changes that a load may have seen are applied so that they hold whatever is there; all others are strict"),
    ),
    (
        "ErrorBehavior",
        "FailOnTransactionConsistencyBreached",
        Does("`transaction_wait.then`: `fail` after `TransactionConsistencyTimeout`"),
    ),
    ("ErrorBehavior", "FailOnNoTablesCaptured", Does("`no_tables`: `fail`, or `wait` until a selected table is created")),
    ("ErrorBehavior", "RecoverableErrorCount", Does(RETRY)),
    ("ErrorBehavior", "RecoverableErrorInterval", Does("`retry.pause_seconds`")),
    ("ErrorBehavior", "RecoverableErrorThrottling", Does("`retry.doubles`")),
    ("ErrorBehavior", "RecoverableErrorThrottlingMax", Does("`retry.pause_seconds_max`")),
    ("ErrorBehavior", "RecoverableErrorStopRetryAfterThrottlingMax", Does("`retry.stops_at_max`")),
    ("ChangeProcessingDdlHandlingPolicy", "HandleSourceTableDropped", Does("`ddl.drop_table`: `apply` or `ignore`")),
    ("ChangeProcessingDdlHandlingPolicy", "HandleSourceTableTruncated", Does("`ddl.truncate_table`: `apply` or `ignore`")),
    (
        "ChangeProcessingDdlHandlingPolicy",
        "HandleSourceTableAltered",
        Does("`ddl.add_column`, `drop_column`, `rename_column`, `retype_column`: `apply` or `ignore`"),
    ),
    (
        "ControlTablesSettings",
        "ControlSchema",
        Does(
            "`control_tables.schema`; DMS's own places (`public`, `awsdms_control`) where it is empty. It asks for `awsdms_apply_exceptions`",
        ),
    ),
    ("ControlTablesSettings", "HistoryTimeslotInMinutes", Does("`control_tables.history_minutes`, at most a day")),
    ("ControlTablesSettings", "historyTimeslotInMinutes", Nothing("an echo of `HistoryTimeslotInMinutes`")),
    (
        "ControlTablesSettings",
        "HistoryTableEnabled",
        Does("`control_tables.history`: `awsdms_history`, and with it `awsdms_apply_exceptions`"),
    ),
    (
        "ControlTablesSettings",
        "SuspendedTablesTableEnabled",
        Does("`control_tables.suspended_tables`: `awsdms_suspended_tables`, and with it `awsdms_apply_exceptions`"),
    ),
    (
        "ControlTablesSettings",
        "StatusTableEnabled",
        Does("`control_tables.status`: `awsdms_status`, and with it `awsdms_apply_exceptions`"),
    ),
    (
        "ControlTablesSettings",
        "FullLoadExceptionTableEnabled",
        Does(
            "`control_tables.full_load_exceptions`: rows at fault of loads are in `awsdms_full_load_exceptions`, which has the columns of `awsdms_apply_exceptions`, and not there",
        ),
    ),
    (
        "ControlTablesSettings",
        "CommitPositionTableEnabled",
        Nothing(
            "the position of the last commit is always in `tidegate.checkpoint`; `TaskRecoveryTableEnabled` shows it in a table of DMS's",
        ),
    ),
    (
        "Logging",
        "EnableLogging",
        Nothing(
            "no task has a log of its own to turn on: the process has one, for its operator; what a tenant needs to know of a task is in its events",
        ),
    ),
    ("Logging", "EnableLogContext", Nothing("lines of the process's log name the task that they are about in a field")),
    (
        "Logging",
        "LogComponents",
        Nothing("DMS's components are none of this process, and its log is of all tenants: no task fills or silences it"),
    ),
    ("Logging", "CloudWatchLogGroup", Refused("read-only")),
    ("Logging", "CloudWatchLogStream", Refused("read-only")),
    ("Logging", "DeleteTaskLogs", Nothing("there are no logs of tasks to delete")),
    (
        "StreamBufferSettings",
        "StreamBufferCount",
        Nothing("there are no buffers to count: what waits between stages is bounded in bytes, by the task's units"),
    ),
    ("StreamBufferSettings", "CtrlStreamBufferSizeInMB", Nothing("there is no second stream for control messages")),
    (
        "StreamBufferSettings",
        "StreamBufferSizeInMB",
        Nothing("what waits between stages is bounded in bytes, by the task's units, and a value that is larger passes alone"),
    ),
    ("TTSettings", "EnableTT", Nothing("no log of rows is written to S3")),
    ("TTSettings", "FailTaskOnTTFailure", Nothing("no log of rows is written to S3 that could fail")),
    ("TTSettings", "TTS3Settings", Nothing("no log of rows is written to S3 that needs a place there")),
    ("TTSettings", "TTRecordSettings", Nothing("no log of rows is written to S3 whose form could be chosen")),
    ("ValidationSettings", "EnableValidation", Nothing("rows are not compared after the load")),
    ("ValidationSettings", "ValidationMode", Nothing(VALIDATES)),
    ("ValidationSettings", "ThreadCount", Nothing(VALIDATES)),
    ("ValidationSettings", "PartitionSize", Nothing(VALIDATES)),
    ("ValidationSettings", "FailureMaxCount", Nothing(VALIDATES)),
    ("ValidationSettings", "TableFailureMaxCount", Nothing(VALIDATES)),
    ("ValidationSettings", "RecordFailureDelayInMinutes", Nothing(VALIDATES)),
    ("ValidationSettings", "RecordFailureDelayLimitInMinutes", Nothing(VALIDATES)),
    ("ValidationSettings", "RecordSuspendDelayInMinutes", Nothing(VALIDATES)),
    ("ValidationSettings", "MaxKeyColumnSize", Nothing(VALIDATES)),
    ("ValidationSettings", "SkipLobColumns", Nothing(VALIDATES)),
    ("ValidationSettings", "ValidationOnly", Refused("such a task would copy instead of compare")),
    ("ValidationSettings", "HandleCollationDiff", Nothing(VALIDATES)),
    ("ValidationSettings", "ValidationPartialLobSize", Nothing(VALIDATES)),
    ("ValidationSettings", "ValidationQueryCdcDelaySeconds", Nothing(VALIDATES)),
    ("ValidationSettings", "ValidationS3Mask", Nothing("it is for targets in S3")),
    ("ValidationSettings", "ValidationS3Time", Nothing("it is for targets in S3")),
    ("ResyncSettings", "EnableResync", Nothing(RESYNCS)),
    ("ResyncSettings", "ResyncSchedule", Nothing(RESYNCS)),
    ("ResyncSettings", "MaxResyncTime", Nothing(RESYNCS)),
    ("ResyncSettings", "ValidationTaskId", Nothing(RESYNCS)),
    ("BeforeImageSettings", "EnableBeforeImage", Refused("the rule action `add-before-image-columns` is for tables")),
    ("BeforeImageSettings", "FieldName", Nothing(BEFORE_IMAGE)),
    ("BeforeImageSettings", "ColumnFilter", Nothing(BEFORE_IMAGE)),
    ("LoopbackPreventionSettings", "EnableLoopbackPrevention", Does("`loopback` ([two directions](#two-directions))")),
    (
        "LoopbackPreventionSettings",
        "SourceSchema",
        Does(
            "`loopback.source_mark`, in small letters. It is a name and no schema: it has to be the `TargetSchema` of the other task, as at AWS",
        ),
    ),
    ("LoopbackPreventionSettings", "TargetSchema", Does("`loopback.target_mark`, likewise the `SourceSchema` of the other task")),
    (
        "CharacterSetSettings",
        "CharacterReplacements",
        Does(
            "`characters.replace`, in every column of text, also those that AWS takes for LOBs. Code points with letters are strings: `\"2FB6\"`",
        ),
    ),
    (
        "CharacterSetSettings",
        "CharacterSetSupport",
        Does("`characters.character_set` and `replace_others`; a set that is not among [these](#characters) is refused"),
    ),
    ("", "FailTaskWhenCleanTaskResourceFailed", Nothing("a deletion that cannot clean up always fails, and keeps the task")),
    ("", "PostProcessingRules", Refused("they are for S3")),
];

/// The keys of a full document that have another value than DMS's default and do nothing here, with the reason.
pub(crate) fn without_effect(document: &Value) -> Vec<(String, &'static str)> {
    let defaults = defaults();
    let ask = |section: &str, key: &str| match section {
        "" => document.get(key).map(|found| (found.clone(), defaults.get(key).cloned().unwrap_or_default())),
        _ => {
            let found = document.get(section)?.get(key)?.clone();
            let usual = defaults.get(section).and_then(|section| section.get(key)).cloned();
            let extra = || sections_not_in_the_defaults(section).and_then(|section| section.get(key).cloned());
            Some((found, usual.or_else(extra).unwrap_or_default()))
        }
    };
    let idle = EFFECTS.iter().filter_map(|(section, key, effect)| {
        let Nothing(why) = effect else { return None };
        let (found, usual) = ask(section, key)?;
        let name = if section.is_empty() { (*key).to_owned() } else { format!("{section}.{key}") };
        (found != usual).then_some((name, *why))
    });
    idle.collect()
}

/// The same as the native API shows it.
pub(crate) fn view(document: &Value) -> Value {
    without_effect(document).into_iter().map(|(key, why)| json!({"key": key, "reason": why})).collect()
}

/// The same in a sentence for an event; `None` when there is nothing to say.
pub(crate) fn sentence(document: &Value) -> Option<String> {
    let idle = without_effect(document);
    let named: Vec<String> = idle.iter().map(|(key, why)| format!("{key} ({why})")).collect();
    (!named.is_empty()).then(|| format!("settings without effect: {}", named.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dms::settings::merge;

    #[test]
    fn every_key_of_dms_has_an_effect_or_a_reason() {
        let mut wanted = BTreeSet::new();
        for (section, value) in defaults().as_object().unwrap() {
            match value.as_object() {
                Some(keys) => wanted.extend(keys.keys().map(|key| (section.clone(), key.clone()))),
                None if sections_not_in_the_defaults(section).is_none() => drop(wanted.insert((String::new(), section.clone()))),
                None => {}
            }
        }
        let sections = ["Logging", "ControlTablesSettings", "ValidationSettings", "ResyncSettings", "BeforeImageSettings"];
        for section in sections.into_iter().chain(["LoopbackPreventionSettings", "CharacterSetSettings"]) {
            let extra = sections_not_in_the_defaults(section).unwrap();
            wanted.extend(extra.as_object().unwrap().keys().map(|key| (section.to_owned(), key.clone())));
        }
        let listed: BTreeSet<_> = EFFECTS.iter().map(|(section, key, _)| ((*section).to_owned(), (*key).to_owned())).collect();
        assert_eq!(listed.len(), EFFECTS.len(), "a key stands twice");
        assert_eq!(listed, wanted);
    }

    #[test]
    fn only_changed_keys_without_effect_are_listed() {
        assert_eq!(without_effect(&defaults()), []);
        let given = r#"{"ChangeProcessingTuning":{"MemoryKeepTime":5,"MemoryLimitTotal":64},"FailTaskWhenCleanTaskResourceFailed":true,
            "ValidationSettings":{"EnableValidation":true,"ThreadCount":5}}"#;
        let document = merge(defaults(), Some(given)).unwrap().document;
        let listed: Vec<String> = without_effect(&document).into_iter().map(|(key, _)| key).collect();
        let wanted =
            ["ChangeProcessingTuning.MemoryKeepTime", "ValidationSettings.EnableValidation", "FailTaskWhenCleanTaskResourceFailed"];
        assert_eq!(listed, wanted);
        assert!(sentence(&document).unwrap().starts_with("settings without effect: ChangeProcessingTuning.MemoryKeepTime ("));
    }

    fn page() -> String {
        let row = |(section, key, effect): &(&str, &str, Effect)| {
            let name = if section.is_empty() { (*key).to_owned() } else { format!("{section}.{key}") };
            match effect {
                Does(what) => format!("| `{name}` | works | {what} |\n"),
                Nothing(why) => format!("| `{name}` | without effect | {why} |\n"),
                Refused(why) => format!("| `{name}` | only the default | {why} |\n"),
            }
        };
        EFFECTS.iter().map(row).collect()
    }

    #[test]
    fn the_page_of_task_settings_is_the_tables() {
        const BEGIN: &str = "| key | | |\n|---|---|---|\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/task-settings.md");
        let found = std::fs::read_to_string(path).unwrap();
        let (head, rest) = found.split_once(BEGIN).expect("the page has the table's head");
        let tail = rest.split_once("\n\n").map_or("", |(_, tail)| tail);
        let wanted = format!("{head}{BEGIN}{}\n{tail}", page());
        if std::env::var_os("TIDEGATE_REWRITE").is_some() {
            std::fs::write(path, &wanted).unwrap();
        } else {
            assert!(found == wanted, "docs/task-settings.md is old; TIDEGATE_REWRITE=1 writes it");
        }
    }
}
