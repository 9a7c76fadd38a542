//! What the policies for rows and tables do in the target, each by its name. Rows are logged in `control_tables`.

use serde_json::{Value, json};
use tidegate_harness::wait_for;

use crate::conflicts::conflicts_go_by_their_policy;
use crate::pair::{PATIENCE, Pair};
use crate::runs::events;

const SOURCE: [&str; 2] = ["p (id int primary key, n int, word varchar(40))", "q (id int primary key)"];
const TARGET: [&str; 2] = ["p (id int primary key, n int, word varchar(3), check (n >= 0))", "q (id int primary key)"];

pub(crate) async fn row_policies_do_what_their_names_say(pair: &Pair<'_>) {
    tokio::join!(
        ignored_rows_are_left_out_and_not_listed(pair),
        a_row_at_fault_suspends_its_table_and_no_other(pair),
        a_row_at_fault_stops_the_task(pair),
        values_too_long_have_a_policy_of_their_own(pair),
        so_many_rows_at_fault_suspend_their_table(pair),
        conflicts_are_settled_by_the_change(pair),
        a_conflict_stops_the_task(pair),
        a_delete_that_finds_nothing_is_no_conflict_where_that_is_said(pair),
        what_a_mask_cannot_mask_follows_a_policy_of_its_own(pair),
        conflicts_go_by_their_policy(pair),
    );
}

/// The task runs, and its first two rows are in the target.
pub(crate) async fn running(pair: &Pair<'_>, name: &str, settings: Value) {
    pair.prepare(name, &SOURCE, &TARGET).await;
    pair.source.sql(&format!("insert into {name}.p values (1, 1, 'a'); insert into {name}.p values (2, 2, 'b')")).await;
    pair.start(name, settings).await;
    pair.world.wait_phase(name, "replicating").await;
    pair.wait(&format!("select count(*) from {name}_copy.p"), "2").await;
}

/// The API tells of the tables a moment after the target has their rows.
pub(crate) async fn wait_stages(pair: &Pair<'_>, name: &str, wanted: &[&str]) {
    wait_for(&format!("tables of {name} to be {wanted:?}"), PATIENCE, async || {
        let tables = pair.world.host.get(&format!("/v1/tasks/{name}/tables")).await.ok();
        let stages: Vec<&str> = tables["tables"].as_array().into_iter().flatten().filter_map(|table| table["stage"].as_str()).collect();
        if stages == wanted { Ok(()) } else { Err(tables.to_string()) }
    })
    .await;
}

async fn ignored_rows_are_left_out_and_not_listed(pair: &Pair<'_>) {
    running(pair, "ignores", json!({"row_errors": {"data": "ignore"}})).await;
    pair.source
        .sql("insert into ignores.p values (3, -3, 'c'); insert into ignores.p values (4, 4, 'much too long'); update ignores.p set n = -1 where id = 1; insert into ignores.p values (5, 5, 'e')")
        .await;
    pair.wait("select id, n from ignores_copy.p order by id", "1,1|2,2|5,5").await;
    assert_eq!(pair.world.host.get("/v1/tasks/ignores/errors?limit=9&after=0").await.ok()["errors"], json!([]));
    // A change that tells the whole row brings it.
    pair.source.sql("update ignores.p set word = 'd' where id = 4").await;
    pair.wait("select id, n from ignores_copy.p order by id", "1,1|2,2|4,4|5,5").await;
}

async fn a_row_at_fault_suspends_its_table_and_no_other(pair: &Pair<'_>) {
    running(pair, "suspends", json!({"row_errors": {"data": "suspend-table"}})).await;
    pair.source.sql("insert into suspends.p values (3, -3, 'c'); insert into suspends.q values (3)").await;
    pair.wait("select count(*) from suspends_copy.q", "1").await;
    wait_stages(pair, "suspends", &["failed", "completed"]).await;
    assert_eq!(pair.ask("select count(*) from suspends_copy.p").await.as_deref(), Ok("2"));
}

async fn a_row_at_fault_stops_the_task(pair: &Pair<'_>) {
    running(pair, "stops", json!({"row_errors": {"data": "stop"}})).await;
    pair.source.sql("insert into stops.p values (3, -3, 'c'); insert into stops.q values (3)").await;
    let failure = pair.world.wait_failed("stops").await;
    let codes = ["constraint_violated", "value_refused", "check_violated"];
    assert!(codes.iter().any(|code| failure["code"] == *code), "{failure}");
    assert_eq!(pair.ask("select count(*) from stops_copy.q").await.as_deref(), Ok("0"), "nothing behind it is applied");
}

async fn values_too_long_have_a_policy_of_their_own(pair: &Pair<'_>) {
    running(pair, "long", json!({"row_errors": {"data": "ignore", "truncation": "stop"}})).await;
    pair.source.sql("insert into long.p values (3, -3, 'c'); insert into long.q values (3)").await;
    pair.wait("select count(*) from long_copy.q", "1").await;
    pair.source.sql("insert into long.p values (4, 4, 'much too long')").await;
    let failure = pair.world.wait_failed("long").await;
    assert!(["data_refused", "value_too_long"].iter().any(|code| failure["code"] == *code), "{failure}");
    assert_eq!(pair.ask("select id from long_copy.p order by id").await.as_deref(), Ok("1|2"));
}

async fn so_many_rows_at_fault_suspend_their_table(pair: &Pair<'_>) {
    running(pair, "escalates", json!({"row_errors": {"data": "log", "escalation_count": 2, "escalation": "suspend-table"}})).await;
    pair.source.sql("insert into escalates.p values (3, -3, 'c'); insert into escalates.q values (3)").await;
    pair.wait("select count(*) from escalates_copy.q", "1").await;
    wait_stages(pair, "escalates", &["completed", "completed"]).await;
    pair.source.sql("insert into escalates.p values (4, -4, 'd'); insert into escalates.q values (4)").await;
    pair.wait("select count(*) from escalates_copy.q", "2").await;
    wait_stages(pair, "escalates", &["failed", "completed"]).await;
}

/// DMS: `INSERT_RECORD`, `UPDATE_RECORD`, and `IGNORE_RECORD` for deletes.
async fn conflicts_are_settled_by_the_change(pair: &Pair<'_>) {
    running(pair, "upserts", json!({"row_errors": {"conflict": "upsert"}})).await;
    pair.target.sql("insert into upserts_copy.p values (3, 0, 'x')").await;
    pair.target.sql("delete from upserts_copy.p where id = 1").await;
    pair.source
        .sql("insert into upserts.p values (3, 3, 'c'); update upserts.p set n = 10 where id = 1; insert into upserts.q values (3)")
        .await;
    pair.wait("select id, n, word from upserts_copy.p order by id", "1,10,a|2,2,b|3,3,c").await;
    pair.target.sql("delete from upserts_copy.p where id = 2").await;
    pair.source.sql("delete from upserts.p where id = 2; insert into upserts.q values (4)").await;
    pair.wait("select count(*) from upserts_copy.q", "2").await;
    assert_eq!(pair.ask("select id from upserts_copy.p order by id").await.as_deref(), Ok("1|3"));
}

async fn a_conflict_stops_the_task(pair: &Pair<'_>) {
    running(pair, "conflicts", json!({})).await;
    pair.target.sql("delete from conflicts_copy.p where id = 1").await;
    pair.source.sql("update conflicts.p set n = 10 where id = 1").await;
    assert_eq!(pair.world.wait_failed("conflicts").await["code"], "target_diverged");
}

/// Other conflicts of the table stay what they are, also in the transaction of such a delete.
async fn a_delete_that_finds_nothing_is_no_conflict_where_that_is_said(pair: &Pair<'_>) {
    running(pair, "forgives", json!({"row_errors": {"missing_delete": "log"}, "control_tables": {"schema": "ops"}})).await;
    let [owner, table, statement, task] = ["TABLE_OWNER", "TABLE_NAME", "STATEMENT", "TASK_NAME"].map(|column| pair.quoted(column));
    let listed =
        format!("select {owner}, {table}, {statement} from ops.awsdms_apply_exceptions where {task} = 'forgives' order by {statement}");
    let gone = |id: u32| {
        let [schema, table, key] = ["forgives_copy", "p", "id"].map(|name| pair.quoted(name));
        format!("forgives,p,DELETE FROM {schema}.{table} WHERE {key} = {id}")
    };
    pair.target.sql("delete from forgives_copy.p where id = 1").await;
    pair.source
        .sql("begin; delete from forgives.p where id = 1; insert into forgives.p values (3, 3, 'c'); update forgives.p set n = 20 where id = 2; commit")
        .await;
    pair.wait("select id, n from forgives_copy.p order by id", "2,20|3,3").await;
    let told = async || events(pair.world, "forgives").await.matches("a delete found no row").count();
    wait_for("an event that tells", PATIENCE, async || if told().await == 1 { Ok(()) } else { Err(events(pair.world, "forgives").await) })
        .await;
    assert_eq!(pair.ask(&listed).await, Ok(gone(1)), "in the transaction of the rows around it");
    // Deleted and inserted again, while the target has neither.
    pair.target.sql("delete from forgives_copy.p where id = 3").await;
    pair.source.sql("begin; delete from forgives.p where id = 3; insert into forgives.p values (3, 30, 'd'); commit").await;
    pair.wait("select id, n from forgives_copy.p order by id", "2,20|3,30").await;
    assert_eq!(pair.ask(&listed).await, Ok([gone(1), gone(3)].join("|")));
    let errors = pair.world.host.get("/v1/tasks/forgives/errors?limit=9&after=0").await.ok();
    assert_eq!(errors["errors"], json!([]), "such a row is not rejected");
    pair.target.sql("delete from forgives_copy.p where id in (2, 3)").await;
    pair.source.sql("begin; delete from forgives.p where id = 2; update forgives.p set n = 31 where id = 3; commit").await;
    assert_eq!(pair.world.wait_failed("forgives").await["code"], "target_diverged");
    assert_eq!(pair.ask("select count(*) from forgives_copy.p").await.as_deref(), Ok("0"));
    assert_eq!(told().await, 1, "one event for each table");
}

/// A number that is none has no digits to be changed; nothing unmasked comes to the target.
async fn what_a_mask_cannot_mask_follows_a_policy_of_its_own(pair: &Pair<'_>) {
    let tables = ["m (id int primary key, amount numeric(10,2))"];
    pair.prepare("masks", &tables, &tables).await;
    let rule = json!({"rule-type": "transformation", "rule-id": "2", "rule-name": "2", "rule-target": "column",
        "rule-action": "data-masking-digits-randomize", "object-locator": {"schema-name": "masks", "table-name": "m", "column-name": "amount"}});
    pair.source.sql("insert into masks.m values (1, 10.25)").await;
    pair.start_with("masks", json!({"row_errors": {"data": "stop", "masking": "log"}}), &[rule]).await;
    pair.world.wait_phase("masks", "replicating").await;
    pair.source.sql("insert into masks.m values (2, 'NaN'); insert into masks.m values (3, 30.75)").await;
    pair.wait("select id from masks_copy.m order by id", "1|3").await;
    assert_eq!(pair.ask("select count(*) from masks_copy.m where amount in (10.25, 30.75)").await.as_deref(), Ok("0"));
    let errors = pair.world.host.get("/v1/tasks/masks/errors?limit=9&after=0").await.ok();
    assert_eq!(errors["errors"][0]["code"], "mask-failed", "{errors}");
}
