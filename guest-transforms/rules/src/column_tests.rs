//! Added and changed columns, from the rule to the batch.

use tidegate_transform_sdk::{
    Batch, BeforeImages, Column, ColumnSchema, ColumnSource, DecimalType, Dialect, ScalarType, SqlType, TablePlan, TableSchema, Transform,
    Values, VarValues,
};

use crate::{Planned, Rules};

fn schema(before_images: BeforeImages) -> TableSchema {
    let column = |name: &str, scalar, nullable| ColumnSchema {
        name: name.to_owned(),
        sql_type: SqlType::Scalar(scalar),
        native_type: String::new(),
        nullable,
        generated: false,
    };
    TableSchema {
        source: Dialect::Postgresql,
        target: Dialect::Postgresql,
        namespace: "shop".to_owned(),
        name: "pay".to_owned(),
        columns: vec![
            column("id", ScalarType::Int32, false),
            column("card", ScalarType::Text(Some(20)), true),
            column("price", ScalarType::Decimal(DecimalType { precision: Some(10), scale: Some(2) }), true),
            column("note", ScalarType::Text(None), true),
        ],
        primary_key: vec!["id".to_owned()],
        unique_keys: vec![],
        before_images,
        schema_version: 1,
        hints: vec![],
    }
}

fn planned(rules: &str, before_images: BeforeImages) -> Result<(TablePlan, Rules), String> {
    let all = r#"{"rule-type":"selection","rule-id":1,"rule-action":"include","object-locator":{"schema-name":"%","table-name":"%"}}"#;
    match Rules::plan(&schema(before_images), &format!(r#"{{"rules":[{all},{rules}]}}"#)) {
        Ok(Planned::Include(plan, rules)) => Ok((plan, rules)),
        Ok(Planned::Exclude(_)) => Err("excluded".to_owned()),
        Err(error) => Err(format!("{}: {}", error.config_path.unwrap_or_default(), error.message)),
    }
}

fn rule(id: u32, action: &str, column: &str, rest: &str) -> String {
    format!(
        r#"{{"rule-type":"transformation","rule-id":{id},"rule-target":"column","rule-action":"{action}",
        "object-locator":{{"schema-name":"%","table-name":"%","column-name":"{column}"}}{rest}}}"#
    )
}

fn add(id: u32, name: &str, expression: &str, data_type: &str) -> String {
    rule(id, "add-column", "", &format!(r#","value":"{name}","expression":"{expression}","data-type":{data_type}"#))
}

fn texts(values: &[Option<&str>]) -> Column {
    let mut var = VarValues { offsets: vec![0], data: vec![] };
    let mut nulls = vec![0; values.len().div_ceil(8)];
    for (row, value) in values.iter().enumerate() {
        var.data.extend_from_slice(value.unwrap_or_default().as_bytes());
        var.offsets.push(var.data.len() as u32);
        nulls[row / 8] |= u8::from(value.is_none()) << (row % 8);
    }
    Column { nulls, absent: vec![], values: Values::Utf8(var) }
}

fn absent(rows: &[usize], mut column: Column) -> Column {
    column.absent = vec![rows.iter().map(|row| 1 << row).sum()];
    column
}

fn shown(column: &Column, rows: usize) -> Vec<String> {
    let one = |row| {
        if column.is_absent(row) {
            return "absent".to_owned();
        }
        let text = column.text(row).map(str::to_owned).or_else(|| column.int(row).map(|number| number.to_string()));
        text.unwrap_or_else(|| "null".to_owned())
    };
    (0..rows).map(one).collect()
}

#[test]
fn wider_types_are_copied_by_the_host_and_others_converted() {
    let (plan, _) = planned(&rule(2, "change-data-type", "id", r#","data-type":{"type":"int8"}"#), BeforeImages::KeyOnly).unwrap();
    assert!(plan.rows.is_none(), "nothing is computed");
    assert!(matches!(&plan.outputs[0].source, ColumnSource::CopyOf(name) if name == "id"));
    let (plan, mut rules) = planned(&rule(2, "change-data-type", "price", r#","data-type":{"type":"int2"}"#), BeforeImages::Full).unwrap();
    assert_eq!(plan.rows.unwrap().inputs, ["price"]);
    let column = texts(&[Some("12.00"), Some("12.50"), Some("99999.00"), None]);
    let result = rules.transform(&Batch { rows: 4, kinds: vec![1; 4], columns: vec![column] }).unwrap();
    assert_eq!(shown(&result.columns[0], 4), ["12", "null", "null", "null"]);
    let codes: Vec<_> = result.errors.iter().map(|error| (error.row, error.code.as_str())).collect();
    assert_eq!(codes, [(1, "value-would-lose-digits"), (2, "value-out-of-range")]);
}

#[test]
fn an_added_column_is_computed_from_others_and_a_bare_one_is_copied() {
    let rules = [
        add(2, "label", "upper($card) || '!'", r#"{"type":"string","length":"4"}"#),
        add(3, "same", "$price", r#"{"type":"numeric","precision":12,"scale":2}"#),
    ];
    let (plan, mut rules) = planned(&rules.join(","), BeforeImages::Full).unwrap();
    assert!(matches!(&plan.outputs[1].source, ColumnSource::CopyOf(name) if name == "price"));
    let batch = Batch { rows: 3, kinds: vec![1; 3], columns: vec![texts(&[Some("aé"), None, Some("long")])] };
    let result = rules.transform(&batch).unwrap();
    assert_eq!(shown(&result.columns[0], 3), ["Aé!", "null", "null"]);
    assert_eq!((result.errors[0].row, result.errors[0].code.as_str()), (2, "value-too-long"));
    assert!(result.errors[0].message.starts_with("rule 2, column \"label\""), "{}", result.errors[0].message);
}

#[test]
fn what_a_mask_cannot_mask_is_told_as_such_and_not_copied() {
    let (_, mut rules) = planned(&rule(2, "data-masking-digits-randomize", "price", ""), BeforeImages::Full).unwrap();
    let columns = vec![texts(&[Some("1.00"), Some("NaN"), None])];
    let result = rules.transform(&Batch { rows: 3, kinds: vec![1, 1, 1], columns }).unwrap();
    let told: Vec<_> = result.errors.iter().map(|error| (error.row, error.code.as_str())).collect();
    assert_eq!(told, [(1, "mask-failed")]);
    assert_eq!(shown(&result.columns[0], 3)[1..], ["null", "null"]);
}

#[test]
fn masks_follow_types_and_reach_old_values() {
    let rules = [
        rule(2, "change-data-type", "note", r#","data-type":{"type":"string","length":5}"#),
        rule(3, "data-masking-digits-mask", "note", r##","value":"#""##),
        rule(4, "add-before-image-columns", "", r#","before-image-def":{"column-filter":"all"}"#),
    ];
    let (plan, mut rules) = planned(&rules.join(","), BeforeImages::Full).unwrap();
    let names: Vec<_> = plan.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["note", "BI_id", "BI_card", "BI_price", "BI_note"]);
    let inputs = plan.rows.unwrap().inputs;
    assert_eq!(inputs, ["note", "$BEFORE.id", "$BEFORE.card", "$BEFORE.price", "$BEFORE.note"]);
    let ids = Column { nulls: vec![], absent: vec![], values: Values::Int32(vec![7]) };
    let columns = vec![texts(&[Some("a1b22")]), ids, texts(&[None]), texts(&[Some("1.00")]), texts(&[Some("33")])];
    let result = rules.transform(&Batch { rows: 1, kinds: vec![3], columns }).unwrap();
    let values: Vec<_> = result.columns.iter().map(|column| shown(column, 1).remove(0)).collect();
    assert_eq!(values, ["a#b##", "7", "null", "1.00", "##"]);
    let early = planned(
        &[
            rule(2, "data-masking-digits-mask", "note", r##","value":"#""##),
            rule(3, "change-data-type", "note", r#","data-type":{"type":"clob"}"#),
        ]
        .join(","),
        BeforeImages::Full,
    );
    assert!(early.is_err_and(|error| error.contains("needs a larger rule-id")));
}

#[test]
fn old_values_that_the_log_lacks_are_refused_by_name() {
    let all = rule(2, "add-before-image-columns", "", r#","before-image-def":{"column-filter":"non-lob"}"#);
    let error = planned(&all, BeforeImages::KeyOnly).err().unwrap();
    assert!(error.contains("rules[rule-id=2].before-image-def.column-filter") && error.contains("old value of column \"card\""), "{error}");
    let (plan, _) = planned(&rule(2, "add-before-image-columns", "", r#","before-image-def":{}"#), BeforeImages::KeyOnly).unwrap();
    assert_eq!(plan.rows.unwrap().inputs, ["$BEFORE.id"]);
}

#[test]
fn of_each_kind_of_action_the_lowest_rule_id_counts_and_kinds_go_together() {
    let typed = |id, data_type: &str| rule(id, "change-data-type", "card", &format!(r#","data-type":{{"type":"{data_type}"}}"#));
    let masked = |id, mark: &str| rule(id, "data-masking-digits-mask", "card", &format!(r#","value":"{mark}""#));
    let rules = [
        typed(9, "int4"),
        masked(8, "*"),
        rule(7, "data-masking-hash-mask", "card", ""),
        masked(6, "#"),
        typed(5, "clob"),
        typed(4, "string"),
        rule(3, "rename", "card", r#","value":"number""#),
    ];
    // Whatever the order in which they are written.
    for rules in [rules.join(","), rules.iter().rev().cloned().collect::<Vec<_>>().join(",")] {
        let (plan, mut rules) = planned(&rules, BeforeImages::Full).unwrap();
        assert_eq!((plan.renames[0].column.as_str(), plan.renames[0].to.as_str()), ("card", "number"));
        let [output] = plan.outputs.as_slice() else { panic!("{:?}", plan.outputs) };
        assert_eq!(output.name, "number");
        assert!(matches!(output.sql_type, SqlType::Scalar(ScalarType::Text(None))), "{:?}", output.sql_type);
        let result = rules.transform(&Batch { rows: 1, kinds: vec![1], columns: vec![texts(&[Some("4-1")])] }).unwrap();
        assert_eq!(shown(&result.columns[0], 1), ["#-#"]);
    }
    // A type of the lowest id that does not take the mask is not passed over for a later one that would.
    let error = planned(&[typed(2, "int4"), typed(3, "clob"), masked(4, "#")].join(","), BeforeImages::Full).err().unwrap();
    assert!(error.starts_with("rules[rule-id=4].rule-action: the column \"card\""), "{error}");
}

#[test]
fn of_rules_that_add_a_column_of_one_name_the_lowest_adds_it() {
    let (plan, mut rules) = planned(
        &[add(7, "twice", "'late'", r#"{"type":"clob"}"#), add(3, "twice", "'early'", r#"{"type":"string","length":5}"#)].join(","),
        BeforeImages::Full,
    )
    .unwrap();
    let [output] = plan.outputs.as_slice() else { panic!("{:?}", plan.outputs) };
    assert!(matches!(output.sql_type, SqlType::Scalar(ScalarType::Text(Some(5)))), "{:?}", output.sql_type);
    assert_eq!(plan.notes, ["rule 7 adds column \"twice\", which a rule with a lower rule-id has added"]);
    let result = rules.transform(&Batch { rows: 1, kinds: vec![1], columns: vec![] }).unwrap();
    assert_eq!(shown(&result.columns[0], 1), ["early"]);
    // The name that a column has in the target is taken, its name at the source is free.
    let rename = rule(2, "rename", "note", r#","value":"remark""#);
    let error = planned(&[rename.clone(), add(3, "remark", "1", r#"{"type":"int4"}"#)].join(","), BeforeImages::Full).err().unwrap();
    assert!(error.starts_with("rules[rule-id=3].value: table \"shop.pay\" has a column \"remark\" already"), "{error}");
    let (plan, _) = planned(&[rename, add(3, "note", "1", r#"{"type":"int4"}"#)].join(","), BeforeImages::Full).unwrap();
    assert_eq!(plan.outputs[0].name, "note");
}

#[test]
fn a_mask_hits_an_added_column_by_its_name_and_does_not_reach_into_expressions() {
    let mask = |id, column: &str| rule(id, "data-masking-digits-mask", column, r##","value":"#""##);
    let copy = add(3, "copied", "$card || ''", r#"{"type":"clob"}"#);
    let (_, mut rules) = planned(&[mask(2, "card"), copy.clone()].join(","), BeforeImages::Full).unwrap();
    let batch = || Batch { rows: 1, kinds: vec![1], columns: vec![texts(&[Some("a1")])] };
    let result = rules.transform(&batch()).unwrap();
    assert_eq!(result.columns.iter().map(|column| shown(column, 1).remove(0)).collect::<Vec<_>>(), ["a#", "a1"]);
    let (_, mut rules) = planned(&[copy.clone(), mask(4, "copied")].join(","), BeforeImages::Full).unwrap();
    assert_eq!(shown(&rules.transform(&batch()).unwrap().columns[0], 1), ["a#"]);
    let error = planned(&[mask(2, "copied"), copy].join(","), BeforeImages::Full).err().unwrap();
    assert!(error.contains("rules[rule-id=2].rule-id: the column \"copied\" gets its type by rule 3"), "{error}");
}

#[test]
fn a_hash_makes_room_for_itself_may_hit_a_key_and_tells_of_a_missing_secret() {
    let key = rule(2, "change-data-type", "id", r#","data-type":{"type":"string","length":10}"#);
    for (value, notes) in [("", 1), (r#","value":"pepper""#, 0)] {
        let (plan, _) = planned(&[key.clone(), rule(3, "data-masking-hash-mask", "id", value)].join(","), BeforeImages::Full).unwrap();
        assert!(matches!(plan.outputs[0].sql_type, SqlType::Scalar(ScalarType::Text(Some(64)))), "{:?}", plan.outputs[0].sql_type);
        assert_eq!(plan.notes.iter().filter(|note| note.contains("without a secret")).count(), notes, "{:?}", plan.notes);
    }
}

#[test]
fn numbers_that_sqlite_would_spoil_fail_their_row_and_results_are_rounded_to_the_scale() {
    let rules = [
        add(2, "doubled", "$price * 2", r#"{"type":"numeric","precision":10,"scale":1}"#),
        add(3, "exact", "$price", r#"{"type":"numeric","precision":30,"scale":2}"#),
    ];
    let (plan, mut rules) = planned(&rules.join(","), BeforeImages::Full).unwrap();
    assert!(matches!(&plan.outputs[1].source, ColumnSource::CopyOf(name) if name == "price"));
    let columns = vec![texts(&[Some("1.13"), Some("1234567890123456.78"), Some("NaN")])];
    let result = rules.transform(&Batch { rows: 3, kinds: vec![1; 3], columns }).unwrap();
    assert_eq!(shown(&result.columns[0], 3), ["2.3", "null", "null"]);
    let codes: Vec<_> = result.errors.iter().map(|error| (error.row, error.code.as_str())).collect();
    assert_eq!(codes, [(1, "number-precision"), (2, "not-a-number")]);
}

#[test]
fn soft_deletes_are_a_hint_and_need_a_key() {
    let marked = add(2, "op", "'x' || operation_indicator('D','U','I')", r#"{"type":"string","length":2}"#);
    let mut keyless = schema(BeforeImages::Full);
    keyless.primary_key.clear();
    let all = r#"{"rule-type":"selection","rule-id":1,"rule-action":"include","object-locator":{"schema-name":"%","table-name":"%"}}"#;
    let error = Rules::plan(&keyless, &format!(r#"{{"rules":[{all},{marked}]}}"#)).err().unwrap();
    assert_eq!(error.config_path.as_deref(), Some("rules[rule-id=2].expression"));
    assert!(error.message.starts_with("at character 8: operation_indicator keeps deleted rows"), "{}", error.message);
    let (plan, _) =
        planned(&add(2, "op", "operation_indicator('D','U','I')", r#"{"type":"string","length":1}"#), BeforeImages::KeyOnly).unwrap();
    assert_eq!(plan.hints, [("soft-deletes".to_owned(), "true".to_owned())]);
    assert!(plan.rows.unwrap().inputs.is_empty());
}

#[test]
fn absent_inputs_leave_a_column_alone_or_make_the_image_unknown() {
    let rules = [
        add(2, "a", "upper($note)", r#"{"type":"clob"}"#),
        add(3, "b", "$card || $note", r#"{"type":"clob"}"#),
        add(4, "c", "$note || $AR_H_OPERATION", r#"{"type":"clob"}"#),
    ];
    let (_, mut rules) = planned(&rules.join(","), BeforeImages::KeyOnly).unwrap();
    // An update without the large value, an update with it, a delete of which only the key is logged.
    let note = absent(&[0, 2], texts(&[None, Some("n"), None]));
    let card = absent(&[2], texts(&[Some("c"), Some("c"), None]));
    let result = rules.transform(&Batch { rows: 3, kinds: vec![3, 3, 4], columns: vec![note, card] }).unwrap();
    assert_eq!(shown(&result.columns[0], 3), ["absent", "N", "absent"]);
    assert_eq!(shown(&result.columns[1], 3), ["absent", "cn", "absent"]);
    assert_eq!(shown(&result.columns[2], 3), ["absent", "nUPDATE", "absent"]);
    assert!(result.errors.iter().all(|error| error.code == "not-logged" && error.row == 0) && result.errors.len() == 2);
}

#[test]
fn names_are_computed_from_names() {
    let rename = |target: &str, expression: &str| {
        format!(
            r#"{{"rule-type":"transformation","rule-id":2,"rule-target":"{target}","rule-action":"rename","expression":"{expression}",
            "object-locator":{{"schema-name":"%","table-name":"%","column-name":"ca%"}}}}"#
        )
    };
    let (plan, _) = planned(&rename("schema", "upper($AR_M_SOURCE_SCHEMA) || '_copy'"), BeforeImages::Full).unwrap();
    assert_eq!(plan.target_namespace.as_deref(), Some("SHOP_copy"));
    let (plan, _) = planned(&rename("table", "$SCHEMA_NAME_VAR || '_' || $TABLE_NAME_VAR"), BeforeImages::Full).unwrap();
    assert_eq!(plan.target_name.as_deref(), Some("shop_pay"));
    let (plan, _) =
        planned(&rename("column", "$AR_M_SOURCE_COLUMN_NAME || '_' || $AR_M_SOURCE_COLUMN_DATATYPE"), BeforeImages::Full).unwrap();
    assert_eq!(plan.renames[0].to, "card_string");
    assert!(plan.rows.is_none());
    for (expression, wanted) in [
        ("null", "no text"),
        ("''", "an empty name"),
        ("1", "no text"),
        ("$AR_H_TIMESTAMP", "at character 1: \"$AR_H_TIMESTAMP\" is no variable that a name"),
        ("'x' || operation_indicator('d', 'u', 'i')", "at character 8: a name cannot depend on what a change does"),
        ("'x' || '", "at character 8: found a text without"),
    ] {
        let error = planned(&rename("table", expression), BeforeImages::Full).err().unwrap();
        assert!(error.starts_with("rules[rule-id=2].expression") && error.contains(wanted), "{error}");
    }
}
