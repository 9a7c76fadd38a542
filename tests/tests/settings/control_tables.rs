//! The control tables of DMS, from the first row of a load to the end of a run.

use serde_json::json;

use crate::pair::Pair;

pub(crate) async fn control_tables_tell_what_a_task_does(pair: &Pair<'_>) {
    pair.prepare(
        "kept",
        &["t (id int primary key, n int)", "u (id int primary key)", "awsdms_status (id int primary key)"],
        &["t (id int primary key, n int, check (n >= 0))", "u (id int primary key)"],
    )
    .await;
    pair.source.sql("insert into kept.t select id, case when id = 5 then -5 else id end from generate_series(1, 10) id").await;
    let control_tables = json!({"schema": "ops", "status": true, "suspended_tables": true, "history": true, "recovery": true,
        "full_load_exceptions": true});
    let settings = json!({"row_errors": {"data": "log"}, "table_errors": "suspend-table", "control_tables": control_tables});
    pair.start("kept", settings).await;
    pair.world.wait_phase("kept", "replicating").await;

    // A row of the load, then one of the stream.
    pair.source.sql("insert into kept.t values (11, -11); insert into kept.t values (12, 12)").await;
    pair.wait("select count(*) from kept_copy.t", "10").await;
    let columns = ["TABLE_OWNER", "TABLE_NAME", "STATEMENT"].map(|column| pair.quoted(column)).join(", ");
    let of_task = |table: &str| format!("from ops.{table} where {} = 'kept'", pair.quoted("TASK_NAME"));
    let (of_load, of_stream) = (of_task("awsdms_full_load_exceptions"), of_task("awsdms_apply_exceptions"));
    let statement = |id: i32| {
        let [schema, table, key, n] = ["kept_copy", "t", "id", "n"].map(|name| pair.quoted(name));
        format!("kept,t,INSERT INTO {schema}.{table} ({key}, {n}) VALUES ({id}, -{id})")
    };
    for (place, id) in [(&of_load, 5), (&of_stream, 11)] {
        pair.wait(&format!("select {columns} {place}"), &statement(id)).await;
        let why = pair.ask(&format!("select {} {place}", pair.quoted("ERROR"))).await.expect("the table is there");
        assert!(why.contains(": ") && !why.contains(&format!("-{id}")), "{why}");
    }
    let log = pair.world.host.log();
    assert!(!log.contains("VALUES (11"), "a row value is in the log");

    // A table that differs leaves the task, and comes back.
    let suspended = "select table_owner, table_name, suspend_reason from ops.awsdms_suspended_tables where task_name = 'kept'";
    pair.target.sql("insert into kept_copy.u values (1)").await;
    pair.source.sql("insert into kept.u values (1)").await;
    pair.wait(suspended, "kept,u,target_diverged").await;
    let tables = pair.world.host.get("/v1/tasks/kept/tables").await.ok();
    assert_eq!(tables["tables"].as_array().map(Vec::len), Some(2), "DMS's own table is none of the task's: {tables}");
    let table = json!({"tables": [{"schema": "kept", "table": "u"}]});
    pair.world.host.post("/v1/tasks/kept/tables/reload", &table).await.ok();
    pair.wait(suspended, "").await;
    pair.wait("select count(*) from kept_copy.u", "1").await;

    let known = ["source_tail_position", "source_current_timestamp", "source_timestamp_applied"];
    let known = known.map(|column| format!("count({column})")).join(", ");
    let status = format!("select min(task_status), {known} from ops.awsdms_status where task_name = 'kept'");
    let words = "select task_status from ops.awsdms_status where task_name = 'kept'";
    // What the load again left to apply is applied.
    pair.wait("select task_status, pending_changes from ops.awsdms_status where task_name = 'kept'", "CHANGE PROCESSING,0").await;
    pair.world.stop_task("kept").await;
    let state = format!("select {} from ops.awsdms_txn_state where {} = 'kept'", pair.quoted("CHECKPOINT"), pair.quoted("TASK_NAME"));
    let checkpoint = pair.ask("select position from tidegate.checkpoint where task = 'kept'").await.expect("the task has one");
    assert_eq!(pair.ask(&state).await, Ok(checkpoint), "the same transactions write both");
    assert_eq!(pair.ask(&status).await.as_deref(), Ok("NOT RUNNING,1,1,1"), "one row, in which everything is known");
    let kinds = "select distinct timeslot_type from ops.awsdms_history where task_name = 'kept' and timeslot_records > 0
        and timeslot_duration > 0 and timeslot_volume > 0 order by 1";
    assert_eq!(pair.ask(kinds).await.as_deref(), Ok("CHANGE PROCESSING|FULL LOAD"), "the slot of the run that ended");

    // A start goes on with the one row of the task's status.
    pair.world.start_task("kept").await;
    pair.wait(words, "CHANGE PROCESSING").await;
    pair.world.stop_task("kept").await;
    assert_eq!(pair.ask(words).await.as_deref(), Ok("NOT RUNNING"));
}
