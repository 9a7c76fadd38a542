//! A module that does what its configuration names and no module should, for the sandbox's tests.

use tidegate_transform_sdk::{
    Batch, BatchResult, Column, ColumnSource, ModuleInfo, OutputColumn, PlanError, Planned, Rename, RowError, RowNeeds, ScalarType,
    SqlType, TableSchema, Transform, Values, VarValues, host, row_plan, unchanged,
};

/// The module; the text is the misdeed.
pub struct Hostile(String);

impl Transform for Hostile {
    fn describe() -> ModuleInfo {
        ModuleInfo { name: "hostile".to_owned(), version: "1".to_owned(), config_schema: None }
    }

    fn plan(schema: &TableSchema, config: &str) -> Result<Planned<Self>, PlanError> {
        // A task passes the JSON of its rule, which is a text in quotes.
        let config = config.trim_matches('"');
        // Where a configuration has to be JSON, the misdeed is a string.
        let config = config.trim_matches('"');
        if let Some(misdeed) = config.strip_prefix("plan-") {
            misbehave(misdeed);
        }
        let mut plan = unchanged();
        let text = SqlType::Scalar(ScalarType::Text(None));
        plan.outputs.push(OutputColumn { name: "extra".to_owned(), sql_type: text, nullable: true, source: ColumnSource::Computed });
        match config {
            "duplicate-columns" => plan.outputs.push(plan.outputs[0].clone()),
            "unknown-key" => plan.primary_key = Some(vec!["no_such_column".to_owned()]),
            "unknown-rename" => plan.renames.push(Rename { column: "no_such_column".to_owned(), to: "a".to_owned() }),
            "computed-without-rows" => return Ok(Planned::Include(plan, Hostile(String::new()))),
            "huge-plan" => plan.notes = vec!["x".repeat(1 << 20); 20],
            _ => {}
        }
        match config {
            "unknown-input" => plan.rows = Some(row_plan(["no_such_column"], RowNeeds::DETERMINISTIC)),
            _ => plan.rows = Some(row_plan([schema.columns[0].name.clone()], RowNeeds::FILTERS | RowNeeds::DETERMINISTIC)),
        }
        Ok(Planned::Include(plan, Hostile(config.to_owned())))
    }

    fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String> {
        misbehave(&self.0);
        let rows = batch.rows as usize;
        let var = |offsets, data| Column { nulls: vec![], absent: vec![], values: Values::Utf8(VarValues { offsets, data }) };
        let good = || var(vec![0; rows + 1], vec![]);
        let answer = |columns| BatchResult { keep: vec![], columns, errors: vec![] };
        Ok(match self.0.as_str() {
            "refuse" => return Err("not today".to_owned()),
            "no-columns" => answer(vec![]),
            "short" => answer(vec![var(vec![0; rows], vec![])]),
            "bad-offsets" => answer(vec![var(vec![7; rows + 1], vec![])]),
            "bad-utf8" => {
                let mut offsets = vec![0; rows + 1];
                offsets[rows] = 1;
                answer(vec![var(offsets, vec![0xff])])
            }
            "wrong-layout" => answer(vec![Column { nulls: vec![], absent: vec![], values: Values::Int32(vec![0; rows]) }]),
            "bad-bitmap" => BatchResult { keep: vec![0xff; rows], ..answer(vec![good()]) },
            "far-error" => BatchResult {
                errors: vec![RowError { row: batch.rows, code: "x".to_owned(), message: "x".to_owned() }],
                ..answer(vec![good()])
            },
            "extra-column" => answer(vec![good(), good()]),
            "endless-offset" => {
                let mut offsets = vec![0; rows + 1];
                offsets[rows] = u32::MAX;
                answer(vec![var(offsets, vec![])])
            }
            "long-text" => {
                let mut offsets = vec![0; rows + 1];
                offsets[rows] = 1 << 20;
                answer(vec![var(offsets, vec![b'a'; 1 << 20])])
            }
            "huge" => {
                let mut offsets = vec![0; rows + 1];
                offsets[rows] = 20 << 20;
                answer(vec![var(offsets, vec![b'a'; 20 << 20])])
            }
            _ => answer(vec![good()]),
        })
    }
}

fn misbehave(misdeed: &str) {
    match misdeed {
        "loop" => {
            let mut number = 1_u64;
            while std::hint::black_box(number) != 0 {
                number = number.wrapping_mul(3) | 1;
            }
        }
        "memory" => {
            let mut blocks = Vec::new();
            loop {
                blocks.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        "recursion" => {
            std::hint::black_box(recurse(1));
        }
        "deep-recursion" => {
            std::hint::black_box(recurse_in_registers(1));
        }
        "trap" => panic!("on purpose"),
        "chatter" => {
            for index in 0..10_000_u64 {
                host::log(host::Level::Info, &"x".repeat(5000));
                host::count(&format!("name-{index}"), 1);
            }
        }
        _ => {}
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let block = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + block[(depth % 64) as usize]
}

/// Its frames hold nothing in linear memory, so that it is the engine's own stack that ends.
#[inline(never)]
fn recurse_in_registers(number: u64) -> u64 {
    if number == 0 {
        return 1;
    }
    recurse_in_registers(number.wrapping_mul(3) | 1).wrapping_mul(number) ^ recurse_in_registers(number.wrapping_mul(5) | 1)
}

tidegate_transform_sdk::export_transform!(Hostile);
