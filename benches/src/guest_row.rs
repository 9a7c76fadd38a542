//! What does a module cost a row, inside the process, without databases?
//!
//! Size: batches of 64, 1,024 and 4,096 rows of a table (bigint key, integer, text of 20 letters, text of 0 to 59, a name, a
//! decimal, a currency), of which only the columns that a module asks for count.
//! Unit: nanoseconds of this thread's CPU time a row, the best of many runs; `build` puts values into a batch, `call`
//! copies it into the module, runs it, takes the answer and checks it, `read` reads the computed values back. Reading the
//! thread's clock takes up to 1.6 µs, 1.6 ns a row of a batch of 1,024, which is in each of the three; `total` is measured
//! over runs of all three without a look at the clock in between. The guards on time and memory are on. Then: a call of one
//! row, a fresh instance, a module from memory and from disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine as Database, ImageKind, SqlType, TableName, TableSchema, Value};
use tidegate_sandbox::{
    ArtefactCache, Batch, BatchBuilder, BatchResult, Compiled, Engine, EngineSettings, HelperLimits, Limits, PlanInput, PlanOutcome,
    RowPlan, Sandbox, builtin_rules,
};

const BATCHES: [usize; 3] = [64, 1_024, 4_096];

/// Least time that each figure is taken from.
const PATIENCE: Duration = Duration::from_millis(600);

/// Rows between two looks at the clock where the total is measured.
const TOGETHER_ROWS: usize = 16_384;

const PYTHON_CONFIG: &str =
    r#"{"amount": "amount", "currency": "currency", "into": "amount_eur", "rates": {"EUR": "1", "USD": "0.92", "JPY": "0.0061"}}"#;

/// A module with its configuration, under the name of what it does.
struct Case {
    name: String,
    bytes: Vec<u8>,
    config: String,
}

/// ns a row.
#[derive(Clone, Copy)]
struct Cost {
    build: f64,
    call: f64,
    read: f64,
    total: f64,
}

pub(crate) fn measure(given: &[(PathBuf, String)]) {
    let engine = Engine::new(EngineSettings::default()).expect("the engine starts");
    let fuelled = Engine::new(EngineSettings { meters_fuel: true, ..EngineSettings::default() }).expect("the engine starts");
    eprintln!("{:<44} {:>6} {:>7} {:>7} {:>7} {:>7}", "ns a row (CPU time)", "rows", "build", "call", "read", "total");
    for case in cases(given) {
        let module = engine.compile(&case.bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for rows in BATCHES {
            report(&case.name, &engine, &module, &case, rows);
        }
        if case.name.starts_with("Rust") {
            let metered = fuelled.compile(&case.bytes).expect("it compiled before");
            report(&format!("{}, fuel metered too", case.name), &fuelled, &metered, &case, 1_024);
        }
    }
    let bytes = guest("bench-rewrite");
    let module = engine.compile(&bytes).expect("the bench's module compiles");
    report_call(&engine, &module);
    report_starts(&engine, &module, &bytes);
}

fn cases(given: &[(PathBuf, String)]) -> Vec<Case> {
    let rules =
        |name: &str, config: serde_json::Value| Case { name: name.to_owned(), bytes: builtin_rules().to_vec(), config: config.to_string() };
    let select = json!({"rule-type": "selection", "rule-id": "1", "rule-name": "1", "rule-action": "include",
        "object-locator": {"schema-name": "public", "table-name": "%"}});
    let mut filtered = select.clone();
    filtered["filters"] =
        json!([{"filter-type": "source", "column-name": "account", "filter-conditions": [{"filter-operator": "gte", "value": "0"}]}]);
    let rename = json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "column", "rule-action": "rename",
        "object-locator": {"schema-name": "public", "table-name": "%", "column-name": "note"}, "value": "remark"});
    let rewrite = |name: &str, config: &str| Case { name: name.to_owned(), bytes: guest("bench-rewrite"), config: config.to_owned() };
    let mut cases = vec![
        rules("rules, renames only", json!({"rules": [select, rename]})),
        rules("rules, filter on one column", json!({"rules": [filtered]})),
        rewrite("Rust, filter on one column", "[\"filter\"]"),
        rewrite("Rust, rewrite of one text column", "[\"rewrite\"]"),
        rewrite("Rust, filter and rewrite", "[\"filter\",\"rewrite\"]"),
    ];
    // The examples in other languages, where their toolchains are there and have built them.
    for (name, file, config) in [
        ("JavaScript, split-name", "split-name", r#"{"column": "name", "given": "given_name", "family": "family_name"}"#),
        ("Python, convert-currency", "convert-currency", PYTHON_CONFIG),
        ("C, redact", "redact", r#"{"column": "note", "pattern": "[0-9]{4}( ?[0-9]{4}){3}"}"#),
    ] {
        match std::fs::read(guest_path(file)) {
            Ok(bytes) => cases.push(Case { name: name.to_owned(), bytes, config: config.to_owned() }),
            Err(error) => eprintln!("{name}: left out, {}: {error}", guest_path(file).display()),
        }
    }
    for (path, config) in given {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_stem().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        cases.push(Case { name, bytes, config: config.clone() });
    }
    cases
}

pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = guest_path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask guests`", path.display()))
}

pub(crate) fn guest_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/guests/{name}.wasm"))
}

fn schema() -> TableSchema {
    let column = |name: &str, sql_type, nullable| Column {
        name: name.to_owned(),
        sql_type,
        native_type: "a type".to_owned(),
        nullable,
        collation: None,
        generated: false,
    };
    TableSchema {
        name: TableName::new("public", "load"),
        engine: Database::Postgres,
        columns: vec![
            column("id", SqlType::Int64, false),
            column("account", SqlType::Int32, false),
            column("kind", SqlType::Text { chars_max: None }, false),
            column("note", SqlType::Text { chars_max: None }, true),
            column("name", SqlType::Text { chars_max: None }, true),
            column("amount", SqlType::Decimal { precision: Some(12), scale: Some(2) }, true),
            column("currency", SqlType::Text { chars_max: Some(3) }, true),
        ],
        primary_key: vec![0],
        unique_keys: vec![],
        identity: vec![0],
        before_images: BeforeImages::Full,
        encoding: RowEncoding::Postgres,
        version: 1,
    }
}

/// The texts of one row; values borrow from them, as those of a decoded row do.
struct Texts {
    kind: String,
    note: String,
    name: String,
    amount: String,
}

fn texts(rows: usize) -> Vec<Texts> {
    let text = |row: usize| Texts {
        kind: format!("kind of account {:>4}", row % 7_919),
        note: "x".repeat(row % 60),
        name: format!("Ludwig{} van Beethoven", row % 100),
        amount: format!("{}.{:02}", row % 100_000, row % 100),
    };
    (0..rows).map(text).collect()
}

fn values<'a>(texts: &'a [Texts], rows: &RowPlan) -> Vec<Vec<Value<'a>>> {
    let value = |row: usize, name: &str| match name {
        "id" => Value::Int(row as i64),
        "account" => Value::Int((row % 1_000) as i64),
        "kind" => Value::Text(&texts[row].kind),
        "name" => Value::Text(&texts[row].name),
        "amount" => Value::Decimal(&texts[row].amount),
        "currency" => Value::Text(["EUR", "USD", "JPY"][row % 3]),
        _ => Value::Text(&texts[row].note),
    };
    (0..texts.len()).map(|row| rows.inputs.iter().map(|name| value(row, name)).collect()).collect()
}

fn report(name: &str, engine: &Engine, module: &Compiled, case: &Case, rows: usize) {
    let schema = schema();
    let mut sandbox =
        Sandbox::new(engine, module, Limits { transform_cpu: Duration::from_secs(60), ..Limits::default() }).expect("it starts");
    let input = PlanInput { schema: &schema, target: Database::Postgres };
    let outcome = sandbox.plan(0, &input, &case.config).unwrap_or_else(|error| panic!("{name}: {error}"));
    let PlanOutcome::Include(plan) = outcome else { panic!("{name}: the table is left out") };
    let Some(row_plan) = plan.rows else {
        if rows == 1_024 {
            println!("{}", json!({"case": name, "rows": rows, "ns_per_row": 0}));
            eprintln!("{name:<44} {rows:>6} never called: its plan asks for no rows");
        }
        return;
    };
    let cost = cost(&mut sandbox, &schema, &row_plan, rows);
    let total = cost.total;
    println!(
        "{}",
        json!({"case": name, "rows": rows, "build_ns_per_row": cost.build, "call_ns_per_row": cost.call, "read_ns_per_row": cost.read, "ns_per_row": total})
    );
    eprintln!("{name:<44} {rows:>6} {:>7.1} {:>7.1} {:>7.1} {total:>7.1}", cost.build, cost.call, cost.read);
}

fn cost(sandbox: &mut Sandbox, schema: &TableSchema, plan: &RowPlan, rows: usize) -> Cost {
    let texts = texts(rows);
    let values = values(&texts, plan);
    let types: Vec<SqlType> =
        plan.inputs.iter().filter_map(|name| Some(schema.columns[schema.column_index(name)?].sql_type.clone())).collect();
    let mut best = Cost { build: f64::MAX, call: f64::MAX, read: f64::MAX, total: f64::MAX };
    let mut builder = Some(BatchBuilder::new(&types, plan.text_layout));
    let ns = |from: Duration, to: Duration, rows: usize| (to - from).as_nanos() as f64 / rows as f64;
    let (since, mut runs) = (Instant::now(), 0);
    while since.elapsed() < PATIENCE || runs < 3 {
        runs += 1;
        let began = cpu();
        let batch = build(builder.take().expect("the last run left it"), &values);
        let built = cpu();
        let result = sandbox.transform(0, &batch).expect("the module answers");
        let called = cpu();
        std::hint::black_box(read(&result));
        let ended = cpu();
        best.build = best.build.min(ns(began, built, rows));
        best.call = best.call.min(ns(built, called, rows));
        best.read = best.read.min(ns(called, ended, rows));
        builder = Some(batch.into_builder());
    }
    let at_once = (TOGETHER_ROWS / rows).max(1);
    let (since, mut runs) = (Instant::now(), 0);
    while since.elapsed() < PATIENCE || runs < 3 {
        runs += 1;
        let began = cpu();
        for _ in 0..at_once {
            let batch = build(builder.take().expect("the last run left it"), &values);
            let result = sandbox.transform(0, &batch).expect("the module answers");
            std::hint::black_box(read(&result));
            builder = Some(batch.into_builder());
        }
        best.total = best.total.min(ns(began, cpu(), rows * at_once));
    }
    best
}

fn build(mut builder: BatchBuilder, values: &[Vec<Value<'_>>]) -> Batch {
    for row in values {
        builder.push_kind(ImageKind::Snapshot);
        for (column, value) in row.iter().enumerate() {
            builder.push_value(column, value).expect("the value fits");
        }
    }
    builder.finish().expect("the batch is whole")
}

/// Something that depends on every value.
fn read(result: &BatchResult) -> usize {
    let mut seen = 0;
    for row in 0..result.rows() {
        seen += usize::from(result.keeps(row));
        for column in result.columns() {
            if let Value::Text(text) = column.value(row) {
                seen += text.len();
            }
        }
    }
    seen
}

/// A call with one row: what a batch costs whatever is in it.
fn report_call(engine: &Engine, module: &Compiled) {
    let schema = schema();
    let mut sandbox = Sandbox::new(engine, module, Limits::default()).expect("it starts");
    let input = PlanInput { schema: &schema, target: Database::Postgres };
    sandbox.plan(0, &input, "[\"filter\"]").expect("it plans");
    let mut builder = BatchBuilder::new(&[SqlType::Int32], tidegate_sandbox::TextLayout::Buffers);
    builder.push_kind(ImageKind::Insert);
    builder.push_value(0, &Value::Int(1)).expect("the value fits");
    let batch = builder.finish().expect("the batch is whole");
    let time = best_of(2_000, 50, || drop(sandbox.transform(0, &batch).expect("the module answers")));
    say("a call with one row", time, "bar: 2 µs");
}

fn report_starts(engine: &Engine, module: &Compiled, bytes: &[u8]) {
    let start = |module: &Compiled| Sandbox::new(engine, module, Limits::default()).expect("it starts");
    say("a fresh Rust instance", best_of(200, 20, || drop(start(module))), "bar: 20 µs; with its end");
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let cache = ArtefactCache::open(dir.path()).expect("the cache opens");
    let binary = crate::tidegate::binary();
    let mut helper = Command::new(&binary);
    helper.arg("compile-module");
    let since = Instant::now();
    let compiled = cache.compile(engine, &mut helper, HelperLimits::default(), bytes).expect("it compiles");
    say("compiled in the helper process", since.elapsed(), "wall time");
    let load = |cache: &ArtefactCache| start(&cache.load(engine, compiled.digest()).expect("the cache works").expect("it is there"));
    say("from memory to a running instance", best_of(50, 20, || drop(load(&cache))), "bar: 5 ms");
    let time = best_of(1, 30, || drop(load(&ArtefactCache::open(dir.path()).expect("the cache opens"))));
    say("from disk to a running instance", time, "a new process; not bound by the bar");
}

fn say(what: &str, time: Duration, about: &str) {
    println!("{}", json!({"case": what, "microseconds": time.as_nanos() as f64 / 1e3}));
    eprintln!("{what:<44} {:>10.2} µs  {about}", time.as_nanos() as f64 / 1e3);
}

/// CPU time of one run, the best of `groups` groups of `count` runs.
fn best_of(count: u32, groups: u32, mut run: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..groups {
        let began = cpu();
        (0..count).for_each(|_| run());
        best = best.min((cpu() - began) / count);
    }
    best
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
