//! Definitions that change at the source while a task runs, and the policies for it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World, seed};

const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until a query at the target answers these rows. A column or table may not be there yet.
async fn wait_rows(world: &World, query: &str, wanted: &[Vec<Option<String>>]) {
    wait_for(&format!("{query} to be {wanted:?}"), PATIENCE, async || {
        let task = world.task("ddl").await;
        assert_ne!(task["status"], "failed", "{}\n{}", task["failure"], world.host.log());
        match world.target.try_rows(query).await {
            Ok(found) if found == wanted => Ok(()),
            Ok(found) => Err(format!("{found:?} {}", task["phase"])),
            Err(error) => Err(error),
        }
    })
    .await;
}

async fn wait_ids(world: &World, table: &str, wanted: &[u32]) {
    let wanted: Vec<_> = wanted.iter().map(|id| vec![Some(id.to_string())]).collect();
    wait_rows(world, &format!("select id from copy.{table} order by id"), &wanted).await;
}

/// Waits until the target's rows of a table are the source's.
async fn wait_equal(world: &World, table: &str, columns: &str) {
    let wanted = world.source.rows(&format!("select {columns} from {} order by id", at_source(world, table))).await;
    wait_rows(world, &format!("select {columns} from copy.{table} order by id"), &wanted).await;
}

fn at_source(world: &World, table: &str) -> String {
    format!("{}.{table}", world.source.schema())
}

/// Names of a table's columns, in their order.
async fn columns(server: &Source, schema: &str, table: &str) -> Vec<Vec<Option<String>>> {
    let query = format!(
        "select column_name from information_schema.columns where table_schema = '{schema}' and table_name = '{table}' \
         order by ordinal_position"
    );
    server.rows(&query).await
}

async fn replicating(source: Source, target: Source, tables: &str, settings: Value, preparation: &str) -> World {
    let world = World::between(source, target).await;
    world.source_sql(tables).await;
    world.create_task("ddl", "full-load-and-cdc", preparation, settings).await;
    world.start_task("ddl").await;
    world.wait_phase("ddl", "replicating").await;
    world
}

/// Waits until the target's table has the constraint.
async fn wait_constraint(world: &World, table: &str, kind: &str, name: &str) {
    let query = format!(
        "select count(*) from information_schema.table_constraints \
         where table_schema = 'copy' and table_name = '{table}' and constraint_name = '{name}' and constraint_type = '{kind}'"
    );
    wait_rows(world, &query, &[vec![Some("1".to_owned())]]).await;
}

/// PG-020, PG-085: rows that were there when a column came have its default, constant or not, without a row event.
async fn columns_come_go_and_change(source: Source, target: Source, preparation: &str) {
    let is_postgres = matches!(source, Source::Postgres(_));
    let computed = match &source {
        Source::Postgres(_) => "md5(random()::text)",
        Source::Mysql(server) if server.flavour().is_mariadb() => "(uuid())",
        // MySQL refuses what would be another value on a replica.
        Source::Mysql(_) => "(upper(concat('x', 'y')))",
    };
    let tables = "create table t (id integer primary key, a integer, b varchar(10), constraint small check (a < 100), constraint natural_id check (id > 0)); create table other (id integer primary key); \
        create table child (id integer primary key, t integer, constraint of_t foreign key (t) references t (id)); \
        insert into t values (1, 1, 'one'), (2, 2, 'two'); insert into child values (1, 1)";
    let mut world = replicating(source, target, tables, json!({}), preparation).await;
    // What refers to a table that is loaded again goes, and comes again.
    wait_constraint(&world, "child", "FOREIGN KEY", "of_t").await;
    world.source_sql("alter table t add column c integer not null default 7; insert into t (id, a) values (3, 3)").await;
    wait_equal(&world, "t", "id, a, b, c").await;
    // The condition that the target has would refuse the update.
    world.source_sql("alter table t drop constraint small").await;
    world.source_sql(&format!("alter table t add column r varchar(40) default {computed}; update t set a = 3000 where id = 3")).await;
    wait_equal(&world, "t", "id, a, b, c, r").await;
    // Rows of four definitions wait while nobody reads the log.
    world.host.kill().await;
    let widened = if is_postgres { "alter column aa type bigint" } else { "modify aa bigint" };
    world
        .source_sql(&format!(
            "insert into t (id, a) values (4, 4); alter table t drop column b; insert into t (id, a) values (5, 5); \
             alter table t rename column a to aa; update t set aa = 40 where id = 4; delete from t where id = 5; \
             alter table t {widened}; insert into t (id, aa) values (6, 5000000000); insert into other values (1)"
        ))
        .await;
    world.host.restart().await;
    wait_equal(&world, "t", "id, aa, c, r").await;
    wait_ids(&world, "other", &[1]).await;
    // What became of a name: aa is bb, and there is a new aa.
    world.source_sql("alter table t rename column aa to bb; alter table t add column aa bigint; update t set aa = id").await;
    wait_equal(&world, "t", "id, aa, bb, c, r").await;
    if preparation == "drop-and-create" {
        let wanted = columns(&world.source, world.source.schema(), "t").await;
        assert_eq!(columns(&world.target, "copy", "t").await, wanted);
    }
    // The same name and type, and other values: no description of a row tells, and no row comes.
    world.source_sql("alter table t drop column bb; alter table t add column bb bigint default 9").await;
    wait_equal(&world, "t", "id, aa, bb, c, r").await;
    world.host.kill().await;
    world.source_sql("alter table t drop column aa; alter table t add column aa bigint default 8").await;
    world.host.restart().await;
    wait_equal(&world, "t", "id, aa, bb, c, r").await;
    world.source_sql("insert into t (id) values (9); insert into other values (2)").await;
    wait_equal(&world, "t", "id, aa, bb, c, r").await;
    wait_ids(&world, "other", &[1, 2]).await;
    wait_constraint(&world, "child", "FOREIGN KEY", "of_t").await;
    wait_constraint(&world, "t", "CHECK", "natural_id").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_go_and_change_from_postgres_18() {
    let (source, target) = tokio::join!(Source::postgres(PostgresVersion::V18), Source::postgres(PostgresVersion::V17));
    columns_come_go_and_change(source, target, "drop-and-create").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_go_and_change_from_postgres_15_to_mysql() {
    let (source, target) = tokio::join!(Source::postgres(PostgresVersion::V15), Source::mysql(MysqlFlavour::Mysql97));
    columns_come_go_and_change(source, target, "do-nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_go_and_change_from_mariadb() {
    let (source, target) = tokio::join!(Source::mysql(MysqlFlavour::Mariadb1011), Source::postgres(PostgresVersion::V17));
    columns_come_go_and_change(source, target, "do-nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_go_and_change_from_mysql_to_mariadb() {
    let (source, target) = tokio::join!(Source::mysql(MysqlFlavour::Mysql97), Source::mysql(MysqlFlavour::Mariadb1011));
    columns_come_go_and_change(source, target, "drop-and-create").await;
}

/// PG-083, PG-084, MY-064: tables come, are renamed, emptied, dropped and made anew.
async fn tables_come_and_go(source: Source, target: Source) -> World {
    let tables = "create table t (id integer primary key); create table gone (id integer primary key); \
        create table kept (id integer primary key); insert into t values (1); insert into gone values (1); insert into kept values (1)";
    let settings = json!({"ddl": {"drop_table": "apply"}});
    let world = replicating(source, target, tables, settings, "drop-and-create").await;
    world.source_sql("create table fresh (id integer primary key); insert into fresh values (1); insert into fresh values (2)").await;
    wait_ids(&world, "fresh", &[1, 2]).await;
    world.source_sql("insert into fresh values (3); truncate table t; insert into t values (9)").await;
    wait_ids(&world, "t", &[9]).await;
    wait_ids(&world, "fresh", &[1, 2, 3]).await;
    world.source_sql("drop table gone; drop table kept; create table kept (id integer primary key); insert into kept values (5)").await;
    wait_rows(
        &world,
        "select count(*) from information_schema.tables where table_schema = 'copy' and table_name = 'gone'",
        &[vec![Some("0".into())]],
    )
    .await;
    wait_ids(&world, "kept", &[5]).await;
    world.source_sql("alter table t rename to renamed; insert into renamed values (10)").await;
    wait_ids(&world, "renamed", &[9, 10]).await;
    // The target's table keeps its rows: it was renamed at the source, and not dropped.
    wait_ids(&world, "t", &[9]).await;
    world.source_sql("insert into fresh values (4); insert into renamed values (11); insert into kept values (6)").await;
    wait_ids(&world, "fresh", &[1, 2, 3, 4]).await;
    wait_ids(&world, "renamed", &[9, 10, 11]).await;
    wait_ids(&world, "kept", &[5, 6]).await;
    world
}

/// PG-084: two tables have each other's names from one moment on.
async fn names_are_exchanged(world: &World) {
    world
        .source_sql(
            "create table one (id integer primary key); create table two (id integer primary key);
             insert into one values (1); insert into two values (2)",
        )
        .await;
    wait_ids(world, "one", &[1]).await;
    wait_ids(world, "two", &[2]).await;
    world
        .source_sql(
            "begin; insert into one values (11); alter table one rename to away; alter table two rename to one;
             alter table away rename to two; insert into one values (22); insert into two values (12); commit; insert into one values (23)",
        )
        .await;
    wait_ids(world, "one", &[2, 22, 23]).await;
    wait_ids(world, "two", &[1, 11, 12]).await;
}

/// PG-090: a label is used as soon as it is there. The rows that were there stay as they are; a renamed label changes them.
async fn labels_come_and_change(world: &World) {
    world
        .source_sql(
            "create type mood as enum ('sad', 'glad'); create table felt (id integer primary key, mood mood, moods mood[]);
             insert into felt values (1, 'sad', '{glad}')",
        )
        .await;
    // MySQL has the array as a document.
    let is_postgres = matches!(*world.target, Source::Postgres(_));
    let columns = if is_postgres { "id, mood, moods" } else { "id, mood" };
    wait_equal(world, "felt", columns).await;
    let age = "select xmin from copy.felt where id = 1";
    let loaded = if is_postgres { world.target.value(age).await } else { String::new() };
    world.source_sql("alter type mood add value 'so so' before 'glad'").await;
    world.source_sql("insert into felt values (2, 'so so', null), (3, null, '{glad,so so,NULL}'), (4, 'glad', '{}')").await;
    wait_equal(world, "felt", columns).await;
    if is_postgres {
        assert_eq!(world.target.value(age).await, loaded, "the table was not loaded again");
        let labels = "select string_agg(enumlabel, ',' order by enumsortorder) from pg_enum where enumtypid = 'copy.mood'::regtype";
        assert_eq!(world.target.value(labels).await, "sad,so so,glad");
    } else {
        let labels = "select column_type from information_schema.columns where table_name = 'felt' and column_name = 'mood'";
        assert_eq!(world.target.value(labels).await, "enum('sad','so so','glad')");
    }
    world.source_sql("alter type mood rename value 'sad' to 'low'").await;
    world.source_sql("insert into felt values (5, 'low', '{low}')").await;
    wait_equal(world, "felt", columns).await;
}

/// PG-032, PG-033: the log tells nothing of what is done to a partition as a whole.
async fn partitions_are_emptied_and_exchanged(world: &mut World) {
    world
        .source_sql(
            "create table parts (id integer, k integer, primary key (id, k)) partition by list (k);
             create table parts_1 partition of parts for values in (1); create table parts_2 partition of parts for values in (2);
             insert into parts values (1, 1), (2, 2), (3, 1)",
        )
        .await;
    wait_ids(world, "parts", &[1, 2, 3]).await;
    // The row that comes again is in the way in the target.
    world.source_sql("truncate parts_1; insert into parts values (1, 1)").await;
    wait_ids(world, "parts", &[1, 2]).await;
    world
        .source_sql(
            "create table parts_3 (id integer not null, k integer not null, primary key (id, k)); insert into parts_3 values (5, 3);
             alter table parts attach partition parts_3 for values in (3); alter table parts detach partition parts_2;
             create table parts_4 partition of parts for values in (4); insert into parts values (6, 4)",
        )
        .await;
    wait_ids(world, "parts", &[1, 5, 6]).await;
    // A table with partitions of its own brings what it was filled with.
    world
        .source_sql(
            "create table deep (id integer not null, k integer not null, primary key (id, k)) partition by list (k);
             create table deep_1 partition of deep for values in (10); insert into deep values (7, 10);
             alter table parts attach partition deep for values in (10)",
        )
        .await;
    wait_ids(world, "parts", &[1, 5, 6, 7]).await;
    // What a partition gets and loses while it is none is in no log, and it looks as before.
    world
        .source_sql(
            "begin; alter table parts detach partition parts_4; insert into parts_4 values (8, 4); delete from parts_4 where id = 6;
             alter table parts attach partition parts_4 for values in (4); commit",
        )
        .await;
    wait_ids(world, "parts", &[1, 5, 7, 8]).await;
    world
        .source_sql(
            "begin; alter table parts detach partition deep; update deep set id = 9;
             alter table parts attach partition deep for values in (10); commit",
        )
        .await;
    wait_ids(world, "parts", &[1, 5, 8, 9]).await;

    // The same while nobody looks.
    for (change, wanted) in [
        ("truncate parts_3", &[1, 8, 9][..]),
        (
            "alter table parts detach partition deep; insert into deep values (11, 10); alter table parts attach partition deep for values in (10)",
            &[1, 8, 9, 11],
        ),
        ("create table parts_12 partition of parts for values in (12); insert into parts values (12, 12)", &[1, 8, 9, 11, 12]),
        ("drop table parts_4", &[1, 9, 11, 12]),
    ] {
        world.host.kill().await;
        world.source_sql(change).await;
        world.host.restart().await;
        wait_ids(world, "parts", wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_and_go_from_postgres() {
    let (source, target) = tokio::join!(Source::postgres(PostgresVersion::V18), Source::postgres(PostgresVersion::V17));
    let mut world = tables_come_and_go(source, target).await;
    names_are_exchanged(&world).await;
    labels_come_and_change(&world).await;
    partitions_are_emptied_and_exchanged(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_and_go_from_postgres_to_mysql() {
    let (source, target) = tokio::join!(Source::postgres(PostgresVersion::V17), Source::mysql(MysqlFlavour::Mysql97));
    let mut world = tables_come_and_go(source, target).await;
    names_are_exchanged(&world).await;
    labels_come_and_change(&world).await;
    partitions_are_emptied_and_exchanged(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_and_go_from_mysql() {
    let (source, target) = tokio::join!(Source::mysql(MysqlFlavour::Mysql97), Source::postgres(PostgresVersion::V17));
    tables_come_and_go(source, target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_and_go_from_mysql_to_mariadb() {
    let (source, target) = tokio::join!(Source::mysql(MysqlFlavour::Mysql97), Source::mysql(MysqlFlavour::Mariadb118));
    tables_come_and_go(source, target).await;
}

/// MY-062: the shadow table of gh-ost is not replicated, and the table that takes the name goes on.
async fn a_cut_over_keeps_replicating(target: Source) {
    let tables = "create table t (id integer primary key, a integer); insert into t values (1, 1), (2, 2)";
    let source = Source::mysql(MysqlFlavour::Mariadb1011).await;
    let world = replicating(source, target, tables, json!({}), "drop-and-create").await;
    world
        .source_sql(
            "create table _t_gho like t; alter table _t_gho add column c integer not null default 5; \
             insert into _t_gho (id, a) select id, a from t; update t set a = 10 where id = 1; replace into _t_gho (id, a) values (1, 10); \
             rename table t to _t_del, _t_gho to t; insert into t values (3, 3, 3)",
        )
        .await;
    wait_equal(&world, "t", "id, a, c").await;
    // What a tool leaves behind, or a user has under such a name, is told.
    world.source_sql("create table _t_old (id integer primary key); insert into _t_old values (1)").await;
    wait_for("an event about the table that is left out", PATIENCE, async || {
        let events = world.host.get("/v1/tasks/ddl/events?limit=200").await.ok();
        if events.to_string().contains("_t_old") { Ok(()) } else { Err(events) }
    })
    .await;
    world.source_sql("drop table _t_del; update t set c = 6 where id = 2").await;
    wait_equal(&world, "t", "id, a, c").await;
    wait_rows(&world, "select table_name from information_schema.tables where table_schema = 'copy'", &[vec![Some("t".into())]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_over_of_an_online_change_keeps_replicating() {
    a_cut_over_keeps_replicating(Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_over_of_an_online_change_keeps_replicating_to_mysql() {
    a_cut_over_keeps_replicating(Source::mysql(MysqlFlavour::Mysql97).await).await;
}

/// MY-062: as pt-online-schema-change does it, with triggers that fill the shadow table, whose rows are in the log beside their causes.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_over_of_a_change_by_triggers_keeps_replicating() {
    let tables = "create table t (id integer primary key, a integer); insert into t values (1, 1), (2, 2), (5, 5)";
    let (source, target) = tokio::join!(Source::mysql(MysqlFlavour::Mysql97), Source::postgres(PostgresVersion::V17));
    let world = replicating(source, target, tables, json!({}), "drop-and-create").await;
    world
        .source_sql(
            "create table _t_new like t; alter table _t_new add column c integer not null default 5; \
             create trigger pt_del after delete on t for each row delete ignore from _t_new where id <=> old.id; \
             create trigger pt_upd after update on t for each row replace into _t_new (id, a) values (new.id, new.a); \
             create trigger pt_ins after insert on t for each row replace into _t_new (id, a) values (new.id, new.a); \
             update t set a = 10 where id = 1; insert low_priority ignore into _t_new (id, a) select id, a from t lock in share mode; \
             delete from t where id = 2; insert into t values (3, 3); analyze table _t_new; \
             rename table t to _t_old, _t_new to t; insert into t values (4, 4, 4); drop table if exists _t_old",
        )
        .await;
    wait_equal(&world, "t", "id, a, c").await;
    world.source_sql("update t set c = 6 where id = 5").await;
    wait_equal(&world, "t", "id, a, c").await;
    wait_rows(&world, "select table_name from information_schema.tables where table_schema = 'copy'", &[vec![Some("t".into())]]).await;
}

/// Definitions change every few hundred milliseconds under writers, and the host is killed in between.
async fn storm(source: Source, target: Source) {
    let seed = seed();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::between(source, target).await;
    world.prepare_workload(seed, 1_000).await;
    world.source_sql("create table shifty (id integer primary key, base integer); insert into shifty values (1, 1), (2, 2), (3, 3)").await;
    world.create_task("ddl", "full-load-and-cdc", "drop-and-create", json!({"chunk_rows": 1000})).await;
    world.start_task("ddl").await;
    world.wait_phase("ddl", "replicating").await;
    let workload = world.run_workload(seed, 2).await;
    let mut names: Vec<String> = Vec::new();
    for step in 0..12 {
        let sql = match random.random_range(0..3) {
            0 if !names.is_empty() => {
                let place = random.random_range(0..names.len());
                format!("alter table shifty drop column {}", names.swap_remove(place))
            }
            1 if !names.is_empty() => {
                let place = random.random_range(0..names.len());
                let was = std::mem::replace(&mut names[place], format!("r{step}"));
                format!("alter table shifty rename column {was} to r{step}")
            }
            _ => {
                names.push(format!("c{step}"));
                format!("alter table shifty add column c{step} integer default {step}")
            }
        };
        world.source_sql(&sql).await;
        let row = step + 10;
        world.source_sql(&format!("insert into shifty (id, base) values ({row}, 0); update shifty set base = base + 1 where id = 2")).await;
        if step % 4 == 3 {
            world.kill_and_restart().await;
        }
        // A pace, and nothing that is waited for.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
    }
    let transactions = workload.stop().await;
    world.source_sql("update shifty set base = base + 1").await;
    let wanted = ["id".to_owned(), "base".to_owned()].into_iter().chain(names).collect::<Vec<_>>().join(", ");
    println!("{transactions} transactions; shifty has {wanted}");
    wait_equal(&world, "shifty", &wanted).await;
    world.wait_level("ddl").await;
    let comparison = world.compare().await;
    assert_eq!(comparison.differences, 0, "{comparison}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_schema_changes_ends_equal_from_postgres() {
    storm(Source::postgres(PostgresVersion::V18).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_schema_changes_ends_equal_from_postgres_to_mariadb() {
    storm(Source::postgres(PostgresVersion::V17).await, Source::mysql(MysqlFlavour::Mariadb1011).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_schema_changes_ends_equal_from_mariadb() {
    storm(Source::mysql(MysqlFlavour::Mariadb1011).await, Source::postgres(PostgresVersion::V17).await).await;
}

/// What is ignored stays so over a restart; what is to suspend its table or to stop does.
async fn each_policy_does_what_it_says(source: Source, target: Source) {
    let tables = "create table added (id integer primary key); create table dropped (id integer primary key, a integer); \
        create table emptied (id integer primary key); create table stopped (id integer primary key, a integer); \
        create table gone (id integer primary key); insert into gone values (1); create table renamed (id integer primary key); \
        insert into emptied values (1); insert into dropped values (1, 1)";
    let policy = json!({"ddl": {"add_column": "ignore", "drop_column": "suspend-table", "truncate_table": "ignore", "retype_column": "stop",
        "rename_table": "suspend-table"}});
    let retype = if matches!(source, Source::Postgres(_)) { "alter a type bigint" } else { "modify a bigint" };
    let mut world = replicating(source, target, tables, policy, "drop-and-create").await;
    world.source_sql("alter table added add column b integer; insert into added values (1, 2); drop table gone").await;
    wait_ids(&world, "added", &[1]).await;
    world.source_sql("truncate table emptied; insert into emptied values (2)").await;
    wait_ids(&world, "emptied", &[1, 2]).await;
    world.source_sql("alter table dropped drop column a; insert into dropped values (2)").await;
    let state = "select state from tidegate.table_state where table_name = 'dropped'";
    wait_rows(&world, state, &[vec![Some("suspended".into())]]).await;
    world.source_sql("alter table renamed rename to other; insert into other values (1)").await;
    let state = "select state from tidegate.table_state where table_name = 'renamed'";
    wait_rows(&world, state, &[vec![Some("suspended".into())]]).await;
    world.kill_and_restart().await;
    world.source_sql("insert into added values (2, 3)").await;
    wait_ids(&world, "added", &[1, 2]).await;
    assert_eq!(columns(&world.target, "copy", "added").await, [[Some("id".to_owned())]]);
    assert_eq!(world.target.value("select count(*) from copy.dropped").await, "1");
    assert_eq!(world.target.value("select count(*) from copy.gone").await, "1", "by default no table is dropped in the target");
    world.source_sql(&format!("alter table stopped {retype}; insert into stopped values (1, 1)")).await;
    let failure = world.wait_failed("ddl").await;
    assert_eq!(failure["code"], "table_changed", "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_does_what_it_says_from_postgres() {
    each_policy_does_what_it_says(Source::postgres(PostgresVersion::V15).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_does_what_it_says_from_postgres_to_mariadb() {
    each_policy_does_what_it_says(Source::postgres(PostgresVersion::V15).await, Source::mysql(MysqlFlavour::Mariadb118).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_does_what_it_says_from_mysql() {
    each_policy_does_what_it_says(Source::mysql(MysqlFlavour::Mysql97).await, Source::postgres(PostgresVersion::V17).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_does_what_it_says_from_mysql_to_mysql() {
    each_policy_does_what_it_says(Source::mysql(MysqlFlavour::Mysql97).await, Source::mysql(MysqlFlavour::Mysql97).await).await;
}
