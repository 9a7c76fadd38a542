//! A module that writes the text column `note` in capitals, and fails on some rows: for the tests of row errors, of
//! swapped versions, and of modules one after the other.
//!
//! What it does with those rows stands in the last byte of a marker in its data, so that a test makes another version of
//! it, with another digest, by changing that byte:
//!
//! | marker | `note` with "bomb" | with "refuse" | other notes |
//! |---|---|---|---|
//! | `1` | traps | refuses the row | capitals |
//! | `2` | capitals | capitals | capitals |
//! | `3` | traps | traps | traps |
//! | `4` | as 2, and the plan adds a column | | |
//! | `5` | as 2 in an instance's first batch; the second one traps | | |
//! | `6` | no `note` is read; adds `code`, a copy of `id` as text, and `three`, a constant integer | | |
//! | `7` | no `note` is read; adds `shown`, which it makes of those two | | |
//! | `8` | lets the host mask `note`, which no host does | | |
//! | `9` | as 2, and counts the tables that it forgets | | |

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_transform_sdk::{
    Batch, BatchResult, ColumnSource, HostMask, MaskKind, ModuleInfo, OutputColumn, PlanError, Planned, RowError, RowNeeds, ScalarType,
    SqlType, TableSchema, TextBuilder, Transform, count, host, log, row_plan, unchanged,
};

static MARKER: [u8; 17] = *b"picky-behaviour:1";

/// Batches of this instance so far.
static BATCHES: AtomicU32 = AtomicU32::new(0);

fn behaviour() -> u8 {
    black_box(&MARKER)[16]
}

/// The module.
pub struct Picky;

impl Transform for Picky {
    fn describe() -> ModuleInfo {
        ModuleInfo { name: "picky".to_owned(), version: char::from(behaviour()).to_string(), config_schema: None }
    }

    fn plan(schema: &TableSchema, _config: &str) -> Result<Planned<Self>, PlanError> {
        let mut plan = unchanged();
        let text = || SqlType::Scalar(ScalarType::Text(None));
        let mut add =
            |name: &str, sql_type, source| plan.outputs.push(OutputColumn { name: name.to_owned(), sql_type, nullable: true, source });
        if behaviour() == b'6' {
            add("code", text(), ColumnSource::CopyOf("id".to_owned()));
            add("three", SqlType::Scalar(ScalarType::Int32), ColumnSource::Constant(Some("3".to_owned())));
            return Ok(Planned::Include(plan, Picky));
        }
        if behaviour() == b'8' {
            add("note", text(), ColumnSource::Masked(HostMask { column: "note".to_owned(), mask: MaskKind::Redact }));
            return Ok(Planned::Include(plan, Picky));
        }
        if behaviour() == b'7' {
            add("shown", text(), ColumnSource::Computed);
            plan.rows = Some(row_plan(["code", "three"], RowNeeds::DETERMINISTIC));
            return Ok(Planned::Include(plan, Picky));
        }
        if schema.columns.iter().any(|column| column.name == "note") {
            plan.outputs.push(OutputColumn { name: "note".to_owned(), sql_type: text(), nullable: true, source: ColumnSource::Computed });
            plan.rows = Some(row_plan(["note"], RowNeeds::DETERMINISTIC | RowNeeds::PARTIAL_IMAGES));
        }
        if behaviour() == b'4' {
            plan.outputs.push(OutputColumn {
                name: "more".to_owned(),
                sql_type: text(),
                nullable: true,
                source: ColumnSource::Constant(None),
            });
        }
        Ok(Planned::Include(plan, Picky))
    }

    fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String> {
        if behaviour() == b'5' && BATCHES.fetch_add(1, Ordering::Relaxed) > 0 {
            panic!("asked once more");
        }
        let mut written = TextBuilder::new(batch.rows);
        if behaviour() == b'7' {
            for row in batch.row_numbers() {
                match (batch.columns[0].text(row), batch.columns[1].int(row)) {
                    (Some(code), Some(three)) => written.push(&format!("{code} and {three}")),
                    _ => written.push_null(),
                }
            }
            return Ok(BatchResult { keep: Vec::new(), columns: vec![written.finish()], errors: Vec::new() });
        }
        let mut errors = Vec::new();
        count("notes", batch.rows as u64);
        let column = &batch.columns[0];
        for row in batch.row_numbers() {
            let Some(text) = column.text(row) else {
                if column.is_absent(row) {
                    written.push_absent()
                } else {
                    written.push_null()
                }
                continue;
            };
            match behaviour() {
                b'1' if text.contains("bomb") => panic!("found a bomb"),
                b'1' if text.contains("refuse") => {
                    count("refused", 1);
                    log(host::Level::Warn, "a note asks to be refused");
                    let message = "the note asks for it".to_owned();
                    errors.push(RowError { row: row as u32, code: "refused-note".to_owned(), message });
                    written.push_null();
                }
                b'3' => panic!("found a row"),
                _ => written.push(&text.to_uppercase()),
            }
        }
        Ok(BatchResult { keep: Vec::new(), columns: vec![written.finish()], errors })
    }
}

impl Drop for Picky {
    fn drop(&mut self) {
        if behaviour() == b'9' {
            count("forgotten", 1);
        }
    }
}

tidegate_transform_sdk::export_transform!(Picky);
