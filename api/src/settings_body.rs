//! Reads and checks a task's settings: form, words and bounds. `host/src/task_file.rs` reads what passes.

use serde_json::{Map, Value};

use crate::characters;
use crate::fields::{Fields, key_problem, wrong_type};
use crate::loopback;
use crate::problem::Problem;

/// A key with its least and its greatest value.
type Number = (&'static str, u64, u64);

/// A key with the words that it may have.
type Word = (&'static str, &'static [&'static str]);

/// The keys of a setting that is an object.
struct Object {
    numbers: &'static [Number],
    words: &'static [Word],
    truths: &'static [&'static str],
}

/// Native settings that are whole numbers: key, least, most.
const NUMBERS: [Number; 4] =
    [("load_lanes", 1, 64), ("chunk_rows", 1_000, 100_000_000), ("cache_mib", 8, 65_536), ("table_errors_max", 1, 1_000_000)];

/// Native settings that are words: key and words.
const WORDS: [Word; 5] = [
    ("schema", &["full", "minimal"]),
    ("table_errors", &["stop", "suspend-table"]),
    ("no_tables", &["fail", "wait"]),
    ("after_load", &["go-on", "stop-before-changes", "stop-after-changes"]),
    ("primary_keys", &["with-table", "after-load"]),
];

/// Native settings that are objects of numbers, words and truth values.
const OBJECTS: [(&str, Object); 6] = [
    (
        "row_errors",
        Object {
            numbers: &[
                ("conflicts_max", 0, 1_000_000),
                ("conflict_escalation_count", 0, 1_000_000),
                ("escalation_count", 0, 1_000_000),
                ("consecutive_max", 0, 1_000_000),
                ("share_percent_max", 0, 100),
            ],
            words: &[
                ("data", ROW_WORDS),
                ("truncation", ROW_WORDS),
                ("masking", ROW_WORDS),
                ("conflict", &["stop", "upsert", "log", "ignore"]),
                ("insert_conflict", &["stop", "upsert", "log", "ignore"]),
                ("update_conflict", &["stop", "upsert", "log", "ignore"]),
                ("conflict_escalation", &["suspend-table", "stop"]),
                ("missing_delete", &["conflict", "log", "ignore"]),
                ("escalation", &["suspend-table", "stop"]),
            ],
            truths: &["images"],
        },
    ),
    ("large_values", Object { numbers: &[("max_kib", 1, 4 << 20)], words: &[("mode", &["full", "limited", "excluded"])], truths: &[] }),
    ("unfit_values", Object { numbers: &[], words: &[("zero_dates", UNFIT), ("not_finite", UNFIT), ("moments", UNFIT)], truths: &[] }),
    (
        "retry",
        Object {
            numbers: &[
                ("count_max", 0, 1_000_000_000),
                ("pause_seconds", 0, DAY_SECONDS),
                ("pause_seconds_max", 0, DAY_SECONDS),
                ("give_up_seconds", 0, MONTH_SECONDS),
            ],
            words: &[],
            truths: &["doubles", "stops_at_max"],
        },
    ),
    ("transaction_wait", Object { numbers: &[("seconds", 0, DAY_SECONDS)], words: &[("then", &["tell", "fail"])], truths: &[] }),
    (
        "batch",
        Object {
            numbers: &[
                ("interval_seconds", 0, DAY_SECONDS),
                ("mib", 1, 32),
                ("changes_min", 1, CHANGES_MAX),
                ("changes_max", 1, CHANGES_MAX),
            ],
            words: &[],
            truths: &[],
        },
    ),
];

const ROW_WORDS: &[&str] = &["log", "ignore", "suspend-table", "stop"];

const UNFIT: &[&str] = &["error", "null"];

const DAY_SECONDS: u64 = 86_400;

/// 30 days.
const MONTH_SECONDS: u64 = 2_592_000;

const CHANGES_MAX: u64 = 1_000_000_000;

/// The longest name that a schema may have: PostgreSQL's 63 bytes; MySQL and MariaDB have 64 characters.
const SCHEMA_BYTES_MAX: usize = 63;

/// Keys of `settings.ddl`, and the words that each may have.
const DDL_KEYS: [&str; 8] =
    ["add_column", "drop_column", "rename_column", "retype_column", "truncate_table", "drop_table", "rename_table", "create_table"];
const DDL_WORDS: &[&str] = &["apply", "ignore", "suspend-table", "stop"];

/// The key `settings` of a body.
pub(crate) fn settings(fields: &mut Fields) -> Result<Option<Value>, Problem> {
    let Some(value) = fields.value("settings") else { return Ok(None) };
    let mut given = Fields::of_value(value, "settings")?;
    let mut settings = Map::new();
    for (key, least, most) in NUMBERS {
        if let Some(number) = given.number(key, least, most)? {
            settings.insert(key.to_owned(), number.into());
        }
    }
    for (key, words) in WORDS {
        if let Some(word) = word(&mut given, key, words)? {
            settings.insert(key.to_owned(), word);
        }
    }
    for (key, form) in OBJECTS {
        if let Some(value) = given.value(key) {
            settings.insert(key.to_owned(), object(value, &given.path(key), &form)?);
        }
    }
    if let Some(policy) = given.value("ddl") {
        let words = DDL_KEYS.map(|key| (key, DDL_WORDS));
        settings.insert("ddl".to_owned(), keys(policy, "settings.ddl", &[], &words, &[])?);
    }
    if let Some(schema) = schema_name(&mut given, "target_schema")? {
        settings.insert("target_schema".to_owned(), schema);
    }
    if let Some(value) = given.value("loopback") {
        settings.insert("loopback".to_owned(), loopback::checked(value, &given.path("loopback"))?);
    }
    if let Some(value) = given.value("characters") {
        settings.insert("characters".to_owned(), characters::checked(value, given.path("characters"))?);
    }
    if let Some(tables) = given.value("control_tables") {
        settings.insert("control_tables".to_owned(), control_tables(tables, given.path("control_tables"))?);
    }
    if let Some(large) = settings.get("large_values")
        && (large["mode"] == "limited") != large["max_kib"].is_u64()
    {
        let path = given.path("large_values.max_kib");
        let detail = format!("\"{path}\" and the mode \"limited\" need each other");
        return Err(key_problem("limit_without_size", &path, detail));
    }
    given.finish()?;
    Ok(Some(Value::Object(settings)))
}

/// Where the control tables are, which, and how long a slot of their history is.
fn control_tables(value: Value, path: String) -> Result<Value, Problem> {
    let mut given = Fields::of_value(value, &path)?;
    let schema = schema_name(&mut given, "schema")?;
    let mut found =
        rest(given, &[("history_minutes", 1, 1_440)], &[], &["status", "suspended_tables", "history", "recovery", "full_load_exceptions"])?;
    found.extend(schema.map(|schema| ("schema".to_owned(), schema)));
    Ok(Value::Object(found))
}

fn schema_name(given: &mut Fields, key: &'static str) -> Result<Option<Value>, Problem> {
    let Some(schema) = given.text(key)? else { return Ok(None) };
    if schema.is_empty() || schema.len() > SCHEMA_BYTES_MAX || schema.contains('\0') {
        let path = given.path(key);
        return Err(key_problem("name_form", &path, format!("\"{path}\" is no name of 1 to {SCHEMA_BYTES_MAX} bytes")));
    }
    Ok(Some(schema.into()))
}

fn object(value: Value, path: &str, form: &Object) -> Result<Value, Problem> {
    keys(value, path, form.numbers, form.words, form.truths)
}

fn keys(value: Value, path: &str, numbers: &[Number], words: &[Word], truths: &[&'static str]) -> Result<Value, Problem> {
    rest(Fields::of_value(value, path)?, numbers, words, truths).map(Value::Object)
}

/// The keys that are left, which must be among these.
fn rest(mut given: Fields, numbers: &[Number], words: &[Word], truths: &[&'static str]) -> Result<Map<String, Value>, Problem> {
    let mut found = Map::new();
    for (key, words) in words {
        if let Some(word) = word(&mut given, key, words)? {
            found.insert((*key).to_owned(), word);
        }
    }
    for (key, least, most) in numbers {
        if let Some(number) = given.number(key, *least, *most)? {
            found.insert((*key).to_owned(), number.into());
        }
    }
    for key in truths {
        match given.value(key) {
            Some(Value::Bool(truth)) => drop(found.insert((*key).to_owned(), truth.into())),
            Some(other) => return Err(wrong_type(&given.path(key), &other, "a truth value")),
            None => {}
        }
    }
    given.finish()?;
    Ok(found)
}

fn word(given: &mut Fields, key: &'static str, words: &[&str]) -> Result<Option<Value>, Problem> {
    let Some(word) = given.text(key)? else { return Ok(None) };
    if words.contains(&word.as_str()) {
        return Ok(Some(word.into()));
    }
    let path = given.path(key);
    Err(key_problem("unknown_value", &path, format!("\"{path}\" is none of {}", words.join(", "))))
}
