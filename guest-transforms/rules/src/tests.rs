//! The module as a whole, on tables of cases.

use tidegate_transform_sdk::{
    Batch, BeforeImages, Column, ColumnSchema, Dialect, ScalarType, SqlType, TablePlan, TableSchema, Transform, Values, VarValues,
};

use crate::{Planned, Rules};

fn schema() -> TableSchema {
    let column = |name: &str, scalar| ColumnSchema {
        name: name.to_owned(),
        sql_type: SqlType::Scalar(scalar),
        native_type: "a type".to_owned(),
        nullable: true,
        generated: false,
    };
    TableSchema {
        source: Dialect::Mysql,
        target: Dialect::Postgresql,
        namespace: "shop".to_owned(),
        name: "t_orders".to_owned(),
        columns: vec![
            column("id", ScalarType::Int64),
            column("Region", ScalarType::Text(Some(10))),
            column("day", ScalarType::Date),
            column("doc", ScalarType::Json),
            column("size", ScalarType::Enumeration(vec!["s".to_owned(), "l".to_owned()])),
        ],
        primary_key: vec!["id".to_owned()],
        unique_keys: vec![],
        before_images: BeforeImages::Full,
        schema_version: 1,
        hints: vec![],
    }
}

const ALL: &str = r#"{"rule-type":"selection","rule-id":1,"rule-name":"all","rule-action":"include","object-locator":{"schema-name":"%","table-name":"%"},"filters":[],"load-order":null}"#;

fn with_all(rules: &str) -> String {
    format!(r#"{{"rules":[{ALL},{rules}]}}"#)
}

fn plan(config: &str) -> Option<TablePlan> {
    match Rules::plan(&schema(), config).map_err(|error| error.message).unwrap() {
        Planned::Exclude(_) => None,
        Planned::Include(plan, _) => Some(plan),
    }
}

fn rule(target: &str, action: &str, rest: &str) -> String {
    format!(
        r#"{{"rule-type":"transformation","rule-id":"2","rule-name":"r","rule-target":"{target}","rule-action":"{action}",
            "object-locator":{{"schema-name":"shop","table-name":"t[_]%","column-name":"Reg%"}},{rest}}}"#
    )
}

fn filtered(filters: &str) -> String {
    format!(
        r#"{{"rules":[{{"rule-type":"selection","rule-id":"1","rule-name":"f","rule-action":"include",
            "object-locator":{{"schema-name":"shop","table-name":"t_orders"}},"filters":[{filters}]}}]}}"#
    )
}

fn filter(column: &str, conditions: &str) -> String {
    format!(r#"{{"filter-type":"source","column-name":"{column}","filter-conditions":[{conditions}]}}"#)
}

#[test]
fn mappings_that_cannot_be_followed_are_refused_with_rule_and_key() {
    let object = r#""object-locator":{"schema-name":"s","table-name":"t"}"#;
    let cases = [
        ("{".to_owned(), "not JSON", "table-mappings"),
        (r#"{"rules":[]}"#.to_owned(), "no selection rule with include or explicit", ""),
        (r#"{"rulez":[]}"#.to_owned(), "\"rulez\" is not known", "table-mappings.rulez"),
        (
            format!(r#"{{"rules":[{{"rule-type":"selection","rule-id":"7","rule-action":"exclude",{object}}}]}}"#),
            "no selection rule with include or explicit",
            "",
        ),
        (with_all(ALL), "rule-id 1 stands twice", "rules[1].rule-id"),
        (with_all(r#"{"rule-type":"selection"}"#), "\"rule-id\" is missing", "rules[1].rule-id"),
        (with_all(r#"{"rule-type":"selection","rule-id":"x"}"#), "a number is wanted", "rules[1].rule-id"),
        (with_all(r#"{"rule-type":"sel","rule-id":"2"}"#), "\"sel\" is not known", "rules[rule-id=2].rule-type"),
        (with_all(r#"{"rule-type":"object-mapping","rule-id":"2"}"#), "other targets", "rules[rule-id=2].rule-type"),
        (
            with_all(&format!(r#"{{"rule-type":"selection","rule-id":"2","rule-action":"include","colour":1,{object}}}"#)),
            "\"colour\" is not known",
            "rules[rule-id=2].colour",
        ),
        (
            with_all(&format!(r#"{{"rule-type":"selection","rule-id":"2","rule-action":"include","value":"x",{object}}}"#)),
            "no meaning in a selection rule",
            "rules[rule-id=2].value",
        ),
        (
            with_all(
                r#"{"rule-type":"selection","rule-id":"2","rule-action":"explicit","object-locator":{"schema-name":"s","table-name":"t%"}}"#,
            ),
            "exact name",
            "rules[rule-id=2].object-locator.table-name",
        ),
        (
            with_all(&rule("column", "change-data-type", r#""data-type":{"type":"int9"}"#)),
            "\"int9\" is not known",
            "rules[rule-id=2].data-type.type",
        ),
        (
            with_all(&rule("column", "change-data-type", r#""data-type":{"type":"map"}"#)),
            "there is none here",
            "rules[rule-id=2].data-type.type",
        ),
        (with_all(&rule("column", "add-column", r#""value":"a""#)), "what is the column to hold", "rules[rule-id=2].expression"),
        (
            with_all(&rule("column", "add-column", r#""value":"a","expression":"$id + )","data-type":{"type":"int4"}"#)),
            "at character 7: found \")\", wanted a value",
            "rules[rule-id=2].expression",
        ),
        (
            with_all(&rule("column", "add-column", r#""value":"a","expression":"'é' || $idd","data-type":{"type":"int4"}"#)),
            "at character 8: table \"shop.t_orders\" has no column \"idd\"",
            "rules[rule-id=2].expression",
        ),
        (
            with_all(&rule("column", "add-column", r#""value":"a","expression":"1 = $region","data-type":{"type":"int4"}"#)),
            "at character 5: table \"shop.t_orders\" has no column \"region\", but one \"Region\"",
            "rules[rule-id=2].expression",
        ),
        (
            with_all(&rule("column", "add-column", r#""value":"a","expression":"$AR_H_USER","data-type":{"type":"clob"}"#)),
            "at character 1: the logs of PostgreSQL, MySQL and MariaDB do not tell who",
            "rules[rule-id=2].expression",
        ),
        (
            with_all(&rule("column", "add-column", r#""value":"a","expression":"1 + $AR_H_USERS","data-type":{"type":"clob"}"#)),
            "at character 5: there is no such variable; there are $AR_H_OPERATION",
            "rules[rule-id=2].expression",
        ),
        (
            with_all(&rule("column", "add-column", r#""value":"a","expression":"$AR_M_SOURCE_COLUMN_NAME","data-type":{"type":"clob"}"#)),
            "at character 1: only a rule that renames columns is about one source column",
            "rules[rule-id=2].expression",
        ),
        (
            with_all(
                r#"{"rule-type":"transformation","rule-id":2,"rule-target":"table","rule-action":"define-primary-key",
                "object-locator":{"schema-name":"shop","table-name":"t_orders"},"primary-key-def":{"origin":"unique-index","columns":["id"]}}"#,
            ),
            "the origin \"unique-index\" is not supported",
            "rules[rule-id=2].primary-key-def.origin",
        ),
        (
            with_all(
                r#"{"rule-type":"selection","rule-id":2,"rule-action":"include",
                "object-locator":{"schema-name":"s","table-name":"t","table-type":"view"}}"#,
            ),
            "views are not supported",
            "rules[rule-id=2].object-locator.table-type",
        ),
        (
            with_all(&rule("column", "add-column", r#""value":"day","expression":"1","data-type":{"type":"int4"}"#)),
            "has a column \"day\" already",
            "rules[rule-id=2].value",
        ),
        (with_all(&rule("column", "data-masking-digits-mask", r#""value":"ab""#)), "one character is wanted", "rules[rule-id=2].value"),
        (
            with_all(
                r#"{"rule-type":"transformation","rule-id":2,"rule-target":"column","rule-action":"data-masking-hash-mask",
                "object-locator":{"schema-name":"%","table-name":"%","column-name":"day"}}"#,
            ),
            "none of those that the mask is for: text",
            "rules[rule-id=2].rule-action",
        ),
        (
            with_all(
                r#"{"rule-type":"transformation","rule-id":2,"rule-target":"column","rule-action":"data-masking-digits-randomize",
                "object-locator":{"schema-name":"%","table-name":"%","column-name":"id"}}"#,
            ),
            "two keys could become one",
            "rules[rule-id=2].rule-action",
        ),
        (
            with_all(&rule("column", "add-before-image-columns", r#""before-image-def":{"column-prefix":"","column-suffix":""}"#)),
            "both empty",
            "rules[rule-id=2].before-image-def.column-prefix",
        ),
        (with_all(&rule("index-tablespace", "rename", r#""value":"t""#)), "is of Oracle", "rules[rule-id=2].rule-target"),
        (
            with_all(&rule("column", "rename", r#""value":"a","expression":"'x'""#)),
            "no meaning in a rule that has an \"expression\"",
            "rules[rule-id=2].value",
        ),
        (
            with_all(&rule("column", "rename", r#""expression":"$id""#)),
            "no variable that a name can be made of",
            "rules[rule-id=2].expression",
        ),
        (with_all(&rule("column", "rename", r#""value":null"#)), "\"value\" is missing", "rules[rule-id=2].value"),
        (with_all(&rule("column", "make-lowercase", r#""value":null"#)), "\"make-lowercase\" is not known", "rules[rule-id=2].rule-action"),
        (with_all(&rule("table", "remove-column", r#""value":null"#)), "another rule-target", "rules[rule-id=2].rule-target"),
        (
            with_all(&rule("table", "define-primary-key", r#""primary-key-def":{"columns":["id"]}"#)),
            "exact names",
            "rules[rule-id=2].object-locator",
        ),
        (
            filtered(&filter("id", r#"{"filter-operator":"gt","value":"1"}"#)),
            "\"gt\" is not known",
            "rules[rule-id=1].filters[0].filter-conditions[0].filter-operator",
        ),
        (filtered(&filter("gone", r#"{"filter-operator":"null"}"#)), "no column \"gone\"", "rules[rule-id=1].filters[0].column-name"),
        (filtered(&filter("doc", r#"{"filter-operator":"notnull"}"#)), "cannot be filtered by", "rules[rule-id=1].filters[0].column-name"),
        (
            filtered(&filter("id", r#"{"filter-operator":"eq","value":"one"}"#)),
            "\"one\" is not of the type",
            "rules[rule-id=1].filters[0].column-name",
        ),
        (
            filtered(&filter("day", r#"{"filter-operator":"gte","value":"01.02.2024"}"#)),
            "is not of the type",
            "rules[rule-id=1].filters[0].column-name",
        ),
        (filtered(&filter("size", r#"{"filter-operator":"gte","value":"s"}"#)), "no order", "rules[rule-id=1].filters[0].column-name"),
        (
            filtered(&filter("id", r#"{"filter-operator":"eq"}"#)),
            "\"value\" is missing",
            "rules[rule-id=1].filters[0].filter-conditions[0].value",
        ),
        (filtered(&filter("id", "")), "at least one condition", "rules[rule-id=1].filters[0].filter-conditions"),
        (
            filtered(&filter("id", r#"{"filter-operator":"noteq","value":"1"},{"filter-operator":"notnull"}"#)),
            "at most one of noteq",
            "rules[rule-id=1].filters[0].filter-conditions",
        ),
    ];
    for (config, message, path) in cases {
        let Err(error) = Rules::plan(&schema(), &config) else { panic!("{config} should be refused") };
        assert!(error.message.contains(message), "{} should contain {message}", error.message);
        assert_eq!(error.config_path.unwrap_or_default(), path, "{config}");
    }
}

#[test]
fn a_mapping_has_at_most_5000_rules() {
    let many = |count: u32| {
        let rule = |id: u32| {
            format!(
                r#"{{"rule-type":"selection","rule-id":{id},"rule-action":"exclude","object-locator":{{"schema-name":"s","table-name":"t"}}}}"#
            )
        };
        with_all(&(2..=count).map(rule).collect::<Vec<_>>().join(","))
    };
    assert!(plan(&many(5_000)).is_some());
    let error = Rules::plan(&schema(), &many(5_001)).err().unwrap();
    assert_eq!((error.config_path.as_deref(), error.message.as_str()), (Some("rules[5000].rule-id"), "there are more than 5000 rules"));
}

#[test]
fn excludes_win_and_explicit_names_are_exact() {
    let select = |action: &str, table: &str| {
        format!(
            r#"{{"rule-type":"selection","rule-id":"2","rule-name":"","rule-action":"{action}","object-locator":{{"schema-name":"shop","table-name":"{table}"}}}}"#
        )
    };
    let only = |rule: String| format!(r#"{{"rules":[{rule}]}}"#);
    assert!(plan(&with_all(&select("exclude", "t[_]%"))).is_none());
    assert!(plan(&with_all(&select("exclude", "t[-]%"))).is_some());
    assert!(plan(&only(select("explicit", "t_orders"))).is_some());
    assert!(plan(&only(select("explicit", "taorders"))).is_none());
    assert!(plan(&only(select("include", "t_orders"))).is_some());
    assert!(plan(&only(select("include", "x%"))).is_none());
    assert!(plan(&only(select("include", "%"))).unwrap().rows.is_none());
}

#[test]
fn name_actions_give_the_names_of_dms() {
    let cases = [
        ("schema", "rename", r#""value":"v2""#, "v2.t_orders"),
        ("table", "rename", r#""value":"Orders""#, "shop.Orders"),
        ("table", "convert-uppercase", r#""value":null"#, "shop.T_ORDERS"),
        ("table", "add-prefix", r#""value":"x_","old-value":null"#, "shop.x_t_orders"),
        ("table", "remove-prefix", r#""value":"t_""#, "shop.orders"),
        ("table", "remove-prefix", r#""value":"z_""#, "shop.t_orders"),
        ("table", "replace-prefix", r#""value":"tbl_","old-value":"t_""#, "shop.tbl_orders"),
        ("table", "add-suffix", r#""value":"_x""#, "shop.t_orders_x"),
        ("table", "remove-suffix", r#""value":"ers""#, "shop.t_ord"),
        ("schema", "replace-suffix", r#""value":"P","old-value":"p""#, "shoP.t_orders"),
    ];
    for (target, action, rest, wanted) in cases {
        let plan = plan(&with_all(&rule(target, action, rest))).unwrap();
        let (namespace, name) = (plan.target_namespace.unwrap_or("shop".to_owned()), plan.target_name.unwrap_or("t_orders".to_owned()));
        assert_eq!(format!("{namespace}.{name}"), wanted, "{action} on {target}");
    }
    let renamed = plan(&with_all(&rule("column", "convert-lowercase", r#""value":"""#))).unwrap().renames;
    assert_eq!(renamed.iter().map(|rename| (rename.column.as_str(), rename.to.as_str())).collect::<Vec<_>>(), [("Region", "region")]);
}

#[test]
fn the_lowest_rule_id_wins_but_removal_wins_over_it() {
    let named = |id: u32, action: &str, value: &str| {
        format!(
            r#"{{"rule-type":"transformation","rule-id":{id},"rule-target":"column","rule-action":"{action}",
            "object-locator":{{"schema-name":"shop","table-name":"%","column-name":"Region"}},"value":"{value}"}}"#
        )
    };
    let two = plan(&with_all(&[named(9, "rename", "late"), named(3, "rename", "early")].join(","))).unwrap();
    assert_eq!(two.renames[0].to, "early");
    let removed = plan(&with_all(&[named(9, "remove-column", ""), named(3, "rename", "early")].join(","))).unwrap();
    assert_eq!((removed.drops, removed.renames.len(), removed.notes.len()), (vec!["Region".to_owned()], 0, 1));
    let included = plan(&with_all(&[named(9, "include-column", ""), named(3, "rename", "early")].join(","))).unwrap();
    assert_eq!(included.drops, ["id", "day", "doc", "size"]);
    assert_eq!(included.renames[0].to, "early");
}

#[test]
fn a_defined_key_and_a_type_locator_are_taken() {
    let key = r#"{"rule-type":"transformation","rule-id":2,"rule-target":"table","rule-action":"define-primary-key",
        "object-locator":{"schema-name":"shop","table-name":"t[_]orders"},"primary-key-def":{"name":"pk","origin":"primary-key","columns":["day","id"]}}"#;
    assert_eq!(plan(&with_all(key)).unwrap().primary_key, Some(vec!["day".to_owned(), "id".to_owned()]));
    let typed = r#"{"rule-type":"transformation","rule-id":2,"rule-target":"column","rule-action":"add-prefix","value":"d_",
        "object-locator":{"schema-name":"%","table-name":"%","column-name":"%","data-type":"date"}}"#;
    let renames = plan(&with_all(typed)).unwrap().renames;
    assert_eq!(renames.iter().map(|rename| rename.to.as_str()).collect::<Vec<_>>(), ["d_day"]);
}

#[test]
fn rules_for_others_are_passed_over() {
    let rules = r#"
        {"rule-type":"table-settings","rule-id":"2","rule-name":"s","object-locator":{"schema-name":"shop","table-name":"t"},
         "parallel-load":{"type":"ranges","columns":["id"],"boundaries":[["1"]]},"lob-settings":{"mode":"unlimited"}},
        {"rule-type":"validation","rule-id":"3","rule-target":"column","rule-action":"override-validation-function",
         "object-locator":{"schema-name":"s","table-name":"t","column-name":"c"},"source-function":"a","target-function":"b"},
        {"rule-type":"module","rule-id":"7","rule-name":"mask","object-locator":{"schema-name":"shop","table-name":"%"},
         "module":"mask-pii","version":"latest","config":{"columns":["email"]}}"#;
    assert_eq!(plan(&with_all(rules)).unwrap().drops.len(), 0);
    let wrong = with_all(r#"{"rule-type":"module","rule-id":"7","object-locator":{"schema-name":"%"},"config":{}}"#);
    assert!(Rules::plan(&schema(), &wrong).is_err_and(|error| error.message.contains("\"module\" is missing")));
}

#[test]
fn filters_are_anded_and_conditions_are_ored() {
    let config = filtered(
        &[
            filter("id", r#"{"filter-operator":"between","start-value":"2","end-value":5},{"filter-operator":"eq","value":"9"}"#),
            filter("Region", r#"{"filter-operator":"noteq","value":"DE"},{"filter-operator":"null"}"#),
        ]
        .join(","),
    );
    let Planned::Include(plan, mut work) = Rules::plan(&schema(), &config).map_err(|error| error.message).unwrap() else {
        panic!("the table is included")
    };
    assert_eq!(plan.rows.unwrap().inputs, ["id", "Region"]);
    let rows = [(1, Some("FR")), (2, Some("FR")), (5, Some("DE")), (6, Some("FR")), (9, Some("FR")), (4, None)];
    let mut text = VarValues { offsets: vec![0], data: vec![] };
    let mut nulls = vec![0];
    for (row, (_, region)) in rows.iter().enumerate() {
        text.data.extend_from_slice(region.unwrap_or_default().as_bytes());
        text.offsets.push(text.data.len() as u32);
        nulls[0] |= u8::from(region.is_none()) << row;
    }
    let id = Values::Int64(rows.iter().map(|(id, _)| *id).collect());
    let columns = vec![Column { nulls: vec![], absent: vec![], values: id }, Column { nulls, absent: vec![], values: Values::Utf8(text) }];
    let result = work.transform(&Batch { rows: 6, kinds: vec![1; 6], columns }).unwrap();
    let kept: Vec<i64> = rows.iter().enumerate().filter(|(row, _)| result.keep[0] >> row & 1 == 1).map(|(_, (id, _))| *id).collect();
    assert_eq!(kept, [2, 9, 4]);
}
