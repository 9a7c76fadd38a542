//! Takes a task over: raises its generation, and ends what older workers left behind.

use std::time::{Duration, Instant};

use mysql_async::Error;
use mysql_async::prelude::Queryable;
use tidegate_connector::{ConnectorError, ServerSettings, TaskRecord};
use tidegate_model::{Fence, TaskId};

use super::control;
use super::session::{Server, text};
use crate::connect::{row, rows, run};
use crate::fault::driver;

/// Attempts to lock the fence's row, each of a second: an older worker's session that does not end within this time is
/// one that its server cannot end.
const TAKE_ATTEMPTS: u32 = 30;

/// How long an ended session may take to be gone: a large transaction is rolled back first.
const END_TIMEOUT: Duration = Duration::from_secs(120);

/// Lock wait timeout, deadlock. Source: MySQL's "Server Error Message Reference".
const LOCKED: [u16; 2] = [1205, 1213];

pub(crate) async fn take_over(settings: &ServerSettings, task: &TaskId) -> Result<TaskRecord, ConnectorError> {
    let mut server = Server::connect(settings).await?;
    control::create_tables(&mut server).await?;
    let what = format!("take over task \"{task}\"");
    // Read first: an insert of a row that is there would wait for whoever holds it.
    let known =
        format!("select count(*) from tidegate.fence f join tidegate.checkpoint c on c.task = f.task where f.task = {}", text(task));
    if row::<u64>(&mut server.conn, &what, &known).await? == 0 {
        for table in ["fence (task, generation) values ({}, 0)", "checkpoint (task) values ({})"] {
            let sql = format!("insert ignore into tidegate.{}", table.replace("{}", &text(task)));
            run(&mut server.conn, &what, &sql).await?;
        }
    }
    run(&mut server.conn, &what, "set session innodb_lock_wait_timeout = 1").await?;
    for _ in 0..TAKE_ATTEMPTS {
        if let Some(generation) = raise(&mut server, task, &what).await? {
            let (checkpoint, source_identity) = control::read_checkpoint(&mut server, task).await?;
            let selection = control::read_selection(&mut server, task).await?;
            let tables = control::read_tables(&mut server, task).await?;
            server.commit().await?;
            end_sessions_below(&mut server, task, generation, END_TIMEOUT).await?;
            return Ok(TaskRecord { fence: Fence { task: task.clone(), generation }, checkpoint, source_identity, selection, tables });
        }
        server.rollback().await?;
        let sql = format!("select generation from tidegate.fence where task = {}", text(task));
        let current: i64 = row(&mut server.conn, &what, &sql).await?;
        // Their locks go with them; how long that takes, the next attempt finds out.
        end_sessions_below(&mut server, task, current.saturating_add(1), Duration::ZERO).await?;
    }
    Err(ConnectorError::transient("object_busy", format!("{what}: another session holds its row in tidegate.fence"))
        .hint("end the sessions that work for the task: show processlist"))
}

/// The raised generation, in a transaction that is open; `None` when another session holds the row.
async fn raise(server: &mut Server, task: &TaskId, what: &str) -> Result<Option<i64>, ConnectorError> {
    run(&mut server.conn, what, "start transaction").await?;
    let sql = format!("update tidegate.fence set generation = generation + 1 where task = {}", text(task));
    match server.conn.query_drop(sql).await {
        Ok(()) => {}
        Err(Error::Server(error)) if LOCKED.contains(&error.code) => return Ok(None),
        Err(error) => return Err(driver(what, error)),
    }
    let sql = format!("select generation from tidegate.fence where task = {}", text(task));
    row(&mut server.conn, what, &sql).await.map(Some)
}

/// Ends the task's sessions of older generations and waits until they are gone. The right to do so follows from the
/// same user. A session is told by the lock that it holds, so a number that the server gave out anew is nobody's.
async fn end_sessions_below(server: &mut Server, task: &TaskId, generation: i64, patience: Duration) -> Result<(), ConnectorError> {
    let what = "end sessions of an older worker";
    let older = format!("task = {} and generation < {generation}", text(task));
    let since = Instant::now();
    loop {
        let sql = format!("select is_used_lock(token) from tidegate.session where {older}");
        let found: Vec<Option<u64>> = rows(&mut server.conn, what, &sql).await?;
        let alive: Vec<u64> = found.into_iter().flatten().collect();
        for id in &alive {
            match server.conn.query_drop(format!("kill {id}")).await {
                Ok(()) => {}
                // It is gone already.
                Err(Error::Server(error)) if error.code == 1094 => {}
                Err(error) => return Err(driver(what, error)),
            }
        }
        if alive.is_empty() && !patience.is_zero() {
            return run(&mut server.conn, what, &format!("delete from tidegate.session where {older}")).await;
        }
        if since.elapsed() >= patience {
            if patience.is_zero() {
                return Ok(());
            }
            return Err(ConnectorError::transient("object_busy", format!("{what}: it is still there after {} s", patience.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
