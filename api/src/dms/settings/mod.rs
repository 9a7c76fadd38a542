//! Task settings: the JSON document of DMS, merged over its defaults and echoed in full.
//!
//! A document may be partial. Each key must be one that DMS knows and have the type of its default; a value that DMS
//! would refuse is refused with the key's name. So is a value that asks for something that Tidegate does not do and
//! whose silent absence would put other rows into the target than the user asked for. What has no effect here is kept,
//! echoed, and listed (`effects.rs`). The default for large values is another than AWS's, and shown so (`lobs.rs`).

mod characters;
pub(crate) mod effects;
mod native;

use serde_json::{Map, Value, json};
use tidegate_catalog::Preparation;

use super::fault::{Fault, shortened};
use super::lobs;

/// The document that AWS returns for a task without settings, in full, but for the mode of large values.
const DEFAULTS: &str = include_str!("defaults.json");

/// What a task's settings mean here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// The full document, to be stored and echoed.
    pub(crate) document: Value,
    /// `FullLoadSettings.TargetTablePrepMode`.
    pub(crate) preparation: Preparation,
    /// All that works, as native settings.
    pub(crate) native: Map<String, Value>,
}

/// What a value must be beyond its type.
enum Rule {
    OneOf(&'static [&'static str]),
    Between(i64, i64),
    /// Only this JSON text; the other text says what to do instead.
    Only(&'static str, &'static str),
}

use Rule::{Between, OneOf, Only};

const ROW_POLICIES: &[&str] = &["IGNORE_RECORD", "LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK"];
const NOT_YET: &str = "this is not supported yet";
const LOG_STREAM: &str = "it is read-only and cannot be set";

/// Bounds and words of DMS: user guide, chapters on task settings.
const RULES: &[(&str, &str, Rule)] = &[
    ("FullLoadSettings", "TargetTablePrepMode", OneOf(&["DO_NOTHING", "DROP_AND_CREATE", "TRUNCATE_BEFORE_LOAD"])),
    ("FullLoadSettings", "MaxFullLoadSubTasks", Between(1, 49)),
    ("FullLoadSettings", "CommitRate", Between(1, 50_000)),
    ("FullLoadSettings", "TransactionConsistencyTimeout", Between(0, i64::MAX)),
    ("TargetMetadata", "LobMaxSize", Between(0, i64::MAX)),
    ("TargetMetadata", "InlineLobMaxSize", Between(0, 102_400)),
    ("TargetMetadata", "LoadMaxFileSize", Between(0, 100_000)),
    ("ChangeProcessingTuning", "BatchApplyTimeoutMin", Between(0, i64::MAX)),
    ("ChangeProcessingTuning", "BatchApplyTimeoutMax", Between(0, i64::MAX)),
    ("ChangeProcessingTuning", "BatchApplyMemoryLimit", Between(0, i64::MAX)),
    ("ChangeProcessingTuning", "BatchSplitSize", Between(0, i64::MAX)),
    ("ChangeProcessingTuning", "MinTransactionSize", Between(0, i64::MAX)),
    ("ChangeProcessingTuning", "CommitTimeout", Between(0, i64::MAX)),
    ("ChangeProcessingTuning", "MemoryKeepTime", Between(0, i64::MAX)),
    ("ChangeProcessingTuning", "RecoveryTimeout", Between(-1, i64::MAX)),
    ("ChangeProcessingTuning", "StatementCacheSize", Between(0, 200)),
    ("ChangeProcessingTuning", "MemoryLimitTotal", Between(0, i64::MAX)),
    ("StreamBufferSettings", "CtrlStreamBufferSizeInMB", Between(1, 8)),
    ("StreamBufferSettings", "StreamBufferCount", Between(1, i64::MAX)),
    ("StreamBufferSettings", "StreamBufferSizeInMB", Between(1, i64::MAX)),
    ("ErrorBehavior", "DataErrorPolicy", OneOf(ROW_POLICIES)),
    ("ErrorBehavior", "DataTruncationErrorPolicy", OneOf(ROW_POLICIES)),
    ("ErrorBehavior", "DataMaskingErrorPolicy", OneOf(ROW_POLICIES)),
    ("ErrorBehavior", "EventErrorPolicy", OneOf(&["IGNORE", "STOP_TASK"])),
    ("ErrorBehavior", "DataErrorEscalationPolicy", OneOf(&["SUSPEND_TABLE", "STOP_TASK"])),
    ("ErrorBehavior", "TableErrorPolicy", OneOf(&["SUSPEND_TABLE", "STOP_TASK"])),
    ("ErrorBehavior", "TableErrorEscalationPolicy", OneOf(&["STOP_TASK"])),
    ("ErrorBehavior", "ApplyErrorDeletePolicy", OneOf(ROW_POLICIES)),
    ("ErrorBehavior", "ApplyErrorInsertPolicy", OneOf(&["LOG_ERROR", "IGNORE_RECORD", "SUSPEND_TABLE", "STOP_TASK", "INSERT_RECORD"])),
    ("ErrorBehavior", "ApplyErrorUpdatePolicy", OneOf(&["LOG_ERROR", "IGNORE_RECORD", "SUSPEND_TABLE", "STOP_TASK", "UPDATE_RECORD"])),
    ("ErrorBehavior", "ApplyErrorEscalationPolicy", OneOf(&["LOG_ERROR", "SUSPEND_TABLE", "STOP_TASK"])),
    ("ErrorBehavior", "RecoverableErrorCount", Between(-1, i64::MAX)),
    ("ErrorBehavior", "RecoverableErrorInterval", Between(0, i64::MAX)),
    ("ErrorBehavior", "RecoverableErrorThrottlingMax", Between(0, i64::MAX)),
    ("ErrorBehavior", "DataErrorEscalationCount", Between(0, i64::MAX)),
    ("ErrorBehavior", "TableErrorEscalationCount", Between(0, i64::MAX)),
    ("ErrorBehavior", "ApplyErrorEscalationCount", Between(0, i64::MAX)),
    ("ControlTablesSettings", "HistoryTimeslotInMinutes", Between(1, i64::MAX)),
    ("Logging", "CloudWatchLogGroup", Only("null", LOG_STREAM)),
    ("Logging", "CloudWatchLogStream", Only("null", LOG_STREAM)),
    ("ValidationSettings", "ValidationOnly", Only("false", NOT_YET)),
    ("ValidationSettings", "ValidationMode", OneOf(&["ROW_LEVEL", "GROUP_LEVEL"])),
    ("ValidationSettings", "ThreadCount", Between(1, i64::MAX)),
    ("BeforeImageSettings", "EnableBeforeImage", Only("false", "it is for streaming targets only")),
    ("BeforeImageSettings", "ColumnFilter", OneOf(&["pk-only", "non-lob", "all"])),
];

/// Keys that the default document does not show, with a value of their type.
fn sections_not_in_the_defaults(section: &str) -> Option<Value> {
    let keys = match section {
        "Logging" => json!({"DeleteTaskLogs": false}),
        "ControlTablesSettings" => json!({"CommitPositionTableEnabled": false}),
        "ValidationSettings" => json!({
            "EnableValidation": false, "ValidationMode": "ROW_LEVEL", "ThreadCount": 5, "PartitionSize": 10_000,
            "FailureMaxCount": 10_000, "TableFailureMaxCount": 1000, "RecordFailureDelayInMinutes": 5,
            "RecordFailureDelayLimitInMinutes": 0, "RecordSuspendDelayInMinutes": 30, "MaxKeyColumnSize": 8096,
            "SkipLobColumns": false, "ValidationOnly": false, "HandleCollationDiff": false, "ValidationPartialLobSize": 0,
            "ValidationQueryCdcDelaySeconds": 0, "ValidationS3Mask": 0, "ValidationS3Time": 0
        }),
        "ResyncSettings" => json!({"EnableResync": false, "ResyncSchedule": null, "MaxResyncTime": null, "ValidationTaskId": null}),
        "BeforeImageSettings" => json!({"EnableBeforeImage": false, "FieldName": "", "ColumnFilter": "pk-only"}),
        "LoopbackPreventionSettings" => json!({"EnableLoopbackPrevention": false, "SourceSchema": "", "TargetSchema": ""}),
        "CharacterSetSettings" => json!({"CharacterReplacements": [], "CharacterSetSupport": null}),
        _ => return None,
    };
    Some(keys)
}

/// The default document.
pub(crate) fn defaults() -> Value {
    serde_json::from_str(DEFAULTS).expect("the default document is JSON, which a test checks")
}

/// Merges a given document over `base`; `None` or blank leaves `base` as it is.
///
/// # Errors
/// `InvalidParameterValueException` that names the key, what was found and what is wanted.
pub(crate) fn merge(base: Value, given: Option<&str>) -> Result<Settings, Fault> {
    let mut document = base;
    if let Some(text) = given.filter(|text| !text.trim().is_empty()) {
        let given: Value = serde_json::from_str(text).map_err(|error| invalid(format!("line {}: not JSON", error.line())))?;
        let Value::Object(sections) = given else { return Err(invalid("must be a JSON object")) };
        lobs::settle_modes(&mut document, sections.get("TargetMetadata"));
        for (section, value) in sections {
            merge_section(&mut document, &section, value)?;
        }
        check_document(&document)?;
    }
    Ok(read(document))
}

fn merge_section(document: &mut Value, section: &str, given: Value) -> Result<(), Fault> {
    let extra = sections_not_in_the_defaults(section);
    let default = defaults().get(section).cloned();
    if default.is_none() && extra.is_none() {
        return Err(invalid(format!("unknown section {}", shortened(section))));
    }
    let default = default.unwrap_or(Value::Null);
    match given {
        // A section of scalars, like FailTaskWhenCleanTaskResourceFailed, is a key of its own.
        Value::Bool(_) if default.is_boolean() => document[section] = given,
        Value::Null if default.is_null() => document[section] = Value::Null,
        // Old documents have null for a whole section: it means the defaults.
        Value::Null => {}
        Value::Object(keys) if default.is_object() || extra.is_some() => {
            let mut known = extra.and_then(|extra| extra.as_object().cloned()).unwrap_or_default();
            known.extend(default.as_object().cloned().unwrap_or_default());
            if document[section].is_null() {
                document[section] = Value::Object(Map::new());
            }
            for (key, value) in keys {
                merge_key(document, section, &key, value, &known)?;
            }
        }
        _ => return Err(invalid(format!("{section} has another type than DMS documents"))),
    }
    Ok(())
}

fn merge_key(document: &mut Value, section: &str, key: &str, value: Value, known: &Map<String, Value>) -> Result<(), Fault> {
    let Some(default) = known.get(key) else {
        return Err(invalid(format!("unknown key {section}.{}", shortened(key))));
    };
    let same_type = match default {
        Value::Null => true,
        Value::Bool(_) => value.is_boolean(),
        Value::Number(_) => value.is_i64(),
        Value::String(_) => value.is_string() || value.is_null(),
        Value::Array(_) => value.is_array(),
        Value::Object(_) => value.is_object(),
    };
    if !same_type {
        return Err(invalid(format!("{section}.{key} must be {}, found: {}", type_name(default), shortened(&value.to_string()))));
    }
    match (section, key) {
        // A command rather than a setting; there are no task logs to delete.
        ("Logging", "DeleteTaskLogs") => Ok(()),
        ("Logging", "LogComponents") => merge_components(&mut document[section][key], value),
        _ => {
            document[section][key] = if value.is_null() { default.clone() } else { value };
            Ok(())
        }
    }
}

fn merge_components(known: &mut Value, given: Value) -> Result<(), Fault> {
    const SEVERITIES: [&str; 6] = ["ERROR", "WARNING", "INFO", "DEFAULT", "DEBUG", "DETAILED_DEBUG"];
    let Value::Array(known) = known else { return Ok(()) };
    for component in given.as_array().into_iter().flatten() {
        let id = component["Id"].as_str().unwrap_or("");
        let severity = component["Severity"].as_str().unwrap_or("");
        if !severity.strip_prefix("LOGGER_SEVERITY_").is_some_and(|level| SEVERITIES.contains(&level)) {
            return Err(invalid(format!("Logging.LogComponents: Severity of {} is {}", shortened(id), shortened(severity))));
        }
        // VALIDATOR and DATA_RESYNC are names of other engine versions.
        match known.iter_mut().find(|entry| entry["Id"] == id) {
            Some(entry) => entry["Severity"] = severity.into(),
            None if matches!(id, "VALIDATOR" | "DATA_RESYNC") => known.push(json!({"Id": id, "Severity": severity})),
            None => return Err(invalid(format!("Logging.LogComponents: unknown Id {}", shortened(id)))),
        }
    }
    Ok(())
}

fn check_document(document: &Value) -> Result<(), Fault> {
    for (section, key, rule) in RULES {
        let Some(found) = document.get(section).and_then(|section| section.get(key)) else { continue };
        let shown = found.to_string();
        let wanted = match rule {
            OneOf(words) => (!words.iter().any(|word| found == word)).then(|| format!("must be one of {}", words.join(", "))),
            Between(low, i64::MAX) => found.as_i64().is_none_or(|n| n < *low).then(|| format!("must be at least {low}")),
            Between(low, high) => {
                (!found.as_i64().is_some_and(|n| (*low..=*high).contains(&n))).then(|| format!("must be between {low} and {high}"))
            }
            Only(text, advice) => (shown != *text).then(|| format!("can only be {text}: {advice}")),
        };
        if let Some(wanted) = wanted {
            return Err(invalid(format!("{section}.{key} {wanted}, found: {}", shortened(&shown))));
        }
    }
    if document["Logging"]["EnableLogContext"] == true && document["Logging"]["EnableLogging"] != true {
        return Err(Fault::value("The parameter Logging.EnableLogContext is not allowed when Logging.EnableLogging is not set to true."));
    }
    if document["ChangeProcessingTuning"]["BatchApplyTimeoutMin"].as_i64()
        > document["ChangeProcessingTuning"]["BatchApplyTimeoutMax"].as_i64()
    {
        return Err(invalid("ChangeProcessingTuning.BatchApplyTimeoutMin is above ChangeProcessingTuning.BatchApplyTimeoutMax"));
    }
    characters::check(&document["CharacterSetSettings"]).map_err(invalid)?;
    native::check_loopback(&document["LoopbackPreventionSettings"]).map_err(invalid)?;
    lobs::check(&document["TargetMetadata"]).map_err(invalid)
}

fn read(document: Value) -> Settings {
    Settings { preparation: native::preparation(&document), native: native::settings(&document, &defaults()), document }
}

impl Settings {
    /// Puts the native settings in place of those that a document decided about before.
    pub(crate) fn replace_in(&self, settings: &mut Value) {
        if !settings.is_object() {
            *settings = json!({});
        }
        let Some(settings) = settings.as_object_mut() else { return };
        settings.retain(|key, _| !native::NATIVE_KEYS.contains(&key.as_str()));
        settings.extend(self.native.clone());
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn invalid(what: impl std::fmt::Display) -> Fault {
    Fault::value(format!("Invalid task settings JSON: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(given: &str) -> String {
        String::from_utf8(merge(defaults(), Some(given)).unwrap_err().body()).unwrap()
    }

    #[test]
    fn defaults_pass_their_own_checks() {
        let text = defaults().to_string();
        let settings = merge(defaults(), Some(&text)).unwrap();
        assert_eq!(settings.document, defaults());
        assert_eq!(settings.preparation, Preparation::DropAndCreate);
        assert_eq!(settings.native["load_lanes"], 8);
        assert_eq!(defaults()["Logging"]["LogComponents"].as_array().unwrap().len(), 19);
    }

    #[test]
    fn partial_document_changes_its_keys_only() {
        let given = r#"{"FullLoadSettings":{"TargetTablePrepMode":"DO_NOTHING","MaxFullLoadSubTasks":3},
            "Logging":{"EnableLogging":true,"LogComponents":[{"Id":"SORTER","Severity":"LOGGER_SEVERITY_DEBUG"}]},
            "ValidationSettings":{"ThreadCount":7},"TTSettings":null,"FailTaskWhenCleanTaskResourceFailed":true}"#;
        let settings = merge(defaults(), Some(given)).unwrap();
        assert_eq!((settings.preparation, settings.native["load_lanes"].as_u64()), (Preparation::DoNothing, Some(3)));
        assert_eq!(settings.document["FullLoadSettings"]["CommitRate"], 10_000);
        assert_eq!(settings.document["Logging"]["LogComponents"][13]["Severity"], "LOGGER_SEVERITY_DEBUG");
        assert_eq!(settings.document["ValidationSettings"], json!({"ThreadCount": 7}));
        assert_eq!(settings.document["TTSettings"], defaults()["TTSettings"]);
        assert_eq!(settings.document["FailTaskWhenCleanTaskResourceFailed"], true);
    }

    #[test]
    fn error_behavior_becomes_the_native_policy() {
        let policy = |given: &str| merge(defaults(), Some(given)).unwrap().native["row_errors"].clone();
        let given = r#"{"ErrorBehavior":{"DataErrorPolicy":"IGNORE_RECORD","DataTruncationErrorPolicy":"STOP_TASK",
            "DataErrorEscalationCount":9,"ApplyErrorInsertPolicy":"INSERT_RECORD","ApplyErrorUpdatePolicy":"UPDATE_RECORD"}}"#;
        let wanted = json!({"data": "ignore", "truncation": "stop", "masking": "stop", "insert_conflict": "upsert", "update_conflict": "upsert", "missing_delete": "ignore",
            "escalation_count": 9, "escalation": "suspend-table"});
        assert_eq!(policy(given), wanted);
        assert_eq!(policy("{}")["data"], "log", "DMS's default");
        let most = |insert: &str, escalation: &str, count: u32| {
            let given = json!({"ErrorBehavior": {"ApplyErrorInsertPolicy": insert, "ApplyErrorEscalationPolicy": escalation,
                "ApplyErrorEscalationCount": count}});
            policy(&given.to_string())["conflicts_max"].as_u64()
        };
        assert_eq!(most("LOG_ERROR", "STOP_TASK", 4), Some(4));
        assert_eq!(most("STOP_TASK", "LOG_ERROR", 4), Some(1));
        assert_eq!((most("LOG_ERROR", "STOP_TASK", 0), most("LOG_ERROR", "SUSPEND_TABLE", 4)), (None, None));
        let conflicts = |given: &str| {
            let found = policy(given);
            [&found["insert_conflict"], &found["update_conflict"], &found["conflict_escalation_count"], &found["conflict_escalation"]]
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        assert_eq!(conflicts("{}"), ["log", "log", "null", "null"]);
        let mixed = r#"{"ErrorBehavior":{"ApplyErrorInsertPolicy":"INSERT_RECORD","ApplyErrorUpdatePolicy":"IGNORE_RECORD",
            "ApplyErrorEscalationPolicy":"SUSPEND_TABLE","ApplyErrorEscalationCount":7}}"#;
        assert_eq!(conflicts(mixed), ["upsert", "ignore", "7", "suspend-table"]);
        for (word, native, stops) in [
            ("IGNORE_RECORD", "ignore", None),
            ("LOG_ERROR", "log", None),
            ("SUSPEND_TABLE", "conflict", None),
            ("STOP_TASK", "conflict", Some(1)),
        ] {
            let found = policy(&json!({"ErrorBehavior": {"ApplyErrorDeletePolicy": word}}).to_string());
            assert_eq!((&found["missing_delete"], found["conflicts_max"].as_u64()), (&json!(native), stops), "{word}");
        }
        assert_eq!(policy(r#"{"ErrorBehavior":{"DataMaskingErrorPolicy":"SUSPEND_TABLE"}}"#)["masking"], "suspend-table");
    }

    #[test]
    fn changes_collect_as_the_keys_of_the_mode_say() {
        let batch = |given: Value| merge(defaults(), Some(&given.to_string())).unwrap().native.get("batch").cloned();
        let tuning = json!({"CommitTimeout": 4, "MinTransactionSize": 0});
        let wanted = json!({"interval_seconds": 4, "changes_min": 1});
        assert_eq!(batch(json!({"ChangeProcessingTuning": tuning})), Some(wanted));
        let wanted = json!({"interval_seconds": 1, "changes_min": 50});
        assert_eq!(batch(json!({"ChangeProcessingTuning": {"MinTransactionSize": 50}})), Some(wanted));
        let sets = json!({"TargetMetadata": {"BatchApplyEnabled": true}, "ChangeProcessingTuning": {"CommitTimeout": 9}});
        assert_eq!(batch(sets), Some(json!({"interval_seconds": 1, "mib": 32})), "transactions are another mode");
        assert_eq!(batch(json!({})), None, "nothing waits by itself");
    }

    #[test]
    fn figures_of_dms_become_native_ones_where_they_are_not_its_defaults() {
        let native = |given: &str| Value::Object(merge(defaults(), Some(given)).unwrap().native);
        let plain = native("{}");
        for absent in [
            "chunk_rows",
            "cache_mib",
            "retry",
            "batch",
            "after_load",
            "target_schema",
            "table_errors_max",
            "primary_keys",
            "control_tables",
        ] {
            assert!(plain.get(absent).is_none(), "{absent}");
        }
        assert_eq!(plain["transaction_wait"], json!({"seconds": 600, "then": "tell"}));
        let given = r#"{"TargetMetadata":{"TargetSchema":"copy","BatchApplyEnabled":true},
            "FullLoadSettings":{"CommitRate":50,"CreatePkAfterFullLoad":true,"StopTaskCachedChangesApplied":true,"TransactionConsistencyTimeout":7},
            "ChangeProcessingTuning":{"MemoryLimitTotal":256,"BatchSplitSize":9},
            "ErrorBehavior":{"RecoverableErrorCount":3,"FailOnNoTablesCaptured":false,"FailOnTransactionConsistencyBreached":true,
                "TableErrorEscalationCount":2,"ApplyErrorFailOnTruncationDdl":true}}"#;
        let found = native(given);
        assert_eq!((&found["target_schema"], &found["chunk_rows"], &found["cache_mib"]), (&json!("copy"), &json!(1000), &json!(256)));
        assert_eq!(found["batch"], json!({"interval_seconds": 1, "mib": 32, "changes_max": 9}));
        assert_eq!((&found["after_load"], &found["no_tables"]), (&json!("stop-after-changes"), &json!("wait")));
        assert_eq!(found["transaction_wait"], json!({"seconds": 7, "then": "fail"}));
        assert_eq!((&found["table_errors_max"], &found["ddl"]["truncate_table"]), (&json!(2), &json!("stop")));
        assert_eq!(found["primary_keys"], "after-load");
        let retry = json!({"count_max": 3, "pause_seconds": 5, "pause_seconds_max": 1800, "doubles": true, "stops_at_max": true});
        assert_eq!(found["retry"], retry);
        let recovery = native(r#"{"ChangeProcessingTuning":{"RecoveryTimeout":30}}"#);
        assert_eq!(recovery["retry"], json!({"give_up_seconds": 1800}));
    }

    #[test]
    fn control_tables_are_made_when_one_is_asked_for() {
        let native = |given: Value| merge(defaults(), Some(&json!({"ControlTablesSettings": given}).to_string())).unwrap().native;
        let given = json!({"StatusTableEnabled": true, "HistoryTableEnabled": true, "HistoryTimeslotInMinutes": 9_999});
        let wanted = json!({"status": true, "suspended_tables": false, "history": true, "history_minutes": 1_440});
        assert_eq!(native(given)["control_tables"], wanted);
        let alone = json!({"status": false, "suspended_tables": false, "history": false, "history_minutes": 5, "schema": "ops"});
        assert_eq!(native(json!({"ControlSchema": "ops"}))["control_tables"], alone);
        assert!(!native(json!({"HistoryTimeslotInMinutes": 10})).contains_key("control_tables"));
        let recovery = merge(defaults(), Some(r#"{"TargetMetadata":{"TaskRecoveryTableEnabled":true}}"#)).unwrap().native;
        assert_eq!(recovery["control_tables"]["recovery"], true);
        assert_eq!(native(json!({"FullLoadExceptionTableEnabled": true}))["control_tables"]["full_load_exceptions"], true);
    }

    #[test]
    fn schemas_of_the_loopback_tables_are_marks() {
        let native = |given: Value| merge(defaults(), Some(&json!({"LoopbackPreventionSettings": given}).to_string())).unwrap().native;
        let given = json!({"EnableLoopbackPrevention": true, "SourceSchema": "LOOP_DATA", "TargetSchema": "loop_data2"});
        assert_eq!(native(given)["loopback"], json!({"source_mark": "loop_data", "target_mark": "loop_data2"}));
        assert_eq!(native(json!({"EnableLoopbackPrevention": true}))["loopback"], json!({}));
        assert!(!native(json!({"SourceSchema": "a"})).contains_key("loopback"));
        let wrong = r#"{"LoopbackPreventionSettings":{"EnableLoopbackPrevention":true,"TargetSchema":"a b"}}"#;
        assert!(message(wrong).contains("LoopbackPreventionSettings.TargetSchema"));
    }

    #[test]
    fn refused_values_are_named() {
        let cases = [
            ("{", "not JSON"),
            ("[]", "must be a JSON object"),
            (r#"{"FullLoad":{}}"#, "unknown section FullLoad"),
            (r#"{"FullLoadSettings":{"Lanes":1}}"#, "unknown key FullLoadSettings.Lanes"),
            (r#"{"FullLoadSettings":{"MaxFullLoadSubTasks":50}}"#, "FullLoadSettings.MaxFullLoadSubTasks must be between 1 and 49"),
            (r#"{"FullLoadSettings":{"MaxFullLoadSubTasks":"8"}}"#, "FullLoadSettings.MaxFullLoadSubTasks must be a whole number"),
            (r#"{"FullLoadSettings":{"TargetTablePrepMode":"KEEP"}}"#, "FullLoadSettings.TargetTablePrepMode must be one of DO_NOTHING"),
            (r#"{"FullLoadSettings":7}"#, "FullLoadSettings has another type"),
            (r#"{"TargetMetadata":{"TargetSchema":7}}"#, "TargetMetadata.TargetSchema must be a string"),
            (r#"{"ErrorBehavior":{"TableErrorEscalationCount":-1}}"#, "ErrorBehavior.TableErrorEscalationCount must be at least 0"),
            (r#"{"ChangeProcessingTuning":{"BatchApplyTimeoutMin":31}}"#, "ChangeProcessingTuning.BatchApplyTimeoutMin is above"),
            (r#"{"TargetMetadata":{"FullLobMode":true,"LimitedSizeLobMode":true}}"#, "exactly one of TargetMetadata.FullLobMode"),
            (r#"{"Logging":{"EnableLogContext":true}}"#, "Logging.EnableLogContext is not allowed"),
            (r#"{"Logging":{"CloudWatchLogGroup":"g"}}"#, "Logging.CloudWatchLogGroup can only be null: it is read-only"),
            (r#"{"Logging":{"LogComponents":[{"Id":"X","Severity":"LOGGER_SEVERITY_INFO"}]}}"#, "unknown Id X"),
            (r#"{"ValidationSettings":{"ValidationOnly":true}}"#, "ValidationSettings.ValidationOnly can only be false"),
        ];
        for (given, wanted) in cases {
            let found = message(given);
            assert!(found.contains(wanted), "{given}: {found}");
        }
    }
}
