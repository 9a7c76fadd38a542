//! Sessions of a task on the target: their settings, the fence as SQL, and batches of statements.
//!
//! Each session registers itself in `tidegate.session` under a token, inside a transaction that holds the fence, and holds
//! a lock of the token's name as long as it lives. Whoever takes the task over ends the sessions of older generations
//! and waits until they are gone, so nothing that an older worker still does can arrive later: not even DDL, which no
//! transaction protects here.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidegate_connector::{ConnectorError, Dialect, ServerSettings};
use tidegate_model::{Engine, Fence, Position, TableName, TaskId};

use super::batch::{Answer, Batch};
use crate::connect::{Connector, row, run};

/// Seconds that a statement waits for a lock that somebody else's session holds on rows or tables of ours.
pub(crate) const LOCK_TIMEOUT_S: u32 = 30;

/// Bytes of statements that are sent at once: enough that a round trip costs nothing beside them. Chosen by guess.
const PART_BYTES: usize = 1 << 20;

/// What a statement may have around its values, and the protocol in front of it.
const PACKET_MARGIN: usize = 4096;

/// Strict in everything; ids of 0 are ids, and dates with zeros, which only these servers have, are what they are. Nothing
/// of the server's own defaults decides how a value is taken.
const SQL_MODE: &str = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION";

/// While tables are defined: a default may be a date that no row may have.
const DEFINING_SQL_MODE: &str = "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION";

/// What the server is, learnt once for each connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) engine: Engine,
    /// Major, minor, patch.
    pub(crate) version: (u32, u32, u32),
    pub(crate) packet_bytes_max: usize,
    pub(crate) takes_files: bool,
    /// `lower_case_table_names`: 0 tells `T` from `t`.
    pub(crate) folds_names: bool,
}

impl Facts {
    /// The name as the server's catalog has it.
    pub(crate) fn folded(&self, table: &TableName) -> TableName {
        if self.folds_names { TableName::new(table.schema.to_lowercase(), table.name.to_lowercase()) } else { table.clone() }
    }

    /// Bytes that a part of a batch may have.
    pub(crate) fn part_bytes(&self) -> usize {
        PART_BYTES.min(self.statement_bytes_max())
    }

    /// Bytes that one statement may have.
    pub(crate) fn statement_bytes_max(&self) -> usize {
        self.packet_bytes_max.saturating_sub(PACKET_MARGIN).max(PACKET_MARGIN)
    }

    /// Character set and collation that tell every two texts apart, also those that differ in blanks at their end.
    /// Sources: MySQL manual, "Binary Collations Compared to _bin Collations"; MariaDB's list of collations.
    pub(crate) fn binary_collation(&self) -> &'static str {
        match self.engine {
            Engine::Mariadb => "utf8mb4_nopad_bin",
            Engine::Mysql | Engine::Postgres => "utf8mb4_0900_bin",
        }
    }
}

/// A connection with the settings that writing needs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) conn: Conn,
    facts: Facts,
}

impl Server {
    /// Connects and pins the session.
    pub(crate) async fn connect(settings: &ServerSettings) -> Result<Server, ConnectorError> {
        let mut conn = Connector::for_target(settings)?.open().await?;
        let what = "read the target's settings";
        let (version, packet, files, names): (String, u64, u8, u8) =
            row(&mut conn, what, "select version(), @@max_allowed_packet, @@local_infile, @@lower_case_table_names").await?;
        let engine = if version.to_ascii_lowercase().contains("mariadb") { Engine::Mariadb } else { Engine::Mysql };
        if engine != settings.engine {
            let text = format!("the endpoint's engine is {}, found {} {version}", settings.engine.as_str(), engine.as_str());
            return Err(ConnectorError::definite("engine_mismatch", text).hint(format!("set the endpoint's engine to {}", engine.as_str())));
        }
        let facts = Facts {
            engine,
            version: crate::check::version_numbers(&version),
            packet_bytes_max: usize::try_from(packet).unwrap_or(usize::MAX),
            takes_files: files != 0,
            folds_names: names != 0,
        };
        let sql = format!(
            "set session sql_mode = '{SQL_MODE}', foreign_key_checks = 0, unique_checks = 1, autocommit = 1, sql_notes = 1, \
             lock_wait_timeout = {LOCK_TIMEOUT_S}, innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}"
        );
        run(&mut conn, "set up a session of the target", &sql).await?;
        // Gap locks of REPEATABLE READ would make chunks and changes of neighbouring keys wait for each other.
        run(&mut conn, "set up a session of the target", "set session transaction isolation level read committed").await?;
        Ok(Server { conn, facts })
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Sends the batch and returns an answer for each of its statements; after an error the later ones did not run.
    pub(crate) async fn send(&mut self, batch: &mut Batch) -> Result<Vec<Answer>, ConnectorError> {
        let (sql, expected) = batch.take();
        let mut answers = Vec::with_capacity(expected.len());
        if expected.is_empty() {
            return Ok(answers);
        }
        if sql.len() > self.facts.packet_bytes_max {
            return Err(expected[0].too_large(self.facts.packet_bytes_max));
        }
        let mut result = match self.conn.query_iter(&sql[..]).await {
            Ok(result) => result,
            Err(error) => return Err(expected[0].failed(error)),
        };
        for statement in &expected {
            let mut answer = Answer { rows: result.affected_rows(), warnings: result.warnings() };
            // The driver keeps a later statement's error until its result is asked for.
            if result.columns_ref().is_empty() {
                result.next().await.map_err(|error| statement.failed(error))?;
            } else {
                let rows: Vec<Row> = result.collect().await.map_err(|error| statement.failed(error))?;
                answer.rows = rows.len() as u64;
            }
            answers.push(answer);
        }
        drop(result);
        for (statement, answer) in expected.iter().zip(&answers) {
            statement.check(answer)?;
        }
        Ok(answers)
    }

    /// Begins a transaction that holds the fence: a take-over waits for its end.
    pub(crate) async fn begin_fenced(&mut self, fence: &Fence) -> Result<(), ConnectorError> {
        let mut batch = Batch::default();
        batch.begin();
        batch.hold_fence(fence);
        let done = self.send(&mut batch).await.map(|_| ());
        if done.is_err() {
            self.rollback().await?;
        }
        done
    }

    /// Turns the session to definitions of tables, or back to rows.
    pub(crate) async fn define(&mut self, defines: bool) -> Result<(), ConnectorError> {
        let mode = if defines { DEFINING_SQL_MODE } else { SQL_MODE };
        run(&mut self.conn, "set up a session of the target", &format!("set session sql_mode = '{mode}'")).await
    }

    pub(crate) async fn commit(&mut self) -> Result<(), ConnectorError> {
        run(&mut self.conn, "commit", "commit").await
    }

    pub(crate) async fn rollback(&mut self) -> Result<(), ConnectorError> {
        run(&mut self.conn, "roll back", "rollback").await
    }
}

/// A session of a task's worker, registered under its generation.
pub(crate) async fn open(settings: &ServerSettings, fence: &Fence) -> Result<Server, ConnectorError> {
    let mut server = Server::connect(settings).await?;
    let what = "register a session";
    let token: String = row(&mut server.conn, what, "select concat('tidegate.', uuid())").await?;
    let token = Dialect::MYSQL.literal(&token);
    let _: Option<i64> = row(&mut server.conn, what, &format!("select get_lock({token}, 0)")).await?;
    server.begin_fenced(fence).await?;
    let sql =
        format!("insert into tidegate.session (task, generation, token) values ({}, {}, {token})", text(&fence.task), fence.generation);
    run(&mut server.conn, what, &sql).await?;
    server.commit().await?;
    Ok(server)
}

/// A row while the fence holds, which stays so until the transaction ends. Many may hold it at once.
pub(crate) fn fence_sql(fence: &Fence) -> String {
    format!("select 1 from tidegate.fence where task = {} and generation = {} lock in share mode", text(&fence.task), fence.generation)
}

/// Moves the checkpoint; touches no row when the position is another.
pub(crate) fn move_sql(task: &TaskId, from: &Position, to: &Position) -> String {
    let literal = |position: &Position| Dialect::MYSQL.literal(&position.to_string());
    format!(
        "update tidegate.checkpoint set position = {}, updated_at = utc_timestamp(6) where task = {} and position <=> {}",
        literal(to),
        text(task),
        literal(from)
    )
}

/// The task's name as a literal.
pub(crate) fn text(task: &TaskId) -> String {
    Dialect::MYSQL.literal(task.as_str())
}
