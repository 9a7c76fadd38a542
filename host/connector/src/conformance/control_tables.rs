//! DMS's control tables, which several tasks share.

use super::*;
use crate::{
    ControlRow, ControlTable, ControlTables, ControlValue, ControlWrite, Dialect, ErrorClass, RejectedOperation, RejectedRow, RowId,
    Severity,
};

/// What is awkward in a text: quotes, backslashes, the character that PostgreSQL does not have, one beyond the first plane.
const AWKWARD: &str = "it's \\ \"q\" `b` \0 😀";

fn text(text: &str) -> ControlValue {
    ControlValue::Text(text.to_owned())
}

fn row(table: ControlTable, task: &str, rest: Vec<ControlValue>) -> ControlRow {
    let names = if table == ControlTable::ApplyExceptions { vec![text(task)] } else { vec![text("host"), text(task)] };
    ControlRow { schema: "app".into(), table, values: names.into_iter().chain(rest).collect() }
}

fn status(task: &str, word: &str, pending: u64) -> ControlWrite {
    let (null, count) = (ControlValue::Null, ControlValue::Count);
    let rest = vec![
        text(word),
        ControlValue::Now,
        count(pending),
        count(0),
        count(u64::MAX),
        text("16/B374D848"),
        ControlValue::Moment(1_764_163_200_123_456),
        null.clone(),
        null.clone(),
        null,
    ];
    ControlWrite::Replace(row(ControlTable::Status, task, rest))
}

fn slot(task: &str, records: u64) -> ControlWrite {
    let (moment, count) = (ControlValue::Moment(1_764_163_200_000_000), ControlValue::Count);
    let rest = vec![text("CHANGE PROCESSING"), moment, count(5), count(1), count(records), count(1)];
    ControlWrite::Add(row(ControlTable::History, task, rest))
}

fn suspended(task: &str, table: &str) -> ControlWrite {
    let rest = vec![text("app"), text(table), text("value_refused"), ControlValue::Now];
    ControlWrite::Add(row(ControlTable::SuspendedTables, task, rest))
}

/// A row that the error table gets, and the table of exceptions with it.
fn rejected(number: u8) -> RejectedRow {
    let rest = vec![text("app"), text("t"), ControlValue::Now, text(AWKWARD), text("value_refused: why")];
    RejectedRow {
        table: TableName::new("app", "t"),
        row_id: RowId([number; 32]),
        key: Some(format!("{{\"id\":{number}}}")),
        operation: RejectedOperation::Insert,
        position: None,
        module: None,
        digest: None,
        code: "value_refused".into(),
        message: "why".into(),
        image: None,
        stored: None,
        is_logged: true,
        exception: Some(row(ControlTable::ApplyExceptions, "one", rest)),
    }
}

/// The tables are made once, whoever asks, and each task touches its own rows.
pub async fn control_tables_are_made_once_and_shared_by_tasks(bench: &dyn Bench) {
    let (target, fence) = (bench.target(), bench.fence());
    let all = [
        ControlTable::ApplyExceptions,
        ControlTable::FullLoadExceptions,
        ControlTable::Status,
        ControlTable::SuspendedTables,
        ControlTable::History,
        ControlTable::TxnState,
    ];
    let tables = |schema: &str| ControlTables { schema: schema.into(), tables: all.to_vec() };
    for schema in ["o\"p`s", "app"] {
        let found = target.check_control_tables(&tables(schema)).await.unwrap();
        assert!(found.iter().all(|finding| finding.severity != Severity::Error), "{found:?}");
        for _ in 0..2 {
            target.create_control_tables(fence, &tables(schema)).await.unwrap();
        }
    }
    let write = async |writes: &[ControlWrite]| target.write_control_tables(fence, writes).await.unwrap();
    let dialect = if target.engine() == Engine::Postgres { Dialect::POSTGRES } else { Dialect::MYSQL };
    let rows = async |table: ControlTable, columns: &[&str]| {
        let quoted: Vec<String> = columns.iter().map(|column| dialect.identifier(column)).collect();
        bench.rows(table.name(), &quoted.iter().map(String::as_str).collect::<Vec<_>>()).await
    };

    write(&[status("one", "FULL LOAD", 3), status("two", "FULL LOAD", 0)]).await;
    write(&[status("one", "CHANGE PROCESSING", 9)]).await;
    let columns = ["task_name", "task_status", "pending_changes", "task_memory", "source_current_timestamp", "source_tail_position"];
    let one = "one,CHANGE PROCESSING,9,9223372036854775807,2025-11-26 13:20:00.123456,NULL";
    let two = "two,FULL LOAD,0,9223372036854775807,2025-11-26 13:20:00.123456,NULL";
    assert_eq!(rows(ControlTable::Status, &columns).await, [one, two]);

    write(&[slot("one", 7), slot("one", 8), slot("two", 9)]).await;
    let columns = ["task_name", "timeslot_type", "timeslot_duration", "timeslot_latency", "timeslot_records", "timeslot_volume"];
    let wanted = ["one,CHANGE PROCESSING,5,1,7,1", "two,CHANGE PROCESSING,5,1,9,1"];
    assert_eq!(rows(ControlTable::History, &columns).await, wanted, "a row that is there is left alone");

    write(&[suspended("one", "a"), suspended("one", "b"), suspended("two", "b")]).await;
    let since = rows(ControlTable::SuspendedTables, &["table_name", "task_name", "suspend_timestamp"]).await;
    let still = |tables: &[&str]| ControlWrite::StillSuspended {
        schema: "app".into(),
        task: "one".into(),
        tables: tables.iter().map(|table| TableName::new("app", *table)).collect(),
    };
    write(&[still(&["b"]), suspended("one", "b")]).await;
    assert_eq!(rows(ControlTable::SuspendedTables, &["table_name", "task_name", "suspend_timestamp"]).await, since[1..]);
    write(&[still(&[])]).await;
    assert_eq!(
        rows(ControlTable::SuspendedTables, &["task_name", "table_owner", "table_name", "suspend_reason"]).await,
        ["two,app,b,value_refused"]
    );

    let mut older = fence.clone();
    older.generation -= 1;
    let error = target.write_control_tables(&older, &[status("one", "NOT RUNNING", 0)]).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Fenced);
    assert_eq!(rows(ControlTable::Status, &["task_status"]).await, ["CHANGE PROCESSING", "FULL LOAD"]);

    bench.run(&format!("drop table {}", bench.name("awsdms_status"))).await;
    bench.run(&format!("create table {} (task_name varchar(9))", bench.name("awsdms_status"))).await;
    let found = target.check_control_tables(&tables("app")).await.unwrap();
    let differs: Vec<&str> = found.iter().filter(|finding| finding.severity == Severity::Error).map(|finding| finding.code).collect();
    assert_eq!(differs, ["control_table_differs"], "{found:?}");
}

/// Rows of the table of exceptions are committed with the group that they are about, or not at all. Comes after
/// [`control_tables_are_made_once_and_shared_by_tasks`].
pub async fn exceptions_arrive_with_their_group(bench: &dyn Bench) {
    let table = notes("excepted");
    prepare(bench, &table).await;
    let mut lane = new_lane(bench).await;
    let with = |from, number, steps| Group { rejected: vec![rejected(number)], ..group(from, from + 1, steps) };
    let insert = |id| vec![net(&table, Strictness::Strict, vec![NetChange::Insert(note(id, "a"))])];
    lane.apply(&with(0, 1, insert(1))).await.unwrap();
    let again = lane.apply(&with(1, 2, insert(1))).await.unwrap_err();
    assert_eq!(again.code(), "target_diverged");
    // The same row once more: one entry of the error table, two exceptions.
    lane.apply(&with(1, 1, insert(2))).await.unwrap();
    let dialect = if bench.target().engine() == Engine::Postgres { Dialect::POSTGRES } else { Dialect::MYSQL };
    let columns = ["TASK_NAME", "TABLE_OWNER", "TABLE_NAME", "STATEMENT", "ERROR"].map(|column| dialect.identifier(column));
    let found = bench.rows("awsdms_apply_exceptions", &columns.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let one = format!("one,app,t,{},value_refused: why", AWKWARD.replace('\0', ""));
    assert_eq!(found, [one.clone(), one]);
    assert_eq!(bench.target().rejected_rows(&task(), 0, 10).await.unwrap().len(), 1);

    let state = |task: &str, at: &str| ControlWrite::Replace(row(ControlTable::TxnState, task, vec![ControlValue::Now, text(at)]));
    let told = |from, task, at, steps| Group { control: vec![state(task, at)], ..group(from, from + 1, steps) };
    let states = async || {
        let columns = ["TASK_NAME", "CHECKPOINT"].map(|column| dialect.identifier(column));
        bench.rows("awsdms_txn_state", &columns.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    lane.apply(&told(2, "one", "postgres:0/2", Vec::new())).await.unwrap();
    lane.apply(&told(3, "two", "postgres:0/3", insert(3))).await.unwrap();
    lane.apply(&told(4, "one", "postgres:0/4", insert(4))).await.unwrap();
    lane.apply(&told(5, "one", "postgres:0/5", insert(4))).await.unwrap_err();
    assert_eq!(states().await, ["one,postgres:0/4", "two,postgres:0/3"]);
}
