//! The capture of a task: its publication, and the slot beside it, made, checked, dropped.
//!
//! The publication comes before the slot, always: the slot's consistent point waits for every transaction that is
//! open by then, so that a transaction which began before the publication cannot be half published. And the slot's
//! snapshot is exactly its consistent point: what committed until then is in the snapshot, the rest in the stream.

use std::collections::{HashMap, HashSet};

use tidegate_connector::{
    CaptureScope, CaptureStart, ConnectorError, Dialect, ErrorClass, LoopMark, ServerSettings, Snapshot, SourceTable,
};
use tidegate_model::{BeforeImages, Lsn, Position, TableName, Window};
use tokio_postgres::Client;

use super::catalog::get;
use super::describe;
use super::history;
use super::loopback::LeftOut;
use super::names::capture_name;
use super::relations::Relations;
use super::slot::{check_slot, drop_slot, is_taken, release_slot};
use super::snapshot::{PostgresSnapshot, storage};
use super::stream::PostgresStream;
use crate::connect;
use crate::fault::pg_error;
use crate::wire::{SlotKind, WireConnection};

/// Snapshots that are given back because a table was rewritten meanwhile, before the caller waits and tries again.
const SNAPSHOTS_MAX: u32 = 5;

/// How the comment of a publication of ours begins; the numbers of its tables' entries follow. A publication that
/// somebody dropped and made anew has no such comment, and a table that was taken out and put back has another entry: in
/// between, its changes were not published, and nothing else says so.
const MARK: &str = "made by Tidegate; entries: ";

/// The entries of a publication, as the mark names them.
const ENTRIES: &str = "select coalesce(pg_catalog.string_agg(r.oid::pg_catalog.text, ' ' order by r.oid), '') from pg_catalog.pg_publication p \
    join pg_catalog.pg_publication_rel r on r.prpubid = p.oid where p.pubname = $1::pg_catalog.text::pg_catalog.name";

/// A publication: whether it publishes everything, and its comment.
const PUBLICATION: &str = "select p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate and p.pubviaroot as options, \
    pg_catalog.obj_description(p.oid, 'pg_publication') as comment \
    from pg_catalog.pg_publication p where p.pubname = $1::pg_catalog.text::pg_catalog.name";

/// Its entries. Row filters and lists of columns came with PostgreSQL 15: they are read out of JSON, where a missing one
/// is NULL.
const ENTRY: &str = "select r.oid::pg_catalog.text as number, n.nspname::pg_catalog.text as schema, c.relname::pg_catalog.text as name, \
    to_jsonb(r) ->> 'prqual' is not null or to_jsonb(r) ->> 'prattrs' is not null as narrowed \
    from pg_catalog.pg_publication p join pg_catalog.pg_publication_rel r on r.prpubid = p.oid \
    join pg_catalog.pg_class c on c.oid = r.prrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace";

/// See `Source::begin_capture`.
pub(crate) async fn begin(server: &ServerSettings, scope: &CaptureScope) -> Result<CaptureStart, ConnectorError> {
    let client = connect::client(server, "capture").await?;
    let name = capture_name(&scope.task);
    check_identities(scope, &describe::from_catalog(&client, &scope.tables).await?)?;
    drop_capture(&client, &name).await?;
    let publication = publication_sql(&name, &scope.tables);
    publish(&client, &name, &publication, &format!("create publication \"{name}\"")).await?;
    for _ in 0..SNAPSHOTS_MAX {
        if let Some(start) = exported(server, &client, scope, &name, SlotKind::Lasting).await? {
            return Ok(start);
        }
        drop_slot(&client, &name).await?;
    }
    Err(always_rewritten())
}

/// See `Source::snapshot`.
pub(crate) async fn snapshot(server: &ServerSettings, scope: &CaptureScope) -> Result<Box<dyn Snapshot>, ConnectorError> {
    let client = connect::client(server, "snapshot").await?;
    let attempted = "read setting \"wal_level\"";
    let row = client.query_one("select pg_catalog.current_setting('wal_level')", &[]).await.map_err(|error| pg_error(attempted, error))?;
    let is_logical = get::<String>(&row, 0, attempted)? == "logical";
    // The server's process number makes the name of a temporary slot unique among those that live.
    let pid: i32 = {
        let attempted = "name a temporary slot";
        let row = client.query_one("select pg_catalog.pg_backend_pid()", &[]).await.map_err(|error| pg_error(attempted, error))?;
        get(&row, 0, attempted)?
    };
    for attempt in 0..SNAPSHOTS_MAX {
        if is_logical {
            // The slot of the attempt before may take a moment to go.
            let slot = format!("tidegate_snapshot_{pid}_{attempt}");
            if let Some(start) = exported(server, &client, scope, &slot, SlotKind::Temporary).await? {
                return Ok(start.snapshot);
            }
        } else {
            let before = storage(&client, &scope.tables).await?;
            let snapshot = PostgresSnapshot::take(server, &scope.tables, &client).await?;
            if storage(&client, &scope.tables).await? == before {
                return Ok(Box::new(snapshot));
            }
        }
    }
    Err(always_rewritten())
}

/// Makes a slot and takes over its snapshot; `None` when a table was rewritten meanwhile, and the slot is of no use.
async fn exported(
    server: &ServerSettings,
    client: &Client,
    scope: &CaptureScope,
    slot: &str,
    kind: SlotKind,
) -> Result<Option<CaptureStart>, ConnectorError> {
    let before = storage(client, &scope.tables).await?;
    let mut wire = WireConnection::open(server, slot).await?;
    let slot = wire.create_slot(slot, kind).await?;
    let position = Position::Postgres(slot.consistent_point);
    let window = Window { low: position.clone(), high: position.clone() };
    let snapshot = PostgresSnapshot::import(server, &scope.tables, &slot.snapshot, window).await?;
    // The snapshot has its own locks now, and its own export.
    drop(wire);
    let is_same = storage(client, &scope.tables).await? == before;
    Ok(is_same.then(|| CaptureStart { position, snapshot: Box::new(snapshot) }))
}

fn always_rewritten() -> ConnectorError {
    ConnectorError::transient(
        "table_rewritten",
        format!("tables were rewritten or altered during each of {SNAPSHOTS_MAX} attempts at a snapshot"),
    )
}

/// See `Source::extend_capture`.
///
/// A transaction that wrote to a table before it was added, and is still open, is in the stream only from then on. The
/// snapshot that is taken afterwards waits for its end, as every new slot does, and has all of it.
pub(crate) async fn extend(client: &Client, scope: &CaptureScope, added: &[TableName]) -> Result<(), ConnectorError> {
    let name = capture_name(&scope.task);
    let published = published(client, &name).await?;
    let wanted: HashSet<&TableName> = scope.tables.iter().collect();
    let gone: Vec<&TableName> = published.iter().filter(|table| !wanted.contains(table)).collect();
    let new: Vec<TableName> = added.iter().filter(|table| !published.contains(*table)).cloned().collect();
    check_identities(&CaptureScope { task: scope.task.clone(), tables: new.clone() }, &describe::from_catalog(client, &new).await?)?;
    let dialect = Dialect::POSTGRES;
    let publication = dialect.identifier(&name);
    if !gone.is_empty() {
        let list: Vec<String> = gone.iter().map(|table| dialect.table(table)).collect();
        let attempted = format!("take tables out of publication \"{name}\"");
        let sql = format!("alter publication {publication} drop table {}", list.join(", "));
        client.batch_execute(&sql).await.map_err(|error| pg_error(&attempted, error))?;
    }
    if !new.is_empty() {
        refuse_stale_publications(client).await?;
        // A new mark must not cover what somebody did since the last one.
        let added: HashSet<&TableName> = added.iter().collect();
        let kept: Vec<TableName> =
            scope.tables.iter().filter(|table| published.contains(*table) && !added.contains(table)).cloned().collect();
        check_publication(client, &name, &kept).await?;
        let attempted = format!("add tables to publication \"{name}\"");
        let sql = format!("alter publication {publication} add {}", table_list(&new));
        publish(client, &name, &sql, &attempted).await?;
    }
    Ok(())
}

/// Runs `sql`, which adds tables to the publication, and marks them, in one transaction: see [`MARK`].
async fn publish(client: &Client, name: &str, sql: &str, attempted: &str) -> Result<(), ConnectorError> {
    let marked = async {
        client.batch_execute(&format!("begin; {sql}")).await?;
        let row = client.query_one(ENTRIES, &[&name]).await?;
        let comment = Dialect::POSTGRES.literal(&format!("{MARK}{}", row.try_get::<_, String>(0)?));
        client.batch_execute(&format!("comment on publication {} is {comment}; commit", Dialect::POSTGRES.identifier(name))).await
    };
    let done = marked.await.map_err(|error| pg_error(attempted, error));
    if done.is_err() {
        // The error that is told is the one before.
        let _ = client.batch_execute("rollback").await;
    }
    done
}

/// Until these releases, a walsender that decoded a transaction which was open while a table was added went on to
/// leave out that table's later changes. Source: PostgreSQL release notes of 8 May 2025, "Handle concurrent
/// invalidations during logical decoding".
async fn refuse_stale_publications(client: &Client) -> Result<(), ConnectorError> {
    let attempted = "read the server's version";
    let sql = "select pg_catalog.current_setting('server_version_num')::pg_catalog.int4, pg_catalog.current_setting('server_version')";
    let row = client.query_one(sql, &[]).await.map_err(|error| pg_error(attempted, error))?;
    let (number, text): (i32, String) = (get(&row, 0, attempted)?, get(&row, 1, attempted)?);
    if publishes_added_tables(number) {
        return Ok(());
    }
    let found = format!("PostgreSQL {text} may leave out changes of a table that is added to a publication while transactions are open");
    Err(ConnectorError::definite("server_outdated", found)
        .hint("update the source to 14.18, 15.13, 16.9, 17.5 or later; or reload the task, which publishes its tables anew"))
}

fn publishes_added_tables(version_number: i32) -> bool {
    let (major, minor) = (version_number / 10_000, version_number % 10_000);
    match major {
        14 => minor >= 18,
        15 => minor >= 13,
        16 => minor >= 9,
        17 => minor >= 5,
        _ => major > 17,
    }
}

/// See `Source::open_stream`.
pub(crate) async fn open_stream(
    server: &ServerSettings,
    scope: &CaptureScope,
    from: &Position,
    left_out: Option<LoopMark>,
) -> Result<PostgresStream, ConnectorError> {
    let client = connect::client(server, "stream").await?;
    let from = check_position(&client, scope, from).await?;
    let name = capture_name(&scope.task);
    release_slot(&client, &name).await?;
    let checked = history::of_session(&client).await?;
    drop(client);
    let mut wire = WireConnection::open(server, &name).await?;
    // What was checked says nothing of another server that the address leads to as well, or has just come to lead to.
    history::refuse_another(&checked, &history::of_wire(&mut wire).await?)?;
    wire.start_replication(&name, &name, from, left_out.is_some()).await?;
    Ok(PostgresStream::new(wire, name.clone(), Relations::new(server.clone(), name), from, LeftOut::new(left_out)))
}

/// See `Source::adopt_capture`: takes over a slot and a publication that the user made for the task. The server decodes
/// each change by the catalog of its time, so that both must have been there before the position; that the slot was, it
/// says itself, and a publication that was not is an error of the stream.
pub(crate) async fn adopt(server: &ServerSettings, scope: &CaptureScope, from: &Position) -> Result<(), ConnectorError> {
    let Position::Postgres(lsn) = from else {
        return Err(ConnectorError::definite("source_changed", format!("found position \"{from}\", wanted one of a PostgreSQL server")));
    };
    let client = connect::client(server, "capture").await?;
    let name = capture_name(&scope.task);
    let made = async {
        check_slot(&client, &name, *lsn).await?;
        published(&client, &name).await
    };
    made.await.map_err(|error| match error.class() {
        ErrorClass::Transient => error,
        _ => {
            let hint = format!(
                "a start at an LSN needs a publication and a slot that were made before it: create publication {name} for table … \
                 with (publish_via_partition_root = true); select pg_create_logical_replication_slot('{name}', 'pgoutput')"
            );
            ConnectorError::definite("position_lost", error.chain()).hint(hint)
        }
    })?;
    publish(&client, &name, "", &format!("mark publication \"{name}\"")).await
}

/// See `Source::check_position`; the position as the server writes it.
pub(crate) async fn check_position(client: &Client, scope: &CaptureScope, from: &Position) -> Result<Lsn, ConnectorError> {
    let Position::Postgres(from) = from else {
        return Err(ConnectorError::definite("source_changed", format!("found position \"{from}\", wanted one of a PostgreSQL server")));
    };
    let name = capture_name(&scope.task);
    check_slot(client, &name, *from).await?;
    check_publication(client, &name, &scope.tables).await?;
    Ok(*from)
}

/// See `Source::end_capture`. A slot of that name that is somebody else's stays.
pub(crate) async fn end(client: &Client, name: &str) -> Result<(), ConnectorError> {
    if is_taken(client, name).await? {
        return drop_publication(client, name).await;
    }
    drop_capture(client, name).await
}

async fn drop_capture(client: &Client, name: &str) -> Result<(), ConnectorError> {
    drop_slot(client, name).await?;
    drop_publication(client, name).await
}

async fn drop_publication(client: &Client, name: &str) -> Result<(), ConnectorError> {
    let sql = format!("drop publication if exists {}", Dialect::POSTGRES.identifier(name));
    client.batch_execute(&sql).await.map_err(|error| pg_error(&format!("drop publication \"{name}\""), error))
}

/// A published table without identity makes the customer's own updates fail, so it is never published.
fn check_identities(scope: &CaptureScope, tables: &[std::sync::Arc<SourceTable>]) -> Result<(), ConnectorError> {
    let tables: HashMap<&TableName, &SourceTable> = tables.iter().map(|table| (&table.schema.name, table.as_ref())).collect();
    for wanted in &scope.tables {
        let Some(table) = tables.get(wanted) else {
            return Err(ConnectorError::table(wanted, "table_missing", format!("found no table \"{wanted}\" to capture")));
        };
        if table.schema.before_images == BeforeImages::None {
            let quoted = Dialect::POSTGRES.table(wanted);
            return Err(ConnectorError::table(
                wanted,
                "no_replica_identity",
                format!("table \"{wanted}\" has no replica identity, wanted a primary key, an identity index or full row images"),
            )
            .hint(format!("alter table {quoted} replica identity full")));
        }
    }
    Ok(())
}

/// `ONLY` leaves out tables that inherit; partitions are published through their root all the same.
fn publication_sql(name: &str, tables: &[TableName]) -> String {
    let tables = if tables.is_empty() { String::new() } else { format!(" for {}", table_list(tables)) };
    format!("create publication {}{tables} with (publish_via_partition_root = true)", Dialect::POSTGRES.identifier(name))
}

fn table_list(tables: &[TableName]) -> String {
    let list: Vec<String> = tables.iter().map(|table| format!("only {}", Dialect::POSTGRES.table(table))).collect();
    format!("table {}", list.join(", "))
}

async fn check_publication(client: &Client, name: &str, tables: &[TableName]) -> Result<(), ConnectorError> {
    let published = published(client, name).await?;
    if let Some(table) = tables.iter().find(|table| !published.contains(*table)) {
        return Err(not_published(name, &format!("found table \"{table}\" not in it")));
    }
    let attempted = format!("look at publication \"{name}\"");
    let row = client.query_one(PUBLICATION, &[&name]).await.map_err(|error| pg_error(&attempted, error))?;
    let comment: Option<String> = get(&row, 1, &attempted)?;
    let marked = comment.as_deref().and_then(|comment| comment.strip_prefix(MARK));
    check_options(name, get(&row, 0, &attempted)?, marked.is_some())?;
    let marked: HashSet<&str> = marked.unwrap_or_default().split(' ').collect();
    let wanted: HashSet<&TableName> = tables.iter().collect();
    let sql = format!("{ENTRY} where p.pubname = $1::pg_catalog.text::pg_catalog.name");
    for row in &client.query(&sql, &[&name]).await.map_err(|error| pg_error(&attempted, error))? {
        let table = TableName::new(get::<String>(row, 1, &attempted)?, get::<String>(row, 2, &attempted)?);
        if wanted.contains(&table) {
            check_entry(name, &table, marked.contains(get::<String>(row, 0, &attempted)?.as_str()), get(row, 3, &attempted)?)?;
        }
    }
    Ok(())
}

/// The same for one table, of which the running stream got a new description: the server sends one, too, after somebody
/// changed the publication. A table that is not in it is none of ours any more.
pub(crate) async fn check_published(client: &Client, name: &str, oid: u32) -> Result<(), ConnectorError> {
    let attempted = format!("look at publication \"{name}\"");
    let sql = format!(
        "select one.options, coalesce(pg_catalog.left(one.comment, {length}) = {mark}, false), entry.schema, entry.name, \
         coalesce(' ' || pg_catalog.substr(one.comment, {length} + 1) || ' ' like '% ' || entry.number || ' %', false), entry.narrowed \
         from ({PUBLICATION}) one left join ({ENTRY} where p.pubname = $1::pg_catalog.text::pg_catalog.name and r.prrelid = $2) entry on true",
        length = MARK.len(),
        mark = Dialect::POSTGRES.literal(MARK),
    );
    let row = client.query_opt(&sql, &[&name, &oid]).await.map_err(|error| pg_error(&attempted, error))?;
    let Some(row) = row else { return Err(not_published(name, "found no such publication")) };
    check_options(name, get(&row, 0, &attempted)?, get(&row, 1, &attempted)?)?;
    match (get::<Option<String>>(&row, 2, &attempted)?, get::<Option<String>>(&row, 3, &attempted)?) {
        (Some(schema), Some(table)) => {
            check_entry(name, &TableName::new(schema, table), get(&row, 4, &attempted)?, get(&row, 5, &attempted)?)
        }
        _ => Ok(()),
    }
}

fn check_options(name: &str, is_whole: bool, is_marked: bool) -> Result<(), ConnectorError> {
    match (is_whole, is_marked) {
        (false, _) => Err(not_published(name, "found it without some of insert, update, delete, truncate and publish_via_partition_root")),
        (true, false) => Err(not_published(name, "found one that was made anew")),
        (true, true) => Ok(()),
    }
}

fn check_entry(name: &str, table: &TableName, is_marked: bool, is_narrowed: bool) -> Result<(), ConnectorError> {
    match (is_marked, is_narrowed) {
        (false, _) => Err(not_published(name, &format!("found table \"{table}\" taken out and put back"))),
        (true, true) => Err(not_published(name, &format!("found table \"{table}\" with a row filter or a list of columns"))),
        (true, false) => Ok(()),
    }
}

/// The tables of a publication, which must exist.
async fn published(client: &Client, name: &str) -> Result<HashSet<TableName>, ConnectorError> {
    let attempted = format!("look at publication \"{name}\"");
    let sql = "select n.nspname::pg_catalog.text, c.relname::pg_catalog.text from pg_catalog.pg_publication p \
        left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid left join pg_catalog.pg_class c on c.oid = r.prrelid \
        left join pg_catalog.pg_namespace n on n.oid = c.relnamespace where p.pubname = $1::pg_catalog.text::pg_catalog.name";
    let rows = client.query(sql, &[&name]).await.map_err(|error| pg_error(&attempted, error))?;
    if rows.is_empty() {
        return Err(not_published(name, "found no such publication"));
    }
    let mut published = HashSet::new();
    for row in &rows {
        if let (Some(schema), Some(table)) = (get::<Option<String>>(row, 0, &attempted)?, get::<Option<String>>(row, 1, &attempted)?) {
            published.insert(TableName::new(schema, table));
        }
    }
    Ok(published)
}

fn not_published(name: &str, found: &str) -> ConnectorError {
    ConnectorError::definite("position_lost", format!("publication \"{name}\": {found}; its changes since then are not in the stream"))
        .hint("reload the task: its tables are copied again and a new publication is made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_name_each_table_alone_and_quoted() {
        let tables = [TableName::new("S", "T.a"), TableName::new("s", "b")];
        let wanted =
            "create publication \"tidegate_x\" for table only \"S\".\"T.a\", only \"s\".\"b\" with (publish_via_partition_root = true)";
        assert_eq!(publication_sql("tidegate_x", &tables), wanted);
    }

    #[test]
    fn releases_that_lose_changes_of_added_tables_are_known() {
        for (number, wanted) in [(140_017, false), (140_018, true), (150_012, false), (160_009, true), (170_004, false), (180_000, true)] {
            assert_eq!(publishes_added_tables(number), wanted, "{number}");
        }
    }
}
