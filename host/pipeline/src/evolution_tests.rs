use super::*;

/// `id` is the key; a column is `name`, `name:type`, and with its number `name@3:type`.
fn table(columns: &str) -> Definition {
    let columns: Vec<DefinedColumn> = columns
        .split(' ')
        .map(|text| {
            let (name, native) = text.split_once(':').unwrap_or((text, "int"));
            let (name, number) = name.split_once('@').map_or((name, None), |(name, number)| (name, number.parse().ok()));
            let sql_type = Some(if native == "int" { SqlType::Int32 } else { SqlType::Int64 });
            DefinedColumn { name: name.into(), number, native_type: native.into(), generated: false, sql_type }
        })
        .collect();
    let identity = columns.iter().filter(|column| column.name == "id").map(|column| column.name.clone()).collect();
    Definition { table: columns[0].number.map(|_| 7), columns, identity, target: None, parts: None }
}

fn told(before: &str, now: &str) -> String {
    let found = differences(&table(before), &table(now));
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn differences_of_definitions_are_named() {
    let cases = [
        ("id a", "id a", ""),
        ("id a b", "b id a", ""),
        ("id a", "id a b", "column \"b\" is new"),
        ("id a b", "id b", "column \"a\" is gone"),
        ("id a", "id a:bigint", "column \"a\" was int and is bigint"),
        ("id a", "key a", "column \"key\" is new; column \"id\" is gone; rows were identified by (id) and are by ()"),
        ("a", "a b", "column \"b\" is new"),
        ("id@1 a@2", "id@1 a@2", ""),
        ("id@1 a@2", "id@1 b@2", "column \"a\" is \"b\""),
        ("id@1 a@2", "key@1 a@2", "column \"id\" is \"key\"; rows were identified by (id) and are by ()"),
        ("id@1 a@2 b@3", "id@1 b@2 a@3", "column \"a\" is \"b\"; column \"b\" is \"a\""),
        ("id@1 a@2", "id@1 b@2 a@3", "column \"a\" is \"b\"; column \"a\" is another one than before"),
        ("id@1 a@2", "id@1 a@3", "column \"a\" is another one than before"),
        ("id@1 a@2 b@3", "id@1 a@2", "column \"b\" is gone"),
        ("id@1 a@2", "id@1 a@2:bigint", "column \"a\" was int and is bigint"),
        // The log's description of a table whose columns the catalog no longer has by these names.
        ("id@1 a@2", "id@0 a@0", "column \"id\" is another one than before; column \"a\" is another one than before"),
    ];
    for (before, now, wanted) in cases {
        assert_eq!(told(before, now), wanted, "({before}) ({now})");
    }
    let (one, mut other) = (table("id@1"), table("id@1"));
    other.table = Some(8);
    assert_eq!(differences(&one, &other), [SchemaChange::Recreated]);
}

#[test]
fn another_order_is_a_difference_of_catalogs_without_numbers() {
    let cases = [
        ("id a b", "id b a", true),
        ("id a b", "b id", true),
        ("id a b", "id c b", false),
        ("id a b", "c id a d b", false),
        ("id@1 a@2", "a@2 id@1", false),
    ];
    for (before, now, wanted) in cases {
        let found = differences_in_catalog(&table(before), &table(now));
        assert_eq!(found.contains(&SchemaChange::Reordered), wanted, "({before}) ({now})");
    }
}

#[test]
fn labels_that_came_are_told_from_other_labels() {
    let of = |labels: &str, number: Option<u16>, in_array: bool| {
        let labels = SqlType::Enumeration(labels.split(' ').map(str::to_owned).collect());
        let sql_type = Some(if in_array { SqlType::Array(Box::new(labels)) } else { labels });
        let column = DefinedColumn { name: "e".into(), number, native_type: "mood".into(), generated: false, sql_type };
        Definition { table: number.map(|_| 7), columns: vec![column], identity: Vec::new(), target: None, parts: None }
    };
    let cases = [
        ("a b", "a b", Some(2), false, ""),
        ("a b", "a b c", Some(2), false, "the type of column \"e\" has more labels"),
        ("a b", "x a y b", Some(2), true, "the type of column \"e\" has more labels"),
        ("a b", "a c", Some(2), false, "column \"e\" was mood and is mood"),
        ("a b", "b a c", Some(2), false, "column \"e\" was mood and is mood"),
        ("a b", "a b c", None, false, "column \"e\" was mood and is mood"),
    ];
    for (before, now, number, in_array, wanted) in cases {
        let changes = differences(&of(before, number, in_array), &of(now, number, in_array));
        let told = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        assert_eq!(told, wanted, "({before}) ({now})");
        assert_eq!(only_labels(&changes), wanted.contains("labels"), "({before}) ({now})");
        let outdated = |target| outdates(&of(before, number, in_array), &of(now, number, in_array), target).is_some();
        assert_eq!(outdated(Engine::Postgres), !wanted.is_empty() && !wanted.contains("labels"), "({before}) ({now})");
        assert_eq!(outdated(Engine::Mysql), !wanted.is_empty(), "({before}) ({now})");
    }
}

#[test]
fn a_stored_definition_differs_from_what_it_was_not() {
    for columns in ["id@1 a@2 b@4:bigint", "id a"] {
        let stored = Definition::parse(&table(columns).to_text()).expect("what was written is read");
        assert_eq!(differences(&stored, &table(columns)), []);
        assert_ne!(differences(&stored, &table("id@1 c@3")), []);
    }
    let stored = Definition::parse(&table("id@1 a@2").to_text()).expect("what was written is read");
    assert_eq!(differences(&stored, &table("id@1 a@2:bigint")).len(), 1);
    // Without numbers, a column may be another one, of another type.
    let stored = Definition::parse(&table("id a:int(11)").to_text()).expect("what was written is read");
    assert_eq!(differences(&stored, &table("id a:int")), []);
    assert_eq!(differences(&stored, &table("id a:enum")).len(), 1);
    assert!(Definition::parse("{}").is_err());
}

#[test]
fn the_most_careful_policy_decides() {
    let policy = DdlPolicy {
        add_column: DdlAction::Ignore,
        drop_column: DdlAction::Apply,
        rename_column: DdlAction::Stop,
        retype_column: DdlAction::SuspendTable,
        ..DdlPolicy::default()
    };
    let cases = [
        ("id a", "id a", None),
        ("id a", "id a b", Some(DdlAction::Ignore)),
        ("id a", "id", Some(DdlAction::Apply)),
        ("id a", "id b", Some(DdlAction::Stop)),
        ("id@1 a@2", "id@1 b@2", Some(DdlAction::Stop)),
        ("id a", "id a:bigint b", Some(DdlAction::SuspendTable)),
    ];
    for (before, now, wanted) in cases {
        assert_eq!(action(&differences(&table(before), &table(now)), &policy), wanted, "({before}) ({now})");
    }
    let ignores = DdlPolicy { rename_column: DdlAction::Ignore, ..policy };
    let replaced = differences(&table("id@1 a@2"), &table("id@1 a@3"));
    assert_eq!(action(&replaced, &ignores), Some(DdlAction::Apply), "other rows cannot be ignored");
}
