//! XA transactions of MySQL and MariaDB in a whole task: they arrive at their COMMIT, once, whatever lies between it and the PREPARE.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion};

use crate::world::{Source, World};

/// A session of the source's.
async fn session(world: &World) -> Conn {
    match &*world.source {
        Source::Mysql(server) => server.client().await,
        Source::Postgres(_) => panic!("PostgreSQL has other statements"),
    }
}

/// Prepares a transaction, which its session is to end.
async fn prepare(world: &World, name: &str, statements: &[&str]) -> Conn {
    let mut conn = session(world).await;
    let [start, end, prepare] = ["start", "end", "prepare"].map(|step| format!("xa {step} '{name}'"));
    for sql in [&[&start[..]], statements, &[&end, &prepare]].concat() {
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    conn
}

async fn end(mut session: Conn, sql: &str) {
    session.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn check(flavour: MysqlFlavour, target: Source) {
    let [copied, noted] = match &target {
        Source::Postgres(_) => ["string_agg(id || ':' || v, ' ' order by id)", "string_agg(note, ' ' order by note)"],
        Source::Mysql(_) => ["group_concat(id, ':', v order by id separator ' ')", "group_concat(note order by note separator ' ')"],
    };
    let copied = &*format!("select {copied} from copy.x");
    let mut world = World::between(Source::mysql(flavour).await, target).await;
    world
        .source_sql(
            "create table x (id int primary key, v int); create table log (note varchar(20)); create table marker (id int primary key);
             insert into x values (1, 0), (2, 0), (3, 0); insert into log values ('first')",
        )
        .await;
    // Prepared before the load, which cannot see it.
    let before = prepare(&world, "before", &["update x set v = 1 where id = 1", "insert into x values (10, 1)"]).await;
    world.create_task("xa", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("xa").await;
    world.wait_level("xa").await;
    let held = prepare(
        &world,
        "held",
        &["update x set v = 2 where id = 2", "insert into x values (11, 2), (12, 2)", "insert into log values ('held')"],
    )
    .await;
    let void = prepare(&world, "void", &["delete from x where id = 3", "insert into log values ('void')"]).await;
    world.wait_level("xa").await;
    assert_eq!(world.target.value(copied).await, "1:0 2:0 3:0", "nothing of what is only prepared: {flavour:?}");
    world.kill_and_restart().await;
    world.wait_level("xa").await;
    end(before, "xa commit 'before'").await;
    end(void, "xa rollback 'void'").await;
    world.wait_level("xa").await;
    assert_eq!(world.target.value(copied).await, "1:1 2:0 3:0 10:1", "{flavour:?}");
    // Both ends come while nobody reads.
    let later = prepare(&world, "later", &["insert into x values (13, 3)", "insert into log values ('later')"]).await;
    world.wait_level("xa").await;
    world.host.kill().await;
    world.source_sql("flush binary logs").await;
    end(later, "xa commit 'later'").await;
    end(held, "xa commit 'held'").await;
    world.source_sql("flush binary logs").await;
    world.host.restart().await;
    world.wait_level("xa").await;
    world.kill_and_restart().await;
    world.wait_level("xa").await;
    assert_eq!(world.target.value(copied).await, "1:1 2:2 3:0 10:1 11:2 12:2 13:3", "{flavour:?}");
    let notes = world.target.value(&format!("select {noted} from copy.log")).await;
    assert_eq!(notes, "first held later", "each once in a table without a key: {flavour:?}");
}

async fn postgres() -> Source {
    Source::postgres(PostgresVersion::V17).await
}

#[tokio::test(flavor = "multi_thread")]
async fn xa_transactions_arrive_once_after_kills_between_prepare_and_commit_from_mysql() {
    check(MysqlFlavour::Mysql97, postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xa_transactions_arrive_once_after_kills_between_prepare_and_commit_from_mariadb() {
    check(MysqlFlavour::Mariadb1011, postgres().await).await;
    check(MysqlFlavour::Mariadb118, postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xa_transactions_arrive_once_after_kills_between_prepare_and_commit_between_mysql_and_mariadb() {
    check(MysqlFlavour::Mysql97, Source::mysql(MysqlFlavour::Mariadb118).await).await;
    check(MysqlFlavour::Mariadb1011, Source::mysql(MysqlFlavour::Mysql97).await).await;
}
