//! Names of every kind, and rules that change them, from source to target and through the stream.

use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::world::{Source, World};

fn rule(id: u32, kind: &str, action: &str, target: Option<&str>, locator: Value, more: Value) -> Value {
    let mut rule = json!({"rule-type": kind, "rule-id": id.to_string(), "rule-name": id.to_string(), "rule-action": action, "object-locator": locator});
    if let Some(target) = target {
        rule["rule-target"] = json!(target);
    }
    for (key, value) in more.as_object().expect("an object") {
        rule[key] = value.clone();
    }
    rule
}

fn select(id: u32, action: &str, schema: &str, table: &str) -> Value {
    rule(id, "selection", action, None, json!({"schema-name": schema, "table-name": table}), json!({}))
}

fn schema_rule(id: u32, schema: &str, action: &str, value: &str) -> Value {
    rule(id, "transformation", action, Some("schema"), json!({"schema-name": schema}), json!({"value": value}))
}

fn table_rule(id: u32, schema: &str, table: &str, action: &str, more: Value) -> Value {
    rule(id, "transformation", action, Some("table"), json!({"schema-name": schema, "table-name": table}), more)
}

fn column_rule(id: u32, schema: &str, table: &str, column: &str, action: &str, more: Value) -> Value {
    let locator = json!({"schema-name": schema, "table-name": table, "column-name": column});
    rule(id, "transformation", action, Some("column"), locator, more)
}

async fn create(world: &World, name: &str, migration: &str, rules: Vec<Value>) {
    let task = json!({"name": name, "source": "source", "target": "target", "migration_type": migration, "preparation": "drop-and-create",
        "table_mappings": {"rules": rules}});
    world.host.post("/v1/tasks", &task).await.ok();
}

/// A query with names in double quotes as the target has it.
fn quoted(world: &World, query: &str) -> String {
    if matches!(*world.target, Source::Postgres(_)) { query.to_owned() } else { query.replace('"', "`") }
}

/// Rows of a query at the target, columns joined by `|`.
async fn rows(world: &World, query: &str) -> Vec<String> {
    let rows = world.target.rows(query).await;
    rows.iter().map(|row| row.iter().map(|text| text.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join("|")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_every_kind_are_quoted_on_their_way_from_postgres() {
    let world = World::start(Source::postgres(PostgresVersion::V15).await, PostgresVersion::V17).await;
    let long = "L".repeat(63);
    // Cut by the server itself, to 62 bytes: 31 letters of two bytes.
    let wide = "é".repeat(40);
    world
        .source_sql(&format!(
            r#"create schema copy; create table copy.marker (id integer primary key);
            create view marker as select id from copy.marker;
            create schema "r.""W"; create type "r.""W"."M ood'" as enum ('a''b');
            create table "r.""W"."T.a""b'c 😀" ("Col.1" int, "select" text, "ünï" "r.""W"."M ood'", "%s" int, "${{x}}" text, "a b" bytea, primary key ("Col.1", "%s"));
            insert into "r.""W"."T.a""b'c 😀" values (1, 'one', 'a''b', 1, '$1', '\x00');
            create table "{long}" ("{long}" int primary key, v text); insert into "{long}" values (1, 'long');
            create table "{wide}" (id int primary key, "{wide}" text); insert into "{wide}" values (1, 'wide');
            create table "table" ("user" int primary key, "order" text, "Order" text, ctid_ int, "tidegate" text); insert into "table" values (1, 'a', 'b', 3, 't');
            create table "Table" (id int primary key); insert into "Table" values (7);
            create table "';drop table x;--" (id int primary key, "';--" text); insert into "';drop table x;--" values (1, 'safe')"#
        ))
        .await;
    create(&world, "names", "full-load-and-cdc", vec![select(1, "include", "%", "%")]).await;
    world.start_task("names").await;
    world.wait_phase("names", "replicating").await;
    world
        .source_sql(&format!(
            r#"update "r.""W"."T.a""b'c 😀" set "select" = 'two', "%s" = 2; insert into "r.""W"."T.a""b'c 😀" values (2, null, null, 0, '', null);
            update "{long}" set "{long}" = 2; update "{wide}" set "{wide}" = 'wider'; update "table" set "Order" = 'c'; delete from "Table"; insert into "Table" values (8);
            update "';drop table x;--" set "';--" = 'still safe'"#
        ))
        .await;
    world.wait_level("names").await;
    let odd = r#"select "Col.1", "select", "ünï"::text, "%s", "${x}", "a b"::text from "r.""W"."T.a""b'c 😀" order by 1"#;
    assert_eq!(rows(&world, odd).await, ["1|two|a'b|2|$1|\\x00", "2|NULL|NULL|0||NULL"]);
    assert_eq!(rows(&world, &format!(r#"select "{long}", v from "{long}""#)).await, ["2|long"]);
    assert_eq!(rows(&world, &format!(r#"select * from "{wide}""#)).await, ["1|wider"]);
    assert_eq!(rows(&world, r#"select "user", "order", "Order" from "table""#).await, ["1|a|c"]);
    assert_eq!(rows(&world, r#"select * from "Table""#).await, ["8"]);
    assert_eq!(rows(&world, r#"select * from "';drop table x;--""#).await, ["1|still safe"]);
    let tables = world.host.get("/v1/tasks/names/tables").await.ok();
    assert!(tables.to_string().contains("T.a\\\"b'c 😀"), "{tables}");
    let metrics = world.host.get("/metrics").await.ok();
    assert!(metrics.as_str().is_some_and(|text| text.contains("tidegate_")), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_every_kind_are_quoted_on_their_way_from_mariadb() {
    let world = World::start(Source::mysql(MysqlFlavour::Mariadb1011).await, PostgresVersion::V17).await;
    let long = "l".repeat(64);
    world
        .source_sql(
            r#"create table marker (id integer primary key);
            create table `T.a``b'c "é` (`Col.1` int, `select` text, `ünï` enum('a''b'), `%s` int, `a b` blob, primary key (`Col.1`, `%s`));
            insert into `T.a``b'c "é` values (1, 'one', 'a''b', 1, x'00');
            create table `order` (`key` int primary key, `Upper` text); insert into `order` values (1, 'a');
            create table `';drop table x;--` (id int primary key, `';--` text); insert into `';drop table x;--` values (1, 'safe')"#,
        )
        .await;
    world.create_task("names", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("names").await;
    world.wait_phase("names", "replicating").await;
    world
        .source_sql(
            r#"update `T.a``b'c "é` set `select` = 'two', `%s` = 2; insert into `T.a``b'c "é` values (2, null, null, 0, null);
            update `order` set `key` = 2; update `';drop table x;--` set `';--` = 'still safe'"#,
        )
        .await;
    world.wait_level("names").await;
    let odd = r#"select "Col.1", "select", "ünï", "%s", "a b"::text from copy."T.a`b'c ""é" order by 1"#;
    assert_eq!(rows(&world, odd).await, ["1|two|a'b|2|\\x00", "2|NULL|NULL|0|NULL"]);
    assert_eq!(rows(&world, r#"select "key", "Upper" from copy."order""#).await, ["2|a"]);
    assert_eq!(rows(&world, r#"select * from copy."';drop table x;--""#).await, ["1|still safe"]);

    // MySQL's names may have 64 characters, PostgreSQL's 63 bytes: refused by name, not cut.
    world.source_sql(&format!("create table `{long}` (id int primary key)")).await;
    create(&world, "long", "full-load", vec![select(1, "include", "test", "ll%")]).await;
    let findings = world.host.post("/v1/tasks/long/check", &json!({})).await.ok();
    let first = &findings["findings"][0];
    assert!(first["code"] == "name_too_long" && first["object"].to_string().contains(&long), "{findings}");
    assert!(first["wanted"].to_string().contains("63") && first["fix"].to_string().contains("rename"), "{findings}");
    world.start_task("long").await;
    let failure = world.wait_failed("long").await;
    assert!(failure.to_string().contains(&long), "{failure}");
}

async fn rules_change_names(target: Source) {
    let world = World::between(Source::postgres(PostgresVersion::V15).await, target).await;
    let is_postgres = matches!(*world.target, Source::Postgres(_));
    world
        .source_sql(
            "create table marker (id integer primary key);
             create schema shop; create table shop.t_orders_old (id int primary key, customer text, secret text, amount numeric(10,2));
             insert into shop.t_orders_old select g, 'c' || g, 'hidden', g * 10 from generate_series(1, 10) g;
             create table shop.t_items_old (id int primary key, order_id int, name text, note text);
             insert into shop.t_items_old values (1, 1, 'one', 'x'), (2, 2, 'two', 'y');
             create table shop.logs (id int primary key); create table shop.logs_1 (id int primary key); create table shop.log_x (id int primary key);
             create table shop.filtered (id int primary key, region text, size int); alter table shop.filtered replica identity full;
             insert into shop.filtered values (1, 'eu', 5), (2, 'us', 5), (3, 'eu', 50), (4, null, 5);
             create table shop.rekeyed (id int, code text not null unique, v int, primary key (id)); alter table shop.rekeyed replica identity full;
             insert into shop.rekeyed values (1, 'a', 1), (2, 'b', 2);
             create table shop.explicit_one (id int primary key); insert into shop.explicit_one values (1)",
        )
        .await;
    let filters = json!({"filters": [
        {"filter-type": "source", "column-name": "region", "filter-conditions": [{"filter-operator": "eq", "value": "eu"}]},
        {"filter-type": "source", "column-name": "size", "filter-conditions": [{"filter-operator": "lte", "value": "10"}]}]});
    let rules = vec![
        select(1, "include", "shop", "t[_]%"),
        rule(2, "selection", "include", None, json!({"schema-name": "shop", "table-name": "filtered"}), filters),
        select(3, "include", "shop", "log%"),
        select(4, "exclude", "shop", "logs%"),
        select(5, "explicit", "shop", "rekeyed"),
        select(6, "explicit", "shop", "explicit_one"),
        select(7, "include", "public", "marker"),
        schema_rule(10, "shop", "rename", "store"),
        schema_rule(11, "public", "rename", "copy"),
        table_rule(20, "shop", "t_orders_old", "rename", json!({"value": "Orders"})),
        table_rule(21, "shop", "t_items%", "replace-prefix", json!({"old-value": "t_", "value": "new_"})),
        table_rule(22, "shop", "log_x", "add-suffix", json!({"value": "_kept"})),
        column_rule(30, "shop", "t_orders_old", "secret", "remove-column", json!({})),
        column_rule(31, "shop", "t_orders_old", "c%", "convert-uppercase", json!({})),
        column_rule(32, "shop", "t_orders_old", "amount", "rename", json!({"value": "total"})),
        column_rule(33, "shop", "t_items_old", "id", "include-column", json!({})),
        column_rule(34, "shop", "t_items_old", "name", "include-column", json!({})),
        column_rule(35, "shop", "filtered", "%", "add-prefix", json!({"value": "f_"})),
        table_rule(40, "shop", "rekeyed", "define-primary-key", json!({"primary-key-def": {"name": "by_code", "columns": ["code"]}})),
    ];
    create(&world, "rules", "full-load-and-cdc", rules).await;
    world.start_task("rules").await;
    world.wait_phase("rules", "replicating").await;
    let filtered = r#"select f_id, f_region, f_size from store.filtered order by 1"#;
    assert_eq!(rows(&world, filtered).await, ["1|eu|5"]);
    world
        .source_sql(
            "update shop.t_orders_old set secret = 'still hidden', amount = amount + 1 where id = 1; update shop.t_orders_old set id = 100 where id = 2;
             delete from shop.t_orders_old where id > 2 and id < 100; insert into shop.t_items_old values (3, 3, 'three', 'z'); update shop.t_items_old set note = 'only here';
             update shop.filtered set region = 'eu' where id = 2; update shop.filtered set size = 7 where id = 3; update shop.filtered set size = 11 where id = 1;
             update shop.filtered set region = 'eu', id = 40 where id = 4; insert into shop.filtered values (5, 'us', 1), (6, 'eu', 10), (7, 'eu', 11); delete from shop.filtered where id = 5;
             insert into shop.log_x values (1); insert into shop.logs values (1); insert into shop.logs_1 values (1); insert into shop.explicit_one values (2);
             update shop.rekeyed set code = 'z' where id = 1; update shop.rekeyed set v = 20, id = 22 where code = 'b'; insert into shop.rekeyed values (3, 'c', 3)",
        )
        .await;
    world.wait_level("rules").await;
    assert_eq!(
        rows(&world, &quoted(&world, r#"select id, "CUSTOMER", total from store."Orders" order by id"#)).await,
        ["1|c1|11.00", "100|c2|20.00"]
    );
    assert_eq!(rows(&world, "select * from store.new_items_old order by id").await, ["1|one", "2|two", "3|three"]);
    assert_eq!(rows(&world, filtered).await, ["2|eu|5", "3|eu|7", "6|eu|10", "40|eu|5"]);
    assert_eq!(rows(&world, "select * from store.log_x_kept").await, ["1"]);
    assert_eq!(rows(&world, "select id from store.explicit_one order by 1").await, ["1", "2"]);
    assert_eq!(rows(&world, "select code, id, v from store.rekeyed order by 1").await, ["b|22|20", "c|3|3", "z|1|1"]);
    let names = "select table_name from information_schema.tables where table_schema = 'store'";
    let mut names = rows(&world, names).await;
    names.sort();
    assert_eq!(names, ["Orders", "explicit_one", "filtered", "log_x_kept", "new_items_old", "rekeyed"]);
    let key = if is_postgres {
        "select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
         where i.indrelid = 'store.rekeyed'::regclass and i.indisprimary"
    } else {
        "select column_name from information_schema.columns where table_schema = 'store' and table_name = 'rekeyed' and column_key = 'PRI'"
    };
    assert_eq!(rows(&world, key).await, ["code"]);
    // Without the old row in the log, whether a row was in the filter cannot be known.
    world.source_sql("alter table shop.filtered replica identity default").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_change_names_and_filters_follow_rows() {
    rules_change_names(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_change_names_and_filters_follow_rows_into_mysql() {
    rules_change_names(Source::mysql(MysqlFlavour::Mysql97).await).await;
}

/// What names of PostgreSQL cannot be in MySQL is refused by name, and all the others are quoted there.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_every_kind_are_quoted_on_their_way_from_postgres_to_mysql() {
    let world = World::between(Source::postgres(PostgresVersion::V15).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
    let (long, wide) = ("L".repeat(63), "é".repeat(31));
    world
        .source_sql(&format!(
            r#"create table marker (id integer primary key);
            create table "T.a""b'c`ü" ("Col.1" int, "select" text, "ünï" text, "%s" int, "${{x}}" text, "a b" bytea, primary key ("Col.1", "%s"));
            insert into "T.a""b'c`ü" values (1, 'one', 'a''b', 1, '$1', '\x00');
            create table "{long}" ("{long}" int primary key, v text); insert into "{long}" values (1, 'long');
            create table "{wide}" (id int primary key, "{wide}" text); insert into "{wide}" values (1, 'wide');
            create table "Table" (id int primary key); insert into "Table" values (7);
            create table "';drop table x;--" (id int primary key, "';--" text); insert into "';drop table x;--" values (1, 'safe');
            create table "smile 😀" (id int primary key); create table clash ("Order" int primary key, "order" int)"#
        ))
        .await;
    world.create_task("names", "full-load-and-cdc", "drop-and-create", json!({})).await;
    let findings = world.host.post("/v1/tasks/names/check", &json!({})).await.ok();
    for (code, name) in [("column_name_clash", "clash"), ("name_refused", "smile 😀")] {
        let told = findings["findings"].as_array().into_iter().flatten().find(|finding| finding["code"] == code);
        assert!(told.is_some_and(|told| told["object"].to_string().contains(name)), "{code}: {findings}");
    }
    world.source_sql(r#"drop table "smile 😀"; drop table clash"#).await;
    world.start_task("names").await;
    world.wait_phase("names", "replicating").await;
    world
        .source_sql(&format!(
            r#"update "T.a""b'c`ü" set "select" = 'two', "%s" = 2; insert into "T.a""b'c`ü" values (2, null, null, 0, '', null);
            update "{long}" set "{long}" = 2; update "{wide}" set "{wide}" = 'wider'; delete from "Table"; insert into "Table" values (8);
            update "';drop table x;--" set "';--" = 'still safe'"#
        ))
        .await;
    world.wait_level("names").await;
    let odd = r#"select `Col.1`, `select`, `ünï`, `%s`, `${x}`, hex(`a b`) from copy.`T.a"b'c``ü` order by 1"#;
    assert_eq!(rows(&world, odd).await, ["1|two|a'b|2|$1|00", "2|NULL|NULL|0||NULL"]);
    assert_eq!(rows(&world, &format!("select `{long}`, v from copy.`{long}`")).await, ["2|long"]);
    assert_eq!(rows(&world, &format!("select * from copy.`{wide}`")).await, ["1|wider"]);
    assert_eq!(rows(&world, "select * from copy.`Table`").await, ["8"]);
    assert_eq!(rows(&world, "select * from copy.`';drop table x;--`").await, ["1|still safe"]);
}
