//! A reload of one table that was accepted is carried out, whatever comes next.

use serde_json::json;
use tidegate_harness::{PostgresVersion, wait_for};

use crate::world::{Source, World};

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_reload_survives_an_immediate_stop_and_an_immediate_kill() {
    let mut world = World::start(Source::postgres(PostgresVersion::V15).await, PostgresVersion::V17).await;
    world.source_sql("create table item (id integer primary key); insert into item select generate_series(1, 1000)").await;
    world.create_task("again", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("again").await;
    for kill in [false, true] {
        world.wait_phase("again", "replicating").await;
        // Rows that only a load brings back: the log has nothing of them.
        world.target.sql("delete from copy.item where id > 10").await;
        world.host.post("/v1/tasks/again/tables/reload", &json!({"tables": [{"schema": "public", "table": "item"}]})).await.ok();
        if kill {
            world.kill_and_restart().await;
        } else {
            world.host.post("/v1/tasks/again/stop", &json!({})).await.ok();
            world.wait_stopped("again").await;
            world.start_task("again").await;
        }
        wait_for("the rows to be loaded again", std::time::Duration::from_secs(60), async || {
            let found = world.target.value("select count(*) from copy.item").await;
            if found == "1000" { Ok(()) } else { Err(found) }
        })
        .await;
    }
}
