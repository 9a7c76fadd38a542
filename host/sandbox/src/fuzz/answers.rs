//! Answers to batches.

use rand::Rng;
use rand::rngs::SmallRng;
use tidegate_model::{SqlType, Value};

use super::{pick, rounds};
use crate::contract::tidegate::transform::types as wit;
use crate::layout::{Layout, bitmap_bytes};
use crate::plan::{Output, OutputSource};
use crate::result::{BatchResult, Wanted};

const LABELS: [&str; 3] = ["new", "paid", "é"];

fn any_type(rng: &mut SmallRng) -> SqlType {
    let labels = || LABELS.map(str::to_owned).to_vec();
    let types = [
        SqlType::Boolean,
        SqlType::Int8,
        SqlType::Int16,
        SqlType::Int32,
        SqlType::Int64,
        SqlType::UInt8,
        SqlType::UInt16,
        SqlType::UInt32,
        SqlType::UInt64,
        SqlType::Float32,
        SqlType::Float64,
        SqlType::Decimal { precision: Some(10), scale: Some(2) },
        SqlType::Text { chars_max: None },
        SqlType::Text { chars_max: Some(3) },
        SqlType::Bytes { bytes_max: Some(3) },
        SqlType::Date,
        SqlType::Time,
        SqlType::TimestampTz,
        SqlType::Json,
        SqlType::Uuid,
        SqlType::Enumeration(labels()),
        SqlType::SetOf(labels()),
        SqlType::Bits(9),
        SqlType::Array(Box::new(SqlType::Int32)),
        SqlType::Other("tsvector".to_owned()),
    ];
    pick(rng, &types).clone()
}

/// A value's bytes as a well-behaved module sends them, for types that travel as bytes.
fn good_bytes(rng: &mut SmallRng, sql_type: &SqlType) -> Vec<u8> {
    let mut text = |choices: &[&str]| pick(rng, choices).as_bytes().to_vec();
    match sql_type {
        SqlType::Decimal { .. } => text(&["0", "-1.50", "NaN", "12345678.99"]),
        SqlType::Json => text(&["null", "{\"a\":[1,2]}", "\"é\""]),
        SqlType::Array(_) => text(&["[]", "[1,null]"]),
        SqlType::Enumeration(_) => text(&LABELS),
        SqlType::SetOf(_) => text(&["", "new", "new,é"]),
        SqlType::Uuid => vec![7; 16],
        SqlType::Bits(_) => vec![1; 2],
        _ => text(&["", "a", "éa", "abc"]),
    }
}

fn good_values(rng: &mut SmallRng, sql_type: &SqlType, rows: usize) -> wit::Values {
    match Layout::of(sql_type) {
        Layout::Bool8 => wit::Values::Bool8((0..rows).map(|_| rng.random_range(0..2)).collect()),
        Layout::Int32 => wit::Values::Int32((0..rows).map(|_| rng.random_range(0..100)).collect()),
        Layout::Int64 => wit::Values::Int64((0..rows).map(|_| rng.random_range(0..100)).collect()),
        Layout::UInt64 => wit::Values::Uint64((0..rows).map(|_| rng.random()).collect()),
        Layout::Float64 => wit::Values::Float64((0..rows).map(|_| rng.random()).collect()),
        layout => {
            let (mut offsets, mut data) = (vec![0], Vec::new());
            for _ in 0..rows {
                data.extend(good_bytes(rng, sql_type));
                offsets.push(data.len() as u32);
            }
            let var = wit::VarValues { offsets, data };
            if layout == Layout::Binary { wit::Values::Binary(var) } else { wit::Values::Utf8(var) }
        }
    }
}

fn damage_list<T>(rng: &mut SmallRng, list: &mut Vec<T>, any: impl Fn(&mut SmallRng) -> T) {
    match rng.random_range(0..4) {
        0 if !list.is_empty() => {
            let place = rng.random_range(0..list.len());
            list.remove(place);
        }
        1 => {
            let place = rng.random_range(0..=list.len());
            list.insert(place, any(rng));
        }
        2 => list.clear(),
        _ if !list.is_empty() => {
            let place = rng.random_range(0..list.len());
            list[place] = any(rng);
        }
        _ => {}
    }
}

fn damage_values(rng: &mut SmallRng, values: &mut wit::Values) {
    let extreme = |rng: &mut SmallRng| *pick(rng, &[0, 1, 2, 7, 255, 256, 65_536, 1 << 31, u32::MAX]);
    match values {
        wit::Values::Bool8(list) => damage_list(rng, list, |rng| rng.random()),
        wit::Values::Int32(list) => damage_list(rng, list, |rng| rng.random()),
        wit::Values::Int64(list) => damage_list(rng, list, |rng| rng.random()),
        wit::Values::Uint64(list) => damage_list(rng, list, |rng| rng.random()),
        wit::Values::Float64(list) => damage_list(rng, list, |rng| f64::from_bits(rng.random())),
        wit::Values::Utf8(var) | wit::Values::Binary(var) => {
            if rng.random() {
                damage_list(rng, &mut var.offsets, extreme);
            } else {
                damage_list(rng, &mut var.data, |rng| rng.random());
            }
        }
        wit::Values::Strings(list) => damage_list(rng, list, |rng| "é".repeat(rng.random_range(0..3))),
    }
}

fn damage(rng: &mut SmallRng, answer: &mut wit::BatchResult, rows: usize) {
    let place = (!answer.columns.is_empty()).then(|| rng.random_range(0..answer.columns.len()));
    match (rng.random_range(0..8), place) {
        (0, _) => answer.keep = any_bitmap(rng, rows),
        (1, _) => damage_list(rng, &mut answer.keep, |rng| rng.random()),
        (2, _) => {
            let row = rng.random_range(0..rows as u32 + 2);
            answer.errors.push(wit::RowError {
                row,
                code: "é".repeat(rng.random_range(0..80)),
                message: "m".repeat(rng.random_range(0..2000)),
            });
        }
        (3, Some(place)) => answer.columns[place].nulls = any_bitmap(rng, rows),
        (4, Some(place)) => answer.columns[place].absent = any_bitmap(rng, rows),
        (5, Some(place)) => {
            let sql_type = any_type(rng);
            answer.columns[place].values = good_values(rng, &sql_type, rows);
        }
        (6, Some(place)) => {
            let column = answer.columns[place].clone();
            answer.columns.insert(place, column);
        }
        (_, Some(place)) => damage_values(rng, &mut answer.columns[place].values),
        (_, None) => {}
    }
}

fn any_bitmap(rng: &mut SmallRng, rows: usize) -> Vec<u8> {
    let bytes = bitmap_bytes(rows) + *pick(rng, &[0, 0, 0, 1]);
    (0..bytes).map(|_| rng.random()).collect()
}

/// What the declared type promises, told independently of the code under test.
fn fits(sql_type: &SqlType, value: &Value<'_>) -> bool {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    match (sql_type, value) {
        (SqlType::Boolean, Value::Bool(_)) => true,
        (SqlType::Int8, Value::Int(number)) => i8::try_from(*number).is_ok(),
        (SqlType::Int16, Value::Int(number)) => i16::try_from(*number).is_ok(),
        (SqlType::Int32, Value::Int(number)) => i32::try_from(*number).is_ok(),
        (SqlType::Int64, Value::Int(_)) => true,
        (SqlType::UInt8, Value::UInt(number)) => u8::try_from(*number).is_ok(),
        (SqlType::UInt16, Value::UInt(number)) => u16::try_from(*number).is_ok(),
        (SqlType::UInt32, Value::UInt(number)) => u32::try_from(*number).is_ok(),
        (SqlType::UInt64, Value::UInt(_)) | (SqlType::Float32, Value::Float32(_)) | (SqlType::Float64, Value::Float64(_)) => true,
        (SqlType::Date, Value::Date(_)) | (SqlType::Time, Value::Time(_)) | (SqlType::TimestampTz, Value::TimestampTz(_)) => true,
        (SqlType::Decimal { .. }, Value::Decimal(text)) => text.bytes().all(|byte| b"0123456789.-NaInfity".contains(&byte)),
        (SqlType::Json, Value::Json(text)) => json(text).is_ok(),
        (SqlType::Array(_), Value::Text(text)) => json(text).is_ok_and(|value| value.is_array()),
        (SqlType::Enumeration(labels), Value::Text(text)) => labels.iter().any(|label| label == text),
        (SqlType::SetOf(labels), Value::Text(text)) => {
            text.is_empty() || text.split(',').all(|part| labels.iter().any(|label| label == part))
        }
        (SqlType::Text { chars_max }, Value::Text(text)) => chars_max.is_none_or(|max| text.chars().count() <= max as usize),
        (SqlType::Bytes { bytes_max }, Value::Bytes(bytes)) => bytes_max.is_none_or(|max| bytes.len() <= max as usize),
        (SqlType::Bits(count), Value::Bits(bytes)) => bytes.len() == count.div_ceil(8) as usize,
        (SqlType::Uuid, Value::Uuid(_)) | (SqlType::Other(_), Value::Text(_)) => true,
        _ => false,
    }
}

#[test]
fn an_accepted_answer_can_be_used_in_full() {
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    rounds("answers", 20_000, |rng| {
        let rows = *pick(rng, &[0, 1, 2, 7, 8, 9, 33]);
        let computed: Vec<Output> = (0..rng.random_range(0..3))
            .map(|index| Output {
                name: format!("c{index}"),
                sql_type: any_type(rng),
                nullable: rng.random(),
                source: OutputSource::Computed,
            })
            .collect();
        let column = |rng: &mut SmallRng, output: &Output| wit::Column {
            nulls: Vec::new(),
            absent: Vec::new(),
            values: good_values(rng, &output.sql_type, rows),
        };
        let columns = computed.iter().map(|output| column(rng, output)).collect();
        let mut answer = wit::BatchResult { keep: Vec::new(), columns, errors: Vec::new() };
        let damages = rng.random_range(0..4);
        (0..damages).for_each(|_| damage(rng, &mut answer, rows));
        let wanted = Wanted { rows, input_bytes: 64, computed: &computed, filters: rng.random(), partial_images: rng.random() };
        match BatchResult::check(answer, &wanted) {
            Ok(result) => {
                accepted += 1;
                check_usable(&result, &wanted);
            }
            Err(error) => {
                refused += 1;
                assert!(damages > 0, "a good answer is refused: {error}");
                assert!(error.to_string().len() < 2000);
            }
        }
    });
    // Neither a checker that takes everything nor one that refuses everything would show anything here.
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}

fn check_usable(result: &BatchResult, wanted: &Wanted<'_>) {
    assert_eq!((result.rows(), result.columns().len()), (wanted.rows, wanted.computed.len()));
    assert!(result.errors().is_sorted_by(|one, two| one.row < two.row));
    assert!(result.errors().iter().all(|error| error.row < wanted.rows && error.message.len() <= 1024 && error.code.len() <= 64));
    let failed = |row: usize| result.errors().iter().any(|error| error.row == row);
    let live = (0..wanted.rows).filter(|row| result.keeps(*row) && !failed(*row)).count();
    assert_eq!(live + result.dropped() + result.errors().len(), wanted.rows);
    assert!(wanted.filters || result.dropped() == 0);
    for (column, output) in result.columns().iter().zip(wanted.computed) {
        // Also rows that nobody should ask for are answered.
        for row in 0..wanted.rows + 9 {
            let value = column.value(row);
            if row >= wanted.rows || !result.keeps(row) || failed(row) {
                continue;
            }
            match value {
                _ if column.is_absent(row) => assert!(wanted.partial_images),
                Value::Null => assert!(output.nullable),
                value => assert!(fits(&output.sql_type, &value), "{:?}: {value:?}", output.sql_type),
            }
        }
    }
}
