//! A module that a tenant uploaded, from upload to rows.

use serde_json::{Value, json};
use tidegate_harness::process::root_dir;
use tidegate_harness::{PostgresVersion, wait_for};

use crate::row_errors::picky;
use crate::world::{Source, World};

async fn upload(world: &World, name: &str, file: &str) -> Value {
    let bytes = std::fs::read(root_dir().join("target/guests").join(file)).expect("the guests are built; run cargo xtask guests");
    world.host.put_bytes(&format!("/v1/modules/{name}"), bytes).await.ok()
}

async fn wait_email(world: &World, id: u32) -> String {
    wait_for("the row", std::time::Duration::from_secs(60), async || {
        let task = world.task("masked").await;
        assert_ne!(task["status"], "failed", "{}", task["failure"]);
        match world.target.rows(&format!("select email from copy.customer where id = {id}")).await.first() {
            Some(row) => Ok(row[0].clone().unwrap_or_default()),
            None => Err(task["phase"].clone()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_keeps_the_module_version_that_it_began_with() {
    let world = World::start(Source::postgres(PostgresVersion::V15).await, PostgresVersion::V17).await;
    world
        .source_sql("create table customer (id integer primary key, email text); insert into customer values (1, 'ada@example.org')")
        .await;
    let first = upload(&world, "mask-email", "mask-email.wasm").await;
    let rule = json!({"rule-type": "module", "rule-id": "7", "rule-name": "mask", "module": "mask-email",
        "object-locator": {"schema-name": "public", "table-name": "customer"},
        "config": {"columns": ["email"], "key": "a key of the test's own, long enough"}});
    world.create_task_with("masked", "full-load-and-cdc", "drop-and-create", json!({}), vec![rule]).await;
    world.start_task("masked").await;
    world.wait_phase("masked", "replicating").await;
    let pseudonym = wait_email(&world, 1).await;
    assert!(pseudonym.len() == 64 && !pseudonym.contains('@'), "{pseudonym}");

    // Another program under the same name, which would fail on every row.
    let second = upload(&world, "mask-email", "hostile.wasm").await;
    assert_ne!(first["digest"], second["digest"]);
    world.host.post("/v1/tasks/masked/stop", &json!({})).await.ok();
    world.wait_stopped("masked").await;
    world.source_sql("insert into customer values (2, 'ada@example.org')").await;
    world.start_task("masked").await;
    assert_eq!(wait_email(&world, 2).await, pseudonym);
    world.stop_task("masked").await;
    a_module_reads_what_another_one_copied_under_another_type_or_set(&world).await;
    a_task_refuses_a_mask_by_the_host_as_a_test_of_the_module_does(&world).await;
}

async fn a_task_refuses_a_mask_by_the_host_as_a_test_of_the_module_does(world: &World) {
    let refusal = "column \"note\" is to be masked by the host, which this host does not do; let the row function compute the column, or a \
                   rule whose action is one of data-masking";
    world.source_sql("create table item_c (id bigint primary key, note text)").await;
    world.host.put_bytes("/v1/modules/masker", picky(b'8')).await.ok();
    let table = json!({"schema": "public", "name": "item_c", "primary_key": ["id"],
        "columns": [{"name": "id", "type": "int64", "nullable": false}, {"name": "note", "type": "text"}]});
    let tested = world.host.post("/v1/modules/masker/test", &json!({"table": table, "rows": [{"id": 1, "note": "in clear"}]})).await;
    let detail = tested.body["detail"].as_str().unwrap_or_default();
    assert!(tested.status == 422 && detail.contains(refusal), "{}", tested.body);
    let rule = json!({"rule-type": "module", "rule-id": "7", "rule-name": "masker", "module": "masker",
        "object-locator": {"schema-name": "public", "table-name": "item_c"}});
    world.create_task_with("masker", "full-load-and-cdc", "do-nothing", json!({}), vec![rule]).await;
    world.start_task("masker").await;
    let failure = world.wait_failed("masker").await;
    assert!(failure["message"].as_str().is_some_and(|message| message.contains(refusal)), "{failure}");
    assert!(!world.target.has_table("copy", "item_c").await);
}

async fn a_module_reads_what_another_one_copied_under_another_type_or_set(world: &World) {
    world.target.sql("drop schema copy cascade").await;
    world.source_sql("create table item (id bigint primary key); insert into item values (1), (2)").await;
    let rules = [("6", "copier", b'6'), ("7", "reader", b'7')].map(|(id, name, behaviour)| {
        (
            name,
            picky(behaviour),
            json!({"rule-type": "module", "rule-id": id, "rule-name": name, "module": name,
                "object-locator": {"schema-name": "public", "table-name": "item"}}),
        )
    });
    for (name, bytes, _) in &rules {
        world.host.put_bytes(&format!("/v1/modules/{name}"), bytes.clone()).await.ok();
    }
    let rules = rules.map(|(_, _, rule)| rule).to_vec();
    world.create_task_with("chained", "full-load-and-cdc", "drop-and-create", json!({}), rules).await;
    world.start_task("chained").await;
    world.wait_phase("chained", "replicating").await;
    world.source_sql("insert into item values (-3); update item set id = 4 where id = 2").await;
    wait_for("rows that say what was read", std::time::Duration::from_secs(60), async || {
        let task = world.task("chained").await;
        assert_ne!(task["status"], "failed", "{}", task["failure"]);
        let rows = world.target.rows("select concat_ws(', ', id, code, three, shown) from copy.item order by id").await;
        let found = rows.into_iter().flatten().flatten().collect::<Vec<_>>();
        if found == ["-3, -3, 3, -3 and 3", "1, 1, 3, 1 and 3", "4, 4, 3, 4 and 3"] { Ok(()) } else { Err(found) }
    })
    .await;
    world.stop_task("chained").await;
}
