use std::sync::Arc;

use tidegate_connector::{NeutralDecoder, TargetColumn};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, TableSchema};

use super::*;

/// Columns by name, native type and normalised type; the first is the key unless the table is keyless.
fn table(engine: Engine, columns: &[(&str, &str, SqlType)], is_keyed: bool) -> (SourceTable, TargetTable) {
    let described = columns.iter().map(|(name, native, sql_type)| Column {
        name: (*name).into(),
        sql_type: sql_type.clone(),
        native_type: (*native).into(),
        collation: None,
        nullable: *name != "n",
        generated: false,
    });
    let key = if is_keyed { vec![0] } else { Vec::new() };
    let schema = TableSchema {
        name: TableName::new("s", "t"),
        engine,
        columns: described.collect(),
        primary_key: key.clone(),
        unique_keys: Vec::new(),
        identity: if is_keyed { key.clone() } else { (0..columns.len()).collect() },
        before_images: BeforeImages::Full,
        encoding: RowEncoding::Neutral,
        version: 1,
    };
    let target = schema.columns.iter().enumerate().map(|(index, column)| TargetColumn {
        name: column.name.clone(),
        sql_type: column.sql_type.clone(),
        nullable: column.nullable,
        origin: ColumnOrigin::Source(index),
    });
    let columns = target.collect();
    let decoder = Arc::new(NeutralDecoder::new([]));
    let source = SourceTable { schema, decoder, rows_estimate: 0, lineage: None };
    let target = TargetTable {
        name: TableName::new("s", "t"),
        columns,
        primary_key: key.clone(),
        identity: key,
        source: Arc::new(source.clone()),
        objects: Arc::default(),
        unfit: UnfitPolicy::default(),
        computed: Vec::new(),
    };
    (source, target)
}

fn row(cells: &[Cell<'_>]) -> Row {
    let mut builder = RowBuilder::default();
    cells.iter().for_each(|cell| builder.push(*cell));
    builder.finish()
}

const TEXT: SqlType = SqlType::Text { chars_max: None };
const BYTES: SqlType = SqlType::Bytes { bytes_max: None };
const FOUR: LargeValues = LargeValues::Limited { bytes_max: 4 };

fn documents() -> (SourceTable, TargetTable) {
    table(
        Engine::Postgres,
        &[
            ("id", "text", TEXT),
            ("note", "text", TEXT),
            ("data", "bytea", BYTES),
            ("doc", "jsonb", SqlType::Json),
            ("n", "int4", SqlType::Int32),
        ],
        true,
    )
}

#[test]
fn a_cut_value_ends_between_two_characters_and_a_key_is_never_cut() {
    let (source, target) = documents();
    let plan = LargePlan::new(FOUR, &source, &target);
    let large =
        row(&[Cell::Binary(b"long key"), Cell::Text("aé€b".as_bytes()), Cell::Binary(b"12345"), Cell::Null, Cell::Binary(b"12345")]);
    let (smaller, oversize) = plan.row(&large);
    // "aé€" has six bytes, of which the last three are one character.
    let wanted = row(&[Cell::Binary(b"long key"), Cell::Text("aé".as_bytes()), Cell::Binary(b"1234"), Cell::Null, Cell::Binary(b"12345")]);
    assert_eq!(smaller, Some(wanted.clone()));
    assert_eq!(oversize, Some(Oversize { values: vec![(1, 7), (2, 5)], is_cut: true }));
    assert_eq!(plan.row(&wanted), (None, None), "what is cut stays as it is");
    for length in 0..9 {
        let text = "€é𝄞";
        let at = end(Kind::Text, text.as_bytes(), length);
        assert!(at <= length && text.is_char_boundary(at), "{length}");
    }
}

#[test]
fn a_value_with_a_grammar_is_refused_and_the_row_stays_whole() {
    let (source, target) = documents();
    let plan = LargePlan::new(FOUR, &source, &target);
    let large = row(&[Cell::Binary(b"k"), Cell::Binary(b"12345"), Cell::Null, Cell::Binary(b"[1,2]"), Cell::Null]);
    let (smaller, oversize) = plan.row(&large);
    let oversize = oversize.unwrap();
    assert_eq!((smaller, oversize.is_cut), (None, false));
    let rejection = oversize.rejection(&source);
    assert_eq!((rejection.fault, rejection.code.as_str()), (tidegate_connector::RowFault::Truncation, "value_too_large"));
    assert!(rejection.message.contains("\"doc\" has a value of 5 bytes"), "{}", rejection.message);
}

#[test]
fn old_images_are_cut_like_new_ones_so_that_keyless_rows_are_found() {
    let (source, target) = table(Engine::Mariadb, &[("note", "longtext", TEXT), ("small", "text", TEXT)], false);
    let plan = LargePlan::new(FOUR, &source, &target);
    let whole = row(&[Cell::Binary(b"12345"), Cell::Binary(b"12345")]);
    let cut = row(&[Cell::Binary(b"1234"), Cell::Binary(b"12345")]);
    let (deleted, told) = plan.change(RowChange::Delete { old: whole.clone() });
    assert_eq!((deleted, told), (RowChange::Delete { old: cut.clone() }, None));
    let (updated, told) = plan.change(RowChange::Update { old: Some(whole.clone()), new: whole });
    assert_eq!(updated, RowChange::Update { old: Some(cut.clone()), new: cut });
    assert!(told.unwrap().is_cut);
}

#[test]
fn what_is_left_out_is_null_in_every_image_and_unchanged_values_too() {
    let (source, target) = table(Engine::Postgres, &[("id", "integer", SqlType::Int32), ("note", "text", TEXT)], true);
    let plan = LargePlan::new(LargeValues::Excluded, &source, &target);
    let null = row(&[Cell::Binary(b"1"), Cell::Null]);
    for cell in [Cell::Binary(b"x"), Cell::Unchanged] {
        let (change, oversize) = plan.change(RowChange::Update { old: None, new: row(&[Cell::Binary(b"1"), cell]) });
        assert_eq!((change, oversize), (RowChange::Update { old: None, new: null.clone() }, None));
    }
    let key_only = row(&[Cell::Binary(b"1"), Cell::Absent]);
    assert_eq!(plan.row(&key_only), (None, None), "what the log does not have is not NULL");
}

#[test]
fn leaving_out_keys_and_columns_that_may_not_be_null_is_refused_by_the_check() {
    let codes = |columns: &[(&str, &str, SqlType)]| {
        let (source, target) = table(Engine::Postgres, columns, true);
        LargePlan::new(LargeValues::Excluded, &source, &target).findings().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&[("id", "text", TEXT), ("note", "text", TEXT)]), ["lob_in_key"]);
    assert_eq!(codes(&[("id", "uuid", SqlType::Uuid), ("n", "text", TEXT)]), ["lob_not_null"]);
    assert!(codes(&[("id", "uuid", SqlType::Uuid), ("n", "inet", SqlType::Other("inet".into()))]).is_empty());
}

#[test]
fn large_types_are_those_of_dms() {
    let of = |engine, native: &str, sql_type: SqlType| {
        let (source, _) = table(engine, &[("c", native, sql_type)], false);
        kind(engine, &source.schema.columns[0])
    };
    let bounded = SqlType::Text { chars_max: Some(9) };
    let cases = [
        (Engine::Postgres, "text", TEXT, Some(Kind::Text)),
        (Engine::Postgres, "character varying(9)", bounded, None),
        (Engine::Postgres, "integer[]", SqlType::Array(Box::new(SqlType::Int32)), Some(Kind::Whole)),
        (Engine::Postgres, "xml", SqlType::Other("xml".into()), Some(Kind::Whole)),
        (Engine::Postgres, "inet", SqlType::Other("inet".into()), None),
        (Engine::Mysql, "text", TEXT, None),
        (Engine::Mysql, "mediumtext", TEXT, Some(Kind::Text)),
        (Engine::Mysql, "blob", BYTES, None),
        (Engine::Mysql, "longblob", BYTES, Some(Kind::Bytes)),
        (Engine::Mysql, "varbinary(9)", SqlType::Bytes { bytes_max: Some(9) }, None),
        (Engine::Mysql, "point", BYTES, Some(Kind::Whole)),
        (Engine::Mariadb, "longtext", SqlType::Json, Some(Kind::Whole)),
    ];
    for (engine, native, sql_type, wanted) in cases {
        assert_eq!(of(engine, native, sql_type), wanted, "{engine:?} {native}");
    }
}

#[test]
fn rules_of_tables_are_read_and_wrong_ones_named() {
    let mappings = |settings: &str| {
        format!(
            r#"{{"rules": [{{"rule-type": "table-settings", "rule-id": "7", "rule-name": "7",
            "object-locator": {{"schema-name": "s", "table-name": "t"}}, "lob-settings": {settings}}}]}}"#
        )
    };
    let of = |settings: &str| {
        of_tables(&serde_json::from_str(&mappings(settings)).unwrap()).map(|found| found.get(&TableName::new("s", "t")).copied())
    };
    assert_eq!(of(r#"{"mode": "limited", "bulk-max-size": "16"}"#).unwrap(), Some(LargeValues::Limited { bytes_max: 16_384 }));
    assert_eq!(of(r#"{"mode": "unlimited", "bulk-max-size": 0}"#).unwrap(), Some(LargeValues::Full));
    assert_eq!(of(r#"{"mode": "none"}"#).unwrap(), None);
    for wrong in
        [r#"{"mode": "limited"}"#, r#"{"mode": "limited", "bulk-max-size": "0"}"#, r#"{"mode": "some"}"#, r#"{"bulk-max-size": "x"}"#]
    {
        let error = of(wrong).unwrap_err();
        assert_eq!(error.code(), "lob_settings");
        assert!(error.to_string().contains("rule 7"), "{error}");
    }
}
