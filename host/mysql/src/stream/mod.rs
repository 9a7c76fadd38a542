//! The change stream: raw events in, steps of transactions out.
//!
//! Events are handed on as they come; nothing is held back for a commit. What was half sent when a connection breaks
//! is never finished, and the reader of the stream drops it.

mod assemble;
mod file_place;
mod names;
mod prepared;
mod relation;
mod scope;
pub(crate) mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt;
use tidegate_connector::{CaptureScope, ChangeStream, ConnectorError, ErrorClass, LoopMark, StreamEvent};
use tidegate_model::{Engine, Position, TableName, TaskId};

use self::assemble::{Assembler, Taken};
use self::prepared::{Found, Replay};
use self::scope::Scope;
use self::wire::Wire;
use crate::binlog::event::{Kind, RawEvent};
use crate::binlog::payload::{UNFOLDED_BYTES_MAX, transaction_payload};
use crate::binlog::statement::NameCase;
use crate::catalog::{self, Described};
use crate::charset;
use crate::connect::{Connector, row, rows};
use crate::fault;
use crate::loopback::LeftOut;
use crate::snapshot;

/// Bytes of changes after which a batch is handed out.
const BATCH_BYTES: usize = 1 << 20;

/// A running stream.
pub(crate) struct ChangeReader {
    connector: Connector,
    engine: Engine,
    wire: Wire,
    /// Events that arrived and are not done: at most one, or a payload's.
    pending: VecDeque<RawEvent>,
    /// The prepared transaction that is read again for the COMMIT in front of `pending`.
    replay: Option<Replay>,
    assembler: Assembler,
    task: TaskId,
    heartbeat: Duration,
    /// Time in which events were worked off.
    decoded: Duration,
}

impl ChangeReader {
    /// Opens the stream after `from`.
    pub(crate) async fn open(
        connector: &Connector,
        engine: Engine,
        scope: &CaptureScope,
        from: &Position,
        heartbeat: Duration,
    ) -> Result<Self, ConnectorError> {
        let mut conn = connector.open().await?;
        check_position(&mut conn, engine, from).await?;
        let collations = catalog::collations(&mut conn, engine).await?;
        let logs_cascades = crate::check::logs_cascades(&mut conn, engine).await?;
        let mut tables: Vec<(TableName, Option<Described>)> = Vec::with_capacity(scope.tables.len());
        for name in &scope.tables {
            tables.push((name.clone(), describe(&mut conn, engine, name).await?));
        }
        let scoped = Scope::new(tables, name_case(&mut conn).await?);
        let _ = conn.disconnect().await;
        let mut wire = Wire::start(connector.open_raw().await?, &scope.task, from, heartbeat).await?;
        // A server that refuses the position says so in place of the first event.
        let first = wire.next().await?;
        let assembler = Assembler::new(engine, collations, logs_cascades, scoped, from.clone());
        Ok(Self {
            connector: connector.clone(),
            engine,
            wire,
            pending: VecDeque::from([first]),
            replay: None,
            assembler,
            task: scope.task.clone(),
            heartbeat,
            decoded: Duration::ZERO,
        })
    }

    /// The same, which leaves out transactions with this mark.
    pub(crate) fn leaving_out(self, mark: Option<&LoopMark>) -> Self {
        Self { assembler: self.assembler.leaving_out(mark.map(LeftOut::new)), ..self }
    }

    /// Works off what arrived, up to a batch. Safe to cancel: an event leaves where it waits only when it is done.
    async fn work(&mut self) -> Result<(), ConnectorError> {
        while self.assembler.out_bytes() < BATCH_BYTES {
            let taken = if let Some(replay) = &mut self.replay {
                let Some(event) = replay.pending.front() else {
                    let event = replay.wire.next().await?;
                    replay.pending.push_back(event);
                    continue;
                };
                if unfolds(event) {
                    unfold(&mut replay.pending)?;
                    continue;
                }
                self.assembler.replay(&replay.name, event)?
            } else {
                let Some(event) = self.pending.front() else { return Ok(()) };
                if unfolds(event) {
                    unfold(&mut self.pending)?;
                    continue;
                }
                self.assembler.apply(event)?
            };
            match taken {
                Taken::Done => {
                    let pending = self.replay.as_mut().map_or(&mut self.pending, |replay| &mut replay.pending);
                    drop(pending.pop_front());
                }
                Taken::Describe(table) => {
                    let mut conn = self.connector.open().await?;
                    let found = describe(&mut conn, self.engine, &table).await?;
                    self.assembler.offer(&table, found);
                }
                Taken::Learn(name) => {
                    let known = self.connector.charset(&name).await?;
                    let charset = known.ok_or_else(|| fault::decode(None, None, "in the log", &charset::unsupported(&name)))?;
                    self.assembler.learn(name, charset);
                }
                Taken::LookUp(name) => self.look_up(name).await?,
                Taken::Replayed => self.replay = None,
            }
        }
        Ok(())
    }

    /// Looks for a transaction that was prepared before the stream began.
    async fn look_up(&mut self, name: String) -> Result<(), ConnectorError> {
        let mut conn = self.connector.open().await?;
        match prepared::look_up(&mut conn, self.assembler.scope(), &name, &self.assembler.log_place()).await? {
            Found::Elsewhere => self.assembler.pass(name),
            Found::At(place) => {
                let wire = Wire::at(self.connector.open_raw().await?, self.engine, &self.task, &place, self.heartbeat).await?;
                self.assembler.begin_replay()?;
                self.replay = Some(Replay { name, wire, pending: VecDeque::new() });
            }
            Found::Nothing => return Err(self.assembler.xa_unknown()),
        }
        let _ = conn.disconnect().await;
        Ok(())
    }
}

fn unfolds(event: &RawEvent) -> bool {
    Kind::of(event.code) == Some(Kind::Payload)
}

/// Puts the events of the payload in front in its place.
fn unfold(pending: &mut VecDeque<RawEvent>) -> Result<(), ConnectorError> {
    let Some(event) = pending.pop_front() else { return Ok(()) };
    let place = format!("in the transaction payload that ends at position {}", event.end);
    let decode = |fault| fault::decode(None, None, &place, &fault);
    let mut payload = transaction_payload(&event.body, UNFOLDED_BYTES_MAX).map_err(decode)?;
    let mut events = VecDeque::new();
    while !payload.is_empty() {
        let inner = RawEvent::inner(&mut payload).map_err(decode)?;
        let allowed = Kind::of(inner.code).is_none_or(|kind| {
            matches!(
                kind,
                Kind::Query { .. } | Kind::Xid | Kind::XaPrepare | Kind::TableMap | Kind::Rows { .. } | Kind::PartialUpdate | Kind::Passive
            )
        });
        if !allowed || matches!(inner.code, 3 | 4 | 15) {
            return Err(ConnectorError::definite("binlog_malformed", format!("event of kind {} {place}", inner.code)));
        }
        events.push_back(RawEvent { end: event.end, ..inner });
    }
    events.append(pending);
    *pending = events;
    Ok(())
}

#[async_trait]
impl ChangeStream for ChangeReader {
    async fn next_events(&mut self) -> Result<Vec<StreamEvent>, ConnectorError> {
        loop {
            let since = Instant::now();
            self.work().await?;
            self.decoded += since.elapsed();
            let full = self.assembler.out_bytes() >= BATCH_BYTES;
            if !self.assembler.has_output() {
                let event = self.wire.next().await?;
                self.pending.push_back(event);
            } else if full {
                return Ok(self.assembler.take());
            } else {
                match self.wire.next().now_or_never() {
                    Some(event) => self.pending.push_back(event?),
                    None => return Ok(self.assembler.take()),
                }
            }
        }
    }

    fn log_bytes(&self) -> u64 {
        self.wire.log_bytes()
    }

    /// The server keeps its log by time and space, not for readers: there is nobody to tell.
    fn confirm(&mut self, _position: &Position) {}

    fn decoded(&self) -> Duration {
        self.decoded
    }
}

async fn name_case(conn: &mut mysql_async::Conn) -> Result<NameCase, ConnectorError> {
    let folds: u8 = row(conn, "read how the source compares names", "select @@lower_case_table_names").await?;
    Ok(if folds == 0 { NameCase::Exact } else { NameCase::Folded })
}

/// The catalog's description; `None` for a table that is gone or that the catalog's form no longer fits.
async fn describe(conn: &mut mysql_async::Conn, engine: Engine, name: &TableName) -> Result<Option<Described>, ConnectorError> {
    match catalog::describe(conn, engine, name, 1).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.class() == ErrorClass::TableDefinite => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the oldest binary log begins must lie behind the position. That the position is of this server's own
/// history, the server tells when the dump begins.
async fn mariadb_position(conn: &mut mysql_async::Conn, what: &str, from: &Position) -> Result<(), ConnectorError> {
    let logs: Vec<mysql_async::Row> = rows(conn, what, "show binary logs").await?;
    let Some(oldest) = logs.first().and_then(|row| row.get_opt::<String, _>(0)).and_then(Result::ok) else { return Ok(()) };
    let sql = format!("select binlog_gtid_pos({}, 4)", tidegate_connector::Dialect::MYSQL.literal(&oldest));
    let begins: Option<String> = row::<(Option<String>,)>(conn, what, &sql).await?.0;
    // NULL: the server cannot tell, and answers the dump.
    let Some(begins) = begins else { return Ok(()) };
    let begins = Position::Mariadb(begins.parse().map_err(|error| ConnectorError::definite("unexpected_answer", what).caused_by(error))?);
    if from.covers_position(&begins) {
        return Ok(());
    }
    let text = format!("the source's oldest binary log \"{oldest}\" begins after the position {from}");
    Err(ConnectorError::definite("position_lost", text)
        .hint("load the task again; to keep more log: set global binlog_expire_logs_seconds = 604800"))
}

/// Tells beforehand whether the position is the server's own and still there.
pub(crate) async fn check_position(conn: &mut mysql_async::Conn, engine: Engine, from: &Position) -> Result<(), ConnectorError> {
    let what = "compare the position with the source's log";
    match (engine, from) {
        (Engine::Mysql, Position::Mysql(from)) => {
            // What is in the log and not in the engine was sent to its readers, and is executed by and by. Asked for first: then it is one or the other.
            let owned = Position::Mysql(snapshot::owned(&row::<String>(conn, what, snapshot::OWNED).await?)?);
            let (executed, purged): (String, String) = row(conn, what, "select @@global.gtid_executed, @@global.gtid_purged").await?;
            let parse = |text: &str| {
                text.parse::<tidegate_model::position::GtidSet>()
                    .map_err(|error| ConnectorError::definite("unexpected_answer", what).caused_by(error))
            };
            let (executed, purged) = (parse(&executed)?, parse(&purged)?);
            if !owned.union(&Position::Mysql(executed)).covers_position(&Position::Mysql(from.clone())) {
                let text = "the source's executed GTIDs do not hold all of the position: it lost transactions, or is another server";
                return Err(ConnectorError::definite("source_changed", text).hint("load the task again from this source"));
            }
            if !from.contains_set(&purged) {
                let text = "the source has purged binary logs that the position still needs";
                return Err(ConnectorError::definite("position_lost", text)
                    .hint("load the task again; to keep more log: set persist binlog_expire_logs_seconds = 604800"));
            }
            Ok(())
        }
        (Engine::Mariadb, Position::Mariadb(_)) => mariadb_position(conn, what, from).await,
        _ => Err(ConnectorError::definite("position_kind", "the position is of another kind of source than the server")),
    }
}
