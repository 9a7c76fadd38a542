//! Columns that move where the stream does not come to the statement: the catalog tells, and the target has them in their order.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::json;
use tidegate_harness::{MysqlFlavour, PostgresVersion, wait_for};

use crate::world::{Source, World};

async fn columns_moved_behind_the_log_have_their_new_order(flavour: MysqlFlavour) {
    let world = World::start(Source::mysql(flavour).await, PostgresVersion::V17).await;
    let schema = world.source.schema();
    world.source_sql("create table item (id int primary key, a int, b int); insert into item values (1, 2, 3)").await;
    world.create_task("moved", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("moved").await;
    world.wait_phase("moved", "replicating").await;
    world.stop_task("moved").await;
    let Source::Mysql(server) = world.source.as_ref() else { unreachable!("the source is MySQL or MariaDB") };
    // As a statement that stands before the load's windows: nobody reads it.
    let mut unlogged = server.client().await;
    unlogged.query_drop("set sql_log_bin = 0").await.expect("leave the log");
    unlogged.query_drop(format!("alter table {schema}.item modify column a int after b")).await.expect("move a column");
    world.source_sql("insert into item (id, a, b) values (4, 5, 6)").await;
    world.start_task("moved").await;

    let order = "select string_agg(column_name, ' ' order by ordinal_position) from information_schema.columns \
                 where table_schema = 'copy' and table_name = 'item'";
    wait_for("the columns to have their new order", Duration::from_secs(60), async || {
        let found = world.target.value(order).await;
        if found == "id b a" { Ok(()) } else { Err(found) }
    })
    .await;
    world.wait_target_count("item", 2).await;
    assert_eq!(world.target.value("select string_agg(concat_ws(' ', id, a, b), ', ' order by id) from copy.item").await, "1 2 3, 4 5 6");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_moved_behind_the_log_arrive_in_their_order_from_mysql() {
    columns_moved_behind_the_log_have_their_new_order(MysqlFlavour::Mysql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_moved_behind_the_log_arrive_in_their_order_from_mariadb() {
    columns_moved_behind_the_log_have_their_new_order(MysqlFlavour::Mariadb118).await;
}
