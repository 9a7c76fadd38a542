//! What the policies for rows and tables do in the target, each by its name. Rows are logged in `control_tables`.

use serde_json::{Value, json};

use crate::pair::Pair;

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
    );
}

/// The task runs, and its first two rows are in the target.
async fn running(pair: &Pair<'_>, name: &str, settings: Value) {
    pair.prepare(name, &SOURCE, &TARGET).await;
    pair.source.sql(&format!("insert into {name}.p values (1, 1, 'a'); insert into {name}.p values (2, 2, 'b')")).await;
    pair.start(name, settings).await;
    pair.world.wait_phase(name, "replicating").await;
    pair.wait(&format!("select count(*) from {name}_copy.p"), "2").await;
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
    let tables = pair.world.host.get("/v1/tasks/suspends/tables").await.ok();
    let stages: Vec<&str> = tables["tables"].as_array().into_iter().flatten().filter_map(|table| table["stage"].as_str()).collect();
    assert_eq!(stages, ["failed", "completed"], "{tables}");
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
    let failed = async || pair.world.host.get("/v1/tasks/escalates/tables").await.ok()["tables"][0]["stage"] == "failed";
    assert!(!failed().await, "one is below the count");
    pair.source.sql("insert into escalates.p values (4, -4, 'd'); insert into escalates.q values (4)").await;
    pair.wait("select count(*) from escalates_copy.q", "2").await;
    assert!(failed().await, "{}", pair.world.host.log());
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
