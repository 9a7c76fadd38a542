//! Turns raw events into steps of transactions.
//!
//! ```text
//!   GTID ─▶ BEGIN ─▶ (TABLE_MAP+ ROWS+)* ─▶ XID | COMMIT        rows
//!   GTID ─▶ statement                                            DDL, ends by itself
//!   GTID ─▶ XA START ─▶ ... ─▶ XA PREPARE      GTID ─▶ XA COMMIT | XA ROLLBACK
//! ```
//!
//! A position moves only at the end of a whole group. Whatever would let rows pass unseen (an unknown event, rows as
//! text, images without all columns, a prepared transaction of unknown content) is an error that names its place.

mod refused;
mod xa;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_connector::{ConnectorError, StreamEvent, TxId, is_table_of_dms};
use tidegate_model::change::RelationId;
use tidegate_model::{Change, Engine, LogPlace, Position, RowChange, TableName, TxMark, Upheaval};

use self::xa::{Prepared, Replaying};
use super::file_place::FilePlace;
use super::names::mark_text;
use super::relation::{Resolved, resolve};
use super::scope::Scope;
use crate::binlog::bytes::{Fault, Reader};
use crate::binlog::event::{Gtid, Kind, RawEvent, mariadb_gtid, mysql_gtid, mysql_tagged_gtid, query};
use crate::binlog::payload::{UNFOLDED_BYTES_MAX, mariadb_compressed};
use crate::binlog::rows::{Logged, RowsKind, Side, rows_event};
use crate::binlog::statement::{Said, Statement, gets_cascade, is_illegible, judge};
use crate::binlog::table_map::table_map_head;
use crate::catalog::Described;
use crate::charset::{Charset, Collations};
use crate::fault;
use crate::loopback::{self, LeftOut};

/// What the caller must do before the event is taken.
pub(crate) enum Taken {
    /// Nothing: the event is done.
    Done,
    /// Ask the catalog for this table, call [`Assembler::offer`], and give the event again.
    Describe(TableName),
    /// Ask the server for this character set, call [`Assembler::learn`], and give the event again.
    Learn(String),
    /// Look for the XA transaction of this name, which was prepared before the stream began. When none of its rows are of the scope,
    /// call [`Assembler::pass`]; else call [`Assembler::begin_replay`], and [`Assembler::replay`] with its events. Then give the event again.
    LookUp(String),
    /// The group that was read again is done.
    Replayed,
}

struct OpenGroup {
    id: TxId,
    gtid: Gtid,
    /// BEGIN was seen, or MariaDB's GTID event stands for it.
    began: bool,
    /// Holds changes of the scope.
    touched: bool,
    /// Another task wrote it, whose changes are left out.
    left_out: bool,
    /// Has rows of other tables than our own and DMS's control tables.
    foreign: bool,
}

enum Mapped {
    Ignored,
    Scoped { table: TableName, relation: RelationId, columns: Arc<[Logged]> },
}

/// See the module's documentation.
pub(crate) struct Assembler {
    engine: Engine,
    collations: Collations,
    logs_cascades: bool,
    scope: Scope,
    maps: HashMap<u64, Mapped>,
    group: Option<OpenGroup>,
    position: Position,
    /// XA transactions that are prepared, by their names.
    prepared: HashMap<String, Prepared>,
    replaying: Replaying,
    left_out: Option<LeftOut>,
    next_tx: u64,
    next_relation: u32,
    place: FilePlace,
    out: Vec<StreamEvent>,
    out_bytes: usize,
}

impl Assembler {
    /// `logs_cascades`: the server logs the rows that a foreign key's actions change.
    pub(crate) fn new(engine: Engine, collations: Collations, logs_cascades: bool, scope: Scope, from: Position) -> Self {
        Self {
            engine,
            collations,
            logs_cascades,
            scope,
            maps: HashMap::new(),
            group: None,
            position: from,
            prepared: HashMap::new(),
            replaying: Replaying::No,
            left_out: None,
            next_tx: 1,
            next_relation: 1,
            place: FilePlace::default(),
            out: Vec::new(),
            out_bytes: 0,
        }
    }

    /// The same, which leaves out what has a mark.
    pub(crate) fn leaving_out(self, left_out: Option<LeftOut>) -> Self {
        Self { left_out, ..self }
    }

    /// Bytes of changes that wait to be taken.
    pub(crate) fn out_bytes(&self) -> usize {
        self.out_bytes
    }

    /// True when events wait to be taken.
    pub(crate) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// The events so far.
    pub(crate) fn take(&mut self) -> Vec<StreamEvent> {
        self.out_bytes = 0;
        std::mem::take(&mut self.out)
    }

    /// The server's answer to [`Taken::Learn`].
    pub(crate) fn learn(&mut self, name: String, charset: Charset) {
        self.collations.learn(name, charset);
    }

    /// The catalog's answer to [`Taken::Describe`].
    pub(crate) fn offer(&mut self, table: &TableName, found: Option<Described>) {
        if let Some(known) = self.scope.get_mut(table) {
            let before = known.catalog.take();
            known.catalog = found.map(|found| found.after(before.as_ref()));
        }
    }

    /// The tables of the scope.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Where the last event ends in the log's files.
    pub(crate) fn log_place(&self) -> LogPlace {
        self.place.named()
    }

    /// Takes one event that is no transaction payload.
    pub(crate) fn apply(&mut self, event: &RawEvent) -> Result<Taken, ConnectorError> {
        self.place.pass(event);
        let Some(kind) = Kind::of(event.code) else {
            if event.ignorable() {
                return Ok(Taken::Done);
            }
            let text = format!("binary log event of unknown kind {} {}", event.code, self.place());
            return Err(
                ConnectorError::definite("unknown_event", text).hint("this server version writes events that this version cannot read")
            );
        };
        match kind {
            Kind::Passive => self.passive(event),
            Kind::Heartbeat => self.idle(),
            Kind::MysqlGtid => self.open(mysql_gtid(&event.body))?,
            Kind::MysqlTaggedGtid => self.open(mysql_tagged_gtid(&event.body))?,
            Kind::MariadbGtid => self.open(mariadb_gtid(&event.body, event.server))?,
            Kind::AnonymousGtid => {
                let text = format!("transaction without a GTID {}", self.place());
                return Err(ConnectorError::definite("gtid_mode", text).hint("set persist gtid_mode = ON"));
            }
            Kind::Query { compressed } => return self.query(event, compressed),
            Kind::Xid => self.commit(event)?,
            Kind::XaPrepare => self.xa_prepare(event)?,
            Kind::TableMap => return self.table_map(event),
            Kind::Rows { kind, version, compressed } => self.rows(event, kind, version, compressed)?,
            Kind::PartialUpdate => return Err(self.partial_json()),
            Kind::Payload => return Err(self.broken("transaction payload within a payload")),
            Kind::Incident => {
                let text = format!("the source lost events of its binary log {}", self.place());
                return Err(ConnectorError::definite("incident", text).hint("load the task again"));
            }
            Kind::StatementFormat => return Err(self.statement_format("LOAD DATA or variables")),
        }
        Ok(Taken::Done)
    }

    fn passive(&mut self, event: &RawEvent) {
        if event.code == 4 {
            // The next file has maps of its own.
            self.maps.clear();
        }
        if event.code == 15 {
            // A new format starts a new file, perhaps after a crash: what was half written there is void.
            if let Some(group) = self.group.take()
                && group.touched
            {
                self.out.push(StreamEvent::Abort { tx: group.id, sub: group.id });
            }
        }
    }

    fn idle(&mut self) {
        if self.group.is_some() {
            return;
        }
        let event = StreamEvent::Idle { position: self.position.clone() };
        match self.out.last_mut() {
            Some(last @ StreamEvent::Idle { .. }) => *last = event,
            _ => self.out.push(event),
        }
    }

    fn is_left_out(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.left_out)
    }

    fn open(&mut self, gtid: Result<Gtid, Fault>) -> Result<(), ConnectorError> {
        let gtid = gtid.map_err(|fault| self.decode(None, None, &fault))?;
        if self.group.is_some() {
            return Err(self.broken("a transaction begins before the one before it ended"));
        }
        if self.position.covers(&gtid.mark) {
            let text = format!("GTID {} is not after the position {} {}", mark_text(&gtid.mark), self.position, self.place());
            return Err(ConnectorError::definite("gtid_order", text)
                .hint("GTIDs of one domain must rise: set global gtid_strict_mode = ON, then load the task again"));
        }
        let id = self.new_tx();
        let began = matches!(gtid.mark, TxMark::Mariadb { .. }) && !gtid.standalone;
        self.group = Some(OpenGroup { id, gtid, began, touched: false, left_out: false, foreign: false });
        Ok(())
    }

    fn new_tx(&mut self) -> TxId {
        let id = TxId(self.next_tx);
        self.next_tx += 1;
        id
    }

    fn query(&mut self, event: &RawEvent, compressed: bool) -> Result<Taken, ConnectorError> {
        let logged = query(&event.body).map_err(|fault| self.decode(None, None, &fault))?;
        let unfolded;
        let text = if compressed {
            unfolded = mariadb_compressed(logged.text, UNFOLDED_BYTES_MAX).map_err(|fault| self.decode(None, None, &fault))?;
            &unfolded[..]
        } else {
            logged.text
        };
        if self.left_out.as_ref().is_some_and(|left_out| left_out.is_noted(text)) {
            let group = self.group_mut()?;
            group.left_out = true;
            if !group.began {
                self.commit(event)?;
            }
            return Ok(Taken::Done);
        }
        if is_illegible(text, self.scope.names()) {
            let text = format!("a definition changed by a statement whose names are not in UTF-8 {}", self.place());
            return Err(ConnectorError::definite("statement_charset", text)
                .hint("a session changes definitions in another character set: set names utf8mb4 in it, then load the task again"));
        }
        let database = String::from_utf8_lossy(logged.database);
        let said = Said { database: &database, modes: logged.modes, names: self.scope.case() };
        if let Some(table) = (!self.logs_cascades).then(|| gets_cascade(text, &said)).flatten()
            && let Some(table) = self.scope.named(&table).cloned()
        {
            let text = format!("table \"{table}\" got a foreign key whose actions this server does not log {}", self.place());
            return Err(ConnectorError::table(&table, "cascade_not_logged", text)
                .hint("drop the foreign key, add it again without actions (RESTRICT), and reload the table"));
        }
        match judge(text, &said, self.scope.names()) {
            Statement::Begin | Statement::XaStart => self.group_mut()?.began = true,
            Statement::Commit => return self.commit(event).map(|()| Taken::Done),
            Statement::Rollback => return self.rollback(event).map(|()| Taken::Done),
            Statement::RollbackTo => return self.rollback_to().map(|()| Taken::Done),
            Statement::Dml(verb) => return Err(self.statement_format(&verb)),
            Statement::XaFinish { commit, name } => return self.xa_finish(event, commit, &name),
            Statement::Truncate(table) => self.truncate(&table)?,
            Statement::Breaks(tables) => {
                for (table, upheaval) in tables {
                    self.unlogged(&table, upheaval)?;
                }
            }
            Statement::Neutral => {}
        }
        // Without BEGIN, a statement is its own transaction.
        if self.group.as_ref().is_some_and(|group| !group.began) {
            self.commit(event)?;
        }
        Ok(Taken::Done)
    }

    fn truncate(&mut self, table: &TableName) -> Result<(), ConnectorError> {
        let Some(name) = self.scope.named(table).cloned() else { return Ok(()) };
        let relation = self.announced(&name)?;
        self.change(Change::Truncate { relations: vec![relation] })
    }

    fn unlogged(&mut self, table: &TableName, upheaval: Upheaval) -> Result<(), ConnectorError> {
        let relation = self.announced(table)?;
        self.change(Change::Unlogged { relation, upheaval })
    }

    /// The number of a table of the scope, which the catalog's description gets where no row came yet.
    fn announced(&mut self, name: &TableName) -> Result<RelationId, ConnectorError> {
        let place = self.place();
        let missing =
            || ConnectorError::table(name, "table_missing", format!("table \"{name}\" is gone, and its log was not read {place}"));
        let known = self.scope.get_mut(name).ok_or_else(missing)?;
        if let Some(relation) = known.relation {
            return Ok(relation);
        }
        let table = known.catalog.as_ref().ok_or_else(missing)?.table.clone();
        let id = RelationId(self.next_relation);
        self.next_relation += 1;
        known.relation = Some(id);
        self.out.push(StreamEvent::Relation { id, table });
        Ok(id)
    }

    fn table_map(&mut self, event: &RawEvent) -> Result<Taken, ConnectorError> {
        let head = table_map_head(&event.body).map_err(|fault| self.decode(None, None, &fault))?;
        let id = head.id;
        if let Some(left_out) = &self.left_out
            && let Some(group) = &mut self.group
        {
            group.left_out |= left_out.is_mark(&head.table);
            group.foreign |= head.table.schema != loopback::DATABASE && !is_table_of_dms(&head.table.name);
        }
        if self.is_left_out() {
            self.maps.insert(id, Mapped::Ignored);
            return Ok(Taken::Done);
        }
        let Some(name) = self.scope.named(&head.table).cloned() else {
            self.maps.insert(id, Mapped::Ignored);
            return Ok(Taken::Done);
        };
        let map = match head.read(&self.collations, self.engine == Engine::Mariadb) {
            Err(Fault::Unlearned(charset)) => return Ok(Taken::Learn(charset)),
            read => read.map_err(|fault| self.decode(Some(&name), None, &fault))?,
        };
        let place = self.place();
        let is_replayed = self.replaying != Replaying::No;
        let Some(known) = self.scope.get_mut(&name) else { return Ok(Taken::Done) };
        if is_replayed && known.last.as_ref().is_some_and(|(last, _)| *last != map) {
            return Err(self.xa_changed(&name));
        }
        if known.last.as_ref().is_none_or(|(last, _)| *last != map) {
            let resolved = resolve(&map, known.catalog.as_ref(), self.engine, &place)?;
            if !resolved.agrees && known.asked_for.as_ref() != Some(&map) {
                known.asked_for = Some(map);
                return Ok(Taken::Describe(name));
            }
            if known.last.is_some() {
                known.version += 1;
            }
            let mut table = (*resolved.table).clone();
            table.schema.version = known.version;
            let table = Arc::new(table);
            let relation = RelationId(self.next_relation);
            self.next_relation += 1;
            known.relation = Some(relation);
            known.last = Some((map, Resolved { table: table.clone(), ..resolved }));
            self.out.push(StreamEvent::Relation { id: relation, table });
        }
        if let (Some(relation), Some((_, resolved))) = (known.relation, &known.last) {
            self.maps.insert(id, Mapped::Scoped { table: name, relation, columns: resolved.columns.clone() });
        }
        Ok(Taken::Done)
    }

    fn rows(&mut self, event: &RawEvent, kind: RowsKind, version: u8, compressed: bool) -> Result<(), ConnectorError> {
        let head = rows_event(&event.body, kind, version).map_err(|fault| self.decode(None, None, &fault))?;
        let (table, relation, columns) = match self.maps.get(&head.table_id) {
            Some(Mapped::Ignored) => return Ok(()),
            Some(Mapped::Scoped { table, relation, columns }) => (table.clone(), *relation, columns.clone()),
            // The server ends a statement without rows by an event for this number.
            None if head.table_id == 0xff_ffff => return Ok(()),
            None => return Err(self.broken("rows of a table that was not described")),
        };
        if head.columns != columns.len() {
            return Err(self.broken("rows with another count of columns than their table"));
        }
        let Some(is_whole) = head.completeness(kind, &columns) else {
            let text = format!("table \"{table}\": a row image without all columns {}", self.place());
            return Err(ConnectorError::table(&table, "row_image", text)
                .hint("a session had binlog_row_image other than FULL: set it to FULL everywhere, then reload the table"));
        };
        let unfolded: Bytes;
        let (images, whole) = if compressed {
            let plain = mariadb_compressed(head.images, UNFOLDED_BYTES_MAX);
            unfolded = plain.map_err(|fault| self.decode(Some(&table), None, &fault))?;
            (&unfolded[..], &unfolded)
        } else {
            (head.images, &event.body)
        };
        let mut reader = Reader::new(images, "row image");
        while !reader.is_empty() {
            let before = reader.len();
            let mut next = |side| {
                head.image(side, &mut reader, &columns, whole).map_err(|(index, fault)| {
                    let column = self.column_name(&table, index);
                    self.decode(Some(&table), column.as_deref(), &fault)
                })
            };
            let change = match kind {
                RowsKind::Write => RowChange::Insert { new: next(Side::After)? },
                RowsKind::Update => {
                    let (old, new) = (next(Side::Before)?, next(Side::After)?);
                    RowChange::Update { new: if is_whole { new } else { new.filled_from(&old) }, old: Some(old) }
                }
                RowsKind::Delete => RowChange::Delete { old: next(Side::Before)? },
            };
            if reader.len() == before {
                return Err(self.broken("rows of a table without columns"));
            }
            self.change(Change::Row { relation, change })?;
        }
        Ok(())
    }

    fn column_name(&self, table: &TableName, index: usize) -> Option<String> {
        let (map, _) = self.scope.get(table)?.last.as_ref()?;
        map.columns.get(index).map(|column| column.name.clone())
    }

    fn change(&mut self, change: Change) -> Result<(), ConnectorError> {
        let group = self.group_mut()?;
        group.touched = true;
        let tx = group.id;
        self.out_bytes += change.bytes_held();
        self.out.push(StreamEvent::Change { tx, sub: tx, change });
        Ok(())
    }

    fn commit(&mut self, event: &RawEvent) -> Result<(), ConnectorError> {
        let Some(group) = self.group.take() else {
            return Err(self.broken("a commit without a GTID"));
        };
        let committed_at_us = group.gtid.committed_at_us.unwrap_or(i64::from(event.timestamp) * 1_000_000);
        self.position.advance(&group.gtid.mark);
        self.out_bytes += size_of::<StreamEvent>();
        if self.left_out.is_some() && !group.touched && (group.left_out || !group.foreign) {
            // Two tasks would go on for ever to tell each other how far they are.
            self.idle();
            return Ok(());
        }
        let place = Some(self.place.named());
        self.out.push(StreamEvent::Commit { tx: group.id, mark: group.gtid.mark, committed_at_us, place });
        Ok(())
    }

    fn group_mut(&mut self) -> Result<&mut OpenGroup, ConnectorError> {
        if self.group.is_none() {
            return Err(self.broken("a change without a GTID"));
        }
        Ok(self.group.as_mut().expect("checked above"))
    }

    fn broken(&self, what: &str) -> ConnectorError {
        ConnectorError::definite("binlog_malformed", format!("{what} {}", self.place()))
    }

    fn decode(&self, table: Option<&TableName>, column: Option<&str>, fault: &Fault) -> ConnectorError {
        fault::decode(table, column, &self.place(), fault)
    }

    /// Where the event stands, for errors.
    fn place(&self) -> String {
        let gtid = self.group.as_ref().map(|group| format!(", GTID {}", mark_text(&group.gtid.mark))).unwrap_or_default();
        format!("in binary log \"{}\" before position {}{gtid}", self.place.file(), self.place.offset())
    }
}
