//! A snapshot that several readers share, and its cuts.
//!
//! A holder keeps a transaction open that has the snapshot and a light lock on every table. A table that is rewritten
//! between the snapshot and its lock would look empty to every reader, without an error. The lock cannot come first: the
//! snapshot of a slot waits for every open transaction, and one of those may wait for our lock, so that both would
//! wait for ever, and the server could not see why. So storage and columns are compared ([`storage`]): where they are
//! others under the lock than before the slot, the snapshot is given back.
//! Readers import the snapshot on connections of their own and read ranges of blocks (`ctid`). Somebody who wants to empty or alter
//! a table waits for the holder, and readers would wait for that one: so they give up soon, the snapshot is given back, and the next
//! attempt takes another when the table has been changed.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_connector::{Chunk, ConnectorError, CutParts, Dialect, RangePart, RowReader, ServerSettings, Snapshot, SourceTable, TableCut};
use tidegate_model::{BeforeImages, Lsn, Position, TableName, Window};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::catalog::{self, LOCK_TIMEOUT, get, partition_tree};
use super::rows::{CopyReader, Readers};
use super::{partitions, range};
use crate::connect;
use crate::fault::pg_error;

/// Rows that a block holds when the server has no statistics yet: rows of about 100 bytes in blocks of 8 KiB, by guess.
const ROWS_PER_BLOCK_GUESS: f64 = 80.0;

const LEAVES: &str = "select l.oid::pg_catalog.oid, pg_catalog.pg_relation_filenode(l.oid)::pg_catalog.oid, \
    pg_catalog.pg_relation_size(l.oid) / pg_catalog.current_setting('block_size')::pg_catalog.int8, \
    l.reltuples::pg_catalog.float8, l.relpages::pg_catalog.int4, l.relkind::pg_catalog.text, w.place::pg_catalog.int8, \
    exists (select from pg_catalog.pg_am a where a.oid = l.relam and a.amname = 'heap') \
    from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) with ordinality w (s, t, place) \
    join pg_catalog.pg_namespace n on n.nspname = w.s \
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.t and c.relkind in ('r', 'p') \
    cross join lateral (select c.oid where c.relkind <> 'p' union all \
      select t.relid from pg_catalog.pg_partition_tree(case c.relkind when 'p' then c.oid end) t where t.isleaf and t.relid <> c.oid) x (oid) \
    join pg_catalog.pg_class l on l.oid = x.oid and l.relkind <> 'p' order by w.place, l.oid";

const LEAF: &str = "select n.nspname::pg_catalog.text, l.relname::pg_catalog.text, pg_catalog.pg_relation_filenode(l.oid)::pg_catalog.oid \
    from pg_catalog.pg_class l join pg_catalog.pg_namespace n on n.oid = l.relnamespace where l.oid = $1 and exists (\
    select from pg_catalog.pg_class c join pg_catalog.pg_namespace cn on cn.oid = c.relnamespace \
    where cn.nspname = $2 and c.relname = $3 and (c.oid = l.oid or c.oid in (select a.relid from pg_catalog.pg_partition_ancestors(l.oid) a)))";

/// A number that a rewrite or a changed column changes, over the tables and all of their partitions.
const STORAGE: &str = concat!(
    "select coalesce(pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', l.oid, pg_catalog.pg_relation_filenode(l.oid), \
    (select pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped), ',' order by a.attnum) \
    from pg_catalog.pg_attribute a where a.attrelid = l.oid and a.attnum > 0)), 0)::pg_catalog.numeric), 0)::pg_catalog.text \
    from pg_catalog.pg_class l where l.oid in (select t.oid from \
    rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) w (s, t) \
    join pg_catalog.pg_namespace n on n.nspname = w.s join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.t, \
    lateral ",
    partition_tree!(),
    " t (oid))"
);

const SENDS: &str = "select a.attname::pg_catalog.text, t.typsend::pg_catalog.oid <> 0 from pg_catalog.pg_attribute a \
    join pg_catalog.pg_type t on t.oid = a.atttypid where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped";

/// See the module's documentation.
pub(crate) struct PostgresSnapshot {
    server: ServerSettings,
    /// Keeps the snapshot and the locks; nothing else may run on it, because a failed statement would end both.
    holder: Client,
    /// Connections whose readers have come to their ends, for the next ones.
    readers: Readers,
    catalog: Client,
    /// What readers import.
    snapshot: String,
    window: Window,
}

impl PostgresSnapshot {
    /// Takes over a snapshot that another connection has exported and still holds.
    pub(crate) async fn import(
        server: &ServerSettings,
        tables: &[TableName],
        exported: &str,
        window: Window,
    ) -> Result<Self, ConnectorError> {
        let holder = connect::client(server, "snapshot holder").await?;
        holder.batch_execute(&import_sql(exported)).await.map_err(|error| pg_error("import the snapshot of the slot", error))?;
        Self::held(server, tables, holder, window).await
    }

    /// Takes a snapshot of its own, for servers without logical decoding.
    ///
    /// Its place in the log is not exact: a transaction whose commit record is written may still be invisible. So the
    /// window is wide: nothing is sure to be in it, and nothing behind the log's end afterwards is.
    pub(crate) async fn take(server: &ServerSettings, tables: &[TableName], log: &Client) -> Result<Self, ConnectorError> {
        let holder = connect::client(server, "snapshot holder").await?;
        holder
            .batch_execute("begin isolation level repeatable read read only; select 1")
            .await
            .map_err(|error| pg_error("take a snapshot", error))?;
        let high = Position::Postgres(catalog::log_end(log).await?);
        Self::held(server, tables, holder, Window { low: Position::Postgres(Lsn(0)), high }).await
    }

    async fn held(server: &ServerSettings, tables: &[TableName], holder: Client, window: Window) -> Result<Self, ConnectorError> {
        holder.batch_execute(&lock_sql(tables)).await.map_err(|error| pg_error("lock tables in the snapshot", error))?;
        // Exported anew from the holder, so that the connection of the slot need not be kept.
        let attempted = "export the snapshot";
        let row = holder.query_one("select pg_catalog.pg_export_snapshot()", &[]).await.map_err(|error| pg_error(attempted, error))?;
        let snapshot = get(&row, 0, attempted)?;
        let catalog = connect::client(server, "snapshot plan").await?;
        let patience = format!("set lock_timeout = '{LOCK_TIMEOUT}'");
        catalog.batch_execute(&patience).await.map_err(|error| pg_error("bound the wait for locks", error))?;
        Ok(Self { server: server.clone(), holder, readers: Readers::default(), catalog, snapshot, window })
    }
}

#[async_trait]
impl Snapshot for PostgresSnapshot {
    async fn chunks(&self, table: &SourceTable, rows_wanted: u64) -> Result<Vec<Chunk>, ConnectorError> {
        Ok(self.chunks_of_all(&[table], rows_wanted).await?.remove(0))
    }

    async fn chunks_of(&self, tables: &[Arc<SourceTable>], rows_wanted: u64) -> Result<Vec<Vec<Chunk>>, ConnectorError> {
        self.chunks_of_all(&tables.iter().map(AsRef::as_ref).collect::<Vec<_>>(), rows_wanted).await
    }

    fn empty(&self, chunk: &Chunk) -> Option<Window> {
        (chunk.bounds == NOTHING).then(|| self.window.clone())
    }

    async fn cut(&self, table: &SourceTable, cut: &TableCut, rows_wanted: u64) -> Result<Vec<Chunk>, ConnectorError> {
        let leaves = self.leaves(&[&table.schema.name]).await?.remove(0);
        match &cut.parts {
            CutParts::Ranges(ranges) => range::plan(&self.catalog, table, cut, ranges).await,
            CutParts::Each { .. } if !partitions::is_partitioned(&self.catalog, &table.schema.name).await? => {
                Ok(block_chunks(&leaves, |_| rows_wanted))
            }
            CutParts::Whole | CutParts::Each { .. } => Ok(block_chunks(&leaves, |_| u64::MAX)),
            CutParts::Named(names) => {
                let named = partitions::named(&self.catalog, table, cut, names).await?;
                Ok(block_chunks(&leaves, |leaf| if named.contains(&leaf) { u64::MAX } else { rows_wanted }))
            }
        }
    }

    async fn read(&self, table: Arc<SourceTable>, chunk: &Chunk) -> Result<Box<dyn RowReader>, ConnectorError> {
        let name = &table.schema.name;
        let attempted = format!("read chunk {} of table \"{name}\"", chunk.index);
        // One that was used before still has its transaction open.
        let (client, end) = match self.readers.take() {
            Some(client) => (client, "rollback; "),
            None => (connect::client(&self.server, "snapshot reader").await?, ""),
        };
        // Whatever the server says here, the cause is a holder that is gone; a new snapshot helps.
        let begin = format!("{end}{}; set local lock_timeout = '{LOCK_TIMEOUT}'", import_sql(&self.snapshot));
        client.batch_execute(&begin).await.map_err(|error| {
            let cause = pg_error("import the snapshot", error);
            ConnectorError::transient("snapshot_lost", attempted.clone()).caused_by(cause)
        })?;
        let columns: Vec<&str> = table.schema.columns.iter().map(|column| column.name.as_str()).collect();
        let (text, sql) = if chunk.bounds == NOTHING {
            (vec![false; columns.len()], format!("copy ({}) to stdout (format binary)", nothing_sql(columns.len())))
        } else if let Some(part) = RangePart::parse(&chunk.bounds) {
            let (oid, from) = range::selection(&client, &table, &part).await?;
            let text = text_columns(&client, oid, &columns, name, &attempted).await?;
            let sql = format!("copy (select {} {from}) to stdout (format binary)", cast(&columns, &text));
            (text, sql)
        } else {
            let range = BlockRange::parse(&chunk.bounds).ok_or_else(|| {
                ConnectorError::definite(
                    "chunk_bounds",
                    format!("{attempted}: found bounds of another form, wanted \"ctid oid filenode from to\""),
                )
            })?;
            let leaf = self.leaf(&client, name, range, &attempted).await?;
            let text = text_columns(&client, range.oid, &columns, name, &attempted).await?;
            let sql = range.copy_sql(&leaf, &columns, &text);
            (text, sql)
        };
        let stream = client.copy_out(sql.as_str()).await.map_err(|error| pg_error(&attempted, error))?;
        Ok(Box::new(CopyReader::new(client, self.readers.clone(), stream, text, self.window.clone(), name.clone())))
    }

    fn resumable(&self, table: &SourceTable) -> bool {
        let schema = &table.schema;
        !schema.primary_key.is_empty() || (schema.before_images == BeforeImages::KeyOnly && !schema.identity.is_empty())
    }
}

impl PostgresSnapshot {
    /// A table whose heaps have no block has no rows, which other methods of access need not have in blocks of its file: while the holder has its lock nobody empties it, and nothing takes blocks away. That
    /// the holder still lives is asked after the look at the files, so it did before.
    async fn chunks_of_all(&self, tables: &[&SourceTable], rows_wanted: u64) -> Result<Vec<Vec<Chunk>>, ConnectorError> {
        let leaves = self.leaves(&tables.iter().map(|table| &table.schema.name).collect::<Vec<_>>()).await?;
        let holds = self.holder.batch_execute("").await;
        holds.map_err(|error| {
            ConnectorError::transient("snapshot_lost", "cut tables into chunks").caused_by(pg_error("ask for the snapshot", error))
        })?;
        let chunks = |leaves: &Vec<Leaf>| {
            let of: &[Leaf] = if leaves.iter().all(|leaf| leaf.has_no_rows()) { &[] } else { leaves };
            block_chunks(of, |_| rows_wanted)
        };
        Ok(leaves.iter().map(chunks).collect())
    }

    /// The relations that hold each table's rows: its partitions, or itself.
    async fn leaves(&self, tables: &[&TableName]) -> Result<Vec<Vec<Leaf>>, ConnectorError> {
        let attempted = "cut tables into chunks";
        let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        let rows = self.catalog.query(LEAVES, &[&schemas, &names]).await.map_err(|error| pg_error(attempted, error))?;
        let leaf = |row: &tokio_postgres::Row, name: &TableName| {
            let filenode: Option<u32> = get(row, 1, attempted)?;
            let Some(filenode) = filenode.filter(|_| get::<String>(row, 5, attempted).is_ok_and(|kind| kind == "r")) else {
                let text = format!("table \"{name}\" has a foreign partition, wanted ordinary ones");
                return Err(
                    ConnectorError::table(name, "foreign_partition", text).hint("detach the foreign partition, or leave the table out")
                );
            };
            Ok(Leaf {
                oid: get(row, 0, attempted)?,
                filenode,
                blocks: u64::try_from(get::<i64>(row, 2, attempted)?).unwrap_or_default(),
                tuples: get(row, 3, attempted)?,
                pages: get(row, 4, attempted)?,
                is_heap: get(row, 7, attempted)?,
            })
        };
        let mut leaves: Vec<Vec<Leaf>> = tables.iter().map(|_| Vec::new()).collect();
        for row in &rows {
            let place = usize::try_from(get::<i64>(row, 6, attempted)? - 1).unwrap_or_default();
            leaves[place].push(leaf(row, tables[place])?);
        }
        Ok(leaves)
    }

    /// The name of the chunk's relation, which must still belong to the table and be the same file: after a rewrite
    /// the same blocks hold other rows.
    async fn leaf(&self, client: &Client, table: &TableName, range: BlockRange, attempted: &str) -> Result<TableName, ConnectorError> {
        let wanted: [(&(dyn ToSql + Sync), Type); 3] = [(&range.oid, Type::OID), (&table.schema, Type::TEXT), (&table.name, Type::TEXT)];
        let rows = client.query_typed(LEAF, &wanted).await.map_err(|error| pg_error(attempted, error))?;
        let changed = |found: &str| {
            ConnectorError::table(table, "chunks_outdated", format!("{attempted}: {found} since the table was cut"))
                .hint("reload the table: its chunks are cut anew")
        };
        let row = rows.first().ok_or_else(|| changed("the chunk's partition was detached or dropped"))?;
        if get::<Option<u32>>(row, 2, attempted)? != Some(range.filenode) {
            return Err(changed("the table was rewritten or truncated"));
        }
        Ok(TableName::new(get::<String>(row, 0, attempted)?, get::<String>(row, 1, attempted)?))
    }
}

/// A relation file.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    oid: u32,
    filenode: u32,
    blocks: u64,
    /// By the server's statistics, in so many pages.
    tuples: f64,
    pages: i32,
    is_heap: bool,
}

impl Leaf {
    fn has_no_rows(&self) -> bool {
        self.is_heap && self.blocks == 0
    }
}

/// Chunks of relation files, each of about so many rows as its file should have in one. A table without files is empty.
fn block_chunks(leaves: &[Leaf], rows_wanted: impl Fn(u32) -> u64) -> Vec<Chunk> {
    let of_leaf = |leaf: &Leaf| {
        let Leaf { oid, filenode, blocks, tuples, pages, .. } = *leaf;
        let ranges = ranges(blocks, blocks_per_chunk(tuples, pages, rows_wanted(oid)));
        ranges.into_iter().map(move |range| BlockRange { oid, filenode, ..range }.to_string())
    };
    let mut bounds: Vec<String> = leaves.iter().flat_map(of_leaf).collect();
    if bounds.is_empty() {
        bounds.push(NOTHING.to_owned());
    }
    bounds.into_iter().zip(0..).map(|(bounds, index)| Chunk { index, bounds }).collect()
}

/// Bounds of the only chunk of a table without rows.
const NOTHING: &str = "nothing";

/// Blocks of one relation file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BlockRange {
    oid: u32,
    filenode: u32,
    from: u64,
    /// Exclusive; `None` is the end of the file, however far it has grown.
    to: Option<u64>,
}

impl std::fmt::Display for BlockRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ctid {} {} {} ", self.oid, self.filenode, self.from)?;
        match self.to {
            Some(to) => write!(f, "{to}"),
            None => f.write_str("-"),
        }
    }
}

impl BlockRange {
    fn parse(text: &str) -> Option<BlockRange> {
        let mut words = text.strip_prefix("ctid ")?.split(' ');
        let range = BlockRange {
            oid: words.next()?.parse().ok()?,
            filenode: words.next()?.parse().ok()?,
            from: words.next()?.parse().ok()?,
            to: match words.next()? {
                "-" => None,
                to => Some(to.parse().ok()?),
            },
        };
        words.next().is_none().then_some(range)
    }

    fn copy_sql(&self, leaf: &TableName, columns: &[&str], text: &[bool]) -> String {
        let columns = cast(columns, text);
        let mut bounds = Vec::new();
        if self.from > 0 {
            bounds.push(format!("ctid >= '({},0)'::pg_catalog.tid", self.from));
        }
        if let Some(to) = self.to {
            bounds.push(format!("ctid < '({to},0)'::pg_catalog.tid"));
        }
        let bounds = if bounds.is_empty() { String::new() } else { format!(" where {}", bounds.join(" and ")) };
        format!("copy (select {} from only {}{bounds}) to stdout (format binary)", columns, Dialect::POSTGRES.table(leaf))
    }
}

/// How the tables are stored now, and which columns they have: equal answers before a snapshot and under its locks mean
/// that the snapshot's readers see what it saw.
pub(crate) async fn storage(client: &Client, tables: &[TableName]) -> Result<String, ConnectorError> {
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let attempted = "compare tables with their snapshot";
    let row = client.query_one(STORAGE, &[&schemas, &names]).await.map_err(|error| pg_error(attempted, error))?;
    get(&row, 0, attempted)
}

/// Columns as they are read: those without a binary form as text.
fn cast(columns: &[&str], text: &[bool]) -> String {
    let cast = |(name, text): (&&str, &bool)| Dialect::POSTGRES.identifier(name) + if *text { "::pg_catalog.text" } else { "" };
    columns.iter().zip(text).map(cast).collect::<Vec<_>>().join(", ")
}

fn import_sql(snapshot: &str) -> String {
    format!("begin isolation level repeatable read read only; set transaction snapshot {}", Dialect::POSTGRES.literal(snapshot))
}

fn lock_sql(tables: &[TableName]) -> String {
    if tables.is_empty() {
        return String::new();
    }
    let names: Vec<String> = tables.iter().map(|table| Dialect::POSTGRES.table(table)).collect();
    format!("lock table {} in access share mode", names.join(", "))
}

/// A query of so many columns and no rows.
fn nothing_sql(columns: usize) -> String {
    format!("select {} where false", vec!["null::pg_catalog.text"; columns].join(", "))
}

/// A flag for each column whose type has no binary form.
async fn text_columns(
    client: &Client,
    oid: u32,
    columns: &[&str],
    table: &TableName,
    attempted: &str,
) -> Result<Vec<bool>, ConnectorError> {
    let rows = client.query_typed(SENDS, &[(&oid, Type::OID)]).await.map_err(|error| pg_error(attempted, error))?;
    let mut sends = std::collections::HashMap::new();
    for row in &rows {
        sends.insert(get::<String>(row, 0, attempted)?, get::<bool>(row, 1, attempted)?);
    }
    let flag = |name: &&str| {
        sends.get(*name).map(|has_send| !has_send).ok_or_else(|| {
            ConnectorError::table(table, "object_missing", format!("{attempted}: column \"{name}\" is gone")).hint("reload the table")
        })
    };
    columns.iter().map(flag).collect()
}

fn blocks_per_chunk(tuples: f64, pages: i32, rows_wanted: u64) -> u64 {
    let per_block = if tuples > 0.0 && pages > 0 { (tuples / f64::from(pages)).max(1.0) } else { ROWS_PER_BLOCK_GUESS };
    ((rows_wanted as f64 / per_block) as u64).max(1)
}

/// Ranges that cover the file; the last one is open-ended.
fn ranges(blocks: u64, per_chunk: u64) -> Vec<BlockRange> {
    let count = blocks.div_ceil(per_chunk).max(1);
    (0..count)
        .map(|index| BlockRange {
            oid: 0,
            filenode: 0,
            from: index * per_chunk,
            to: if index + 1 < count { Some((index + 1) * per_chunk) } else { None },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_file_and_what_it_grows_to() {
        for (blocks, per_chunk) in [(0, 1), (1, 1), (10, 3), (9, 3), (10, 100)] {
            let ranges = ranges(blocks, per_chunk);
            assert_eq!(ranges[0].from, 0);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].to, Some(pair[1].from));
            }
            assert_eq!(ranges.last().map(|last| last.to), Some(None));
        }
    }

    #[test]
    fn bounds_read_back() {
        for text in ["ctid 16384 16390 0 100", "ctid 1 2 100 -"] {
            assert_eq!(BlockRange::parse(text).map(|range| range.to_string()).as_deref(), Some(text));
        }
        for text in ["", "ctid", "ctid 1 2 3", "ctid 1 2 3 4 5", "ctid 1 2 x -", "ctid 1 2 0 -; drop table t"] {
            assert_eq!(BlockRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_quoted_and_types_without_binary_form_cast() {
        let range = BlockRange { oid: 1, filenode: 1, from: 5, to: Some(9) };
        let sql = range.copy_sql(&TableName::new("S", "T\"a"), &["Id", "acl"], &[false, true]);
        let wanted = "copy (select \"Id\", \"acl\"::pg_catalog.text from only \"S\".\"T\"\"a\" \
                      where ctid >= '(5,0)'::pg_catalog.tid and ctid < '(9,0)'::pg_catalog.tid) to stdout (format binary)";
        assert_eq!(sql, wanted);
    }
}
