//! The descriptions that a stream has announced, as its server remembers having sent them.
//!
//! The server sends a Relation message before the first change that needs it and then counts on us to know it. For a
//! transaction that is streamed before its end it keeps that account for each top-level transaction on its own: what
//! was sent inside counts for this transaction alone, for everybody once it commits, and for nobody once it aborts.
//! A rolled-back subtransaction that changed the table makes the server send the description anew; one that did not
//! leaves the description that it brought valid. So descriptions are kept by transaction, and dropped with it.
//! Source: PostgreSQL, pgoutput.c, `maybe_send_schema` and `cleanup_rel_sync_cache`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_connector::{ConnectorError, ServerSettings, SourceTable, StreamEvent};
use tidegate_model::TableName;
use tidegate_model::change::RelationId;
use tokio_postgres::Client;

use super::capture::check_published;
use super::{describe, too_large};
use crate::connect;
use crate::fault::{ROW_TOO_LARGE, pg_error};
use crate::pgoutput::RelationMessage;

/// Versions of one table that are remembered with their numbers; two are in use at once when DDL is in flight.
const VERSIONS_MAX: usize = 8;

/// How long the connection to the catalog is kept unused. By guess: descriptions of several tables come close together.
const LINK_KEPT: Duration = Duration::from_secs(10);

/// A description with its number in the stream.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    message: Arc<RelationMessage>,
    pub(crate) id: RelationId,
    pub(crate) table: Arc<SourceTable>,
    /// One flag a column: part of the key tuples.
    pub(crate) key: Arc<[bool]>,
    /// A new message came, so the catalog may say something else by now.
    stale: bool,
}

/// See the module's documentation.
pub(crate) struct Relations {
    catalog: CatalogLink,
    publication: String,
    sent: HashMap<u32, Arc<RelationMessage>>,
    sent_in: HashMap<u32, HashMap<u32, Arc<RelationMessage>>>,
    known: HashMap<u32, Vec<Known>>,
    next_id: u32,
}

impl Relations {
    /// Descriptions of tables of this publication, completed from this server's catalog.
    pub(crate) fn new(server: ServerSettings, publication: String) -> Self {
        Self {
            catalog: CatalogLink { server, open: None },
            publication,
            sent: HashMap::new(),
            sent_in: HashMap::new(),
            known: HashMap::new(),
            next_id: 0,
        }
    }

    /// Takes in a Relation message; `top` is the streamed transaction that it came in.
    pub(crate) fn receive(&mut self, top: Option<u32>, message: RelationMessage) {
        let oid = message.oid;
        let message = Arc::new(message);
        match top {
            Some(top) => {
                self.sent_in.entry(top).or_default().insert(oid, message);
            }
            None => {
                for known in self.known.entry(oid).or_default() {
                    known.stale = true;
                }
                self.sent.insert(oid, message);
            }
        }
    }

    /// A streamed transaction committed: what it brought counts for everybody.
    pub(crate) fn committed(&mut self, top: u32) {
        for (oid, message) in self.sent_in.remove(&top).unwrap_or_default() {
            self.sent.insert(oid, message);
        }
    }

    /// A streamed transaction aborted as a whole.
    pub(crate) fn aborted(&mut self, top: u32) {
        self.sent_in.remove(&top);
    }

    /// The description of the table of a change. Announces it in `events` when it is new. Safe to cancel.
    pub(crate) async fn prepare(&mut self, oid: u32, top: Option<u32>, events: &mut Vec<StreamEvent>) -> Result<(), ConnectorError> {
        if self.get(oid, top).is_some() {
            return Ok(());
        }
        let message = Arc::clone(self.message(oid, top).ok_or_else(|| unknown(oid))?);
        let catalog = self.catalog.client().await?;
        check_published(catalog, &self.publication, oid).await?;
        let versions = self.known.entry(oid).or_default();
        let version = versions.iter().map(|known| known.table.schema.version).max().unwrap_or(0) + 1;
        let mut table = describe::from_message(catalog, &message, version).await?;
        let key = message.columns.iter().map(|column| column.key).collect();
        // The same description as before keeps its number.
        for known in versions.iter_mut() {
            table.schema.version = known.table.schema.version;
            if known.table.schema == table.schema && known.message.columns == message.columns {
                known.message = message;
                known.stale = false;
                return Ok(());
            }
        }
        table.schema.version = version;
        // Numbers are new for each stream, and no stream lives to see four billion descriptions.
        let id = RelationId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let table = Arc::new(table);
        versions.retain(|known| known.message != message);
        if versions.len() >= VERSIONS_MAX {
            versions.remove(0);
        }
        versions.push(Known { message, id, table: Arc::clone(&table), key, stale: false });
        events.push(StreamEvent::Relation { id, table });
        Ok(())
    }

    /// What [`Relations::prepare`] made ready.
    pub(crate) fn get(&self, oid: u32, top: Option<u32>) -> Option<&Known> {
        let message = self.message(oid, top)?;
        let versions = self.known.get(&oid)?;
        let same = |known: &&Known| !known.stale && (Arc::ptr_eq(&known.message, message) || known.message == *message);
        versions.iter().rev().find(same)
    }

    /// An error of the stream, with the table and the column at fault where the server does not say them.
    pub(crate) async fn explained(&mut self, error: ConnectorError) -> ConnectorError {
        if error.code() != ROW_TOO_LARGE {
            return error;
        }
        // A connection that is not kept: its settings change.
        match self.catalog.published(&self.publication).await {
            Ok((client, tables)) => too_large::explained(&client, &tables, error).await,
            Err(_) => error,
        }
    }

    /// Closes what was not needed lately. Called from time to time.
    pub(crate) fn rest(&mut self) {
        self.catalog.rest();
    }

    fn message(&self, oid: u32, top: Option<u32>) -> Option<&Arc<RelationMessage>> {
        let own = top.and_then(|top| self.sent_in.get(&top)).and_then(|sent| sent.get(&oid));
        own.or_else(|| self.sent.get(&oid))
    }
}

/// The connection to the catalog: a stream needs it for the first change of a table and after changes of definitions, and a
/// source may have thousands of streams that need it never.
struct CatalogLink {
    server: ServerSettings,
    /// With the time of its last use.
    open: Option<(Client, Instant)>,
}

impl CatalogLink {
    /// The connection, open. Safe to cancel.
    async fn client(&mut self) -> Result<&Client, ConnectorError> {
        let kept = self.open.take().filter(|(client, _)| !client.is_closed());
        let client = match kept {
            Some((client, _)) => client,
            None => connect::client(&self.server, "stream").await?,
        };
        Ok(&self.open.insert((client, Instant::now())).0)
    }

    /// A connection of its own, and the tables of a publication.
    async fn published(&self, publication: &str) -> Result<(Client, Vec<TableName>), ConnectorError> {
        let client = connect::client(&self.server, "stream").await?;
        let attempted = format!("read the tables of publication \"{publication}\"");
        let failed = |error| pg_error(&attempted, error);
        let sql = "select schemaname::pg_catalog.text, tablename::pg_catalog.text from pg_catalog.pg_publication_tables where pubname = $1::pg_catalog.text::pg_catalog.name";
        let rows = client.query(sql, &[&publication]).await.map_err(failed)?;
        let named = rows
            .iter()
            .map(|row| Ok::<_, tokio_postgres::Error>(TableName::new(row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?)));
        let tables = named.collect::<Result<_, _>>().map_err(failed)?;
        Ok((client, tables))
    }

    fn rest(&mut self) {
        if self.open.as_ref().is_some_and(|(_, used)| used.elapsed() >= LINK_KEPT) {
            self.open = None;
        }
    }
}

/// A change of a table that the server never described.
pub(crate) fn unknown(oid: u32) -> ConnectorError {
    ConnectorError::definite(
        "malformed_log",
        format!("read the source's log: found a change of relation {oid}, wanted its description before"),
    )
}
