//! From MySQL and MariaDB to PostgreSQL: what both understand arrives, the rest is listed by name.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::catalogue::catalogue;
use tidegate_harness::{Database, MysqlFlavour, TablePair, compare_databases, wait_for};

use crate::world::{Source, World};

const PATIENCE: Duration = Duration::from_secs(180);

const SCHEMA: &str = "
create table parent (id bigint unsigned not null auto_increment primary key, code varchar(20) character set utf8mb4 not null, unique key code (code))
    comment = 'the parent''s';
create table child (id int not null auto_increment primary key, parent bigint unsigned, n int default 5, amount decimal(8,2) not null default 1.50,
    name varchar(30) default 'it''s', state enum('a','b') default 'b', flags set('x','y') default 'x,y', bits bit(8) default b'101',
    at datetime(3) default current_timestamp(3), touched timestamp not null default current_timestamp on update current_timestamp,
    day date default '2020-01-31', big varchar(700), body text, u int, ci varchar(9), raw varbinary(4) default 'ab',
    key child_n (n desc, u), unique key child_u (u), key child_prefix (body(10)), fulltext key child_words (name), key child_big (big),
    constraint child_parent foreign key (parent) references parent (id) on delete restrict,
    constraint small check (n between 0 and 9 or n is null), constraint paid check (amount >= 0), constraint ci_check check (ci <> 'x'),
    constraint call_check check (char_length(name) > 1));
create table self (id int primary key, up int, constraint self_up foreign key (up) references self (id));
create table marker (id integer primary key);
insert into parent (id, code) values (1, 'one'), (2, 'two'), (50, 'fifty');
insert into child (parent, u, name) values (1, 1, 'xx'), (2, 2, 'yy'), (50, 3, 'zz');
insert into self values (1, null), (2, 1)";

/// Lines of the target's catalogue.
const WANTED: &[&str] = &[
    "index CREATE UNIQUE INDEX parent_code ON copy.parent USING btree (code) valid true",
    "index CREATE INDEX child_child_n ON copy.child USING btree (n DESC, u) valid true",
    "index CREATE UNIQUE INDEX child_child_u ON copy.child USING btree (u) valid true",
    "constraint child child_parent FOREIGN KEY (parent) REFERENCES copy.parent(id) ON UPDATE RESTRICT ON DELETE RESTRICT valid t",
    "constraint child small CHECK ((((n >= 0) AND (n <= 9)) OR (n IS NULL))) valid t",
    "constraint child paid CHECK ((amount >= (0)::numeric)) valid t",
    "constraint self self_up FOREIGN KEY (up) REFERENCES copy.self(id) valid t",
    "table parent comment the parent's",
    "column child.id integer not null default - identity d generated  collate - comment -",
    "column child.n integer default 5 identity  generated  collate - comment -",
    "column child.amount numeric(8,2) not null default 1.50 identity  generated  collate - comment -",
    "column child.name character varying(30) default 'it''s'::character varying identity  generated  collate - comment -",
    "column child.flags text[] default '{x,y}'::text[] identity  generated  collate - comment -",
    "column child.bits bit(8) default '00000101'::\"bit\" identity  generated  collate - comment -",
    "column child.day date default '2020-01-31'::date identity  generated  collate - comment -",
];

/// What has no like in PostgreSQL, by name.
const LISTED: &[&str] = &["touched on update", "child_prefix", "child_words", "child_big", "ci_check", "call_check", "\\\"raw\\\""];

/// Whether a line says the same, as far as engines and their mapping of types agree on it.
fn normal(line: &str) -> String {
    // The two servers name different default actions, which mean the same; literals may be printed with their type.
    let line = line.replace(" ON UPDATE RESTRICT", "").replace(" ON DELETE RESTRICT", "").replace(" ON UPDATE NO ACTION", "");
    line.replace("default '5'::integer", "default 5").replace("default '1.50'::numeric", "default 1.50")
}

async fn what_both_understand_arrives(flavour: MysqlFlavour) {
    let world = World::start(Source::mysql(flavour).await, tidegate_harness::PostgresVersion::V18).await;
    let Source::Postgres(target) = &*world.target else { unreachable!("the target is PostgreSQL") };
    world.source_sql(SCHEMA).await;
    world.create_task("all", "full-load-and-cdc", "drop-and-create", json!({})).await;
    let findings = world.host.post("/v1/tasks/all/check", &json!({})).await.ok();
    assert_eq!(findings["passed"], true, "{findings}");
    for name in LISTED {
        assert!(findings.to_string().contains(name), "{name}: {findings}");
    }
    world.start_task("all").await;
    world.wait_phase("all", "replicating").await;
    // Unique indexes and foreign keys come when the stream has passed the load's moments. MySQL's may be as many
    // transactions away as sessions can commit at once.
    let inserts: Vec<String> = (1000..1160).map(|id| format!("insert into marker values ({id})")).collect();
    world.source_sql(&inserts.join("; ")).await;
    wait_for("every wanted object", PATIENCE, async || {
        let found: Vec<String> = catalogue(target, "copy").await.iter().map(|line| normal(line)).collect();
        let missing: Vec<&&str> = WANTED.iter().filter(|line| !found.contains(&normal(line))).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:#?}\n{found:#?}\n{}", world.task("all").await)) }
    })
    .await;

    // Values of a unique key change hands, a child comes before its parent, and a parent's key is given by hand.
    for change in [
        "begin; update child set u = null where u = 1; update child set u = 1 where u = 2; update child set u = 2 where u is null; commit",
        "begin; update child set u = 0 where u = 3; update child set u = 3 where u = 1; update child set u = 1 where u = 0; delete from child where u = 2;
         insert into child (u, name) values (2, 'new'); commit",
        "set foreign_key_checks = 0; begin; insert into child (parent, u, name) values (99, 9, 'early'); insert into parent (id, code) values (99, 'late'); commit",
        "begin; delete from self where id = 2; update self set up = 1 where id = 1; commit",
        "insert into parent (id, code) values (1000, 'far'); delete from parent where id = 1000",
        "begin; insert into child (u, name) values (77, 'burnt'); rollback",
    ] {
        world.source_sql(change).await;
    }
    world.wait_level("all").await;
    let done = wait_for("the cut-over", PATIENCE, async || {
        let answer = world.host.post("/v1/tasks/all/cut-over", &json!({})).await;
        if answer.status == 200 { Ok(answer.body) } else { Err((answer.body, world.task("all").await)) }
    })
    .await;
    assert!(done["counters_moved"].as_u64().is_some(), "{done}");
    let pairs: Vec<TablePair> = ["parent", "child", "self"].map(|table| TablePair::new(("test", table), ("copy", table))).to_vec();
    let Source::Mysql(source) = &*world.source else { unreachable!("the source is MySQL") };
    let found = compare_databases(&Database::Mysql(source), &Database::Postgres(target), &pairs).await;
    assert_eq!(found.differences, 0, "{found}");

    // The next ids are those that the source would give: behind what was replicated and behind what was burnt.
    world.target.sql("insert into copy.parent (code) values ('mine'); insert into copy.child (u, name) values (500, 'mine')").await;
    world.source_sql("insert into parent (code) values ('mine'); insert into child (u, name) values (500, 'mine')").await;
    for table in ["parent", "child"] {
        let (wanted, found) = (
            world.source.value(&format!("select max(id) from {table}")).await,
            world.target.value(&format!("select max(id) from copy.{table}")).await,
        );
        assert_eq!(found, wanted, "{table}");
    }
    let events = world.host.get("/v1/tasks/all/events?limit=1000").await.ok().to_string();
    for name in LISTED {
        assert!(events.contains(name), "{name}: {events}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_understand_arrives_from_mysql() {
    what_both_understand_arrives(MysqlFlavour::Mysql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_understand_arrives_from_mariadb() {
    what_both_understand_arrives(MysqlFlavour::Mariadb1011).await;
}
