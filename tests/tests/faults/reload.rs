//! A reload of tables that dies half-way.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::rig::{Rig, seed, times};

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_killed_half_way_ends_equal() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut rig = Rig::replicating(60_000, json!({"chunk_rows": 1000, "load_lanes": 2})).await;
    let writers = rig.write(2, Duration::from_millis(10));
    let tables = json!({"tables": [{"schema": "public", "table": "fill"}, {"schema": "public", "table": "ledger"}]});
    let (kills, mut half_way) = (times(6), 0);
    for _ in 0..kills {
        writers.wait_more(30).await;
        rig.host.process.post("/v1/tasks/t/tables/reload", &tables).await.ok();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1200))).await;
        rig.host.process.kill().await;
        let state = "select count(*) from tidegate.table_state where task = 't' and state = 'loading'";
        half_way += u64::from(rig.target.value(state).await != "0");
        rig.host.process.restart().await;
        rig.source.sql("update fill set a = a + 1 where id % 7 = 0; delete from fill where id % 1013 = 0").await;
        rig.host.wait_phase("replicating").await;
    }
    println!("{} transactions, {half_way} of {kills} kills met a reload", writers.stop().await);
    // The stream of the other tables goes on during a reload, so the marker alone does not tell that it is over.
    tidegate_harness::wait_for("the tables to be loaded", crate::rig::PATIENCE, async || {
        let unloaded = "select coalesce(string_agg(table_name || ' ' || state, ', '), '') from tidegate.table_state where task = 't' and state <> 'loaded'";
        let states = rig.target.value(unloaded).await;
        if states.is_empty() { Ok(()) } else { Err(states) }
    })
    .await;
    rig.wait_level(&rig.host).await;
    rig.assert_equal().await;
    assert!(half_way > 0, "no kill met a reload");
}
