//! A deletion that has to wait goes on when it can, whatever happens to other tasks meanwhile.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::{PostgresVersion, wait_for};

use crate::world::{Source, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_under_way_is_not_begun_again_when_another_task_changes() {
    let world = World::start(Source::postgres(PostgresVersion::V15).await, PostgresVersion::V17).await;
    world.source_sql("create table item (id integer primary key); insert into item values (1)").await;
    world.create_task("going", "full-load-and-cdc", "drop-and-create", json!({})).await;
    world.start_task("going").await;
    world.wait_phase("going", "replicating").await;
    world.stop_task("going").await;
    world.create_task("staying", "cdc", "do-nothing", json!({})).await;

    let holder = world.target_client().await;
    holder.batch_execute("begin; select 1 from tidegate.checkpoint where task = 'going' for update").await.expect("the row is there");
    let cleaners = async || {
        let found =
            world.target.rows("select pid from pg_stat_activity where application_name ~ ' forget ' and wait_event_type = 'Lock'").await;
        found.into_iter().flatten().flatten().collect::<Vec<String>>()
    };
    let hold = async || {
        let first = wait_for("the deletion to wait", Duration::from_secs(60), async || {
            let found = cleaners().await;
            if found.len() == 1 { Ok(found) } else { Err(found) }
        })
        .await;
        // Changes of its state, of which each has the host look at every task.
        world.start_task("staying").await;
        world.wait_phase("staying", "replicating").await;
        let now = cleaners().await;
        holder.batch_execute("rollback").await.expect("the row is let go");
        (first, now)
    };
    let (deleted, (first, now)) = tokio::join!(world.host.delete("/v1/tasks/going"), hold());
    assert_eq!(first, now, "sessions that clean up");
    assert_eq!(deleted.status, 204, "{}", deleted.body);
}
