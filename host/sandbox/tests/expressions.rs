//! Expressions of the built-in rules against SQLite itself: the same text, the same rows, the same answers.
//!
//! Each expression is asked for its storage class and for the hexadecimal digits of its text, so that nothing is lost in
//! a conversion to a column's type. Where SQLite fails a query (an overflow), the rules must fail the row.

// Outside #[test] functions clippy asks for expect.
#![allow(clippy::unwrap_used)]

mod support;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use support::{RULES, input, sandbox, schema};
use tidegate_model::{Column, ImageKind, SqlType, TableSchema, Value};
use tidegate_sandbox::{BatchBuilder, PlanOutcome, TextLayout};

/// Column, type at the source, affinity in SQLite.
fn columns() -> Vec<(&'static str, SqlType, &'static str)> {
    vec![
        ("i", SqlType::Int64, "integer"),
        ("r", SqlType::Float64, "real"),
        ("d", SqlType::Decimal { precision: Some(20), scale: Some(4) }, "numeric"),
        ("t", SqlType::Text { chars_max: Some(40) }, "text"),
        ("s", SqlType::Text { chars_max: None }, "text"),
        ("b", SqlType::Bytes { bytes_max: None }, "blob"),
        ("day", SqlType::Date, "text"),
        ("at", SqlType::Timestamp, "text"),
        ("flag", SqlType::Boolean, "integer"),
    ]
}

/// SQL literals of the rows, and the same values for the module.
fn rows() -> Vec<[(&'static str, Value<'static>); 9]> {
    use Value::{Bool, Bytes, Date, Decimal, Float64, Int, Null, Text, Timestamp};
    let null = ("null", Null);
    vec![
        [
            ("5", Int(5)),
            ("1.5", Float64(1.5)),
            ("'12.5000'", Decimal("12.5000")),
            ("'Hello'", Text("Hello")),
            ("'%el_o'", Text("%el_o")),
            ("x'4142'", Bytes(b"AB")),
            ("'2024-02-29'", Date(19_782)),
            ("'2024-02-29 12:34:56.789'", Timestamp(1_709_210_096_789_000)),
            ("1", Bool(true)),
        ],
        [null.clone(), null.clone(), null.clone(), null.clone(), null.clone(), null.clone(), null.clone(), null.clone(), null],
        [
            ("-7", Int(-7)),
            ("-0.25", Float64(-0.25)),
            ("'0'", Decimal("0")),
            ("''", Text("")),
            ("'%'", Text("%")),
            ("x''", Bytes(b"")),
            ("'1999-12-31'", Date(10_956)),
            ("'1969-12-31 23:59:59'", Timestamp(-1_000_000)),
            ("0", Bool(false)),
        ],
        [
            ("9223372036854775807", Int(i64::MAX)),
            ("1e300", Float64(1e300)),
            ("'123456789.1234'", Decimal("123456789.1234")),
            ("'  12abc '", Text("  12abc ")),
            ("'1_%'", Text("1_%")),
            ("x'313233'", Bytes(b"123")),
            ("'0001-01-01'", Date(-719_162)),
            ("'9999-12-31 23:59:59'", Timestamp(253_402_300_799_000_000)),
            ("1", Bool(true)),
        ],
        [
            ("-9223372036854775808", Int(i64::MIN)),
            ("123456.7890625", Float64(123_456.789_062_5)),
            ("'-3.0000'", Decimal("-3.0000")),
            ("'3.50'", Text("3.50")),
            ("'ABC-abc'", Text("ABC-abc")),
            ("x'c3a9'", Bytes("é".as_bytes())),
            ("'2023-01-31'", Date(19_388)),
            ("'2000-01-01 00:00:00'", Timestamp(946_684_800_000_000)),
            ("0", Bool(false)),
        ],
        [
            ("100", Int(100)),
            ("2.5", Float64(2.5)),
            ("'0.5'", Decimal("0.5")),
            ("'héß日本%_'", Text("héß日本%_")),
            ("'[a-c]*'", Text("[a-c]*")),
            ("x'78'", Bytes(b"x")),
            ("'2024-12-30'", Date(20_087)),
            ("'2024-12-30 00:00:00.5'", Timestamp(1_735_516_800_500_000)),
            ("1", Bool(true)),
        ],
    ]
}

/// What an expression gives for a row: its class and its text's digits, or a failure.
type Answer = Result<(String, String), String>;

/// The answers of SQLite, a list of rows for each expression.
async fn of_sqlite(expressions: &[String]) -> Vec<Vec<Answer>> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let names: Vec<String> = columns().iter().map(|(name, _, affinity)| format!("{name} {affinity}")).collect();
    let create = format!("create table x (id integer primary key, {})", names.join(", "));
    sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    for (index, row) in rows().iter().enumerate() {
        let literals: Vec<&str> = row.iter().map(|(literal, _)| *literal).collect();
        let insert = format!("insert into x values ({}, {})", index + 1, literals.join(", "));
        sqlx::query(AssertSqlSafe(insert)).execute(&mut connection).await.unwrap();
    }
    let mut all = Vec::new();
    for expression in expressions {
        let expression = expression.replace('$', "");
        let mut answers = Vec::new();
        for id in 1..=rows().len() {
            let query = format!("select typeof({expression}), hex({expression}) from x where id = {id}");
            answers.push(match sqlx::query(AssertSqlSafe(query)).fetch_one(&mut connection).await {
                Ok(row) => Ok((row.get(0), row.get(1))),
                Err(error) => Err(error.to_string()),
            });
        }
        all.push(answers);
    }
    all
}

fn table() -> TableSchema {
    let column = |(name, sql_type, _): (&str, SqlType, &str)| Column {
        name: name.to_owned(),
        sql_type,
        native_type: String::new(),
        collation: None,
        nullable: true,
        generated: false,
    };
    let mut table = schema();
    table.columns.truncate(1);
    table.columns.extend(columns().into_iter().map(column));
    table
}

/// The answers of the rules in the sandbox.
fn of_rules(expressions: &[String]) -> Vec<Vec<Answer>> {
    let schema = table();
    let mut all = Vec::new();
    for expressions in expressions.chunks(40) {
        let mut rules = vec![json!({"rule-type": "selection", "rule-id": 1, "rule-action": "include",
            "object-locator": {"schema-name": "shop", "table-name": "%"}})];
        for (number, expression) in expressions.iter().enumerate() {
            for (kind, function) in ["typeof", "hex"].iter().enumerate() {
                rules.push(json!({"rule-type": "transformation", "rule-id": 10 + number * 2 + kind, "rule-target": "column",
                    "rule-action": "add-column", "object-locator": {"schema-name": "%", "table-name": "%"},
                    "value": format!("{function}_{number}"), "expression": format!("{function}({expression})"), "data-type": {"type": "clob"}}));
            }
        }
        let mut sandbox = sandbox(&RULES);
        let config = json!({"rules": rules}).to_string();
        let PlanOutcome::Include(plan) =
            sandbox.plan(0, &input(&schema), &config).unwrap_or_else(|error| panic!("{error}: {expressions:#?}"))
        else {
            panic!("the table is included")
        };
        let inputs = plan.rows.unwrap().inputs;
        let place = |name: &String| columns().iter().position(|(column, _, _)| column == name).unwrap();
        let places: Vec<usize> = inputs.iter().map(place).collect();
        let types: Vec<SqlType> = places.iter().map(|place| columns()[*place].1.clone()).collect();
        let mut results = Vec::new();
        for row in rows() {
            let mut batch = BatchBuilder::new(&types, TextLayout::Buffers);
            batch.push_kind(ImageKind::Insert);
            for (column, place) in places.iter().enumerate() {
                batch.push_value(column, &row[*place].1).unwrap();
            }
            results.push(sandbox.transform(0, &batch.finish().unwrap()).unwrap());
        }
        for number in 0..expressions.len() {
            let answer = |result: &tidegate_sandbox::BatchResult| {
                let text = |column: usize| result.columns()[number * 2 + column].value(0).as_text().map(str::to_owned);
                // A row may fail by another expression of the same plan: only its own message counts.
                let rule = [format!("rule {},", 10 + number * 2), format!("rule {},", 11 + number * 2)];
                match result.errors().iter().find(|error| rule.iter().any(|rule| error.message.starts_with(rule.as_str()))) {
                    Some(error) => Err(error.code.clone()),
                    None => match (text(0), text(1)) {
                        (Some(class), Some(digits)) => Ok((class, digits)),
                        _ => Err("another expression of the row failed first".to_owned()),
                    },
                }
            };
            all.push(results.iter().map(answer).collect());
        }
    }
    all
}

/// Compares, and tells every difference.
async fn check(expressions: Vec<String>) {
    let (wanted, found) = (of_sqlite(&expressions).await, of_rules(&expressions));
    let mut differences = Vec::new();
    let mut compared = 0;
    for (index, expression) in expressions.iter().enumerate() {
        for (row, (wanted, found)) in wanted[index].iter().zip(&found[index]).enumerate() {
            let is_equal = match (wanted, found) {
                (Ok(wanted), Ok(found)) => wanted == found,
                (_, Err(code)) if code.starts_with("another") => continue,
                (Err(_), Err(_)) => true,
                // SQLite takes bytes for text that are none, and answers with NUL in them.
                (Ok(_), Err(code)) => code == "text-not-utf8",
                (Err(_), Ok(_)) => false,
            };
            compared += 1;
            if !is_equal {
                differences.push(format!("row {}: {expression}\n  SQLite {}\n  rules  {}", row + 1, shown(wanted), shown(found)));
            }
        }
    }
    assert!(compared * 10 >= expressions.len() * rows().len() * 5, "only {compared} answers could be compared");
    assert!(differences.is_empty(), "{} of {compared} differ:\n{}", differences.len(), differences.join("\n"));
}

fn shown(answer: &Answer) -> String {
    match answer {
        Err(error) => format!("fails: {error}"),
        Ok((class, digits)) => {
            let bytes: Vec<u8> =
                digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
            format!("{class} {:?}", String::from_utf8_lossy(&bytes))
        }
    }
}

#[tokio::test]
async fn documented_functions_and_operators_answer_as_sqlite_does() {
    let text = include_str!("expressions.txt");
    let expressions: Vec<String> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    assert!(expressions.len() > 150);
    check(expressions).await;
}

#[tokio::test]
async fn random_expressions_answer_as_sqlite_does() {
    let seed = std::env::var("TIDEGATE_SEED").map_or(20_251_125, |text| text.parse().expect("TIDEGATE_SEED is a number"));
    println!("TIDEGATE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    check((0..800).map(|_| expression(&mut random, 4)).collect()).await;
}

/// An expression of at most so many levels. Texts hold no `$`, which stands for columns.
fn expression(random: &mut StdRng, depth: u32) -> String {
    let leaves = ["$i", "$r", "$d", "$t", "$s", "$b", "$flag", "0", "1", "-1", "2.5", "'abc'", "'12'", "' 7.5x'", "''", "null", "x'41'"];
    if depth == 0 || random.random_bool(0.15) {
        return (*leaves.choose(random).expect("there are leaves")).to_owned();
    }
    let mut part = || expression(random, depth - 1);
    let (a, b, c) = (part(), part(), part());
    match random.random_range(0..26) {
        0 => format!("({a} + {b})"),
        1 => format!("({a} - {b})"),
        2 => format!("({a} * {b})"),
        3 => format!("({a} / {b})"),
        4 => format!("({a} % {b})"),
        5 => format!("({a} || {b})"),
        6 => format!("({a} = {b})"),
        7 => format!("({a} < {b} or {c})"),
        8 => format!("({a} >= {b} and not {c})"),
        9 => format!("({a} is not {b})"),
        10 => format!("({a} between {b} and {c})"),
        11 => format!("({a} in ({b}, {c}))"),
        12 => format!("case when {a} then {b} else {c} end"),
        13 => format!("case {a} when {b} then {c} end"),
        14 => format!("coalesce({a}, {b}, {c})"),
        15 => format!("nullif({a}, {b})"),
        16 => format!("max({a}, {b})"),
        17 => format!("min({a}, {b}, {c})"),
        18 => format!("substr({a}, {}, {})", random.random_range(-6..7), random.random_range(-6..7)),
        19 => format!("length({a})"),
        20 => format!("upper({a})"),
        21 => format!("trim({a}, 'a 1')"),
        22 => format!("cast({a} as {})", ["integer", "real", "text", "numeric", "blob"].choose(random).expect("there are types")),
        23 => format!("(- {a} & {b} << 3)"),
        24 => format!("instr({a}, {b})"),
        _ => format!("({a} isnull)"),
    }
}
