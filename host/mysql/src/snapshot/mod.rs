//! Consistent reads for the full load, and what is known of their place in the log.
//!
//! Every reader has a connection and a read view of its own; views differ, and so each reader has its own window.
//!
//! **MariaDB** is exact: `START TRANSACTION WITH CONSISTENT SNAPSHOT` and the binary log position of that very moment
//! come from the same lock, and `binlog_gtid_pos` names it as GTIDs. `low == high`. `gtid_binlog_pos` could not serve
//! instead: it moves when a transaction is written to the log, before that is synced, and before the engine shows it. Capture may begin at such a
//! position, and what is in the log is sent to readers of it before the engine has it. So a view counts only when it has all that the log
//! had before it was opened: what it lacked, and a stream from there on does not bring, would be lost. XA transactions are committed beside that
//! lock (`committing.rs`). Where a server has some, `low` is a position from before the view, up to which all of them are in the engine;
//! a keyless table is locked. The transactions that touch a table of Aria, even with a SELECT, are committed in one phase, beside that lock too, for
//! Aria takes no part in the first of two: of 247 snapshots among 20 sessions 13 lacked rows that their position covers. Where a server has such
//! tables, each table is locked while its view is opened, which waits for its writers.
//!
//! **MySQL** has no such moment without a global lock. `low` is `gtid_executed` read before the view: the server adds a
//! GTID there only after the engines committed (`MYSQL_BIN_LOG::process_commit_stage_queue`: `ha_commit_low` for the
//! whole queue, then `Gtid_state::update_commit_group`), so all of `low` is in the view. The reverse is not so: a
//! transaction may be visible and not yet in `gtid_executed`. Until it is entered there, which is one step with giving it up
//! (`Gtid_state::update_gtids_impl_own_gtid`), a session owns its GTID, since before the engines commit (`Gtid_state::acquire_ownership` in the
//! flush stage). So `high` is what is executed or owned after the view. A
//! transaction between `low` and `high` is applied idempotently, and what is deleted there is not kept where deleted rows are to be. For keyless tables there is no idempotent way:
//! `LOCK TABLES ... READ` on a second connection waits until no writer of the table is between the two (metadata locks
//! are held until after the GTID is entered), and while it stands, view and `gtid_executed` agree on this table.

mod chunk;
mod committing;
mod partition;
mod range;
mod reader;

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_connector::{Chunk, ConnectorError, CutParts, Dialect, RangePart, RowReader, Snapshot, SourceTable, TableCut};
use tidegate_model::position::{GtidSet, PositionError};
use tidegate_model::{Engine, Position, TableName, Window};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep};

use self::committing::{COMMIT_MAX, Endings, PAUSE};
use self::partition::Partitions;
use self::reader::{Charsets, ChunkReader};
use crate::catalog;
use crate::charset::Collations;
use crate::connect::Connector;
use crate::raw::RawConn;

/// Opens readers.
pub(crate) struct SourceSnapshot {
    connector: Connector,
    engine: Engine,
    /// Asked for once.
    collations: OnceCell<Arc<Collations>>,
    endings: Mutex<Endings>,
    /// Likewise: whether the server has tables whose transactions are committed in one phase.
    one_phase: OnceCell<bool>,
}

#[async_trait]
impl Snapshot for SourceSnapshot {
    async fn chunks(&self, table: &SourceTable, rows_wanted: u64) -> Result<Vec<Chunk>, ConnectorError> {
        let mut conn = self.connector.open().await?;
        let chunks = chunk::plan(&mut conn, table, rows_wanted).await.map_err(|error| error.at_table(&table.schema.name))?;
        let _ = conn.disconnect().await;
        Ok(chunks)
    }

    async fn cut(&self, table: &SourceTable, cut: &TableCut, rows_wanted: u64) -> Result<Vec<Chunk>, ConnectorError> {
        let name = &table.schema.name;
        let mut conn = self.connector.open().await?;
        let chunks = match &cut.parts {
            CutParts::Whole => Ok(Vec::new()),
            CutParts::Ranges(ranges) => range::plan(&mut conn, &table.schema, cut, ranges).await,
            CutParts::Named(names) => partition::named(&mut conn, name, cut, names).await,
            CutParts::Each { deep } => match partition::each(&mut conn, name, *deep).await {
                Ok(None) => chunk::plan(&mut conn, table, rows_wanted).await,
                Ok(Some(chunks)) => Ok(chunks),
                Err(error) => Err(error),
            },
        };
        let chunks = chunks.map_err(|error| error.at_table(name))?;
        let _ = conn.disconnect().await;
        if chunks.is_empty() || !self.resumable(table) {
            // Readers of a table without a key would each see another moment, and nothing could bring them together.
            return self.chunks(table, u64::MAX).await;
        }
        Ok(chunks)
    }

    async fn read(&self, table: Arc<SourceTable>, chunk: &Chunk) -> Result<Box<dyn RowReader>, ConnectorError> {
        let partitions = Partitions::parse(&chunk.bounds);
        let condition = match (&partitions, RangePart::parse(&chunk.bounds)) {
            (Some(partitions), _) => partitions.clause(),
            (None, Some(part)) => range::condition(&table.schema, &part)?,
            (None, None) => chunk::condition(&table.schema, chunk)?,
        };
        let mut conn = self.connector.open_raw().await?;
        let name = &table.schema.name;
        let locked = async |conn: &mut RawConn| self.locked_view(conn, name).await.map_err(|error| error.at_table(name));
        let is_keyless = table.schema.primary_key.is_empty();
        let window = match self.engine {
            Engine::Mariadb if self.commits_in_one_phase().await? => locked(&mut conn).await?,
            Engine::Mariadb => match self.exact_view(&mut conn, is_keyless).await? {
                Some(window) => window,
                None => locked(&mut conn).await?,
            },
            _ if is_keyless => locked(&mut conn).await?,
            _ => free_view(&mut conn).await?,
        };
        if let Some(partitions) = partitions {
            partitions.check(&mut conn, name).await?;
        }
        let charsets = Charsets { connector: self.connector.clone(), collations: self.collations().await? };
        Ok(Box::new(ChunkReader::start(conn, charsets, table, condition, window)))
    }

    fn resumable(&self, table: &SourceTable) -> bool {
        !table.schema.primary_key.is_empty()
    }
}

const WHAT: &str = "open a snapshot";
const BEGIN: &str = "start transaction with consistent snapshot, read only";
const ISOLATION: &str = "set session transaction isolation level repeatable read";

/// Opens a view of MariaDB that has everything that is in the log by now, and tells its position. `None` when the server cannot name it: it
/// reads its log file from the start for that, and gives up at an event above its own `max_allowed_packet`.
async fn view_at(conn: &mut RawConn) -> Result<Option<Position>, ConnectorError> {
    conn.run(WHAT, ISOLATION).await?;
    // A position of which a reader of the log heard is in here, too.
    let logged = position(Engine::Mariadb, &known(conn, "select @@global.gtid_binlog_pos").await?)?;
    let since = Instant::now();
    loop {
        let Some(found) = view_as_it_is(conn).await? else { return Ok(None) };
        if found.covers_position(&logged) {
            return Ok(Some(found));
        }
        conn.run(WHAT, "rollback").await?;
        pause_for_commit(since).await?;
    }
}

/// A pause between two looks at whether the engine has what the log has, unless that takes too long `since`.
async fn pause_for_commit(since: Instant) -> Result<(), ConnectorError> {
    if since.elapsed() > COMMIT_MAX {
        let text = format!("{WHAT}: a transaction is in the log, and not in the engine, for {} s", COMMIT_MAX.as_secs());
        return Err(ConnectorError::transient("commit_waits", text)
            .hint("the source's disk is slow, or the source waits for a replica (semi-synchronous replication)"));
    }
    sleep(PAUSE).await;
    Ok(())
}

/// Waits until MySQL's engines have what this position covers. Whoever reads the log may have it before: it is sent once it is synced, and
/// with AFTER_SYNC the engines wait for a replica after that.
pub(crate) async fn wait_executed(connector: &Connector, wanted: &Position) -> Result<(), ConnectorError> {
    let mut conn = connector.open_raw().await?;
    let since = Instant::now();
    while !Position::Mysql(executed(&mut conn).await?).covers_position(wanted) {
        pause_for_commit(since).await?;
    }
    conn.quit().await;
    Ok(())
}

async fn view_as_it_is(conn: &mut RawConn) -> Result<Option<Position>, ConnectorError> {
    conn.run(WHAT, "start transaction with consistent snapshot").await?;
    let status = conn.texts(WHAT, "show status like 'binlog_snapshot_%'").await?;
    let find = |name: &str| {
        let found = status.iter().find_map(|row| match &row[..] {
            [Some(key), Some(value)] if key.eq_ignore_ascii_case(name) => Some(value.clone()),
            _ => None,
        });
        found.unwrap_or_default()
    };
    let (file, offset) = (find("binlog_snapshot_file"), find("binlog_snapshot_position"));
    if file.is_empty() {
        return Err(ConnectorError::definite("log_bin", "the source writes no binary log, so a snapshot has no place in it")
            .hint("start the server with --log-bin"));
    }
    let sql = format!("select binlog_gtid_pos({}, {})", Dialect::MYSQL.literal(&file), offset.parse::<u64>().unwrap_or(0));
    match conn.text(WHAT, &sql).await? {
        Some(gtids) => Ok(Some(position(Engine::Mariadb, &gtids)?)),
        None => {
            conn.run(WHAT, "rollback").await?;
            Ok(None)
        }
    }
}

/// MySQL, without a lock.
async fn free_view(conn: &mut RawConn) -> Result<Window, ConnectorError> {
    conn.run(WHAT, ISOLATION).await?;
    let low = executed(conn).await?;
    conn.run(WHAT, BEGIN).await?;
    // First: what is owned no more by then is executed.
    let owned = owned(&known(conn, OWNED).await?)?;
    let after = Position::Mysql(executed(conn).await?);
    Ok(Window { low: Position::Mysql(low), high: after.union(&Position::Mysql(owned)) })
}

/// Asks for what [`owned`] reads.
pub(crate) const OWNED: &str = "select @@global.gtid_owned";

/// The GTIDs of transactions that are between the log and `gtid_executed`, out of the server's text: `uuid:7#31:8#32`, each with the number of its
/// session. Source: `Owned_gtids::to_string` of rpl_gtid_owned.cc.
pub(crate) fn owned(text: &str) -> Result<GtidSet, ConnectorError> {
    let without_sessions: String = text.split('#').enumerate().fold(String::new(), |mut gtids, (index, part)| {
        gtids.push_str(if index == 0 { part } else { part.trim_start_matches(|digit: char| digit.is_ascii_digit()) });
        gtids
    });
    parsed(&without_sessions)
}

impl SourceSnapshot {
    pub(crate) fn new(connector: Connector, engine: Engine) -> Self {
        Self { connector, engine, collations: OnceCell::new(), endings: Mutex::default(), one_phase: OnceCell::new() }
    }

    async fn collations(&self) -> Result<Arc<Collations>, ConnectorError> {
        let ask = async || {
            let mut conn = self.connector.open().await?;
            let found = catalog::collations(&mut conn, self.engine).await?;
            let _ = conn.disconnect().await;
            Ok(Arc::new(found))
        };
        self.collations.get_or_try_init(ask).await.cloned()
    }

    /// MariaDB. A table that is locked for long may be one of those.
    async fn commits_in_one_phase(&self) -> Result<bool, ConnectorError> {
        let ask = async || {
            let mut conn = self.connector.open().await?;
            let found = catalog::has_tables_of_aria(&mut conn).await;
            let _ = conn.disconnect().await;
            match found {
                Err(error) if error.code() == "lock_wait" => Ok(true),
                found => found,
            }
        };
        self.one_phase.get_or_try_init(ask).await.copied()
    }

    /// MariaDB. `None` where only a lock makes a view that has a position.
    async fn exact_view(&self, conn: &mut RawConn, is_keyless: bool) -> Result<Option<Window>, ConnectorError> {
        if committing::is_unheard_of(conn).await? {
            let Some(high) = view_at(conn).await? else { return Ok(None) };
            // Asked on, since one may have begun meanwhile. XA RECOVER is no statement for within a transaction.
            if committing::none_began(conn).await? {
                return Ok(Some(Window { low: high.clone(), high }));
            }
            conn.run(WHAT, "rollback").await?;
        }
        if is_keyless {
            return Ok(None);
        }
        let Some(low) = view_at(conn).await? else { return Ok(None) };
        conn.run(WHAT, "rollback").await?;
        let names = committing::prepared(conn).await?;
        self.endings.lock().await.settle(&self.connector, conn, names).await?;
        Ok(view_at(conn).await?.map(|high| Window { low, high }))
    }

    /// For keyless tables of MySQL, and where MariaDB cannot name its position, or is not exact.
    async fn locked_view(&self, conn: &mut RawConn, table: &TableName) -> Result<Window, ConnectorError> {
        let mut locker = self.connector.open_raw().await?;
        conn.run(WHAT, ISOLATION).await?;
        let mut endings = self.endings.lock().await;
        if self.engine == Engine::Mariadb {
            // What takes long is done before the lock.
            let names = committing::prepared(conn).await?;
            endings.settle(&self.connector, conn, names).await?;
        }
        // Writers queue behind a waiting lock, so it must not wait for long.
        locker.run(WHAT, "set session lock_wait_timeout = 10").await?;
        locker.run(WHAT, &format!("lock tables {} read", Dialect::MYSQL.table(table))).await?;
        let opened = self.view_under_lock(conn, &mut locker, &mut endings).await;
        let unlocked = locker.run(WHAT, "unlock tables").await;
        locker.quit().await;
        let position = opened?;
        unlocked?;
        Ok(Window { low: position.clone(), high: position })
    }

    /// Opens a view of a table to which nobody writes, and tells a position that agrees with it.
    async fn view_under_lock(&self, conn: &mut RawConn, locker: &mut RawConn, endings: &mut Endings) -> Result<Position, ConnectorError> {
        if self.engine != Engine::Mariadb {
            conn.run(WHAT, BEGIN).await?;
            return self.log_end(locker).await;
        }
        loop {
            // An XA transaction whose session has ended holds no lock of the table in MariaDB, and may be committed now.
            let names = committing::prepared(locker).await?;
            endings.settle(&self.connector, locker, names.clone()).await?;
            conn.run(WHAT, BEGIN).await?;
            let position = self.log_end(locker).await?;
            if !endings.any(&self.connector, locker, &names).await? {
                return Ok(position);
            }
            conn.run(WHAT, "rollback").await?;
        }
    }

    async fn log_end(&self, conn: &mut RawConn) -> Result<Position, ConnectorError> {
        if self.engine == Engine::Mariadb {
            return position(self.engine, &known(conn, "select @@global.gtid_binlog_pos").await?);
        }
        Ok(Position::Mysql(executed(conn).await?))
    }
}

async fn executed(conn: &mut RawConn) -> Result<GtidSet, ConnectorError> {
    parsed(&known(conn, "select @@global.gtid_executed").await?)
}

fn parsed(gtids: &str) -> Result<GtidSet, ConnectorError> {
    gtids.parse().map_err(|error: PositionError| ConnectorError::definite("unexpected_answer", WHAT).caused_by(error))
}

/// A value that is never NULL.
async fn known(conn: &mut RawConn, sql: &str) -> Result<String, ConnectorError> {
    conn.text(WHAT, sql).await?.ok_or_else(|| ConnectorError::definite("unexpected_answer", format!("{WHAT}: the server answered NULL")))
}

/// A position from the server's own text.
pub(crate) fn position(engine: Engine, gtids: &str) -> Result<Position, ConnectorError> {
    let kind = if engine == Engine::Mariadb { "mariadb" } else { "mysql" };
    let text = format!("{kind}:{gtids}");
    text.parse()
        .map_err(|error: PositionError| ConnectorError::definite("unexpected_answer", "read the source's position").caused_by(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_gtids_are_read_without_their_sessions() {
        let (one, two) = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562");
        for (text, wanted) in [
            (String::new(), String::new()),
            (format!("{one}:7#31"), format!("{one}:7")),
            (format!("{one}:7#31:8#32,{two}:blue:1#9"), format!("{one}:7-8,{two}:blue:1")),
            (format!("{one}:7#31,\n{two}:2#4"), format!("{one}:7,{two}:2")),
        ] {
            assert_eq!(owned(&text).expect("well formed").to_string(), wanted, "{text}");
        }
        assert!(owned("7#31").is_err());
    }
}
