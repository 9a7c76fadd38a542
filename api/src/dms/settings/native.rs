//! DMS's settings in the words of the native API.

use serde_json::{Map, Value, json};
use tidegate_catalog::Preparation;

use super::super::lobs;
use super::characters;
use crate::loopback::is_mark;

/// Native keys that a DMS document decides about. Those that it leaves at the native default are absent.
pub(super) const NATIVE_KEYS: [&str; 18] = [
    "load_lanes",
    "chunk_rows",
    "cache_mib",
    "table_errors",
    "table_errors_max",
    "row_errors",
    "large_values",
    "ddl",
    "target_schema",
    "retry",
    "no_tables",
    "after_load",
    "primary_keys",
    "transaction_wait",
    "batch",
    "control_tables",
    "characters",
    "loopback",
];

/// Bounds of the native settings that DMS's wider ones are moved into.
const CHUNK_ROWS_MIN: u64 = 1_000;
const CACHE_MIB: (u64, u64) = (8, 65_536);
const BATCH_MIB_MAX: u64 = 32;
const SECONDS_MAX: u64 = 86_400;
const GIVE_UP_SECONDS_MAX: u64 = 2_592_000;
const CHANGES_MAX: u64 = 1_000_000_000;
const HISTORY_MINUTES_MAX: u64 = 1_440;

/// `FullLoadSettings.TargetTablePrepMode`.
pub(super) fn preparation(document: &Value) -> Preparation {
    match document["FullLoadSettings"]["TargetTablePrepMode"].as_str() {
        Some("DO_NOTHING") => Preparation::DoNothing,
        Some("TRUNCATE_BEFORE_LOAD") => Preparation::TruncateBeforeLoad,
        // The default document has it, and no other word passes the checks.
        _ => Preparation::DropAndCreate,
    }
}

/// Everything else, as native settings. `usual` is DMS's default document: where a figure of it is left as it is, the
/// native default counts, which fits a server that one has oneself.
pub(super) fn settings(document: &Value, usual: &Value) -> Map<String, Value> {
    let (load, tuning, metadata) = (&document["FullLoadSettings"], &document["ChangeProcessingTuning"], &document["TargetMetadata"]);
    let behavior = &document["ErrorBehavior"];
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut native = Map::new();
    let mut set = |key: &'static str, value: Value| drop(native.insert(key.to_owned(), value));
    set("load_lanes", load["MaxFullLoadSubTasks"].clone());
    if load["CommitRate"] != usual["FullLoadSettings"]["CommitRate"] {
        set("chunk_rows", number(&load["CommitRate"]).max(CHUNK_ROWS_MIN).into());
    }
    if tuning["MemoryLimitTotal"] != usual["ChangeProcessingTuning"]["MemoryLimitTotal"] {
        set("cache_mib", number(&tuning["MemoryLimitTotal"]).clamp(CACHE_MIB.0, CACHE_MIB.1).into());
    }
    set("table_errors", if behavior["TableErrorPolicy"] == "STOP_TASK" { "stop" } else { "suspend-table" }.into());
    if number(&behavior["TableErrorEscalationCount"]) > 0 {
        set("table_errors_max", number(&behavior["TableErrorEscalationCount"]).min(1_000_000).into());
    }
    set("row_errors", row_errors(behavior));
    set("ddl", ddl(document));
    set("large_values", lobs::native(metadata));
    if let Some(schema) = metadata["TargetSchema"].as_str().filter(|schema| !schema.is_empty()) {
        set("target_schema", schema.into());
    }
    let mut retry = if RETRY_KEYS.iter().any(|key| behavior[key] != usual["ErrorBehavior"][key]) { retry(behavior) } else { json!({}) };
    // -1 is no limit.
    if let Some(minutes) = tuning["RecoveryTimeout"].as_u64() {
        retry["give_up_seconds"] = minutes.saturating_mul(60).min(GIVE_UP_SECONDS_MAX).into();
    }
    if retry != json!({}) {
        set("retry", retry);
    }
    set("no_tables", if behavior["FailOnNoTablesCaptured"] == false { "wait" } else { "fail" }.into());
    if load["StopTaskCachedChangesNotApplied"] == true {
        set("after_load", "stop-before-changes".into());
    } else if load["StopTaskCachedChangesApplied"] == true {
        set("after_load", "stop-after-changes".into());
    }
    if load["CreatePkAfterFullLoad"] == true {
        set("primary_keys", "after-load".into());
    }
    let then = if behavior["FailOnTransactionConsistencyBreached"] == true { "fail" } else { "tell" };
    set("transaction_wait", json!({"seconds": number(&load["TransactionConsistencyTimeout"]).min(SECONDS_MAX), "then": then}));
    if metadata["BatchApplyEnabled"] == true {
        let mut batch = json!({
            "interval_seconds": number(&tuning["BatchApplyTimeoutMin"]).min(SECONDS_MAX),
            "mib": number(&tuning["BatchApplyMemoryLimit"]).clamp(1, BATCH_MIB_MAX),
        });
        if number(&tuning["BatchSplitSize"]) > 0 {
            batch["changes_max"] = tuning["BatchSplitSize"].clone();
        }
        set("batch", batch);
    } else if COMMIT_KEYS.iter().any(|key| tuning[key] != usual["ChangeProcessingTuning"][key]) {
        let batch = json!({
            "interval_seconds": number(&tuning["CommitTimeout"]).min(SECONDS_MAX),
            "changes_min": number(&tuning["MinTransactionSize"]).clamp(1, CHANGES_MAX),
        });
        set("batch", batch);
    }
    if let Some(tables) = control_tables(&document["ControlTablesSettings"], metadata["TaskRecoveryTableEnabled"] == true) {
        set("control_tables", tables);
    }
    if let Some(marks) = loopback(&document["LoopbackPreventionSettings"]) {
        set("loopback", marks);
    }
    if let Some(replaced) = characters::native(&document["CharacterSetSettings"]) {
        set("characters", replaced);
    }
    native
}

/// Asked for by any of the tables that may be chosen, or by naming a schema for them. The table of exceptions, which DMS makes
/// in every target, comes along.
fn control_tables(given: &Value, recovery: bool) -> Option<Value> {
    let mut tables = json!({
        "status": given["StatusTableEnabled"] == true,
        "suspended_tables": given["SuspendedTablesTableEnabled"] == true,
        "history": given["HistoryTableEnabled"] == true,
        "history_minutes": given["HistoryTimeslotInMinutes"].as_u64().unwrap_or(1).clamp(1, HISTORY_MINUTES_MAX),
    });
    let of_loads = given["FullLoadExceptionTableEnabled"] == true;
    for (key, _) in [("recovery", recovery), ("full_load_exceptions", of_loads)].iter().filter(|(_, is_on)| *is_on) {
        tables[*key] = true.into();
    }
    let schema = given["ControlSchema"].as_str().filter(|schema| !schema.is_empty());
    if let Some(schema) = schema {
        tables["schema"] = schema.into();
    }
    let is_asked_for =
        schema.is_some() || recovery || of_loads || ["status", "suspended_tables", "history"].iter().any(|key| tables[key] == true);
    is_asked_for.then_some(tables)
}

/// The schemas in which DMS has its tables of marks are the marks' names here.
const LOOPBACK_KEYS: [(&str, &str); 2] = [("SourceSchema", "source_mark"), ("TargetSchema", "target_mark")];

/// What is wrong with the schemas of a task that prevents loopback.
pub(super) fn check_loopback(given: &Value) -> Result<(), String> {
    let marks = loopback(given).unwrap_or_default();
    match LOOPBACK_KEYS.iter().find(|(_, ours)| marks[ours].as_str().is_some_and(|mark| !is_mark(mark))) {
        None => Ok(()),
        Some((theirs, _)) => Err(format!("LoopbackPreventionSettings.{theirs} must be at most 40 letters of English, digits, _, - and $")),
    }
}

/// DMS compares names as the servers do, which may fold their letters.
fn loopback(given: &Value) -> Option<Value> {
    if given["EnableLoopbackPrevention"] != true {
        return None;
    }
    let mut marks = Map::new();
    for (theirs, ours) in LOOPBACK_KEYS {
        if let Some(schema) = given[theirs].as_str().filter(|schema| !schema.is_empty()) {
            marks.insert(ours.to_owned(), schema.to_lowercase().into());
        }
    }
    Some(Value::Object(marks))
}

/// Policies for changes that do not find in the target what they must.
const APPLY_KEYS: [&str; 3] = ["ApplyErrorInsertPolicy", "ApplyErrorUpdatePolicy", "ApplyErrorDeletePolicy"];

/// DMS's words for rows at fault.
fn row_errors(behavior: &Value) -> Value {
    let action = |key: &str| match behavior[key].as_str() {
        Some("LOG_ERROR") => "log",
        Some("IGNORE_RECORD") => "ignore",
        Some("SUSPEND_TABLE") => "suspend-table",
        // No other word passes the checks.
        _ => "stop",
    };
    let conflict = |key: &str| match behavior[key].as_str() {
        Some("LOG_ERROR") => "log",
        Some("IGNORE_RECORD") => "ignore",
        Some("INSERT_RECORD" | "UPDATE_RECORD") => "upsert",
        _ => "stop",
    };
    let is_upsert = behavior["ApplyErrorInsertPolicy"] == "INSERT_RECORD" && behavior["ApplyErrorUpdatePolicy"] == "UPDATE_RECORD";
    let stops = |key: &str| behavior[key] == "STOP_TASK";
    let escalation_count = behavior["ApplyErrorEscalationCount"].as_u64().unwrap_or(0).min(1_000_000);
    let conflicts_max = match escalation_count {
        _ if APPLY_KEYS.iter().any(|key| stops(key)) => 1,
        count if stops("ApplyErrorEscalationPolicy") => count,
        _ => 0,
    };
    let mut native = json!({
        "data": action("DataErrorPolicy"),
        "truncation": action("DataTruncationErrorPolicy"),
        "masking": action("DataMaskingErrorPolicy"),
        "insert_conflict": conflict("ApplyErrorInsertPolicy"),
        "update_conflict": conflict("ApplyErrorUpdatePolicy"),
        "missing_delete": match action("ApplyErrorDeletePolicy") {
            // Where every change is made to hold, a delete of nothing holds already.
            _ if is_upsert => "ignore",
            "stop" | "suspend-table" => "conflict",
            goes_on => goes_on,
        },
        "escalation_count": behavior["DataErrorEscalationCount"].as_u64().unwrap_or(0),
        "escalation": action("DataErrorEscalationPolicy"),
    });
    if conflicts_max > 0 {
        native["conflicts_max"] = conflicts_max.into();
    }
    if escalation_count > 0 && behavior["ApplyErrorEscalationPolicy"] != "LOG_ERROR" {
        native["conflict_escalation_count"] = escalation_count.into();
        native["conflict_escalation"] = action("ApplyErrorEscalationPolicy").into();
    }
    native
}

fn ddl(document: &Value) -> Value {
    let handling = &document["ChangeProcessingDdlHandlingPolicy"];
    let action = |key: &str| if handling[key] == false { "ignore" } else { "apply" };
    let stops = document["ErrorBehavior"]["ApplyErrorFailOnTruncationDdl"] == true;
    let altered = action("HandleSourceTableAltered");
    json!({
        "drop_table": action("HandleSourceTableDropped"),
        "truncate_table": if stops { "stop" } else { action("HandleSourceTableTruncated") },
        "add_column": altered, "drop_column": altered, "rename_column": altered, "retype_column": altered
    })
}

/// How changes collect where `BatchApplyEnabled` is off. With DMS's own figures a change would wait up to a second for others.
const COMMIT_KEYS: [&str; 2] = ["CommitTimeout", "MinTransactionSize"];

const RETRY_KEYS: [&str; 5] = [
    "RecoverableErrorCount",
    "RecoverableErrorInterval",
    "RecoverableErrorThrottling",
    "RecoverableErrorThrottlingMax",
    "RecoverableErrorStopRetryAfterThrottlingMax",
];

fn retry(behavior: &Value) -> Value {
    let seconds = |key: &str| behavior[key].as_u64().unwrap_or_default().min(SECONDS_MAX);
    let pause = seconds("RecoverableErrorInterval");
    json!({
        // -1 is for ever.
        "count_max": behavior["RecoverableErrorCount"].as_u64(),
        "pause_seconds": pause,
        "pause_seconds_max": seconds("RecoverableErrorThrottlingMax").max(pause),
        "doubles": behavior["RecoverableErrorThrottling"],
        "stops_at_max": behavior["RecoverableErrorStopRetryAfterThrottlingMax"],
    })
}
