//! Changes that do not find in the target what the source had, where the policy is to go on.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate_harness::wait_for;

use crate::pair::{PATIENCE, Pair};
use crate::policies::{running, wait_stages};

const ALL: &str = "select id, n, word from NAME_copy.p order by id";

pub(crate) async fn conflicts_go_by_their_policy(pair: &Pair<'_>) {
    tokio::join!(
        logged_conflicts_wait_for_a_change_or_a_replay(pair),
        policies_of_inserts_and_updates_differ(pair),
        updates_are_made_to_hold(pair),
        so_many_suspend(pair),
        a_dozen_tables_of_one_transaction_are_settled(pair, "dozenkept", json!({"insert_conflict": "log"})),
        a_dozen_tables_of_one_transaction_are_settled(pair, "dozenmade", json!({"insert_conflict": "upsert"}))
    );
}

/// What the error table has, as `operation key`.
async fn wait_errors(pair: &Pair<'_>, name: &str, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|entry| (*entry).to_owned()).collect();
    wait_for(&format!("errors of {name} to be {wanted:?}"), PATIENCE, async || {
        let page = pair.world.host.get(&format!("/v1/tasks/{name}/errors?limit=20&after=0")).await.ok();
        let all = page["errors"].as_array().cloned().unwrap_or_default();
        let in_short = |entry: &Value| format!("{} {}", entry["operation"].as_str().unwrap_or_default(), entry["key"]["id"]);
        let found: BTreeSet<String> = all.iter().map(in_short).collect();
        let is_conflict = all.iter().all(|entry| entry["code"] == "target_diverged");
        if found == wanted && is_conflict { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
}

async fn logged_conflicts_wait_for_a_change_or_a_replay(pair: &Pair<'_>) {
    let all = ALL.replace("NAME", "settled");
    running(pair, "settled", json!({"row_errors": {"conflict": "log"}})).await;
    pair.target.sql("insert into settled_copy.p values (3, 0, 'x'); delete from settled_copy.p where id = 1").await;
    pair.source
        .sql(
            "begin; insert into settled.p values (3, 3, 'c'); update settled.p set n = 10 where id = 1; insert into settled.p values (4, 4, 'd'); \
              update settled.p set n = 20 where id = 2; commit",
        )
        .await;
    pair.wait(&all, "2,20,b|3,0,x|4,4,d").await;
    wait_errors(pair, "settled", &["insert 3", "update 1"]).await;
    // Changes that tell the whole row.
    pair.source.sql("update settled.p set n = 30 where id = 3; update settled.p set n = 11 where id = 1").await;
    pair.wait(&all, "1,11,a|2,20,b|3,30,c|4,4,d").await;
    wait_errors(pair, "settled", &[]).await;

    // Keys that move: from a row that is not there, and to one that is.
    pair.target.sql("delete from settled_copy.p where id = 4; insert into settled_copy.p values (50, 0, 't')").await;
    pair.source.sql("begin; update settled.p set id = 40 where id = 4; insert into settled.p values (5, 5, 'e'); commit").await;
    pair.source.sql("begin; update settled.p set id = 50 where id = 2; insert into settled.p values (6, 6, 'f'); commit").await;
    pair.wait(&all, "1,11,a|2,20,b|3,30,c|5,5,e|6,6,f|50,0,t").await;
    wait_errors(pair, "settled", &["update 40", "delete 2", "update 50"]).await;
    let replayed = pair.world.host.post("/v1/tasks/settled/errors/replay", &json!({})).await.ok();
    assert_eq!(replayed, json!({"replayed": 3, "rejected": 0, "left": 0}));
    assert_eq!(pair.ask(&all).await.as_deref(), Ok("1,11,a|3,30,c|5,5,e|6,6,f|40,4,d|50,20,b"));
}

async fn policies_of_inserts_and_updates_differ(pair: &Pair<'_>) {
    let all = ALL.replace("NAME", "divided");
    running(pair, "divided", json!({"row_errors": {"insert_conflict": "upsert", "update_conflict": "ignore"}})).await;
    pair.target.sql("insert into divided_copy.p values (3, 0, 'x'); delete from divided_copy.p where id = 1").await;
    pair.source
        .sql(
            "begin; insert into divided.p values (3, 3, 'c'); update divided.p set n = 10 where id = 1; insert into divided.q values (3); commit",
        )
        .await;
    pair.wait("select count(*) from divided_copy.q", "1").await;
    assert_eq!(pair.ask(&all).await.as_deref(), Ok("2,2,b|3,3,c"));
    wait_errors(pair, "divided", &[]).await;
    // Another unique key's value is no conflict of the row, and stops the task.
    pair.target.sql("create unique index word on divided_copy.p (word)").await;
    pair.source.sql("insert into divided.p values (7, 7, 'b')").await;
    assert_eq!(pair.world.wait_failed("divided").await["code"], "target_diverged");
}

async fn updates_are_made_to_hold(pair: &Pair<'_>) {
    let all = ALL.replace("NAME", "forced");
    running(pair, "forced", json!({"row_errors": {"insert_conflict": "ignore", "update_conflict": "upsert"}})).await;
    pair.target
        .sql("delete from forced_copy.p where id = 1; insert into forced_copy.p values (50, 0, 'x'), (60, 0, 'y'), (3, 0, 'z')")
        .await;
    // A row that is not there, keys that come to a row that is, the second from one that is not.
    pair.source
        .sql("begin; update forced.p set n = 10 where id = 1; insert into forced.p values (3, 3, 'c'); insert into forced.p values (4, 4, 'd'); commit")
        .await;
    pair.wait(&all, "1,10,a|2,2,b|3,0,z|4,4,d|50,0,x|60,0,y").await;
    pair.target.sql("delete from forced_copy.p where id = 4").await;
    pair.source.sql("begin; update forced.p set id = 50 where id = 2; update forced.p set id = 60 where id = 4; commit").await;
    pair.wait(&all, "1,10,a|3,0,z|50,2,b|60,4,d").await;
    wait_errors(pair, "forced", &[]).await;
}

async fn so_many_suspend(pair: &Pair<'_>) {
    let settings = json!({"row_errors": {"conflict": "log", "conflict_escalation_count": 2, "conflict_escalation": "suspend-table"}});
    running(pair, "repeated", settings).await;
    pair.target.sql("delete from repeated_copy.p").await;
    pair.source.sql("begin; update repeated.p set n = 10 where id = 1; insert into repeated.q values (1); commit").await;
    pair.wait("select count(*) from repeated_copy.q", "1").await;
    wait_stages(pair, "repeated", &["completed", "completed"]).await;
    pair.source.sql("begin; update repeated.p set n = 10 where id = 2; insert into repeated.q values (2); commit").await;
    wait_stages(pair, "repeated", &["failed", "completed"]).await;
    pair.wait("select count(*) from repeated_copy.q", "2").await;
}

/// More tables than a group has searches for rows at fault: settling conflicts is none.
async fn a_dozen_tables_of_one_transaction_are_settled(pair: &Pair<'_>, name: &str, row_errors: Value) {
    const TABLES: usize = 12;
    let definitions: Vec<String> = (0..TABLES).map(|number| format!("p{number} (id int primary key, n int)")).collect();
    let definitions: Vec<&str> = definitions.iter().map(String::as_str).collect();
    pair.prepare(name, &definitions, &definitions).await;
    let is_kept = row_errors["insert_conflict"] == "log";
    pair.start(name, json!({ "row_errors": row_errors })).await;
    pair.world.wait_phase(name, "replicating").await;
    let each = |sql: &str| (0..TABLES).map(|number| sql.replace("PLACE", &number.to_string())).collect::<Vec<_>>();
    pair.target.sql(&each(&format!("insert into {name}_copy.pPLACE values (3, 0)")).join("; ")).await;
    let changes = each(&format!("insert into {name}.pPLACE values (3, 3); insert into {name}.pPLACE values (4, 4)")).join("; ");
    pair.source.sql(&format!("begin; {changes}; commit")).await;

    let all = each(&format!("select PLACE as number, id, n from {name}_copy.pPLACE")).join(" union all ") + " order by number, id";
    let wanted = each(if is_kept { "PLACE,3,0|PLACE,4,4" } else { "PLACE,3,3|PLACE,4,4" }).join("|");
    pair.wait(&all, &wanted).await;
    let page = pair.world.host.get(&format!("/v1/tasks/{name}/errors?limit=20&after=0")).await.ok();
    let rejected: BTreeSet<&str> = page["errors"].as_array().into_iter().flatten().filter_map(|entry| entry["table"].as_str()).collect();
    assert_eq!(rejected.len(), if is_kept { TABLES } else { 0 }, "{page}");
}
