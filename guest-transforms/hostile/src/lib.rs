//! A module that does what its configuration names and no module should, for the sandbox's tests.
//!
//! `describe` has no configuration: what it does stands in the last byte of a marker in the module's data, which a test changes. It gives
//! a schema of 4 bytes for `0`, of 100 KiB for `1` and of 20 MiB for `2`.

use tidegate_transform_sdk::{
    Batch, BatchResult, Column, ColumnSource, HostMask, MaskKind, ModuleInfo, OutputColumn, PlanError, Planned, Rename, RowError, RowNeeds,
    ScalarType, SqlType, TableSchema, Transform, Values, VarValues, count, host, row_plan, unchanged,
};

static DESCRIBES: [u8; 19] = *b"hostile-describes:0";

/// Large enough to tell from the rest of a process when a hundred of them are kept, small enough for a module's memory.
const BOMB_BYTES: usize = 8 << 20;

/// Above what an allocator takes from memory that it keeps.
const LONG_BYTES: usize = 40 << 20;

/// The module; the text is the misdeed.
pub struct Hostile(String);

impl Transform for Hostile {
    fn describe() -> ModuleInfo {
        let schema_bytes = match std::hint::black_box(&DESCRIBES)[18] {
            b'1' => 100 << 10,
            b'2' => 20 << 20,
            _ => 4,
        };
        ModuleInfo { name: "hostile".to_owned(), version: "1".to_owned(), config_schema: Some(" ".repeat(schema_bytes)) }
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
        let extra = plan.outputs[0].clone();
        match config {
            "duplicate-columns" => plan.outputs.push(plan.outputs[0].clone()),
            "unknown-key" => plan.primary_key = Some(vec!["no_such_column".to_owned()]),
            "unknown-rename" => plan.renames.push(Rename { column: "no_such_column".to_owned(), to: "a".to_owned() }),
            "computed-without-rows" => return Ok(Planned::Include(plan, Hostile(String::new()))),
            "host-mask" => {
                plan.outputs[0].source = ColumnSource::Masked(HostMask { column: schema.columns[0].name.clone(), mask: MaskKind::Redact });
            }
            "many-notes" => plan.notes = vec!["x".repeat(9_000); 200],
            "long-name" => plan.target_name = Some("x".repeat(1_000_000)),
            "long-name-twice" => plan.outputs.extend([(); 2].map(|()| OutputColumn { name: "x".repeat(1_000), ..extra.clone() })),
            "many-names" => plan.outputs.extend((0..500).map(|index| OutputColumn {
                name: format!("{index:01000}"),
                source: ColumnSource::Constant(None),
                ..extra.clone()
            })),
            "long-error" => {
                return Err(PlanError { config_path: Some("x".repeat(1_000_000)), message: "x".repeat(1_000_000) });
            }
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

impl Drop for Hostile {
    fn drop(&mut self) {
        match self.0.as_str() {
            "counts-forgotten" => count("forgotten", 1),
            "traps-when-forgotten" => panic!("on purpose"),
            _ => {}
        }
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
        "log-bomb" => {
            let message = "x".repeat(BOMB_BYTES);
            for _ in 0..100 {
                host::log(host::Level::Info, &message);
            }
        }
        "long-line" => host::log(host::Level::Info, &"é".repeat(LONG_BYTES / 2)),
        "long-counter" => host::count(&"é".repeat(LONG_BYTES / 2), 1),
        "counter-bomb" => {
            let mut name = "x".repeat(BOMB_BYTES);
            for index in 0..32 {
                name.replace_range(..2, &format!("{index:02}"));
                host::count(&name, 1);
            }
        }
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
