//! What a test answers, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use tidegate_model::TableSchema;
use tidegate_sandbox::{ColumnOrigin, LogLine, ModuleInfo, OutputSource, PlanOutcome, TablePlan, Usage};

use super::judge::Judged;
use super::table::ShownColumn;

/// The whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) module: ModuleReport,
    pub(crate) table: TableReport,
    pub(crate) plan: PlanReport,
    pub(crate) rows: Vec<RowReport>,
    pub(crate) kept: usize,
    pub(crate) dropped: usize,
    pub(crate) failed: usize,
    pub(crate) logs: Vec<Logged>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) cpu_us: u64,
    /// Where it is metered.
    pub(crate) fuel: Option<u64>,
    pub(crate) memory_bytes: usize,
}

/// Who was tested.
#[derive(Debug, Serialize)]
pub(crate) struct ModuleReport {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) digest: String,
}

/// A table by name, with its columns.
#[derive(Debug, Serialize)]
pub(crate) struct TableReport {
    /// The kind of database that it is read from; none for a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<&'static str>,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<ShownColumn>,
    pub(crate) primary_key: Vec<String>,
}

/// What the module wants done.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
// Made once for an answer.
#[allow(clippy::large_enum_variant)]
pub(crate) enum PlanReport {
    /// The table stays out.
    Exclude { reason: Option<String> },
    /// It takes part.
    Include {
        target: TableReport,
        renames: Vec<RenameReport>,
        drops: Vec<String>,
        outputs: Vec<OutputReport>,
        reads: Vec<String>,
        filters: bool,
        notes: Vec<String>,
    },
}

/// A column with another name.
#[derive(Debug, Serialize)]
pub(crate) struct RenameReport {
    column: String,
    to: String,
}

/// An added or replaced column.
#[derive(Debug, Serialize)]
pub(crate) struct OutputReport {
    name: String,
    /// `computed`, `copy` or `constant`.
    from: &'static str,
    replaces: Option<String>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Kept,
    Dropped,
    Failed,
}

/// One row.
#[derive(Debug, Serialize)]
pub(crate) struct RowReport {
    /// Index among the rows of the test.
    pub(crate) row: usize,
    pub(crate) outcome: Outcome,
    pub(crate) before: Option<Map<String, Json>>,
    pub(crate) after: Option<Map<String, Json>>,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
}

/// A line that the module logged.
#[derive(Debug, Serialize)]
pub(crate) struct Logged {
    level: &'static str,
    message: String,
}

impl Logged {
    pub(super) fn dropped(lines: u64) -> Self {
        Self { level: "warn", message: format!("{lines} more lines were dropped") }
    }
}

impl From<LogLine> for Logged {
    fn from(line: LogLine) -> Self {
        Self { level: line.level.as_str(), message: line.message }
    }
}

impl Report {
    pub(super) fn new(info: ModuleInfo, digest: &str, schema: &TableSchema, judged: Judged) -> Self {
        let count = |outcome| judged.rows.iter().filter(|row| row.outcome == outcome).count();
        let Usage { cpu, fuel, memory_bytes_peak, .. } = judged.usage;
        let columns = schema.columns.iter().map(|column| ShownColumn::new(&column.name, &column.sql_type, column.nullable));
        let key = schema.primary_key.iter().map(|index| schema.columns[*index].name.clone());
        Self {
            module: ModuleReport { name: info.name, version: info.version, digest: format!("sha256:{digest}") },
            table: TableReport {
                source: Some(schema.engine.as_str()),
                schema: schema.name.schema.clone(),
                name: schema.name.name.clone(),
                columns: columns.collect(),
                primary_key: key.collect(),
            },
            plan: match &judged.outcome {
                PlanOutcome::Exclude(reason) => PlanReport::Exclude { reason: reason.clone() },
                PlanOutcome::Include(plan) => included(schema, plan),
            },
            kept: count(Outcome::Kept),
            dropped: count(Outcome::Dropped),
            failed: count(Outcome::Failed),
            rows: judged.rows,
            logs: judged.logs,
            counters: judged.counters,
            cpu_us: u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX),
            fuel,
            memory_bytes: memory_bytes_peak,
        }
    }
}

fn included(schema: &TableSchema, plan: &TablePlan) -> PlanReport {
    let columns = plan.target_columns(schema);
    let outputs = columns.iter().filter_map(|column| match column.origin {
        ColumnOrigin::Source(_) => None,
        ColumnOrigin::Output { output, replaces } => Some(OutputReport {
            name: column.name.clone(),
            from: match plan.outputs[output].source {
                OutputSource::Computed => "computed",
                OutputSource::CopyOf(_) => "copy",
                OutputSource::Constant(_) => "constant",
            },
            replaces: replaces.map(|index| schema.columns[index].name.clone()),
        }),
    });
    PlanReport::Include {
        outputs: outputs.collect(),
        target: TableReport {
            source: None,
            schema: plan.target_namespace.clone().unwrap_or_else(|| schema.name.schema.clone()),
            name: plan.target_name.clone().unwrap_or_else(|| schema.name.name.clone()),
            columns: columns.iter().map(|column| ShownColumn::new(&column.name, &column.sql_type, column.nullable)).collect(),
            primary_key: plan.target_primary_key(schema),
        },
        renames: plan.renames.iter().map(|rename| RenameReport { column: rename.column.clone(), to: rename.to.clone() }).collect(),
        drops: plan.drops.clone(),
        reads: plan.rows.iter().flat_map(|rows| rows.inputs.clone()).collect(),
        filters: plan.rows.as_ref().is_some_and(|rows| rows.filters),
        notes: plan.notes.clone(),
    }
}

/// The answer for people: the plan, then each row with what changed in it. Takes the JSON form, which is what comes
/// from a server.
pub(crate) fn lines(report: &Json) -> Vec<String> {
    let mut lines =
        vec![format!("{} {} {}", text(&report["module"]["name"]), text(&report["module"]["version"]), text(&report["module"]["digest"]))];
    plan_lines(report, &mut lines);
    for row in report["rows"].as_array().into_iter().flatten() {
        row_lines(report, row, &mut lines);
    }
    for line in report["logs"].as_array().into_iter().flatten() {
        lines.push(format!("log {}: {}", text(&line["level"]), text(&line["message"])));
    }
    for (name, count) in report["counters"].as_object().into_iter().flatten() {
        lines.push(format!("counter {name}: {count}"));
    }
    let memory = report["memory_bytes"].as_u64().unwrap_or(0) >> 10;
    lines.push(format!(
        "{} kept, {} dropped, {} failed; {} us CPU, {memory} KiB",
        report["kept"], report["dropped"], report["failed"], report["cpu_us"]
    ));
    lines
}

fn plan_lines(report: &Json, lines: &mut Vec<String>) {
    let (plan, table) = (&report["plan"], &report["table"]);
    let name = |table: &Json| format!("{}.{}", text(&table["schema"]), text(&table["name"]));
    if plan["outcome"] == "exclude" {
        lines.push(format!("{} is left out: {}", name(table), text(&plan["reason"])));
        return;
    }
    let target = &plan["target"];
    lines.push(format!("{} -> {}, key ({})", name(table), name(target), list(&target["primary_key"])));
    let each = |key: &str| plan[key].as_array().into_iter().flatten();
    lines.extend(each("renames").map(|rename| format!("  {} is renamed to {}", text(&rename["column"]), text(&rename["to"]))));
    lines.extend(each("drops").map(|column| format!("  {} is left out", text(column))));
    lines.extend(each("outputs").map(|output| {
        let what = if output["replaces"].is_null() { "is added" } else { "is replaced" };
        format!("  {} {what} ({})", text(&output["name"]), text(&output["from"]))
    }));
    if plan["reads"].as_array().is_some_and(|reads| !reads.is_empty()) {
        let filters = if plan["filters"] == true { ", and may drop rows" } else { "" };
        lines.push(format!("  reads {}{filters}", list(&plan["reads"])));
    }
    lines.extend(each("notes").map(|note| format!("  note: {}", text(note))));
}

fn row_lines(report: &Json, row: &Json, lines: &mut Vec<String>) {
    let mut head = format!("row {} {}", row["row"], text(&row["outcome"]));
    if row["outcome"] == "failed" {
        let _ = write!(head, " {}: {}", text(&row["code"]), text(&row["message"]));
    }
    lines.push(head);
    let (before, after) = (&row["before"], &row["after"]);
    let names =
        |table: &Json| -> Vec<String> { table["columns"].as_array().into_iter().flatten().map(|column| text(&column["name"])).collect() };
    let (sources, targets) = (names(&report["table"]), names(&report["plan"]["target"]));
    if after.is_null() {
        lines.extend(
            sources.iter().filter(|name| !before[name.as_str()].is_null()).map(|name| format!("  {name} = {}", before[name.as_str()])),
        );
        return;
    }
    for name in &targets {
        let value = &after[name.as_str()];
        match before.get(name) {
            Some(same) if same == value => lines.push(format!("  {name} = {value}")),
            Some(old) => lines.push(format!("  {name}: {old} -> {value}")),
            None => lines.push(format!("  {name}: {value}")),
        }
    }
}

/// Names joined by commas.
fn list(names: &Json) -> String {
    names.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ")
}

/// A text without its quotes; nothing for null.
fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
