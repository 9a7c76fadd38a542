//! Every action of the rules at once, on real servers, while writers work: what the target has in the end is what SQL
//! at the source says it should have.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};
use world::{Source, World};

#[path = "../scenarios/world.rs"]
#[allow(dead_code, reason = "the scenarios use the rest")]
mod world;

/// The first of the rows that the test writes itself, one after the other.
const OWN: u32 = 1_000_000;

fn rule(id: u32, action: &str, column: &str, more: Value) -> Value {
    let mut rule = json!({"rule-type": "transformation", "rule-id": id.to_string(), "rule-name": format!("r{id}"), "rule-target": "column",
        "rule-action": action, "object-locator": {"schema-name": "%", "table-name": "pay", "column-name": column}});
    let more = more.as_object().expect("an object is given").clone();
    rule.as_object_mut().expect("a rule is an object").extend(more);
    rule
}

fn add(id: u32, name: &str, expression: &str, data_type: Value) -> Value {
    rule(id, "add-column", "", json!({"value": name, "expression": expression, "data-type": data_type}))
}

/// Every action that changes what is in a row, and names by expressions.
fn rules() -> Vec<Value> {
    let label = "CASE WHEN $qty >= 50 THEN 'big' ELSE 'small' END || ':' || upper(coalesce($region, '??'))";
    let table = json!({"rule-target": "table", "expression": "'v_' || $AR_M_SOURCE_TABLE_NAME"});
    vec![
        rule(10, "rename", "", table),
        rule(11, "rename", "created", json!({"expression": "$AR_M_SOURCE_COLUMN_NAME || '_at'"})),
        rule(12, "change-data-type", "qty", json!({"data-type": {"type": "int8"}})),
        rule(13, "change-data-type", "price", json!({"data-type": {"type": "string", "length": "20"}})),
        add(14, "total", "round($price * $qty, 2)", json!({"type": "numeric", "precision": 14, "scale": 2})),
        add(15, "label", label, json!({"type": "string", "length": 20})),
        add(16, "op", "operation_indicator('D', 'U', 'I')", json!({"type": "string", "length": 1})),
        add(17, "pos", "$AR_H_STREAM_POSITION", json!({"type": "string", "length": 80})),
        add(18, "committed", "$AR_H_COMMIT_TIMESTAMP", json!({"type": "datetime"})),
        add(19, "seq", "$AR_H_CHANGE_SEQ", json!({"type": "string", "length": 35})),
        rule(20, "add-before-image-columns", "", json!({"before-image-def": {"column-prefix": "old_", "column-filter": "non-lob"}})),
        rule(21, "data-masking-hash-mask", "card", json!({"value": null})),
        rule(22, "data-masking-digits-mask", "note", json!({"value": "#"})),
        rule(23, "remove-column", "secret", json!({})),
        rule(24, "data-masking-digits-randomize", "phone", json!({"value": "a secret of the test"})),
        rule(25, "data-masking-digits-randomize", "pin", json!({})),
    ]
}

fn create_table(source: &Source) -> String {
    let columns = "id integer primary key, card varchar(40), price numeric(10,2), qty integer, note varchar(60), region varchar(2), \
                   secret varchar(20), phone varchar(20), pin smallint, created ";
    match source {
        Source::Postgres(_) => format!("create table pay ({columns} timestamp); alter table pay replica identity full"),
        Source::Mysql(_) => format!("create table pay ({columns} datetime)"),
    }
}

/// What the rules should make of the source's rows.
fn wanted_query(source: &Source) -> &'static str {
    match source {
        Source::Postgres(_) => {
            "select id::text, upper(encode(sha256(card::bytea), 'hex')), price::text, qty::text, regexp_replace(note, '[0-9]', '#', 'g'), \
             region, to_char(created, 'YYYY-MM-DD HH24:MI:SS'), round(price * qty, 2)::text, \
             case when qty >= 50 then 'big' else 'small' end || ':' || upper(coalesce(region, '??')) from pay t order by t.id"
        }
        Source::Mysql(_) => {
            "select cast(id as char), upper(sha2(card, 256)), cast(price as char), cast(qty as char), regexp_replace(note, '[0-9]', '#'), \
             region, date_format(created, '%Y-%m-%d %H:%i:%s'), cast(round(price * qty, 2) as char), \
             concat(case when qty >= 50 then 'big' else 'small' end, ':', upper(coalesce(region, '??'))) from pay t order by t.id"
        }
    }
}

/// Queries on the target's table, in its SQL.
struct Found {
    rows: &'static str,
    /// What the histories look at.
    history: &'static str,
    /// The test's own rows in the order of their changes.
    ordered: &'static str,
    /// One for headers that have their form.
    form: &'static str,
}

fn found(target: &Source) -> Found {
    match target {
        Source::Postgres(_) => Found {
            rows: "select id::text, card, price, qty::text, note, region, to_char(created_at, 'YYYY-MM-DD HH24:MI:SS'), total::text, \
                   label from copy.v_pay t where op <> 'D' order by t.id",
            history: "op, price, old_id::text, old_price, old_card",
            ordered: "string_agg(id::text, ' ' order by seq)",
            form: "bool_and(length(seq) = 35 and pos <> '' and committed > now() at time zone 'utc' - interval '1 hour')::integer",
        },
        Source::Mysql(_) => Found {
            rows: "select cast(id as char), card, price, cast(qty as char), note, region, date_format(created_at, '%Y-%m-%d %H:%i:%s'), \
                   cast(total as char), label from copy.v_pay t where op <> 'D' order by t.id",
            history: "op, price, cast(old_id as char), old_price, old_card",
            ordered: "group_concat(id order by seq separator ' ')",
            form: "min(length(seq) = 35 and pos <> '' and committed > utc_timestamp() - interval 1 hour)",
        },
    }
}

async fn source_rows(source: &Source, query: &str) -> Vec<Vec<Option<String>>> {
    match source {
        Source::Postgres(server) => server.rows(query).await,
        Source::Mysql(server) => server.rows(query).await,
    }
}

fn row_sql(id: u32, random: &mut StdRng) -> String {
    let region = ["'de'", "'fr'", "null"][random.random_range(0..3)];
    let note = if random.random_bool(0.2) { "null".to_owned() } else { format!("'call {} or é{}'", random.random::<u16>(), id % 7) };
    format!(
        "insert into pay values ({id}, 'card-{:04}', {}.{:02}, {}, {note}, {region}, 's{id}', '+49 170 {:02}-é', {}, '2024-02-29 12:34:56')",
        random.random_range(0..10_000),
        random.random_range(0..99_999),
        random.random_range(0..100),
        random.random_range(0..100),
        // Few, so that rows of the load and changes have the same ones.
        random.random_range(0..20),
        [-32_768, -7, 0, 5, 42, 999, 32_767][random.random_range(0..7)]
    )
}

/// Inserts, updates, deletes and inserts again, until told to stop.
async fn write(source: Arc<Source>, seed: u64, stop: Arc<AtomicBool>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut next = 500;
    let mut gone: Vec<u32> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let id = random.random_range(1..next);
        match random.random_range(0..10) {
            0..3 => {
                source.sql(&row_sql(next, &mut random)).await;
                next += 1;
            }
            3..6 if !gone.contains(&id) => {
                let (cents, quantity) = (random.random_range(0..9_999), random.random_range(0..100));
                source.sql(&format!("update pay set price = {}.{:02}, qty = {quantity} where id = {id}", cents / 100, cents % 100)).await;
            }
            6..9 if !gone.contains(&id) => {
                source.sql(&format!("delete from pay where id = {id}")).await;
                gone.push(id);
            }
            _ => {
                if let Some(id) = gone.pop() {
                    source.sql(&row_sql(id, &mut random)).await;
                }
            }
        }
    }
}

async fn own_row(world: &World, columns: &str, id: u32) -> Vec<Option<String>> {
    let query = format!("select {columns} from copy.v_pay where id = {id}");
    world.target.rows(&query).await.pop().unwrap_or_default()
}

fn texts(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect()
}

fn insert(id: u32, price: &str) -> String {
    format!("insert into pay values ({id}, 'c', {price}, 2, 'n1', 'de', 's', null, null, '2024-01-01 00:00:00')")
}

async fn every_action(source: Source, target: Source) {
    let seed = world::seed();
    println!("TIDEGATE_SEED={seed}");
    let mut world = World::between(source, target).await;
    world.source_sql(&create_table(&world.source)).await;
    world.source_sql("create table marker (id integer primary key)").await;
    let mut random = StdRng::seed_from_u64(seed);
    for id in 1..500 {
        world.source_sql(&row_sql(id, &mut random)).await;
    }
    world.create_task_with("rules", "full-load-and-cdc", "drop-and-create", json!({}), rules()).await;

    // Load, window and stream under writers.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(world.source.clone(), seed, stop.clone()));
    world.start_task("rules").await;
    world.wait_phase("rules", "replicating").await;
    wait_for("rows that were deleted while the stream runs", Duration::from_secs(120), async || {
        let found = world.target.value("select count(*) from copy.v_pay where op = 'D'").await;
        if found.parse::<u32>().is_ok_and(|count| count >= 20) { Ok(()) } else { Err(found) }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("the writer does not fail");
    world.wait_level("rules").await;
    let wanted = source_rows(&world.source, wanted_query(&world.source)).await;
    let found_rows = world.target.rows(found(&world.target).rows).await;
    assert!(wanted.len() > 100);
    assert_eq!(found_rows, wanted);
    let secret = "select count(*) from information_schema.columns where table_name = 'v_pay' and column_name like '%secret%'";
    assert_eq!(world.target.value(secret).await, "0");

    check_randomized(&world).await;
    histories(&mut world).await;
}

/// Other digits, the same for the same value in load, window and stream, and old values likewise.
async fn check_randomized(world: &World) {
    let text = match *world.target {
        Source::Postgres(_) => "text",
        Source::Mysql(_) => "char",
    };
    let at_source = match *world.source {
        Source::Postgres(_) => "select id::text, phone, pin::text from pay t order by t.id",
        Source::Mysql(_) => "select cast(id as char), phone, cast(pin as char) from pay t order by t.id",
    };
    let clear = source_rows(&world.source, at_source).await;
    let shown = |column: &str| format!("cast({column} as {text})");
    let (id, pin, old_pin) = (shown("id"), shown("pin"), shown("old_pin"));
    let query = format!("select {id}, phone, {pin}, old_phone, {old_pin}, op, pos from copy.v_pay t where op <> 'D' order by t.id");
    let masked = world.target.rows(&query).await;
    assert_eq!(clear.len(), masked.len());
    let (mut known, mut by_load, mut by_stream) = (HashMap::new(), HashSet::new(), HashSet::new());
    for (clear, masked) in clear.iter().zip(&masked) {
        let [id, phone, pin, old_phone, old_pin, op, position] = masked.as_slice() else { panic!("{masked:?}") };
        assert_eq!(clear[0], *id);
        for (clear, masked) in [(&clear[1], phone), (&clear[2], pin)] {
            assert_eq!(known.entry(clear.clone()).or_insert_with(|| masked.clone()), masked, "another mask for one value");
        }
        // No update of the test changes them.
        if op.as_deref() == Some("U") {
            assert_eq!((old_phone, old_pin), (phone, pin));
        }
        let loaded = position.as_deref() == Some("");
        if loaded { &mut by_load } else { &mut by_stream }.extend([clear[1].clone(), clear[2].clone()]);
    }
    assert!(by_load.intersection(&by_stream).count() > 5, "{by_load:?} {by_stream:?}");
    let mut changed = 0;
    for (clear, masked) in known.iter().filter_map(|(clear, masked)| Some((clear.as_deref()?, masked.as_deref()?))) {
        changed += usize::from(clear != masked);
        if clear.starts_with('+') {
            let form = |text: &str| text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect::<String>();
            assert_eq!(form(clear), form(masked));
        } else {
            assert!(masked.parse::<i16>().is_ok() && masked.len() <= clear.len() && masked.starts_with('-') <= clear.starts_with('-'));
        }
    }
    // A digit becomes itself once in ten times; hardly a whole value of many digits does.
    assert!(changed > known.len() / 2, "{changed} of {} values have another mask", known.len());
}

/// Rows whose whole history the test knows: what kind of change came last, what was before it, what stays of the deleted.
async fn histories(world: &mut World) {
    let Found { history: columns, ordered, form, .. } = found(&world.target);
    let hash_of_c = "2E7D2C03A9507AE265ECF5B5356885A53393A2029D241394997265A1A25AEFC6";
    for statement in [
        insert(OWN + 1, "1.50"),
        format!("update pay set price = 2.50 where id = {}", OWN + 1),
        insert(OWN + 2, "3.00"),
        format!("delete from pay where id = {}", OWN + 2),
        insert(OWN + 3, "4.00"),
        format!("delete from pay where id = {}", OWN + 3),
        insert(OWN + 3, "5.00"),
        insert(OWN + 4, "6.00"),
        // The key of a row that is deleted at the source and still in the target.
        format!("update pay set id = {} where id = {}", OWN + 2, OWN + 4),
        insert(OWN + 5, "7.00"),
        format!("delete from pay where id = {}", OWN + 5),
    ] {
        world.source_sql(&statement).await;
    }
    world.wait_level("rules").await;
    let own = |number: u32| (OWN + number).to_string();
    assert_eq!(own_row(world, columns, OWN + 1).await, texts(&["U", "2.50", &own(1), "1.50", hash_of_c]));
    assert_eq!(own_row(world, columns, OWN + 2).await, texts(&["U", "6.00", &own(4), "6.00", hash_of_c]));
    assert_eq!(own_row(world, columns, OWN + 3).await, texts(&["I", "5.00", "NULL", "NULL", "NULL"]));
    assert_eq!(own_row(world, columns, OWN + 4).await, Vec::<Option<String>>::new());
    assert_eq!(own_row(world, columns, OWN + 5).await, texts(&["D", "7.00", &own(5), "7.00", hash_of_c]));
    let of_own = |what: &str| format!("select {what} from copy.v_pay where id > {OWN}");
    assert_eq!(world.target.value(&of_own(ordered)).await, [own(1), own(3), own(2), own(5)].join(" "));
    assert_eq!(world.target.value(&of_own(form)).await, "1");
    assert_eq!(world.target.value("select count(*) from copy.v_pay where pos = '' and (seq <> '' or op <> 'I')").await, "0");

    // Another process applies the same rules to what comes next.
    world.kill_and_restart().await;
    world.source_sql(&format!("delete from pay where id = {}", OWN + 1)).await;
    world.source_sql(&insert(OWN + 5, "8.00")).await;
    world.wait_level("rules").await;
    assert_eq!(own_row(world, columns, OWN + 1).await, texts(&["D", "2.50", &own(1), "2.50", hash_of_c]));
    assert_eq!(own_row(world, columns, OWN + 5).await, texts(&["I", "8.00", "NULL", "NULL", "NULL"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_at_once_from_postgres_gives_what_sql_gives() {
    every_action(Source::postgres(PostgresVersion::V17).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_at_once_from_mariadb_gives_what_sql_gives() {
    every_action(Source::mysql(MysqlFlavour::Mariadb118).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_at_once_from_postgres_to_mysql_gives_what_sql_gives() {
    every_action(Source::postgres(PostgresVersion::V17).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_at_once_from_mysql_to_mariadb_gives_what_sql_gives() {
    every_action(Source::mysql(MysqlFlavour::Mysql97).await, Source::mysql(MysqlFlavour::Mariadb1011).await).await;
}

/// PostgreSQL's default: the log has old keys alone, and leaves unchanged large values out.
#[tokio::test(flavor = "multi_thread")]
async fn soft_deletes_work_with_old_keys_alone() {
    let world = World::start(Source::postgres(PostgresVersion::V17).await, PostgresVersion::V17).await;
    world.source_sql("create table item (id integer primary key, name text, big text); create table marker (id integer primary key)").await;
    world.source_sql("alter table item alter column big set storage external").await;
    world.source_sql("insert into item values (1, 'one', repeat('x', 20000)), (2, 'two', null), (3, 'three', 'y')").await;
    let of_item = |id: &str, name: &str, expression: &str| {
        json!({"rule-type": "transformation", "rule-id": id, "rule-target": "column", "rule-action": "add-column", "value": name,
            "object-locator": {"schema-name": "%", "table-name": "item"}, "expression": expression, "data-type": {"type": "clob"}})
    };
    let before = json!({"rule-type": "transformation", "rule-id": "13", "rule-target": "column", "rule-action": "add-before-image-columns",
        "object-locator": {"schema-name": "%", "table-name": "item"}, "before-image-def": {}});
    let rules = vec![
        of_item("10", "op", "operation_indicator('D', 'U', 'I')"),
        of_item("11", "title", "upper($name)"),
        of_item("12", "shout", "upper($big)"),
        before,
    ];
    world.create_task_with("item", "full-load-and-cdc", "drop-and-create", json!({}), rules).await;
    world.start_task("item").await;
    world.wait_level("item").await;
    for statement in [
        "update item set name = 'uno' where id = 1",
        "delete from item where id = 2",
        "delete from item where id = 3",
        "insert into item values (3, 'tres', 'z')",
        "begin; insert into item values (4, 'four', 'w'); delete from item where id = 4; commit",
        "insert into item values (5, 'five', 'v')",
        "update item set id = 2 where id = 5",
    ] {
        world.source_sql(statement).await;
    }
    world.wait_level("item").await;
    let found = world
        .target
        .rows("select id::text, name, op, title, left(shout, 4), length(big)::text, \"BI_id\"::text from copy.item order by id")
        .await;
    let wanted = [
        ["1", "uno", "U", "UNO", "XXXX", "20000", "1"],
        ["2", "five", "U", "FIVE", "V", "1", "5"],
        ["3", "tres", "I", "TRES", "Z", "1", "NULL"],
        ["4", "four", "D", "FOUR", "W", "1", "4"],
    ];
    assert_eq!(found, wanted.map(|row| texts(&row)));
    world.source_sql("delete from item where id = 1").await;
    world.wait_level("item").await;
    let kept = world.target.rows("select op, name, title, length(shout)::text from copy.item where id = 1").await;
    assert_eq!(kept, [texts(&["D", "uno", "UNO", "20000"])]);
}
