//! To MySQL and MariaDB: of one kind of server, tables are what `SHOW CREATE TABLE` says at the source; of another, what both
//! understand arrives and the rest is listed by name.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate_harness::catalogue::differences;
use tidegate_harness::{Database, MysqlFlavour, MysqlServer, PostgresVersion, TablePair, compare_databases, wait_for};

use crate::my_rich::{BOTH, CHANGES, COMMON_LINES, MARIADB, MYSQL, POSTGRES, POSTGRES_CHANGES, POSTGRES_LINES, POSTGRES_LISTED};
use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(180);

const TABLES: [&str; 6] = ["parent", "child", "self", "counted", "place", "only"];
const POSTGRES_TABLES: [&str; 7] = ["customer", "Order", "item", "code", "coded", "swap", "filler"];

fn mysql(source: &Source) -> &MysqlServer {
    let Source::Mysql(server) = source else { unreachable!("the server is MySQL or MariaDB") };
    server
}

/// The table's definition as the server prints it.
async fn definition(server: &MysqlServer, database: &str, table: &str) -> Vec<String> {
    let mut row = server.rows(&format!("show create table `{database}`.`{table}`")).await.remove(0);
    let text = row.remove(1).expect("the server prints the definition");
    text.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).collect()
}

async fn definitions(server: &MysqlServer, database: &str, tables: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for table in tables {
        lines.extend(definition(server, database, table).await.into_iter().map(|line| format!("{table}: {line}")));
    }
    lines
}

/// A line without what the two servers print differently.
fn normal(line: &str) -> String {
    let mut line = line.to_lowercase();
    for (from, to) in [
        ("(20) unsigned", " unsigned"),
        ("int(11)", "int"),
        ("bigint(20)", "bigint"),
        ("utc_timestamp(6))", "utc_timestamp(6)"),
        ("(utc_timestamp", "utc_timestamp"),
        (" on delete restrict", ""),
        (" on update restrict", ""),
        (" on delete no action", ""),
        (" on update no action", ""),
        (" /*!80000 invisible */", " hidden"),
        (" ignored", " hidden"),
        ("(curdate())", "curdate()"),
        ("(uuid())", "uuid()"),
        ("`ref` uuid", "`ref` char(36)"),
        (" character set ascii collate ascii_bin", ""),
        (" character set utf8mb4 collate utf8mb4_0900_bin", ""),
        (" character set utf8mb4 collate utf8mb4_nopad_bin", ""),
        (" collate utf8mb4_0900_bin", ""),
        (" collate utf8mb4_nopad_bin", ""),
        ("default '5'", "default 5"),
        ("default '-2'", "default -2"),
        ("default '1'", "default 1"),
        ("default '1.50'", "default 1.50"),
        ("default '0.50'", "default 0.50"),
        ("check ((`amount` >= 0))", "check `amount` >= 0"),
        ("check ((`name` <> _utf8mb4''))", "check `name` <> ''"),
        ("check (`name` <> '')", "check `name` <> ''"),
        ("check (`amount` >= 0)", "check `amount` >= 0"),
        ("check ((`born` >= _utf8mb4'1900-01-01'))", "check `born` >= '1900-01-01'"),
        ("check (`born` >= '1900-01-01')", "check `born` >= '1900-01-01'"),
        ("check ((`born` >= date'1900-01-01'))", "check `born` >= '1900-01-01'"),
    ] {
        line = line.replace(from, to);
    }
    line
}

fn missing(wanted: &[&str], found: &[String]) -> Vec<String> {
    let found: Vec<String> = found.iter().map(|line| normal(line)).collect();
    let is_there =
        |wanted: &str| found.iter().any(|line| line.split_once(": ").is_some_and(|(_, line)| line == wanted || line.ends_with(wanted)));
    wanted.iter().filter(|wanted| !is_there(wanted)).map(|line| (*line).to_owned()).collect()
}

async fn omitted(world: &World) -> Vec<String> {
    let rows =
        world.target.rows("select concat(kind, ' ', name, ': ', reason) from tidegate.object where state <> 'built' order by 1").await;
    rows.into_iter().filter_map(|mut row| row.remove(0)).collect()
}

async fn cut_over(world: &World, task: &str) {
    let done = wait_for("the cut-over", PATIENCE, async || {
        let answer = world.host.post(&format!("/v1/tasks/{task}/cut-over"), &json!({})).await;
        let state = world.task(task).await;
        assert_ne!(state["status"], "failed", "{}\n{}", state["failure"], world.host.log());
        if answer.status == 200 { Ok(answer.body) } else { Err(answer.body) }
    })
    .await;
    assert!(done["counters_moved"].as_u64().is_some(), "{done}");
}

async fn check_rows(world: &World, tables: &[&str]) {
    let pairs: Vec<TablePair> = tables.iter().map(|table| TablePair::new((world.source.schema(), table), ("copy", table))).collect();
    let found = compare_databases(&world.source.database(), &Database::Mysql(mysql(&world.target)), &pairs).await;
    assert_eq!(found.differences, 0, "{found}");
}

/// Waits until foreign keys and unique indexes stand.
async fn wait_built(world: &World, task: &str, key: &str) {
    wait_for("the last foreign key", PATIENCE, async || {
        let sql = format!(
            "select count(*) from information_schema.referential_constraints where constraint_schema = 'copy' and constraint_name = '{key}'"
        );
        if world.target.value(&sql).await == "1" { Ok(()) } else { Err((world.task(task).await, omitted(world).await)) }
    })
    .await;
}

/// From one source to a target of its own kind and to one of the other.
async fn from_mysql(flavour: MysqlFlavour, only: &str, other: MysqlFlavour) {
    let (source, same, different) = tokio::join!(Source::mysql(flavour), Source::mysql(flavour), Source::mysql(other));
    source.sql(&format!("set session sql_mode = ''; {BOTH}; {only}")).await;
    let source = Arc::new(source);
    let (same, different) = tokio::join!(World::with(source.clone(), Arc::new(same)), World::with(source.clone(), Arc::new(different)));
    for (world, task) in [(&same, "same"), (&different, "different")] {
        world.create_task(task, "full-load-and-cdc", "drop-and-create", json!({})).await;
        let findings = world.host.post(&format!("/v1/tasks/{task}/check"), &json!({})).await.ok();
        assert_eq!(findings["passed"], true, "{findings}");
        world.start_task(task).await;
    }
    for (world, task) in [(&same, "same"), (&different, "different")] {
        world.wait_phase(task, "replicating").await;
    }
    // MySQL tells that a load's moments are behind by as many transactions as sessions can commit at once.
    let inserts: Vec<String> = (1000..1160).map(|id| format!("insert into marker values ({id})")).collect();
    source.sql(&inserts.join("; ")).await;
    for (world, task) in [(&same, "same"), (&different, "different")] {
        wait_built(world, task, "self_up").await;
    }
    for change in CHANGES {
        source.sql(&format!("set session sql_mode = ''; {change}")).await;
    }
    for (world, task) in [(&same, "same"), (&different, "different")] {
        world.wait_level(task).await;
        cut_over(world, task).await;
        check_rows(world, &TABLES).await;
    }
    let (wanted, found) = (definitions(mysql(&source), "test", &TABLES).await, definitions(mysql(&same.target), "copy", &TABLES).await);
    // A quotient depends on the mode of the session that divides, so its column is a plain one with the values; a check
    // inside of a column becomes the table's.
    let is_known = |line: &String| line.contains("`half` decimal(10,4)") || line.contains("`bounded`");
    let told: Vec<String> = differences(&wanted, &found).into_iter().filter(|line| !is_known(line)).collect();
    assert_eq!(told, Vec::<String>::new(), "{:#?}", omitted(&same).await);
    let found = definitions(mysql(&different.target), "copy", &TABLES).await;
    let lost = missing(COMMON_LINES, &found);
    assert!(lost.is_empty(), "{lost:#?}\n{found:#?}\n{:#?}", omitted(&different).await);
    // The next ids are those that the source gives: behind what was replicated and behind what was burnt.
    let insert = "insert into SCHEMA.parent (code) values ('mine'); insert into SCHEMA.child (u, name, never) values (500, 'mine', null);
        insert into SCHEMA.counted (k) values ('mine')";
    source.sql(&insert.replace("SCHEMA", "test")).await;
    let last = "select concat_ws(',', (select max(id) from SCHEMA.parent), (select max(id) from SCHEMA.child), (select max(seq) from SCHEMA.counted))";
    for (world, task) in [(&same, "same"), (&different, "different")] {
        world.stop_task(task).await;
        world.target.sql("delete from copy.parent where code = 'mine'; delete from copy.child where u = 500; delete from copy.counted where k = 'mine'").await;
        world.target.sql(&insert.replace("SCHEMA", "copy")).await;
        let (wanted, found) =
            (source.value(&last.replace("SCHEMA", "test")).await, world.target.value(&last.replace("SCHEMA", "copy")).await);
        let numbers = |text: &str| text.split(',').map(|number| number.parse().expect("a number")).collect::<Vec<u64>>();
        assert!(numbers(&found).iter().zip(numbers(&wanted)).all(|(found, wanted)| *found >= wanted), "{found} {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_schema_arrives_from_mysql_in_mysql_and_mariadb() {
    from_mysql(MysqlFlavour::Mysql97, MYSQL, MysqlFlavour::Mariadb1011).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_schema_arrives_from_mariadb_in_mariadb_and_mysql() {
    from_mysql(MysqlFlavour::Mariadb1011, MARIADB, MysqlFlavour::Mysql97).await;
}

/// PG-042 too: counters stand behind what was replicated and what was burnt.
#[tokio::test(flavor = "multi_thread")]
async fn what_both_understand_arrives_from_postgres_in_mysql_and_mariadb() {
    let (source, one, two) = tokio::join!(
        Source::postgres(PostgresVersion::V17),
        Source::mysql(MysqlFlavour::Mysql97),
        Source::mysql(MysqlFlavour::Mariadb1011)
    );
    source.sql(POSTGRES).await;
    let source = Arc::new(source);
    let (one, mut two) = tokio::join!(World::with(source.clone(), Arc::new(one)), World::with(source.clone(), Arc::new(two)));
    for (world, task) in [(&one, "one"), (&two, "two")] {
        world.create_task(task, "full-load-and-cdc", "drop-and-create", json!({})).await;
        let findings = world.host.post(&format!("/v1/tasks/{task}/check"), &json!({})).await.ok();
        assert_eq!(findings["passed"], true, "{findings}");
        for name in POSTGRES_LISTED {
            assert!(findings.to_string().contains(name), "{name}: {findings}");
        }
        world.start_task(task).await;
    }
    for (world, task) in [(&one, "one"), (&two, "two")] {
        world.wait_phase(task, "replicating").await;
        wait_built(world, task, "item_order").await;
    }
    for change in POSTGRES_CHANGES {
        source.sql(&format!("begin; {change}; commit")).await;
    }
    source.sql("insert into item (sku) values ('e1'); delete from item where sku = 'e1'").await;
    for (world, task) in [(&one, "one"), (&two, "two")] {
        world.wait_level(task).await;
        cut_over(world, task).await;
        check_rows(world, &POSTGRES_TABLES).await;
        let found = definitions(mysql(&world.target), "copy", &POSTGRES_TABLES).await;
        let lost = missing(POSTGRES_LINES, &found);
        assert!(lost.is_empty(), "{lost:#?}\n{found:#?}\n{:#?}", omitted(world).await);
        let events = world.host.get(&format!("/v1/tasks/{task}/events?limit=1000")).await.ok().to_string();
        for name in POSTGRES_LISTED {
            assert!(events.contains(name), "{name}: {events}");
        }
        // Ids of the target are behind every id of the source, written by hand or burnt.
        let insert = "insert into copy.customer (email) values ('mine'); insert into copy.`Order` (customer, place) values (1, 9000);
            insert into copy.item (sku) values ('e1')";
        world.target.sql(insert).await;
        let ids = "select concat_ws(',', (select max(id) from copy.customer), (select max(id) from copy.`Order`), (select max(id) from copy.item))";
        assert_eq!(world.target.value(ids).await, "100001,7778,42");
        world.target.sql("delete from copy.customer where email = 'mine'; delete from copy.`Order` where place = 9000; delete from copy.item where sku = 'e1'").await;
    }

    // A table that others refer to is loaded again, then a kill: neither changes anything.
    let before = definitions(mysql(&two.target), "copy", &POSTGRES_TABLES).await;
    let list = json!({"tables": [{"schema": "public", "table": "customer"}, {"schema": "public", "table": "swap"}]});
    two.host.post("/v1/tasks/two/tables/reload", &list).await.ok();
    for kills in [false, true] {
        if kills {
            two.kill_and_restart().await;
            two.wait_phase("two", "replicating").await;
        }
        cut_over(&two, "two").await;
        let after = definitions(mysql(&two.target), "copy", &POSTGRES_TABLES).await;
        let is_position = |line: &String| line.contains("AUTO_INCREMENT=");
        let differences: Vec<String> = differences(&before, &after).into_iter().filter(|line| !is_position(line)).collect();
        assert_eq!(differences, Vec::<String>::new());
        check_rows(&two, &POSTGRES_TABLES).await;
    }
}

/// Killed again and again while indexes are built, names that two tables have alike, and DMS's minimum.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_build_in_mysql_goes_on_and_a_setting_keeps_objects_away() {
    let (source, target) = tokio::join!(Source::postgres(PostgresVersion::V17), Source::mysql(MysqlFlavour::Mysql97));
    let mut world = World::between(source, target).await;
    let columns: Vec<String> = (0..16).map(|number| format!("c{number} int default {number}")).collect();
    let indexes: Vec<String> = (0..16).map(|number| format!("create index wide_c{number} on wide (c{number})")).collect();
    world
        .source_sql(&format!(
            "create table wide (id int primary key, u int unique, {}); {}; insert into wide (id, u) select g, -g from generate_series(1, 30000) g;
             create table one (id int primary key, w int constraint alike references wide, n int constraint sound check (n > 0));
             create table two (id int primary key, w int constraint alike references wide on delete cascade, n int constraint sound check (n > 1));
             create table marker (id integer primary key); insert into one values (1, 1, 1); insert into two values (1, 2, 2)",
            columns.join(", "),
            indexes.join("; ")
        ))
        .await;
    world.create_task("all", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("all").await;
    let mut kills = 0;
    for wanted in [1, 6] {
        let count = "select count(*) from information_schema.statistics where table_schema = 'copy' and table_name = 'wide' and index_name like 'wide\\_c%'";
        let built = wait_for("some indexes", PATIENCE, async || {
            let built = world.target.value(count).await.parse().unwrap_or(0);
            if built >= wanted { Ok(built) } else { Err(built) }
        })
        .await;
        kills += u32::from(built < 16);
        world.kill_and_restart().await;
    }
    assert!(kills >= 1, "the builds were too fast to be killed: {kills}");
    world.wait_phase("all", "replicating").await;
    world.source_sql("delete from wide where id = 2; update wide set u = 2 where id = 3").await;
    world.wait_level("all").await;
    cut_over(&world, "all").await;
    let found = definitions(mysql(&world.target), "copy", &["wide", "one", "two"]).await;
    let having = |text: &str| found.iter().filter(|line| line.contains(text)).count();
    assert_eq!((having(" KEY `wide_c"), having("UNIQUE KEY"), having("DEFAULT '")), (16, 1, 16), "{found:#?}");
    assert_eq!(
        (having("FOREIGN KEY"), having("CONSTRAINT `alike`"), having("CHECK"), having("CONSTRAINT `sound`")),
        (2, 1, 2, 1),
        "{found:#?}"
    );
    assert_eq!(omitted(&world).await, Vec::<String>::new());
    check_rows(&world, &["wide", "one", "two"]).await;
    world.stop_task("all").await;

    world.create_task("least", "full-load", "drop-and-create", json!({"schema": "minimal"})).await;
    let findings = world.host.post("/v1/tasks/least/check", &json!({})).await.ok();
    assert!(findings["passed"] == true && !findings.to_string().contains("not_carried"), "{findings}");
    world.start_task("least").await;
    world.wait_stopped("least").await;
    let found = definitions(mysql(&world.target), "copy", &["wide", "one", "two"]).await;
    let more = |line: &&String| line.contains("CONSTRAINT") || line.contains(" KEY `") || line.contains("DEFAULT '");
    assert_eq!(found.iter().find(more), None);
    check_rows(&world, &["wide", "one", "two"]).await;
}
