//! Malformed answers, one by one.

use super::*;
use crate::plan::OutputSource;

fn output(sql_type: SqlType, nullable: bool) -> Output {
    Output { name: "out".to_owned(), sql_type, nullable, source: OutputSource::Computed }
}

fn column(values: wit::Values) -> wit::Column {
    wit::Column { nulls: Vec::new(), absent: Vec::new(), values }
}

fn answer(columns: Vec<wit::Column>) -> wit::BatchResult {
    wit::BatchResult { keep: Vec::new(), columns, errors: Vec::new() }
}

fn var(offsets: &[u32], data: &[u8]) -> wit::VarValues {
    wit::VarValues { offsets: offsets.to_vec(), data: data.to_vec() }
}

fn check(found: wit::BatchResult, computed: &[Output], filters: bool) -> Result<BatchResult, String> {
    let wanted = Wanted { rows: 2, input_bytes: 16, computed, filters, partial_images: false };
    BatchResult::check(found, &wanted).map_err(|error| error.to_string())
}

fn check_refused(found: wit::BatchResult, computed: &[Output], wanted: &str) {
    let message = check(found, computed, true).unwrap_err();
    assert!(message.contains(wanted), "{message} should contain {wanted}");
}

#[test]
fn answers_of_another_form_are_refused() {
    use wit::Values as V;
    let text = || output(SqlType::Text { chars_max: None }, true);
    let cases: Vec<(V, SqlType, &str)> = vec![
        (V::Int32(vec![1]), SqlType::Int32, "1 values, wanted 2"),
        (V::Int64(vec![1, 2]), SqlType::Int32, "layout int64, wanted Int32"),
        (V::Int32(vec![1, 200]), SqlType::Int8, "outside -128 to 127"),
        (V::Int32(vec![1, -1]), SqlType::UInt8, "outside 0 to 255"),
        (V::Int64(vec![1, 1 << 33]), SqlType::UInt32, "outside 0 to 4294967295"),
        (V::Bool8(vec![1, 2]), SqlType::Boolean, "neither 0 nor 1"),
        (V::Utf8(var(&[0, 1], b"a")), text().sql_type, "2 offsets, wanted 3"),
        (V::Utf8(var(&[1, 1, 1], b"a")), text().sql_type, "do not rise"),
        (V::Utf8(var(&[0, 3, 1], b"a")), text().sql_type, "do not rise"),
        (V::Utf8(var(&[0, 1, 1], b"ab")), text().sql_type, "do not rise"),
        (V::Utf8(var(&[0, 1, 2], b"a\xff")), text().sql_type, "not UTF-8"),
        (V::Utf8(var(&[0, 1, 2], "é".as_bytes())), text().sql_type, "inside a character"),
        (V::Utf8(var(&[0, 1, 3], b"1x1")), SqlType::Decimal { precision: None, scale: None }, "not of the declared type"),
        (V::Utf8(var(&[0, 1, 3], b"1{1")), SqlType::Json, "not of the declared type"),
        (V::Utf8(var(&[0, 2, 3], b"[]1")), SqlType::Array(Box::new(SqlType::Int32)), "not of the declared type"),
        (V::Utf8(var(&[0, 1, 2], b"ac")), SqlType::Enumeration(vec!["a".into(), "b".into()]), "not of the declared type"),
        (V::Utf8(var(&[0, 1, 4], b"aa,c")), SqlType::SetOf(vec!["a".into(), "b".into()]), "not of the declared type"),
        (V::Utf8(var(&[0, 1, 4], b"aabc")), SqlType::Text { chars_max: Some(2) }, "not of the declared type"),
        (V::Binary(var(&[0, 16, 17], &[0; 17])), SqlType::Uuid, "not the length of its type"),
        (V::Binary(var(&[0, 2, 3], &[0; 3])), SqlType::Bits(9), "not of the declared type"),
        (V::Binary(var(&[0, 1, 4], &[0; 4])), SqlType::Bytes { bytes_max: Some(2) }, "not of the declared type"),
    ];
    for (values, sql_type, wanted) in cases {
        check_refused(answer(vec![column(values)]), &[output(sql_type, true)], wanted);
    }
    check_refused(answer(vec![]), &[text()], "0 columns, and the plan has 1");
    check_refused(wit::BatchResult { keep: vec![1, 1], ..answer(vec![]) }, &[], "bitmap \"keep\" has 2 bytes");
    let error = wit::RowError { row: 2, code: String::new(), message: String::new() };
    check_refused(wit::BatchResult { errors: vec![error], ..answer(vec![]) }, &[], "row 2 of 2");
    let nulls = wit::Column { nulls: vec![0b10], ..column(V::Int32(vec![1, 0])) };
    check_refused(answer(vec![nulls]), &[output(SqlType::Int32, false)], "declares it as not null");
    let absent = wit::Column { absent: vec![0b10], ..column(V::Int32(vec![1, 0])) };
    check_refused(answer(vec![absent]), &[output(SqlType::Int32, true)], "partial images");
    let long = V::Utf8(var(&[0, 0, 100_000], &[b'a'; 100_000]));
    check_refused(answer(vec![column(long)]), &[text()], "100000 bytes of values");
}

#[test]
fn rows_can_be_dropped_only_by_a_plan_that_filters() {
    let found = || wit::BatchResult { keep: vec![0b01], ..answer(vec![]) };
    assert!(check(found(), &[], false).unwrap_err().contains("does not say that it filters"));
    let result = check(found(), &[], true).unwrap();
    assert_eq!((result.keeps(0), result.keeps(1)), (true, false));
}

#[test]
fn values_of_dropped_and_failed_rows_are_not_looked_at() {
    let values = wit::Values::Utf8(var(&[0, 1, 2], b"xx"));
    let json = output(SqlType::Json, false);
    let dropped = wit::BatchResult { keep: vec![0], ..answer(vec![column(values.clone())]) };
    assert!(check(dropped, std::slice::from_ref(&json), true).is_ok());
    let error = |row| wit::RowError { row, code: "c".repeat(100), message: "é".repeat(1000) };
    let failed = wit::BatchResult { errors: vec![error(1), error(0)], ..answer(vec![column(values)]) };
    let result = check(failed, &[json], true).unwrap();
    assert_eq!(result.errors().iter().map(|error| error.row).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((result.errors()[0].code.len(), result.errors()[0].message.len()), (64, 1024));
}

#[test]
fn values_read_back_by_type() {
    let cases = vec![
        (SqlType::UInt32, wit::Values::Int64(vec![7, 4_294_967_295]), Value::UInt(4_294_967_295)),
        (SqlType::Int8, wit::Values::Int32(vec![7, -128]), Value::Int(-128)),
        (SqlType::Date, wit::Values::Int32(vec![0, -1]), Value::Date(-1)),
        (SqlType::Float32, wit::Values::Float64(vec![0.0, 0.5]), Value::Float32(0.5)),
        (SqlType::Text { chars_max: Some(1) }, wit::Values::Strings(vec!["a".into(), "é".into()]), Value::Text("é")),
        (SqlType::Decimal { precision: None, scale: None }, wit::Values::Utf8(var(&[0, 3, 8], b"NaN-1.50")), Value::Decimal("-1.50")),
    ];
    for (sql_type, values, wanted) in cases {
        let result = check(answer(vec![column(values)]), &[output(sql_type, false)], false).unwrap();
        assert_eq!(result.columns()[0].value(1), wanted);
    }
}

#[test]
fn decimal_text_is_digits_with_a_point() {
    for text in ["0", "-12.50", "NaN", "Infinity", "-Infinity"] {
        assert!(is_decimal(text), "{text}");
    }
    for text in ["", "-", ".5", "1.", "1e5", "+1", "-NaN", "1.2.3", " 1"] {
        assert!(!is_decimal(text), "{text}");
    }
}
